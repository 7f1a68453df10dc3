"""The classes of a study as the review pages name them, kept as long as they do not change."""

from __future__ import annotations

from collections.abc import Mapping

from retest.records import ClassInfo
from retest.stages._review_memo import Memo, generations_key
from retest.store import Tables


def known_classes(tables: Tables, memo: Memo) -> Mapping[str, ClassInfo]:
    """wnid -> class, for all classes of the study."""
    key = generations_key(tables.generations.of("classes"))
    return memo.get("known classes", key, lambda: {info.wnid: info for info in tables.classes.all()})


def classes_by_index(tables: Tables, memo: Memo) -> Mapping[int, ClassInfo]:
    """Class index -> class, for all classes of the study."""
    key = generations_key(tables.generations.of("classes"))
    return memo.get("classes by index", key, lambda: {info.cid: info for info in known_classes(tables, memo).values()})


def class_name(classes: Mapping[str, ClassInfo], wnid: str) -> str:
    """The name of a class; the wnid of one that the study does not know."""
    return classes[wnid].name if wnid in classes else wnid
