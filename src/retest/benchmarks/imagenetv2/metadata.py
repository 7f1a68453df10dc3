"""Readers of ``metadata/`` except for near-duplicates: classes, exclusions, hand-made lists; and of per-class thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retest.benchmarks.imagenetv2.reading import Source, texts
from retest.benchmarks.imagenetv2.records import AdditionalImages, is_candidate_id
from retest.records import LARGEST_INTEGER, ClassInfo, Exclusion

__all__ = [
    "read_additional_images",
    "read_class_thresholds",
    "read_classes",
    "read_exclusions",
    "read_negative_classes",
]

_PER_LIST = ("pos_control", "candidates", "neg_control")


def read_classes(source: Source, *, info: str | None, similar: str | None, wikipedia: str | None) -> list[ClassInfo]:
    """The classes, ordered by class index, from up to three files (paths, None where absent).

    Without ``class_info.json`` the classes named in the other two files are numbered in sorted order of wnid, as the
    published file numbers them.
    """
    known = {row.wnid: row for row in _class_rows(source, info)} if info else {}
    neighbours = _lists_by_class(source, similar) if similar else {}
    pages = _lists_by_class(source, wikipedia) if wikipedia else {}
    if not known:
        known = {wnid: ClassInfo(wnid, cid) for cid, wnid in enumerate(sorted({*neighbours, *pages}))}
    _check_lists(source, known, neighbours, similar, "similar classes")
    _check_lists(source, known, pages, wikipedia, "Wikipedia pages")
    for wnid, similar_wnids in neighbours.items():
        if similar_wnids[:1] != (wnid,):
            source.warn("similar_classes_order", similar or "", wnid, "the first similar class is not the class itself")
    merged = [
        ClassInfo(row.wnid, row.cid, row.synset, row.gloss, row.parent_terms, pages.get(wnid, ()), neighbours.get(wnid, ()))
        for wnid, row in known.items()
    ]
    return sorted(merged, key=lambda row: row.cid)


def read_exclusions(source: Source, path: str) -> Iterator[Exclusion]:
    """Excluded candidates: ``reason`` is the published free text.

    Exclusions with user or time, as retest itself writes them, are objects instead of texts.
    """
    for (candidate_id,), value in source.items(path):
        fields = {"reason": value} if isinstance(value, str) else value
        if not isinstance(fields, dict) or not all(isinstance(part, str) for part in fields.values()) or "reason" not in fields:
            source.warn("malformed_record", path, candidate_id, "the reason is not a text")
            continue
        if not is_candidate_id(candidate_id):
            source.warn("unexpected_id", path, candidate_id, "the key is not a candidate id")
        extra = {key: fields[key] for key in ("detail", "user", "time") if key in fields}
        yield Exclusion(candidate_id, fields["reason"], **extra)


def read_negative_classes(source: Source, path: str) -> dict[str, str]:
    """wnid -> wnid from which the negative controls of its HITs were taken."""
    result: dict[str, str] = {}
    for (wnid,), other in source.items(path):
        if not isinstance(other, str):
            source.warn("malformed_record", path, wnid, "the negative class is not a text")
            continue
        if other == wnid:
            source.warn("negative_is_target", path, wnid, "the negative controls come from the class itself")
        for name in (wnid, other):
            source.check_class(name, path, wnid)
        result[wnid] = other
    return result


def read_additional_images(source: Source, path: str) -> Iterator[AdditionalImages]:
    """Hand-made HIT plans, one per class (16 of each kind, but not always)."""
    for (wnid,), value in source.items(path):
        lists = [texts(value.get(key)) for key in _PER_LIST] if isinstance(value, dict) else []
        if len(lists) != len(_PER_LIST) or any(ids is None for ids in lists):
            source.warn("malformed_record", path, wnid, f"not an object with the lists {', '.join(_PER_LIST)}")
            continue
        source.check_class(wnid, path, wnid)
        pos, candidates, neg = (ids or () for ids in lists)
        if not len(pos) == len(candidates) == len(neg):
            counts = f"{len(pos)}/{len(candidates)}/{len(neg)}"
            source.warn("unequal_lists", path, wnid, f"the lists differ in length ({counts} positive/candidates/negative)")
        yield AdditionalImages(wnid, pos, candidates, neg)


def read_class_thresholds(source: Source, path: str) -> dict[str, float]:
    """wnid -> selection-frequency threshold, between 0 and 1."""
    result: dict[str, float] = {}
    for (wnid,), value in source.items(path):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            source.warn("malformed_record", path, wnid, f"the threshold {value!r} is not a number from 0 to 1")
            continue
        source.check_class(wnid, path, wnid)
        result[wnid] = value
    return result


def _class_rows(source: Source, path: str) -> Iterator[ClassInfo]:
    seen_wnids: set[str] = set()
    seen_cids: set[int] = set()
    first_terms: dict[str, str] = {}
    for position, row in source.elements(path):
        parsed = _class_row(row)
        if parsed is None:
            source.warn(
                "malformed_record", path, position, "a class needs cid (integer of at least 0), wnid, synset (list of texts) and gloss"
            )
            continue
        if parsed.wnid in seen_wnids or parsed.cid in seen_cids:
            source.warn("duplicate_class", path, parsed.wnid, "the wnid or class index occurs twice; the first one counts")
            continue
        seen_wnids.add(parsed.wnid)
        seen_cids.add(parsed.cid)
        if (other := first_terms.setdefault(parsed.name, parsed.wnid)) != parsed.wnid:
            source.warn("ambiguous_name", path, parsed.wnid, f"the name {parsed.name!r} is also that of {other}")
        yield parsed
    if seen_cids != set(range(len(seen_cids))):
        source.warn("class_index_gap", path, "", f"the class indices are not 0 to {len(seen_cids) - 1}")


def _class_row(row: Any) -> ClassInfo | None:
    if not isinstance(row, dict):
        return None
    cid, wnid, gloss = row.get("cid"), row.get("wnid"), row.get("gloss", "")
    synset, parents = texts(row.get("synset", [])), texts(row.get("parent_terms", []))
    if not isinstance(cid, int) or isinstance(cid, bool) or not 0 <= cid <= LARGEST_INTEGER:
        return None
    if not isinstance(wnid, str) or not isinstance(gloss, str):
        return None
    return None if synset is None or parents is None else ClassInfo(wnid, cid, synset, gloss, parents)


def _lists_by_class(source: Source, path: str) -> dict[str, tuple[str, ...]]:
    result: dict[str, tuple[str, ...]] = {}
    for (wnid,), value in source.items(path):
        if (parsed := texts(value)) is None:
            source.warn("malformed_record", path, wnid, "not a list of texts")
        else:
            result[wnid] = parsed
    return result


def _check_lists(source: Source, known: dict[str, ClassInfo], lists: dict[str, tuple[str, ...]], path: str | None, what: str) -> None:
    if path is None:
        return
    for wnid in sorted(lists.keys() - known.keys()):
        source.warn("unknown_class", path, wnid, f"{what} of a class that is not in class_info.json")
    for wnid in sorted(known.keys() - lists.keys()):
        source.warn("missing_class", path, wnid, f"no {what} for this class")
