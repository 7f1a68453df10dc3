"""Candidates from tables of URLs: CSV, Parquet, JSON, JSON lines, and the published search-result files themselves."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from retest.errors import InputError
from retest.records import ClassInfo
from retest.sources.base import FoundPhoto, Page, Query, decode_cursor, encode_cursor, make_query
from retest.sources.published import COLUMNS, DETAIL_COLUMNS
from retest.sources.search import SearchParameters

__all__ = ["TableSource"]

_PAGE_SIZE: Final = 1000
_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson")
_INTEGERS: Final = frozenset({"width", "height", "max_images"})


class TableSource:
    """Rows with at least the columns ``url`` and ``wnid``; the names of all columns are in the documentation.

    A row without its own photo id is identified by its URL; a row without its own engine belongs to the engine ``table``.
    Rows keep their order, files come in the order of their names, and a row that brings a candidate id keeps it: the
    published files give exactly the published candidates. Only http and https URLs are taken.

    Args:
        path: one table, or a folder of tables; read when the source is first asked for a class.
        parameters: only ``max_images`` applies; a table is not filtered by date.
    """

    name: Final = "table"

    def __init__(self, path: Path | str, *, parameters: SearchParameters | None = None) -> None:
        self._path = Path(path)
        self._parameters = parameters or SearchParameters()
        self._rows: _Rows | None = None

    def queries(self, info: ClassInfo) -> list[Query]:
        """One query for a class that has rows.

        Raises:
            InputError: a file is missing, unreadable, or lacks a column that it needs.
        """
        rows = self._load()
        if info.wnid not in rows.by_class:
            return []
        limit = self._parameters.max_images
        return [make_query(source=self.name, wnid=info.wnid, term=info.wnid, limit=limit, parameters={}, salt=rows.digest)]

    def page(self, query: Query, cursor: str | None) -> Page:
        """The next rows of the class after the position in the cursor."""
        start = 0 if cursor is None else int(decode_cursor(cursor, query=query, kinds={"row": int})["row"])
        places = self._load().by_class.get(query.wnid, [])[: query.limit]
        photos: list[FoundPhoto] = []
        skipped: dict[str, int] = {}
        for place in places[start : start + _PAGE_SIZE]:
            photo, reason = self._photo(place)
            if photo is not None:
                photos.append(photo)
            else:
                skipped[reason] = skipped.get(reason, 0) + 1
        end = start + _PAGE_SIZE
        return Page(tuple(photos), encode_cursor(row=end) if end < len(places) else None, skipped)

    def close(self) -> None:
        """Forget the rows."""
        self._rows = None

    def _load(self) -> _Rows:
        if self._rows is None:
            self._rows = _read_tables(_table_files(self._path))
        return self._rows

    def _photo(self, place: tuple[int, int]) -> tuple[FoundPhoto | None, str]:
        rows = self._load()
        values = rows.row(place)
        url = values["url"] = values.get("url", "").strip()
        if not url:
            return None, "no_url"
        if not _is_web_address(url):
            return None, "not_a_web_address"
        details: dict[str, Any] = {name: values.pop(name) for name in DETAIL_COLUMNS if name in values}
        values.pop("wnid", None)
        known = {"source": self.name, "photo_id": url, **values}
        return FoundPhoto(**known, details=details, file=rows.files[place[0]]), ""


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:  # such as a bracket that is not closed
        return False


class _Rows:
    """Columns of strings per file, and where the rows of each class are: (file number, row number), in order."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.columns: list[dict[str, Any]] = []
        self.by_class: dict[str, list[tuple[int, int]]] = {}
        self.digest = ""

    def row(self, place: tuple[int, int]) -> dict[str, Any]:
        """The values of a row that are there: integers where they should be, else text."""
        values = {name: column[place[1]].as_py() for name, column in self.columns[place[0]].items()}
        return {name: _integer(value) if name in _INTEGERS else value for name, value in values.items() if value not in (None, "")}

    def add(self, path: Path, columns: dict[str, Any]) -> None:
        number = len(self.files)
        self.files.append(path.name)
        self.columns.append(columns)
        for row, wnid in enumerate(columns["wnid"].to_pylist()):
            if not wnid:
                raise InputError("the row has no class", item=f"{path} row {row + 1}", remedy="Fill the column wnid, or drop the row.")
            self.by_class.setdefault(wnid, []).append((number, row))


