"""Accuracy tables (rows of a CSV file): reading the columns and joining two tables by model and image size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retest.analysis._checks import check_choice, check_whole
from retest.analysis.points import METRICS, Metric, ModelPoint, PairedModels
from retest.errors import InputError

Unit = Literal["auto", "percent", "fraction"]
UNITS: tuple[Unit, ...] = ("auto", "percent", "fraction")
"""Units in which a table may give accuracies."""

_ACCURACIES = ("top1", "top5")
_COUNTS = {"img_size": "pixels", "n": "images"}
_NUMBERS = (*_ACCURACIES, *_COUNTS, "param_count")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One model (at one image size) in an accuracy table.

    ``top1`` and ``top5`` are fractions, ``img_size`` pixels, ``param_count`` millions of parameters, ``n`` images.
    """

    model: str
    top1: float
    top5: float | None = None
    img_size: int | None = None
    param_count: float | None = None
    n: int | None = None

    @property
    def label(self) -> str:
        """``model``, or ``model@size`` where the table has image sizes."""
        return self.model if self.img_size is None else f"{self.model}@{self.img_size}"


def parse_number(text: str | float) -> float:
    """A number as tables write it: blanks around it, commas between thousands ("1,013.01"), perhaps a percent sign.

    Raises:
        InputError: it is no finite number.
    """
    number = _number(text)
    if number is None:
        raise InputError("is no number", item=repr(text), remedy="Write numbers as 1234.5 or 1,234.5.")
    return number


def read_table_rows(records: Iterable[Mapping[str, Any]], *, unit: Unit = "auto", n: int | None = None, name: str = "") -> list[TableRow]:
    """Read an accuracy table from its rows (as ``csv.DictReader`` gives them).

    Columns: ``model`` and ``top1``; optionally ``top5``, ``img_size``, ``param_count`` and ``n``. Others are ignored,
    empty cells count as absent. timm's published result tables have this form.

    Args:
        records: mappings from column name to cell (text or number).
        unit: of the accuracies; "auto" takes percent when any is above 1.
        n: number of images of the test set, for rows without a column ``n``.
        name: of the table, for the messages of errors.

    Raises:
        InputError: a column is missing, a cell is no number or out of range, or a key comes twice. It names table, row and column.
        UsageError: ``unit`` is unknown or ``n`` below 1.
    """
    check_choice("unit", unit, UNITS)
    if n is not None:
        check_whole("n", n, 1)
    try:
        return _read(records, unit, n)
    except InputError as error:
        where = ", ".join(part for part in (name, error.item) if part)
        raise InputError(error.problem, item=where or None, remedy=error.remedy) from None


def _read(records: Iterable[Mapping[str, Any]], unit: Unit, n: int | None) -> list[TableRow]:
    cells = [{str(name).strip().lower(): cell for name, cell in record.items() if not _is_empty(cell)} for record in records]
    if not cells:
        raise InputError("the table has no rows", remedy="Give a CSV file with a header line and a row per model.")
    numbers = [_numbers(row, line) for line, row in enumerate(cells, start=1)]
    accuracies = [row[column] for row in numbers for column in _ACCURACIES if column in row]
    percent = unit == "percent" or (unit == "auto" and max(accuracies) > 1.0)
    rows = [_row(str(row["model"]).strip(), found, 100.0 if percent else 1.0, n) for row, found in zip(cells, numbers, strict=True)]
    _by_key(rows, by_size=True)
    return rows


def join_tables(
    original: Sequence[TableRow],
    new: Sequence[TableRow],
    *,
    metric: Metric = "top1",
    original_name: str = "original",
    new_name: str = "new",
) -> PairedModels:
    """Pair two tables on (model, image size), or on the model where a table has no image sizes.

    A model that was run at several sizes must not be paired across sizes, so tables without sizes may hold each model
    only once.

    Returns:
        The points in order of the original table, and the labels that only one table has.

    Raises:
        InputError: a key comes twice.
        UsageError: ``metric`` is unknown.
    """
    check_choice("metric", metric, METRICS)
    by_size = all(row.img_size is not None for row in (*original, *new))
    first, second = (_by_key([r for r in rows if _value(r, metric) is not None], by_size=by_size) for rows in (original, new))
    points = tuple(_point(row, second[key], metric, by_size=by_size) for key, row in first.items() if key in second)
    only_original = tuple(row.label for key, row in first.items() if key not in second)
    only_new = tuple(row.label for key, row in second.items() if key not in first)
    return PairedModels(original_name, new_name, metric, points, only_original, only_new)


def _point(first: TableRow, second: TableRow, metric: Metric, *, by_size: bool) -> ModelPoint:
    a, b = _value(first, metric), _value(second, metric)
    if a is None or b is None:  # the caller left such rows out
        raise InputError(f"has no {metric}", item=first.label, remedy="Choose the other metric.")
    return ModelPoint(first.model, a, b, first.n, second.n, first.img_size if by_size else None)


def _value(row: TableRow, metric: Metric) -> float | None:
    return row.top1 if metric == "top1" else row.top5


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _number(cell: Any) -> float | None:
    """A cell as a finite number; None where it is none."""
    try:
        number = float(cell.strip().removesuffix("%").replace(",", "") if isinstance(cell, str) else cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(cell, bool) else None


def _numbers(cells: Mapping[str, Any], line: int) -> dict[str, float]:
    """The numbers of one row by column."""
    missing = [column for column in ("model", "top1") if column not in cells]
    if missing:
        raise InputError(f"no value for {', '.join(missing)}", item=f"row {line}", remedy="The table needs the columns model and top1.")
    found = {}
    for column in _NUMBERS:
        if column in cells:
            found[column] = _checked(column, cells[column], item=f"row {line}, column {column}")
    return found


def _checked(column: str, cell: Any, *, item: str) -> float:
    number = _number(cell)
    if number is None:
        remedy = "Write numbers as 1234.5 or 1,234.5; leave the cell empty where there is none."
        raise InputError(f"{cell!r} is no number", item=item, remedy=remedy)
    if column in _COUNTS and not (number >= 1 and number.is_integer()):
        raise InputError(f"{number:g} is no number of {_COUNTS[column]}", item=item, remedy="Write a whole number of at least 1.")
    if column == "param_count" and number < 0:
        raise InputError(f"{number:g} is negative", item=item, remedy="Write a number of at least 0.")
    return number


def _row(model: str, numbers: Mapping[str, float], divisor: float, n: int | None) -> TableRow:
    for name in _ACCURACIES:
        if name in numbers and not 0.0 <= numbers[name] <= divisor:
            unit = "percent" if divisor == 100.0 else "fraction"
            raise InputError(f"{name} {numbers[name]:g} is no {unit}", item=model, remedy="Say which unit the table uses.")
    return TableRow(
        model=model,
        top1=numbers["top1"] / divisor,
        top5=numbers["top5"] / divisor if "top5" in numbers else None,
        img_size=int(numbers["img_size"]) if "img_size" in numbers else None,
        param_count=numbers.get("param_count"),
        n=int(numbers["n"]) if "n" in numbers else n,
    )


def _by_key(rows: Sequence[TableRow], *, by_size: bool) -> dict[tuple[str, int | None], TableRow]:
    found: dict[tuple[str, int | None], TableRow] = {}
    for row in rows:
        key = (row.model, row.img_size if by_size else None)
        if key in found:
            remedy = "Give each model and image size once." if by_size else "Give both tables a column img_size to tell them apart."
            raise InputError("comes twice in a table", item=row.label if by_size else row.model, remedy=remedy)
        found[key] = row
    return found
