"""Readers of labelling: ``hit_candidates/``, ``mturk/hit_data_live/``, ``mturk/hit_blacklist_live.json``, ``mturk/results/``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from retest.benchmarks.imagenetv2.reading import Source, texts
from retest.benchmarks.imagenetv2.records import HitCandidates, HitExclusion
from retest.records import Assignment, AssignmentStatus, Hit

__all__ = [
    "HASHED",
    "IGNORED_HIT_FILES",
    "IGNORED_REASON",
    "AnswerReader",
    "read_hit_candidates",
    "read_hit_exclusions",
    "read_hits",
    "submitter_of",
]

IGNORED_HIT_FILES: Final = (
    "2018-08-06_17:33_vaishaal.json",
    "2018-08-17_17:24_vaishaal.json",
    "vaishaal_hits_submitted_2018-08-17-18:28:33-PDT.json",
    "vaishaal_hits_submitted_2018-08-17-18:50:38-PDT.json",
    "vaishaal_hits_submitted_2018-08-17-19:28:24-PDT.json",
    "vaishaal_hits_submitted_2018-08-17-19:56:28-PDT.json",
    "vaishaal_hits_submitted_2018-08-25-09:47:26-PDT.json",
)
"""Files of trial runs, which the main collection leaves out."""

IGNORED_REASON: Final = "in a file that the main collection ignores"
RESERVED_HIT_FILE: Final = "retest_hits.json"
"""Name under which retest writes HITs that came from no file."""

HASHED: Final = "hashed"
"""Value of the key ``worker_ids`` in result files that hold keyed hashes instead of raw worker ids."""

_KEYS = frozenset(
    "wnid images_to_label images_pos_control images_neg_control images_all user uuid time submitted hit_id hit_type_id".split()  # noqa: SIM905
)
_LISTS = ("images_to_label", "images_pos_control", "images_neg_control", "images_all")
_USUAL_SIZES = (48, 25)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?([+-]\d\d:?\d\d)?")
_SUBMITTED_BY = re.compile(r"(?P<first>[^_]+)_hits_submitted_.+\.json|\d{4}-\d\d-\d\d_\d\d:\d\d_(?P<second>[^_]+)\.json")


def submitter_of(file: str) -> str | None:
    """Who submitted the HITs of a file, as its name tells; the ``user`` inside is often the server's account name."""
    match = _SUBMITTED_BY.fullmatch(posixpath.basename(file))
    return (match["first"] or match["second"]) if match else None


def read_hit_candidates(source: Source, paths: Iterable[str]) -> Iterator[HitCandidates]:
    """The candidates chosen by each planning run, one record per file."""
    for path in sorted(paths):
        ids: list[str] = []
        for position, value in source.elements(path):
            if isinstance(value, str):
                ids.append(value)
            else:
                source.warn("malformed_record", path, position, f"{value!r} is not a candidate id")
        if len(set(ids)) != len(ids):
            source.warn("duplicate_image", path, "", "some candidates are listed more than once")
        yield HitCandidates(posixpath.basename(path), tuple(ids))


def read_hits(source: Source, paths: Iterable[str]) -> Iterator[Hit]:
    """All HITs with the name of their file, ignored files included (see :func:`read_hit_exclusions`).

    ``user`` and ``time`` are as stated inside (four forms of time occur); a repeated uuid counts once.
    """
    seen: set[str] = set()
    for path in sorted(paths):
        file: str | None = posixpath.basename(path)
        for position, row in source.elements(path):
            hit = _hit(row, None if file == RESERVED_HIT_FILE else file)
            if hit is None:
                source.warn("malformed_record", path, position, "a HIT needs uuid, wnid and four lists of images")
            elif hit.uuid in seen:
                source.warn("duplicate_hit", path, hit.uuid, "the HIT was read before; the first one counts")
            else:
                seen.add(hit.uuid)
                _check_hit(source, path, hit, row)
                yield hit


def read_hit_exclusions(source: Source, path: str | None, ignored: Iterable[str]) -> Iterator[HitExclusion]:
    """HITs that count nowhere: those listed in the file (if any), then ``ignored``, the uuids met in ignored files."""
    listed: set[str] = set()
    for (uuid,), reason in source.items(path) if path else ():
        if not isinstance(reason, str):
            source.warn("malformed_record", path or "", uuid, "the reason is not a text")
            continue
        listed.add(uuid)
        yield HitExclusion(uuid, reason)
    for uuid in ignored:
        if uuid not in listed:
            yield HitExclusion(uuid, IGNORED_REASON)


