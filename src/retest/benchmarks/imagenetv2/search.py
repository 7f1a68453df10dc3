"""Reader of ``search_results/``: the first record of an id, files in sorted order, is the candidate; later ones are occurrences."""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from sys import intern
from typing import Any, Final

from retest.benchmarks.imagenetv2.reading import Source
from retest.benchmarks.imagenetv2.records import Occurrence
from retest.records import LARGEST_INTEGER, Candidate, DuplicateOccurrence

__all__ = ["CANDIDATE_KEYS", "EXTRA_KEYS", "RESERVED_FILES", "UNKNOWN_DATE", "expected_ids", "read_search_results"]

UNKNOWN_DATE: Final = "1969-12-31"
"""The day before the epoch in American time zones: what a missing time stamp became in the published data."""

CANDIDATE_KEYS: Final = {
    "id_ours": "id",
    "id_search_engine": "photo_id",
    "url": "url",
    "url_type": "url_kind",
    "wnid": "wnid",
    "search_key": "search_key",
    "search_engine": "source",
    "uploader": "uploader",
    "date_upload_our_db": "date_found",
    "date_taken": "date_taken",
    "date_upload_search_engine": "date_uploaded",
    "width": "width",
    "height": "height",
}
"""Published key -> field of :class:`retest.records.Candidate`. All other keys are parameters of the search: ``query``."""

EXTRA_KEYS: Final = ("license", "owner", "title", "source_page")
"""Keys that the published files do not have; retest writes them where they are known."""

FIRST_FILE: Final = "0000_retest_candidates.json"
LAST_FILE: Final = "zzzz_retest_candidates.json"
RESERVED_FILES: Final = frozenset({FIRST_FILE, LAST_FILE})
"""Names under which retest writes records that came from no search-result file."""

_REQUIRED = ("id_ours", "id_search_engine", "url", "wnid", "search_engine")
_KNOWN = frozenset({*CANDIDATE_KEYS, *EXTRA_KEYS, "query"})


def expected_ids(photo_id: str, engine: str, wnid: str) -> tuple[str, str]:
    """The two ids a photo may have: sha1(photo id + engine), and as a second candidate for another class sha1("photo id,engine,wnid")."""
    plain = hashlib.sha1(f"{photo_id}{engine}".encode(), usedforsecurity=False).hexdigest()
    second = hashlib.sha1(f"{photo_id},{engine},{wnid}".encode(), usedforsecurity=False).hexdigest()
    return plain, second


def read_search_results(source: Source, paths: Iterable[str]) -> Iterator[Candidate | Occurrence]:
    """Yield candidates and duplicate occurrences of all files; ``paths`` are taken in sorted order.

    ``query`` of a candidate holds the parameters of its search under the published names, and ``file``. Dates on
    1969-12-31 become None; width and height become integers or None.
    """
    seen: set[str] = set()
    for path in sorted(paths):
        file = posixpath.basename(path)
        repeats: Counter[str] = Counter()
        for position, row in source.elements(path):
            fields = _required(row)
            if fields is None:
                source.warn("malformed_record", path, position, f"a record needs the keys {', '.join(_REQUIRED)}")
                continue
            candidate_id, photo_id, _, wnid, engine = fields
            _check_id(source, path, fields)
            source.check_class(wnid, path, candidate_id)
            if candidate_id in seen:
                record = DuplicateOccurrence(candidate_id, engine, photo_id, wnid, _text(row, "search_key"), _source_file(file))
                repeats[candidate_id] += 1
                yield Occurrence(f"{file}#{candidate_id}#{repeats[candidate_id]}", record)
                continue
            seen.add(candidate_id)
            yield _candidate(source, path, file, row, fields)


def _required(row: Any) -> tuple[str, str, str, str, str] | None:
    if not isinstance(row, dict):
        return None
    values = [row.get(key) for key in _REQUIRED]
    if isinstance(values[1], int) and not isinstance(values[1], bool):
        values[1] = str(values[1])
    if not {str}.issuperset(map(type, values)) or not values[0]:
        return None
    candidate_id, photo_id, url, wnid, engine = values
    return candidate_id, photo_id, url, intern(wnid), intern(engine)  # type: ignore[return-value, arg-type]


def _candidate(source: Source, path: str, file: str, row: dict[str, Any], fields: tuple[str, str, str, str, str]) -> Candidate:
    candidate_id, photo_id, url, wnid, engine = fields
    query = {key: value for key, value in row.items() if key not in _KNOWN}
    nested = row.get("query")
    if isinstance(nested, dict):
        query.update(nested)
    if (origin := _source_file(file)) is not None:
        query["file"] = origin
    uploaded = _date(source, path, candidate_id, row, "date_upload_search_engine")
    _check_window(source, path, candidate_id, uploaded, row)
    return Candidate(
        id=candidate_id,
        wnid=wnid,
        source=engine,
        photo_id=photo_id,
        url=url,
        url_kind=_text(row, "url_type"),
        search_key=_text(row, "search_key"),
        uploader=_text(row, "uploader"),
        date_taken=_date(source, path, candidate_id, row, "date_taken"),
        date_uploaded=uploaded,
        date_found=_date(source, path, candidate_id, row, "date_upload_our_db"),
        width=_size(source, path, candidate_id, row, "width"),
        height=_size(source, path, candidate_id, row, "height"),
        license=_text(row, "license"),
        owner=_text(row, "owner"),
        title=_text(row, "title"),
        source_page=_text(row, "source_page"),
        query=query,
    )


def _source_file(file: str) -> str | None:
    return None if file in RESERVED_FILES else file


def _check_id(source: Source, path: str, fields: tuple[str, str, str, str, str]) -> None:
    candidate_id, photo_id, _, wnid, engine = fields
    if candidate_id not in expected_ids(photo_id, engine, wnid):
        message = f"the id is not the SHA-1 of photo {photo_id!r} and engine {engine!r}, with or without class {wnid!r}"
        source.warn("id_mismatch", path, candidate_id, message)


def _text(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    return value if value is None or isinstance(value, str) else str(value)


def _date(source: Source, path: str, item: str, row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        source.warn("malformed_date", path, item, f"{key} is {value!r}, not a text; taken as unknown")
        return None
    if value.startswith(UNKNOWN_DATE):
        source.warn("unknown_date", path, item, f"{key} is {value}, which stands for an unknown date")
        return None
    return value


def _check_window(source: Source, path: str, item: str, uploaded: str | None, row: dict[str, Any]) -> None:
    """The published search sent the window under names that the service ignores (both bounds are inclusive days)."""
    if uploaded is None:
        return
    day, low, high = uploaded[:10], row.get("min_uploaded_date"), row.get("max_uploaded_date")
    if (isinstance(low, str) and day < low[:10]) or (isinstance(high, str) and day > high[:10]):
        source.warn("outside_upload_window", path, item, f"uploaded {day}, outside the stated window {low} to {high}")


def _size(source: Source, path: str, item: str, row: dict[str, Any], key: str) -> int | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_INTEGER:
        source.warn("malformed_size", path, item, f"{key} is {value!r}, not a positive number; taken as unknown")
        return None
    return value
