"""The accuracy table as people read it: one line per model, one group of figures per set, original first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from retest.analysis import AccuracyRow, ComparisonRow, LinearFit, Metric, PairedModels, compare_test_sets, prediction_band
from retest.errors import InputError, NotFoundError
from retest.report.figure_records import Band, Scatter, ScatterPoint

_BAND_POINTS = 61


@dataclass(frozen=True, slots=True)
class AccuracyCell:
    """One model on one set. Accuracies are fractions; ``drop`` = original - new (a fraction), with its interval.

    ``rank`` counts among the models of this set; ``rank_change`` = original rank - new rank, both counted among the models
    that the two sets share (positive: the model climbs). Drop and change are None on the original itself and for models
    that the original lacks.
    """

    n: int
    value: float
    low: float
    high: float
    rank: int
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    rank_change: int | None = None


@dataclass(frozen=True, slots=True)
class AccuracyLine:
    """One model on all sets; None where it has no predictions."""

    model: str
    cells: tuple[AccuracyCell | None, ...]


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """Models x sets. ``datasets`` names the columns; the original, where there is one, comes first."""

    metric: Metric
    original: str | None
    datasets: tuple[str, ...]
    lines: tuple[AccuracyLine, ...]

    def column(self, dataset: str) -> tuple[AccuracyCell | None, ...]:
        """Cells of one set, in order of the lines."""
        at = self.datasets.index(dataset)
        return tuple(line.cells[at] for line in self.lines)

    @property
    def new_sets(self) -> tuple[str, ...]:
        """The sets other than the original."""
        return tuple(name for name in self.datasets if name != self.original)


def accuracy_table(
    rows: Iterable[AccuracyRow],
    *,
    original: str | None = None,
    metric: Metric = "top1",
    datasets: Sequence[str] = (),
    confidence: float = 0.95,
) -> AccuracyTable:
    """Arrange accuracy rows by model and set.

    Models come in order of their accuracy on the original (best first, ties by name), then those that it lacks by name.
    Without an original the first set takes its place for the order, and there are no drops.

    Args:
        rows: any number of models and sets; a model may be absent from some.
        original: name of the set that the others are compared with.
        metric: "top1" or "top5"; rows without top-5 are left out.
        datasets: order of the new sets; those not named follow in order of appearance.
        confidence: coverage of the drops' intervals (Newcombe's, see :func:`retest.analysis.compare_test_sets`).

    Raises:
        NotFoundError: ``original`` has no row at all.
        InputError: a pair of set and model comes twice.
    """
    rows = list(rows)
    found: dict[tuple[str, str], AccuracyCell] = {}
    for row in rows:
        cell = _cell(row, metric)
        if (row.dataset, row.model) in found:
            raise InputError("comes twice", item=f"{row.model} on {row.dataset}", remedy="Give each model once per set.")
        if cell is not None:
            found[row.dataset, row.model] = cell
    names = _ordered_sets(found, original, datasets)
    by_set = {name: {model: cell for (dataset, model), cell in found.items() if dataset == name} for name in names}
    reference = by_set[names[0]] if names else {}
    if original is not None:
        for name in names[1:]:
            if reference.keys() & by_set[name].keys():
                comparison = compare_test_sets(rows, original=original, new=name, metric=metric, confidence=confidence)
                by_set[name] |= {row.model: _with_drop(by_set[name][row.model], row) for row in comparison.rows}
    models = sorted({model for _, model in found}, key=lambda m: (-reference[m].value if m in reference else math.inf, m))
    lines = tuple(AccuracyLine(model, tuple(by_set[name].get(model) for name in names)) for model in models)
    return AccuracyTable(metric, original, names, lines)


def scatter_from_rows(
    rows: Iterable[AccuracyRow],
    *,
    original: str,
    new: str,
    fit: LinearFit | None = None,
    metric: Metric = "top1",
    confidence: float = 0.95,
    note: str = "",
) -> Scatter:
    """The scatter original -> new of the models that both sets have, with the fit's line and prediction band.

    Args:
        rows: accuracy rows of any sets.
        original: name of the original set.
        new: name of the new set.
        fit: fit over (some of) these models; it decides the scale of the axes, percent without one.
        metric: "top1" or "top5".
        confidence: coverage of the prediction band.
        note: shown below the figure.

    Raises:
        NotFoundError: one of the sets has no row.
        UsageError: the sets share no model, or the fit is of other sets or of another metric.
    """
    table = accuracy_table(rows, original=original, metric=metric)
    if new not in table.datasets:
        raise NotFoundError("no accuracy for this set", item=new, remedy=f"Sets with accuracies: {', '.join(table.datasets)}.")
    pairs = zip(table.lines, table.column(original), table.column(new), strict=True)
    points = [ScatterPoint(line.model, a.value, b.value, a.low, a.high, b.low, b.high) for line, a, b in pairs if a and b]
    return _scatter(points, original, new, fit, metric, confidence, note)


def scatter_from_points(paired: PairedModels, *, fit: LinearFit | None = None, confidence: float = 0.95, note: str = "") -> Scatter:
    """The scatter of models of which only accuracies are known, as from two published tables; it has no intervals.

    Args:
        paired: the models that two tables share (:func:`retest.analysis.join_tables` or ``pair_models``).
        fit: as for :func:`scatter_from_rows`.
        confidence: coverage of the prediction band.
        note: shown below the figure.

    Raises:
        UsageError: the sets share no model, or the fit is of other sets or of another metric.
    """
    points = [ScatterPoint(point.label, point.original, point.new) for point in paired.points]
    return _scatter(points, paired.original, paired.new, fit, paired.metric, confidence, note)


def fit_band(fit: LinearFit, points: Sequence[ScatterPoint], *, confidence: float = 0.95) -> Band | None:
    """Prediction band of a fit over the range of the points; None where it is undefined (perfect fit of two models)."""
    low, high = min(point.x for point in points), max(point.x for point in points)
    margin = 1e-4  # probit and logit of 0 and 1 are infinite
    low, high = max(low, margin), min(high, 1 - margin)
    if fit.n_models < 3 or low >= high:
        return None
    x = [low + (high - low) * i / (_BAND_POINTS - 1) for i in range(_BAND_POINTS)]
    band = prediction_band(fit, x, confidence=confidence)
    return Band(tuple(x), tuple(band.low.tolist()), tuple(band.high.tolist()), f"{confidence:.0%} prediction band".replace("%", " %"))


def _scatter(
    points: Sequence[ScatterPoint], original: str, new: str, fit: LinearFit | None, metric: Metric, confidence: float, note: str
) -> Scatter:
    band = fit_band(fit, points, confidence=confidence) if fit is not None and points else None
    return Scatter(original, new, tuple(points), metric, "linear" if fit is None else fit.scale, fit, band, note)


def _cell(row: AccuracyRow, metric: Metric) -> AccuracyCell | None:
    if metric == "top1":
        return AccuracyCell(row.n, row.top1, row.top1_low, row.top1_high, row.top1_rank)
    if row.top5 is None or row.top5_low is None or row.top5_high is None or row.top5_rank is None:
        return None
    return AccuracyCell(row.n, row.top5, row.top5_low, row.top5_high, row.top5_rank)


def _ordered_sets(found: Iterable[tuple[str, str]], original: str | None, wanted: Sequence[str]) -> tuple[str, ...]:
    present = list(dict.fromkeys(dataset for dataset, _ in found))
    if original is not None and original not in present:
        raise NotFoundError(
            "no accuracy for the original set", item=original, remedy=f"Sets with accuracies: {', '.join(present) or 'none'}."
        )
    first = [] if original is None else [original]
    named = [name for name in wanted if name in present]
    return tuple(dict.fromkeys([*first, *named, *present]))


def _with_drop(cell: AccuracyCell, row: ComparisonRow) -> AccuracyCell:
    drop, low, high = (points / 100 for points in (row.drop_points, row.drop_low_points, row.drop_high_points))
    return replace(cell, drop=drop, drop_low=low, drop_high=high, rank_change=row.rank_change)
