"""An original against a new test set: accuracy drops and rank changes of the models they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from retest.analysis._checks import check_open_fraction
from retest.analysis.accuracy import AccuracyRow, competition_ranks
from retest.analysis.intervals import Estimate, IntervalMethod, estimate_difference, proportion_interval, wilson
from retest.analysis.points import Metric, ModelPoint, pair_models
from retest.errors import InputError


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One model on both test sets, as in the tables of Recht et al. (2019).

    Accuracies and their ends are fractions; drops (original - new) are percentage points; ranks are among the models
    compared (competition ranks) and ``rank_change`` = original rank - new rank, positive where the model climbed.
    """

    model: str
    original: float
    original_low: float
    original_high: float
    new: float
    new_low: float
    new_high: float
    drop_points: float
    drop_low_points: float
    drop_high_points: float
    original_rank: int
    new_rank: int
    rank_change: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """All models that two test sets share, best new accuracy first, and how the orders agree.

    ``spearman`` and ``kendall`` (tau-b) correlate the accuracies; None for fewer than two models or without spread.
    """

    original: str
    new: str
    metric: Metric
    rows: tuple[ComparisonRow, ...]
    mean_drop_points: float
    spearman: float | None
    kendall: float | None
    notes: tuple[str, ...]


def compare_test_sets(
    rows: Iterable[AccuracyRow],
    *,
    original: str,
    new: str,
    metric: Metric = "top1",
    confidence: float = 0.95,
    method: IntervalMethod = "clopper-pearson",
) -> Comparison:
    """Drops and rank changes from an original to a new test set.

    The interval of a drop is Newcombe's (1998, method 10: Wilson ends of two independent proportions); it counts the
    chance in the choice of both sets of images, and is therefore wide: models are better compared with one another on
    the same images (:func:`retest.analysis.mcnemar`).

    Args:
        rows: accuracy rows, at least those of both sets.
        original: name of the original test set.
        new: name of the new one.
        metric: "top1" or "top5".
        confidence: coverage of all intervals.
        method: of the accuracies' intervals.

    Raises:
        UsageError: a test set has no row or a parameter is out of range.
        InputError: the sets share no model, or a model comes twice.
    """
    check_open_fraction("confidence", confidence)
    paired = pair_models(rows, original=original, new=new, metric=metric)
    if not paired.points:
        raise InputError(f"{original} and {new} share no model", remedy="Evaluate the same models on both test sets.")
    found = _rows(paired.points, confidence, method)
    spearman, kendall = _correlations(paired.points)
    mean_drop = float(np.mean([row.drop_points for row in found]))
    order = sorted(found, key=lambda row: (row.new_rank, row.original_rank, row.model))
    return Comparison(original, new, metric, tuple(order), mean_drop, spearman, kendall, paired.notes)


def newcombe_difference(k1: int, n1: int, k2: int, n2: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of ``k1/n1 - k2/n2`` for independent samples: hybrid of two Wilson intervals (Newcombe 1998, method 10).

    Raises:
        UsageError: a count or ``confidence`` is impossible.
    """
    low, high = wilson([k1, k2], [n1, n2], confidence=confidence)
    first, second = (Estimate(k / n, float(low[i]), float(high[i])) for i, (k, n) in enumerate(((k1, n1), (k2, n2))))
    result = estimate_difference(first, second)
    return result.low, result.high


def _rows(points: tuple[ModelPoint, ...], confidence: float, method: IntervalMethod) -> list[ComparisonRow]:
    n = np.array([(point.n_original, point.n_new) for point in points], dtype=np.int64)
    p = np.array([(point.original, point.new) for point in points])
    k = np.rint(p * n).astype(np.int64)
    low, high = proportion_interval(k, n, confidence=confidence, method=method)
    ranks = np.stack([competition_ranks(p[:, 0]), competition_ranks(p[:, 1])], axis=1)
    found = []
    for i, point in enumerate(points):
        down, up = newcombe_difference(int(k[i, 0]), int(n[i, 0]), int(k[i, 1]), int(n[i, 1]), confidence=confidence)
        found.append(
            ComparisonRow(
                model=point.label,
                original=point.original,
                original_low=float(low[i, 0]),
                original_high=float(high[i, 0]),
                new=point.new,
                new_low=float(low[i, 1]),
                new_high=float(high[i, 1]),
                drop_points=100.0 * (point.original - point.new),
                drop_low_points=100.0 * down,
                drop_high_points=100.0 * up,
                original_rank=int(ranks[i, 0]),
                new_rank=int(ranks[i, 1]),
                rank_change=int(ranks[i, 0] - ranks[i, 1]),
            )
        )
    return found


def _correlations(points: tuple[ModelPoint, ...]) -> tuple[float | None, float | None]:
    x, y = [point.original for point in points], [point.new for point in points]
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None, None
    from scipy import stats  # heavy to import, and only needed here

    return float(stats.spearmanr(x, y).statistic), float(stats.kendalltau(x, y).statistic)
