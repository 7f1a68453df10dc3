"""How models agree image by image: agreement matrices, images that no or all models get, multi-label accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from retest.analysis.accuracy import checked_arrays, describe
from retest.analysis.correctness import Correctness
from retest.analysis.intervals import IntervalMethod, proportion_interval
from retest.errors import InputError
from retest.records import Predictions


@dataclass(frozen=True, slots=True, eq=False)
class ModelAgreement:
    """Agreement of every pair of m models on one test set; float64 (m, m), symmetric.

    ``same_prediction`` is the share of images with the same top-1 class. ``error_consistency`` is Cohen's kappa of
    "right or wrong" (Geirhos et al. 2020): 0 when two models err independently given their accuracies, 1 when on the
    same images; NaN where both models get all or both get no image.
    """

    dataset: str
    models: tuple[str, ...]
    same_prediction: NDArray[np.float64]
    error_consistency: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Consensus:
    """How many of the m models get each image: ``solved_by[j]`` images are solved by exactly j models."""

    dataset: str
    n_models: int
    n_images: int
    solved_by: tuple[int, ...]
    solved_by_none: tuple[str, ...]
    solved_by_all: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MultiLabelAccuracy:
    """Share of reviewed images whose top-1 class is among the valid classes; fractions.

    ``n`` images count; ``n_empty`` were reviewed and have no valid class, ``n_unreviewed`` were not reviewed.
    """

    dataset: str
    model: str
    n: int
    accuracy: float
    low: float
    high: float
    n_empty: int
    n_unreviewed: int


def model_agreement(table: Correctness) -> ModelAgreement:
    """Agreement of every pair of models: same class predicted, and kappa of right/wrong (Geirhos et al. 2020, eq. 1-3).

    ``kappa = (c_obs - c_exp) / (1 - c_exp)`` with ``c_exp = p_i p_j + (1 - p_i)(1 - p_j)``.
    """
    m, n = table.correct.shape
    same = np.eye(m)
    rows = list(table.predicted.astype(np.int32))
    for i, j in combinations(range(m), 2):
        same[i, j] = same[j, i] = np.count_nonzero(rows[i] == rows[j]) / n
    right = table.correct.astype(np.float64)
    p = right.mean(axis=1)
    both = right @ right.T / n
    observed = 1.0 - p[:, None] - p[None, :] + 2.0 * both
    expected = np.outer(p, p) + np.outer(1.0 - p, 1.0 - p)
    room = 1.0 - expected
    kappa = np.divide(observed - expected, room, out=np.full((m, m), np.nan), where=room > 1e-12)
    return ModelAgreement(table.dataset, table.models, same, kappa)


def consensus(table: Correctness) -> Consensus:
    """Images that no model, all models, or exactly j models get."""
    m, n = table.correct.shape
    solved = table.correct.sum(axis=0)
    none, every = (tuple(table.image_ids[i] for i in np.flatnonzero(solved == count)) for count in (0, m))
    return Consensus(table.dataset, m, n, tuple(np.bincount(solved, minlength=m + 1).tolist()), none, every)


def multilabel_accuracy(
    predictions: Predictions,
    valid: Mapping[str, Collection[int]],
    *,
    confidence: float = 0.95,
    method: IntervalMethod = "clopper-pearson",
) -> MultiLabelAccuracy:
    """Accuracy against all classes that a review found valid (Beyer et al. 2020, "ReaL").

    An image counts as right if its top-1 class is in its valid set. Images with an empty set are skipped, as there;
    so are images that were not reviewed.

    Args:
        predictions: of one model on one test set.
        valid: image id -> class indices that are valid for it.
        confidence: coverage of the interval.
        method: of the interval.

    Raises:
        InputError: no image of the test set has a valid class.
    """
    checked_arrays(predictions)
    sets = [valid.get(image) for image in predictions.image_ids]
    judged = [(int(top), allowed) for top, allowed in zip(predictions.top[:, 0], sets, strict=True) if allowed]
    if not judged:
        raise InputError("no image has a reviewed valid class", item=describe(predictions), remedy="Review the images' labels first.")
    k = sum(top in allowed for top, allowed in judged)
    low, high = proportion_interval(k, len(judged), confidence=confidence, method=method)
    unreviewed = sum(allowed is None for allowed in sets)
    return MultiLabelAccuracy(
        predictions.dataset,
        predictions.model,
        len(judged),
        k / len(judged),
        float(low),
        float(high),
        n_empty=len(sets) - len(judged) - unreviewed,
        n_unreviewed=unreviewed,
    )
