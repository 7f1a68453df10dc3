"""Files that users hand to ``retest sample``: thresholds, strata and reference distributions, as JSON or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retest.cli._files import read_csv, read_json
from retest.errors import InputError


def read_thresholds(path: Path) -> dict[str, float]:
    """wnid -> selection frequency from a JSON object.

    Raises:
        InputError: it is none.
    """
    table = read_json(path)
    if not isinstance(table, dict) or not all(_is_number(value) for value in table.values()):
        raise InputError("is no JSON object wnid -> threshold", item=str(path), remedy='Write {"n01440764": 0.6}')
    return {wnid: float(value) for wnid, value in table.items()}


def read_strata(path: Path) -> dict[str, tuple[str, ...]]:
    """Candidate id -> its strata: a JSON object (a text or a list of texts each), or CSV with the columns candidate and stratum.

    Raises:
        InputError: the file has another form.
    """
    result: dict[str, list[str]] = {}
    if path.suffix.lower() == ".csv":
        for candidate, stratum in map(dict.values, read_csv(path, ("candidate", "stratum"))):
            result.setdefault(candidate, []).append(stratum)
    else:
        table = read_json(path)
        for candidate, value in table.items() if isinstance(table, dict) else [("", None)]:
            names = [value] if isinstance(value, str) else value
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                remedy = 'Write {"CANDIDATE": "stratum"}, or {"CANDIDATE": ["one", "another"]}'
                raise InputError("is no JSON object candidate id -> stratum", item=f"{path} {candidate}".strip(), remedy=remedy)
            result[candidate] = names
    return {candidate: tuple(names) for candidate, names in result.items()}


def read_reference(path: Path) -> dict[str, dict[str, int]]:
    """wnid -> stratum -> number of reference images: a JSON object of objects, or CSV with the columns wnid, stratum and count.

    Raises:
        InputError: the file has another form, or a count is no whole number of at least 0.
    """
    table: Any = {}
    if path.suffix.lower() == ".csv":
        for wnid, stratum, count in map(dict.values, read_csv(path, ("wnid", "stratum", "count"))):
            table.setdefault(wnid, {})[stratum] = int(count) if count.isdecimal() else count
    else:
        table = read_json(path)
    remedy = 'Write {"WNID": {"stratum": 12}}, or CSV with the columns wnid, stratum and count'
    if not isinstance(table, dict) or not all(isinstance(counts, dict) for counts in table.values()):
        raise InputError("is no table wnid -> stratum -> count", item=str(path), remedy=remedy)
    for wnid, counts in table.items():
        for stratum, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise InputError(f"the count of {stratum!r} in {wnid} is {count!r}, not a whole number", item=str(path), remedy=remedy)
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
