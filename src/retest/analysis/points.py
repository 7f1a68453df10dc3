"""Models as points: accuracy on the original against accuracy on the new test set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from retest.analysis._checks import check_choice
from retest.analysis.accuracy import AccuracyRow
from retest.errors import InputError, UsageError

Metric = Literal["top1", "top5"]
METRICS: tuple[Metric, ...] = ("top1", "top5")
"""What is counted as right: the first of the predicted classes, or any of the first five."""


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """One model's accuracies (fractions) on two test sets.

    The sizes ``n_original`` and ``n_new`` are needed only where an accuracy of exactly 0 or 1 has to be put on the
    probit or logit scale. ``img_size`` tells apart rows of one model that was run at several image sizes.
    """

    model: str
    original: float
    new: float
    n_original: int | None = None
    n_new: int | None = None
    img_size: int | None = None

    @property
    def label(self) -> str:
        """``model``, or ``model@size`` where the image size is part of the key."""
        return self.model if self.img_size is None else f"{self.model}@{self.img_size}"


@dataclass(frozen=True, slots=True)
class PairedModels:
    """The models that two test sets share, and those that only one of them has."""

    original: str
    new: str
    metric: Metric
    points: tuple[ModelPoint, ...]
    only_original: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Says openly which models could not be compared."""
        sides = ((self.original, self.only_original), (self.new, self.only_new))
        return tuple(
            f"{len(names)} model(s) have no counterpart and are left out, only on {dataset}: {', '.join(names)}"
            for dataset, names in sides
            if names
        )


def pair_models(rows: Iterable[AccuracyRow], *, original: str, new: str, metric: Metric = "top1") -> PairedModels:
    """Pair the accuracies of two test sets by model; a comparison uses the intersection and says so.

    Args:
        rows: accuracy rows of any test sets.
        original: name of the original test set.
        new: name of the new one.
        metric: "top1" or "top5"; models without top-5 count as missing.

    Returns:
        The points in order of the original set's rows.

    Raises:
        InputError: a model comes twice on one set.
        UsageError: a test set has no row, or ``metric`` is unknown.
    """
    check_choice("metric", metric, METRICS)
    rows = list(rows)
    sides = {name: _by_model(rows, name, metric) for name in (original, new)}
    first, second = sides[original], sides[new]
    points = tuple(
        ModelPoint(model, value, second[model][0], n, second[model][1]) for model, (value, n) in first.items() if model in second
    )
    return PairedModels(
        original, new, metric, points, tuple(m for m in first if m not in second), tuple(m for m in second if m not in first)
    )


def _by_model(rows: list[AccuracyRow], dataset: str, metric: Metric) -> dict[str, tuple[float, int]]:
    mine = [row for row in rows if row.dataset == dataset]
    if not mine:
        known = ", ".join(dict.fromkeys(row.dataset for row in rows)) or "none"
        raise UsageError("no predictions for this test set", item=dataset, remedy=f"Test sets with predictions: {known}.")
    found: dict[str, tuple[float, int]] = {}
    for row in mine:
        if row.model in found:
            raise InputError("comes twice", item=f"{row.model} on {dataset}", remedy="Give each model once per test set.")
        value = row.top1 if metric == "top1" else row.top5
        if value is not None:
            found[row.model] = (value, row.n)
    return found
