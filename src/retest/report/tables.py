"""Tables for terminals and machines: aligned text, CSV, JSON rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from retest.analysis import AccuracyRow, EffectiveRobustness, LinearFit, Metric
from retest.errors import UsageError
from retest.report.numbers import Numbers
from retest.report.pivot import AccuracyCell, AccuracyTable, accuracy_table
from retest.report.wording import METRIC_NAMES, SCALE_NAMES, clean_line, count, interval, percent, signed

ACCURACY_COLUMNS = tuple(field.name for field in dataclasses.fields(AccuracyRow))
"""Names of the columns of the accuracy table as JSON rows and CSV (a contract with users' scripts)."""

_GAP = "  "
_MISSING = "    -"
_COMPARED = ("drop", "drop_low", "drop_high", "rank_change")


def accuracy_json_rows(rows: Iterable[AccuracyRow]) -> list[dict[str, Any]]:
    """Accuracy rows as plain dicts under their stable names; fractions, None where there is no top-5."""
    return [{name: getattr(row, name) for name in ACCURACY_COLUMNS} for row in rows]


def accuracy_csv(rows: Iterable[AccuracyRow], *, original: str | None = None) -> str:
    """Accuracy rows as CSV with a header; see :func:`accuracy_numbers`."""
    return accuracy_numbers(rows, original=original).csv


def accuracy_numbers(rows: Iterable[AccuracyRow], *, original: str | None = None) -> Numbers:
    """Accuracy rows in long form; fractions in full precision, None where there is no top-5.

    With ``original`` columns follow that compare with it: ``top1_drop``, ``top1_drop_low``, ``top1_drop_high``,
    ``top1_rank_change`` and the same for top-5 (drop = original - new; rank change among the models that both sets have).

    Raises:
        NotFoundError: ``original`` has no row.
    """
    rows = list(rows)
    plain = [tuple(getattr(row, name) for name in ACCURACY_COLUMNS) for row in rows]
    if original is None:
        return Numbers(ACCURACY_COLUMNS, tuple(plain))
    metrics: tuple[Metric, ...] = ("top1", "top5") if _has_top5(rows, original) else ("top1",)
    compared = {metric: _cells(accuracy_table(rows, original=original, metric=metric)) for metric in metrics}
    header = (*ACCURACY_COLUMNS, *(f"{metric}_{name}" for metric in metrics for name in _COMPARED))
    lines = []
    for row, values in zip(rows, plain, strict=True):
        cells = [compared[metric].get((row.dataset, row.model)) for metric in metrics]
        lines.append((*values, *(value for cell in cells for value in ([getattr(cell, name, None) for name in _COMPARED]))))
    return Numbers(header, tuple(lines))


def accuracy_text(
    rows: Iterable[AccuracyRow],
    *,
    original: str | None = None,
    metric: Metric = "top1",
    datasets: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    width: int | None = None,
    confidence: float = 0.95,
) -> str:
    """Accuracy table for a terminal: models x sets, percent with intervals, e.g. ``97.8 [96.1, 98.9]``.

    The last line gives the mean change against the original over the models that both sets have. Sets that do not fit into
    ``width`` follow in a further block, so that nothing is cut.

    Args:
        rows: accuracy rows.
        original: name of the original set, which comes first.
        metric: "top1" or "top5".
        datasets: order of the other sets.
        labels: what to call the sets; their names by default.
        notes: lines that have to stand with the table ("Answers come from the simulated crowd").
        width: number of columns of the terminal; unlimited by default.
        confidence: coverage of the rows' intervals, for the heading.

    Raises:
        NotFoundError: ``original`` has no row.
        UsageError: there is no row with this metric.
    """
    table = accuracy_table(rows, original=original, metric=metric, datasets=datasets)
    if not table.lines:
        raise UsageError(f"no {METRIC_NAMES[metric]} accuracy to show", item="rows", remedy="Evaluate models first (retest evaluate).")
    blocks = [_block(table, names, labels or {}) for names in _fitting(table, labels or {}, width)]
    heading = f"{METRIC_NAMES[metric].capitalize()} accuracy in percent with {100 * confidence:g} % confidence intervals"
    return "\n".join([heading, *(clean_line(note) for note in notes), "", "\n\n".join(blocks)]) + "\n"


def fit_text(fits: Iterable[LinearFit]) -> str:
    """Fits original -> new for a terminal, one line each, with bootstrap intervals."""
    header = ("fit", "scale", "slope", "intercept", "R2", "models")
    body = [
        (
            clean_line(f"{fit.original} -> {fit.new} ({METRIC_NAMES[fit.metric]})"),
            SCALE_NAMES[fit.scale],
            f"{fit.slope:.3f} [{fit.slope_low:.3f}, {fit.slope_high:.3f}]",
            f"{fit.intercept:.2f} [{fit.intercept_low:.2f}, {fit.intercept_high:.2f}]",
            f"{fit.r2:.4f}",
            count(fit.n_models),
        )
        for fit in fits
    ]
    return _aligned([header, *body], right=frozenset({2, 3, 4, 5})) + "\n"


def robustness_text(found: EffectiveRobustness) -> str:
    """Effective robustness of each model for a terminal, the most robust first; percent and percentage points."""
    header = ("model", "original", "new", "expected", "above expectation, points", "")
    body = [
        (
            clean_line(row.model),
            f"{100 * row.original:.2f}",
            f"{100 * row.new:.2f}",
            f"{100 * row.expected:.2f}",
            f"{row.rho_points:+.2f} [{row.rho_low_points:+.2f}, {row.rho_high_points:+.2f}]",
            "baseline" if row.in_baseline else "",
        )
        for row in found.rows
    ]
    line = f"Expectation: the {SCALE_NAMES[found.fit.scale]} line through {count(found.fit.n_models)} baseline models"
    return f"{line}\n{_aligned([header, *body], right=frozenset({1, 2, 3, 4}))}\n"


def _has_top5(rows: Iterable[AccuracyRow], original: str) -> bool:
    return any(row.dataset == original and row.top5 is not None for row in rows)


def _cells(table: AccuracyTable) -> dict[tuple[str, str], AccuracyCell]:
    pairs = ((dataset, line.model, cell) for line in table.lines for dataset, cell in zip(table.datasets, line.cells, strict=True))
    return {(dataset, model): cell for dataset, model, cell in pairs if cell is not None}


def _fitting(table: AccuracyTable, labels: Mapping[str, str], width: int | None) -> list[tuple[str, ...]]:
    """Groups of sets whose columns fit beside the models' names; at least one set per group."""
    groups: list[tuple[str, ...]] = []
    for name in table.datasets:
        longer = (*groups[-1], name) if groups else (name,)
        if groups and (width is None or _line_width(_block(table, longer, labels)) <= width):
            groups[-1] = longer
        else:
            groups.append((name,))
    return groups


def _block(table: AccuracyTable, names: Sequence[str], labels: Mapping[str, str]) -> str:
    columns = {name: table.column(name) for name in names}
    head = ["model", *(clean_line(labels.get(name, name)) for name in names)]
    images = ["images", *(_images(columns[name]) for name in names)]
    body = [[clean_line(line.model), *(_figure(columns[name][i]) for name in names)] for i, line in enumerate(table.lines)]
    lines = [head, images, *body]
    new = [name for name in names if name in table.new_sets]
    if table.original is not None and new:
        lines.append(["mean change", *(_mean_change(columns[name]) if name in new else "" for name in names)])
    return _aligned(lines, rule_after=1)


def _figure(cell: AccuracyCell | None) -> str:
    return _MISSING if cell is None else f"{percent(cell.value):>5} {interval(cell.low, cell.high)}"


def _images(cells: Sequence[AccuracyCell | None]) -> str:
    sizes = sorted({cell.n for cell in cells if cell is not None})
    return _MISSING if not sizes else f"{sizes[0]:>5,}" if len(sizes) == 1 else f"{count(sizes[0])} to {count(sizes[-1])}"


def _mean_change(cells: Sequence[AccuracyCell | None]) -> str:
    drops = [cell.drop for cell in cells if cell is not None and cell.drop is not None]
    return f"{signed(-100 * sum(drops) / len(drops), minus='-'):>5}" if drops else _MISSING


def _aligned(lines: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), rule_after: int = 0) -> str:
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def row(line: Sequence[str]) -> str:
        cells = []
        for i, cell in enumerate(line):
            gap = " " * (widths[i] - cell_len(cell))
            cells.append(gap + cell if i in right else cell + gap)
        return _GAP.join(cells).rstrip()

    rule = _GAP.join("-" * width for width in widths)
    texts = [row(line) for line in lines]
    return "\n".join([*texts[: rule_after + 1], rule, *texts[rule_after + 1 :]])


def _line_width(block: str) -> int:
    return max(cell_len(line) for line in block.split("\n"))