def _integer(value: str) -> int | None:
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 2**31 else None  # what a database can hold


def _table_files(path: Path) -> list[Path]:
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file()) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError("there is no table", item=str(path), remedy=f"Give a file or a folder of files ending in {', '.join(_SUFFIXES)}.")
    return files


def _read_tables(files: Iterable[Path]) -> _Rows:
    rows = _Rows()
    digest = hashlib.sha256()
    for path in files:
        rows.add(path, _read_table(path))
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    rows.digest = digest.hexdigest()
    return rows


def _read_table(path: Path) -> dict[str, Any]:
    """Known columns of one file as Arrow arrays of strings, under the names of :class:`FoundPhoto`."""
    import pyarrow as pa

    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{path.suffix!r} is no known kind of table", item=str(path), remedy=f"Use {', '.join(_SUFFIXES)}.")
    try:
        if suffix == ".parquet":
            raw = _read_parquet(path)
        elif suffix in (".csv", ".tsv"):
            raw = _read_csv(path, delimiter="\t" if suffix == ".tsv" else ",")
        else:
            raw = _read_json(path)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise InputError(
            f"cannot be read ({error})", item=str(path), remedy="Check that the file is whole and its suffix is right."
        ) from error
    columns = {field: raw[name] for field, names in _wanted().items() for name in names if name in raw}
    for needed in ("url", "wnid"):
        if needed not in columns:
            found = ", ".join(name[:40] for name in sorted(raw)[:40]) or "none"
            raise InputError(f"has no column {' or '.join(COLUMNS[needed])}", item=str(path), remedy=f"Its columns are: {found}.")
    return columns


def _wanted() -> dict[str, tuple[str, ...]]:
    """Field -> column names, the preferred name last, so that it wins."""
    return {field: names[::-1] for field, names in COLUMNS.items()} | {name: (name,) for name in DETAIL_COLUMNS}


def _read_parquet(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = {name for names in _wanted().values() for name in names}
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if twice := [name for name in wanted if names.count(name) > 1]:
            raise ValueError(f"it has more than one column {min(twice)}")
        table = file.read(columns=[name for name in names if name in wanted])
    return {name: table[name].cast(pa.large_string()).combine_chunks() for name in table.column_names} | {
        n: None for n in names if n not in wanted
    }


def _read_csv(path: Path, *, delimiter: str) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return _columns(_numbered(csv.DictReader(file, delimiter=delimiter, strict=True)))


def _numbered(reader: csv.DictReader[str]) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(reader, start=1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has another number of columns than the header")
        yield row


def _read_json(path: Path) -> dict[str, Any]:
    if path.suffix.lower() != ".json":
        with path.open(encoding="utf-8") as file:
            return _columns(_objects(json.loads(line) for line in file if line.strip()))
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, list):
        raise ValueError("the JSON text is not a list of objects")
    return _columns(_objects(data))


def _objects(items: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise ValueError(f"entry {number} is not an object")
        yield item


def _columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows to Arrow columns of strings; memory stays near the size of the text."""
    import pyarrow as pa

    wanted = {name for names in _wanted().values() for name in names}
    chunks: list[Any] = []
    batch: list[dict[str, str | None]] = []
    others: dict[str, Any] = {}
    present: dict[str, None] = {}
    for row in rows:
        present.update(dict.fromkeys(name for name in row if name in wanted))
        others.update(dict.fromkeys(name for name in row if name not in wanted))
        batch.append({name: None if row[name] is None else str(row[name]) for name in row if name in wanted})
        if len(batch) >= 10_000:
            chunks.append(_arrays(batch, wanted))
            batch = []
    chunks.append(_arrays(batch, wanted))
    return others | {name: pa.concat_arrays([chunk[name] for chunk in chunks]) for name in present}


def _arrays(batch: list[dict[str, str | None]], names: Iterable[str]) -> dict[str, Any]:
    """Arrow string arrays of a batch of rows, one per name, null where a row lacks it."""
    import pyarrow as pa

    return {name: pa.array([row.get(name) for row in batch], pa.large_string()) for name in names}
