"""The tables of a study's database.

One place that says what is stored. Everything is plain SQL that SQLite and PostgreSQL share; JSON columns hold lists whose
parts are never searched for. The table ``decisions`` is append-only: the current state lives beside it and is
written in the same transaction. A migration in ``migrations/versions`` creates exactly these tables (a test compares), and those of
:mod:`retest.store.review_tables` and :mod:`retest.store.figure_tables`.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only gives automatic numbers to INTEGER primary keys; PostgreSQL wants 64 bits.
Number = BigInteger().with_variant(Integer, "sqlite")


def _number() -> Column[int]:
    return Column("no", Number, primary_key=True, autoincrement=True)


classes = Table(
    "classes",
    metadata,
    Column("wnid", String, primary_key=True),
    Column("cid", Integer, nullable=False),
    Column("synset", JSON, nullable=False),
    Column("gloss", Text, nullable=False),
    Column("parent_terms", JSON, nullable=False),
    Column("wikipedia_pages", JSON, nullable=False),
    Column("most_similar", JSON, nullable=False),
)

originals = Table(
    "originals",
    metadata,
    Column("id", String, primary_key=True),
    Column("split", String, nullable=False),
    Column("wnid", String),
    Column("location", Text),
    Index(None, "wnid", "split"),
)

candidates = Table(
    "candidates",
    metadata,
    Column("id", String, primary_key=True),
    Column("wnid", String, nullable=False),
    Column("source", String, nullable=False),
    Column("photo_id", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("url_kind", String),
    Column("search_key", Text),
    Column("uploader", Text),
    Column("date_taken", String),
    Column("date_uploaded", String),
    Column("date_found", String),
    Column("width", Integer),
    Column("height", Integer),
    Column("license", String),
    Column("owner", Text),
    Column("title", Text),
    Column("source_page", Text),
    Column("query", JSON, nullable=False),
    Index(None, "wnid", "id", "date_taken"),  # a class is listed from this alone
    Index(None, "source", "photo_id"),
)

duplicate_occurrences = Table(
    "duplicate_occurrences",
    metadata,
    Column("key", String, primary_key=True),  # where it was found: query and position, so that a rerun adds nothing
    Column("candidate_id", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("photo_id", String, nullable=False),
    Column("wnid", String, nullable=False),
    Column("search_key", Text),
    Column("file", Text),
)

search_queries = Table(
    "search_queries",
    metadata,
    Column("key", String, primary_key=True),
    Column("wnid", String, nullable=False, index=True),
    Column("cursor", Text),  # the next page to ask for; null before the first
    Column("pages", Integer, nullable=False),
    Column("found", Integer, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("notes", JSON, nullable=False),
)

exclusions = Table(
    "exclusions",
    metadata,
    Column("candidate_id", String, primary_key=True),
    Column("reason", String, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
)

image_problems = Table(
    "image_problems",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("reason", String, nullable=False, index=True),
    Column("detail", Text, nullable=False),
)

variants = Table(
    "variants",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("variant", String, primary_key=True),
    Column("blob_key", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("notes", JSON, nullable=False),
)

opaque_names = Table(
    "opaque_names",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("key_version", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
)

hits = Table(
    "hits",
    metadata,
    _number(),
    Column("uuid", String, nullable=False, unique=True),
    Column("wnid", String, nullable=False, index=True),
    Column("images_to_label", JSON, nullable=False),
    Column("images_pos_control", JSON, nullable=False),
    Column("images_neg_control", JSON, nullable=False),
    Column("images_all", JSON, nullable=False),
    Column("assignments", Integer, nullable=False),  # how many different annotators are asked for
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
    Column("submitted", Boolean, nullable=False, index=True),
    Column("crowd", String),  # the back end it was published on
    Column("hit_id", String, index=True),
    Column("hit_type_id", String),
    Column("file", Text),
    Column("excluded", Text),  # the reason, when the HIT counts nowhere
)

hit_images = Table(
    "hit_images",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("hit_no", Number, primary_key=True),
    Column("role", String, nullable=False),  # label | positive | negative
    sqlite_with_rowid=False,
)

assignments = Table(
    "assignments",
    metadata,
    Column("id", String, primary_key=True),
    Column("hit_uuid", String, nullable=False),
    Column("worker", String, nullable=False, index=True),
    Column("status", String, nullable=False),
    Column("selected", JSON, nullable=False),
    Column("accept_time", String),
    Column("submit_time", String),
    Column("content", Text),  # the answer as the back end delivered it
    Index(None, "hit_uuid", "status"),  # answers of a HIT are counted without a look at the long rows
)

# Raw annotator ids are personal data: kept apart from the answers, which know only the keyed hash, and deletable.
workers = Table(
    "workers",
    metadata,
    Column("worker", String, primary_key=True),
    Column("worker_id", String, nullable=False),
)

selection_frequencies = Table(
    "selection_frequencies",
    metadata,
    Column("wnid", String, primary_key=True),
    Column("image_id", String, primary_key=True),
    Column("num_assignments", Integer, nullable=False),
    Column("num_selected", Integer, nullable=False),
    Index(None, "image_id"),
    sqlite_with_rowid=False,
)

neighbors = Table(
    "neighbors",
    metadata,
    Column("metric", String, primary_key=True),
    Column("query_id", String, primary_key=True),
    Column("neighbors", JSON, nullable=False),  # [[reference id, distance], ...] ascending
)

reviewed_neighbors = Table(
    "reviewed_neighbors",
    metadata,
    Column("candidate_id", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("reference", String, primary_key=True),
    Column("near_duplicate", Boolean, nullable=False),
    Column("reviewer", String, nullable=False),
    Column("time", String, nullable=False),
    sqlite_with_rowid=False,
)

review_thresholds = Table(
    "review_thresholds",
    metadata,
    Column("candidate_id", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("threshold", Float, nullable=False),
)

near_duplicate_pairs = Table(
    "near_duplicate_pairs",
    metadata,
    Column("first", String, primary_key=True),
    Column("second", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
    Index(None, "second"),  # pairs are listed in one direction and followed in both
)

resolution_overrides = Table(
    "resolution_overrides",
    metadata,
    Column("candidate_id", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
)

resolutions = Table(
    "resolutions",
    metadata,
    Column("candidate_id", String, primary_key=True),
    Column("near_duplicate", Boolean, nullable=False),
    Column("component", String, nullable=False, index=True),
    Column("reason", Text, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", String, primary_key=True),
    Column("sampling_function", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("is_valid", Boolean, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("starting_from", String),
    Column("user", String, nullable=False),
    Column("time", String, nullable=False),
)

revision_images = Table(
    "revision_images",
    metadata,
    Column("revision", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("image_id", String, nullable=False, index=True),
    Column("wnid", String, nullable=False),
    Index(None, "revision", "wnid"),
)

class_reviews = Table(
    "class_reviews",
    metadata,
    Column("revision", String, primary_key=True),
    Column("wnid", String, primary_key=True),
    Column("reviewed", Boolean, nullable=False),
    Column("problematic", Boolean, nullable=False),
)

prediction_sets = Table(
    "prediction_sets",
    metadata,
    Column("dataset", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("blob_key", String, nullable=False),
    Column("num_images", Integer, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("notes", JSON, nullable=False),
)

completions = Table(
    "completions",
    metadata,
    Column("stage", String, primary_key=True),
    Column("item", String, primary_key=True),
    Column("key", String, nullable=False),
    Column("info", JSON, nullable=False),
)

# A number per table that grows with every change of its content: a cheap answer to "has anything changed since?".
generations = Table(
    "generations",
    metadata,
    Column("name", String, primary_key=True),
    Column("number", Number, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    _number(),
    Column("time", String, nullable=False),
    Column("user", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("item", String, nullable=False, index=True),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Index(None, "kind", "item", "no"),  # the latest decision about something is its version
    Index(None, "kind", "no"),
    Index(None, "user", "no"),
    Index(None, "time"),
)

warnings = Table(
    "warnings",
    metadata,
    Column("key", String, primary_key=True),
    Column("stage", String, nullable=False, index=True),
    Column("kind", String, nullable=False, index=True),
    Column("file", Text),
    Column("item", Text),
    Column("message", Text, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", JSON, nullable=False),
)
