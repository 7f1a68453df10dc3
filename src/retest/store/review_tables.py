"""Tables of the review pages: who reviews, what is said of images and labels, counts of classes, and where pairs wait.

They belong to the metadata of :mod:`retest.store.schema`.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, String, Table, Text

from retest.store.schema import metadata

# Images that a reviewer calls problematic: no test set takes them until that is settled.
image_flags = Table(
    "image_flags",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("detail", Text, nullable=False),
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
)

# Who may review: the token itself is nowhere, only its SHA-256 (it has 192 random bits).
reviewers = Table(
    "reviewers",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("token_hash", String, unique=True),  # null: may not come in any more
    Column("since", String, nullable=False),
    Column("seen", String),
)

# Counts per class for the review pages; as of the generations noted with the completion review/class_counts.
class_counts = Table(
    "class_counts",
    metadata,
    Column("wnid", String, primary_key=True),
    Column("counts", JSON, nullable=False),
)

# Where near-duplicate review goes on: per candidate and metric the nearest neighbour that waits; as of the completion review/pair_queue.
pair_queue = Table(
    "pair_queue",
    metadata,
    Column("metric", String, primary_key=True),
    Column("candidate_id", String, primary_key=True),
    Column("nearest", Float, nullable=False),
    Column("waiting", Integer, nullable=False),  # neighbours that wait up to the review target
    Index(None, "metric", "nearest", "candidate_id"),
    sqlite_with_rowid=False,
)

# What people say of a label that models predict for an image: correct | wrong | unclear | dont_know.
label_judgements = Table(
    "label_judgements",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("wnid", String, primary_key=True),
    Column("verdict", String, nullable=False),
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
    sqlite_with_rowid=False,
)
