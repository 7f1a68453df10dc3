"""Tables of figures about HITs, their answers and annotators, for the review pages.

Everything here is derived from HITs and answers. A row is of now where ``judged``; every change of what it follows from takes that back,
and the older figures stay until it is judged again. They belong to the metadata of :mod:`retest.store.schema`.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, String, Table

from retest.store.schema import Number, metadata


def _judged() -> list[Column[int]]:
    """Columns of what an answer, or all answers of an annotator, come to: controls shown and answered rightly, images, those selected."""
    names = ("positive_shown", "positive_correct", "negative_shown", "negative_correct", "images", "selected")
    return [Column(name, Integer, nullable=False) for name in names]


hit_figures = Table(
    "hit_figures",
    metadata,
    Column("hit_no", Number, primary_key=True, autoincrement=False),
    Column("uuid", String, nullable=False, unique=True),
    Column("wnid", String, nullable=False, index=True),
    Column("wanted", Integer, nullable=False),
    Column("submitted", Boolean, nullable=False),
    Column("excluded", Boolean, nullable=False),
    Column("judged", Boolean, nullable=False),
    Column("images", Integer, nullable=False),
    Column("valid", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("controls", Float),
    Column("agreement", Float),
    Column("median_duration_s", Float),
    Column("flagged", Integer, nullable=False),
    Index(None, "judged", "hit_no"),
    Index(None, "valid", "hit_no"),
    Index(None, "controls", "hit_no"),
    Index(None, "agreement", "hit_no"),
    Index(None, "median_duration_s", "hit_no"),
)

answer_figures = Table(
    "answer_figures",
    metadata,
    Column("hit_no", Number, primary_key=True, autoincrement=False),
    Column("assignment_id", String, primary_key=True),
    Column("worker", String, nullable=False),
    Column("status", String, nullable=False),
    Column("submit_time", String, nullable=False),  # empty where it is not known
    Column("judged", Boolean, nullable=False),  # rejected answers have no figures
    *_judged(),
    Column("duration_s", Float),
    Column("agreement", Float),
    Column("flags", JSON, nullable=False),
    Index(None, "worker", "submit_time", "assignment_id"),
    sqlite_with_rowid=False,
)

worker_figures = Table(
    "worker_figures",
    metadata,
    Column("worker", String, primary_key=True),
    Column("judged", Boolean, nullable=False, index=True),
    Column("assignments", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    *_judged(),
    Column("median_duration_s", Float),
    Column("agreement", Float),
    Column("flagged_assignments", Integer, nullable=False),
    Column("flags", JSON, nullable=False),
)
