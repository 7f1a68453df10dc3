"""Top-1 and top-5 accuracy of models on test sets, with intervals and ranks; accuracy per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retest.analysis.intervals import IntervalMethod, proportion_interval
from retest.errors import InputError
from retest.records import Predictions


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """Accuracy of one model on one test set.

    Accuracies and interval ends are fractions. A rank counts among the models that the test set has: competition
    ranks, 1 = best, ties share the smallest. The top-5 fields are None where the predictions do not determine it.
    """

    dataset: str
    model: str
    n: int
    top1: float
    top1_low: float
    top1_high: float
    top1_rank: int
    top5: float | None
    top5_low: float | None
    top5_high: float | None
    top5_rank: int | None


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """Top-1 accuracy of one model on the images of one class of one test set; fractions."""

    dataset: str
    model: str
    cid: int
    n: int
    top1: float
    low: float
    high: float


def competition_ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Ranks with 1 for the largest value; equal values share the smallest rank (1, 2, 2, 4).

    Args:
        values: real numbers, shape (n,).

    Returns:
        int64 (n,).
    """
    descending = -np.asarray(values, dtype=np.float64)
    ranks: NDArray[np.int64] = np.searchsorted(np.sort(descending), descending, side="left") + 1
    return ranks


def top_correct(predictions: Predictions, *, k: int = 1) -> NDArray[np.bool_]:
    """Whether the true class is among the first ``k`` predicted ones, bool (n,).

    Rows with unknown label (-1) are False; leave them out with ``predictions.labels >= 0``.

    Raises:
        InputError: the arrays do not fit together, or fewer than ``k`` classes are predicted per image.
    """
    labels, top = checked_arrays(predictions)
    if not 1 <= k <= top.shape[1]:
        raise InputError(
            f"top-{k} needs {k} predicted classes per image, there are {top.shape[1]}",
            item=describe(predictions),
            remedy="Evaluate again and keep more classes, or ask for a smaller k.",
        )
    known = labels >= 0
    hit: NDArray[np.bool_] = top[:, 0] == labels
    for column in range(1, k):
        hit |= top[:, column] == labels
    hit &= known
    return hit


def accuracy_rows(
    predictions: Iterable[Predictions],
    *,
    confidence: float = 0.95,
    method: IntervalMethod = "clopper-pearson",
    n_classes: int | None = None,
) -> list[AccuracyRow]:
    """Accuracy table of any number of models on any number of test sets (method, section 9; Recht et al. 2019, 4).

    Images with unknown label (-1) are left out. Top-5 is None where fewer than five classes are predicted per image,
    except in a benchmark of ``n_classes`` < 5 classes whose predictions rank all of them. The predictions are read one
    at a time, so a generator keeps memory at one model.

    Args:
        predictions: one record per (dataset, model).
        confidence: coverage of the intervals.
        method: "clopper-pearson" (exact, the published one) or "wilson".
        n_classes: number of classes of the benchmark; only needed for top-5 with fewer than five classes.

    Returns:
        Rows by test set in order of appearance, best top-1 first, ties by model name.

    Raises:
        InputError: a pair (dataset, model) comes twice, has no labelled image, or its arrays do not fit together.
        UsageError: ``confidence`` or ``method`` is out of range.
    """
    counts: dict[str, dict[str, _Counts]] = {}
    for record in predictions:
        models = counts.setdefault(record.dataset, {})
        if record.model in models:
            raise InputError("predictions come twice", item=describe(record), remedy="Give each model once per test set.")
        models[record.model] = _count(record, n_classes)
    return [row for dataset, models in counts.items() for row in _dataset_rows(dataset, models, confidence, method)]