@dataclass(slots=True)
class AnswerReader:
    """Reads ``mturk/results/*.json``: ``{"assignments": {hit uuid: {assignment id: {...}}}}``.

    ``hash_worker`` turns a raw worker id into the keyed hash that is stored; files that retest wrote say that their ids
    are hashed already (``"worker_ids": "hashed"`` before ``"assignments"``). ``images_of`` maps a known HIT to its images,
    None for an unknown one. When the same assignment stands in several files, the last file in sorted order counts,
    because a status changes with time.
    """

    hash_worker: Callable[[str], str]
    images_of: Callable[[str], Collection[str] | None]
    _read: dict[str, Assignment] = field(default_factory=dict)

    def read(self, source: Source, paths: Iterable[str]) -> Iterator[Assignment]:
        """Yield the assignments of all files, ordered by first appearance."""
        for path in sorted(paths):
            hashed, found = False, False
            for keys, value in source.items(path, descend=("assignments",)):
                if keys == ("worker_ids",):
                    hashed = value == HASHED
                elif keys[0] == "assignments" and len(keys) == 2:
                    found = True
                    self._take_hit(source, path, keys[1], value, hashed)
                elif keys == ("assignments",):
                    found = True
                    if value:
                        source.warn("malformed_record", path, "assignments", "should be an object: HIT, then its answers")
            if not found:
                source.warn("empty_file", path, "", 'holds no "assignments"')
        yield from self._read.values()

    def _take_hit(self, source: Source, path: str, uuid: str, rows: Any, hashed: bool) -> None:
        if not isinstance(rows, dict):
            source.warn("malformed_record", path, uuid, "the answers of a HIT should be an object")
            return
        images = self.images_of(uuid)
        if images is None and rows:
            source.warn("unknown_hit", path, uuid, "answers to a HIT that no HIT file describes")
        for assignment_id, row in rows.items():
            assignment = self._assignment(source, path, assignment_id, uuid, row, hashed)
            if assignment is None:
                continue
            if images is not None and not set(images).issuperset(assignment.selected):
                source.warn("foreign_image", path, assignment_id, "selects images that are not in the HIT")
            before = self._read.get(assignment_id)
            if before is not None and before != assignment:
                source.warn("duplicate_assignment", path, assignment_id, "was read before with another content; this later one counts")
            self._read[assignment_id] = assignment

    def _assignment(self, source: Source, path: str, assignment_id: str, uuid: str, row: Any, hashed: bool) -> Assignment | None:
        worker, status = (row.get("WorkerId"), row.get("AssignmentStatus")) if isinstance(row, dict) else (None, None)
        selected = texts(row.get("Answer")) if isinstance(row, dict) else None
        if not isinstance(worker, str) or selected is None:
            source.warn("malformed_record", path, assignment_id, "an assignment needs WorkerId (text) and Answer (list of image ids)")
            return None
        try:
            state = AssignmentStatus(str(status))
        except ValueError:
            source.warn("unknown_status", path, assignment_id, f"AssignmentStatus is {status!r}; the assignment is left out")
            return None
        unique = tuple(dict.fromkeys(selected))
        if len(unique) != len(selected):
            source.warn("duplicate_image", path, assignment_id, "selects an image more than once; it counts once")
        times = [value if isinstance(value := row.get(key), str) else None for key in ("AcceptTime", "SubmitTime")]
        return Assignment(assignment_id, uuid, worker if hashed else self.hash_worker(worker), state, unique, times[0], times[1])


def _hit(row: Any, file: str | None) -> Hit | None:
    if not isinstance(row, dict):
        return None
    lists = [texts(row.get(key)) for key in _LISTS]
    uuid, wnid = row.get("uuid"), row.get("wnid")
    if not isinstance(uuid, str) or not isinstance(wnid, str) or any(ids is None for ids in lists):
        return None
    label, pos, neg, shown = (ids or () for ids in lists)
    return Hit(
        uuid=uuid,
        wnid=wnid,
        images_to_label=label,
        images_pos_control=pos,
        images_neg_control=neg,
        images_all=shown,
        user=str(row.get("user") or ""),
        time=str(row.get("time") or ""),
        submitted=row.get("submitted") is True,
        hit_id=_optional(row, "hit_id"),
        hit_type_id=_optional(row, "hit_type_id"),
        file=file,
    )


def _optional(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    return value if isinstance(value, str) else None


def _check_hit(source: Source, path: str, hit: Hit, row: dict[str, Any]) -> None:
    source.check_class(hit.wnid, path, hit.uuid)
    parts = (*hit.images_to_label, *hit.images_pos_control, *hit.images_neg_control)
    if len(hit.images_all) not in _USUAL_SIZES:
        source.warn("unusual_hit_size", path, hit.uuid, f"shows {len(hit.images_all)} images")
    if sorted(parts) != sorted(hit.images_all):
        source.warn("not_a_permutation", path, hit.uuid, "images_all is not a permutation of the images to label and the controls")
    if len(set(hit.images_all)) != len(hit.images_all):
        source.warn("duplicate_image", path, hit.uuid, "shows an image more than once")
    if hit.time and not _TIME.fullmatch(hit.time):
        source.warn("malformed_date", path, hit.uuid, f"time is {hit.time!r}")
    if unknown := sorted(row.keys() - _KEYS):
        source.warn("unknown_key", path, hit.uuid, f"the keys {', '.join(unknown)} are not read")