def class_accuracies(
    predictions: Predictions, *, confidence: float = 0.95, method: IntervalMethod = "clopper-pearson"
) -> list[ClassAccuracy]:
    """Top-1 accuracy per class, by class index; classes without a labelled image are absent.

    Raises:
        InputError: the arrays do not fit together or no image is labelled.
        UsageError: ``confidence`` or ``method`` is impossible.
    """
    correct = top_correct(predictions)
    known = predictions.labels >= 0
    _require_labelled(predictions, int(known.sum()))
    labels = predictions.labels[known]
    images = np.bincount(labels)
    cids = np.flatnonzero(images)
    n, k = images[cids], np.bincount(labels[correct[known]], minlength=len(images))[cids]
    low, high = proportion_interval(k, n, confidence=confidence, method=method)
    return [
        ClassAccuracy(predictions.dataset, predictions.model, int(cid), int(n[i]), float(k[i] / n[i]), float(low[i]), float(high[i]))
        for i, cid in enumerate(cids)
    ]


def describe(predictions: Predictions) -> str:
    """Name of a prediction record in messages."""
    return f"{predictions.model} on {predictions.dataset}"


def checked_arrays(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``labels`` (n,) and ``top`` (n, k) of a record, after checking that they fit together.

    Raises:
        InputError: they do not.
    """
    labels, top = predictions.labels, predictions.top
    if labels.ndim != 1 or top.ndim != 2 or len(labels) != len(top) or len(labels) != len(predictions.image_ids) or top.shape[1] < 1:
        raise InputError(
            f"{len(predictions.image_ids)} image ids, labels of shape {labels.shape} and predicted classes of shape {top.shape} do not fit",
            item=describe(predictions),
            remedy="Give labels (n,) and predicted classes (n, k), one row per image.",
        )
    return labels, top


@dataclass(frozen=True, slots=True)
class _Counts:
    n: int
    top1: int
    top5: int | None


def _count(record: Predictions, n_classes: int | None) -> _Counts:
    n = int((record.labels >= 0).sum())
    top1 = int(top_correct(record).sum())
    _require_labelled(record, n)
    k = record.top.shape[1]
    ranks_all = n_classes is not None and k >= n_classes
    top5 = int(top_correct(record, k=min(5, k)).sum()) if k >= 5 or ranks_all else None
    return _Counts(n, top1, top5)


def _require_labelled(record: Predictions, n: int) -> None:
    if n == 0:
        raise InputError("no image has a known label", item=describe(record), remedy="Give the true classes of the test set.")


def _dataset_rows(dataset: str, models: Mapping[str, _Counts], confidence: float, method: IntervalMethod) -> list[AccuracyRow]:
    names = list(models)
    n = np.array([models[name].n for name in names])
    top1 = np.array([models[name].top1 for name in names])
    low, high = proportion_interval(top1, n, confidence=confidence, method=method)
    ranks = competition_ranks(top1 / n)
    rows = [
        AccuracyRow(dataset, name, int(n[i]), float(top1[i] / n[i]), float(low[i]), float(high[i]), int(ranks[i]), None, None, None, None)
        for i, name in enumerate(names)
    ]
    rows = _with_top5(rows, models, confidence, method)
    return sorted(rows, key=lambda row: (row.top1_rank, row.model))


def _with_top5(rows: list[AccuracyRow], models: Mapping[str, _Counts], confidence: float, method: IntervalMethod) -> list[AccuracyRow]:
    counted = [(i, models[row.model].top5) for i, row in enumerate(rows) if models[row.model].top5 is not None]
    if not counted:
        return rows
    at = [i for i, _ in counted]
    k = np.array([count for _, count in counted], dtype=np.int64)
    n = np.array([rows[i].n for i in at])
    low, high = proportion_interval(k, n, confidence=confidence, method=method)
    ranks = competition_ranks(k / n)
    rows = list(rows)
    for j, i in enumerate(at):
        rows[i] = replace(rows[i], top5=float(k[j] / n[j]), top5_low=float(low[j]), top5_high=float(high[j]), top5_rank=int(ranks[j]))
    return rows
