"""Images that all models miss, and images on which models disagree most: where to look for wrong labels and hard cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from retest.analysis.correctness import Correctness, correctness_table
from retest.errors import UsageError
from retest.records import Predictions


@dataclass(frozen=True, slots=True)
class DisputedImage:
    """What m models say of one image: ``prediction`` is the class that most name (the smallest index of those), ``votes`` how many.

    ``classes`` counts the different answers; ``entropy_bits`` is the Shannon entropy of the answers, 0 when all are the same.
    """

    image: str
    label: int
    prediction: int
    votes: int
    classes: int
    entropy_bits: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The images that no model gets, the most unanimous wrong answers first, and those with the most varied answers first."""

    dataset: str
    n_models: int
    n_images: int
    n_missed_by_all: int
    missed_by_all: tuple[DisputedImage, ...]
    most_disagreement: tuple[DisputedImage, ...]
    notes: tuple[str, ...] = ()


def disagreement_table(predictions: Iterable[Predictions], *, limit: int = 20) -> Disagreement:
    """Compare the first guesses of several models on one test set, image by image.

    Args:
        predictions: of two models or more, of one test set.
        limit: most images of each kind.

    Raises:
        UsageError: fewer than two models, or ``limit`` is below 1.
        InputError: as :func:`~retest.analysis.correctness_table`.
    """
    if limit < 1:
        raise UsageError(f"must be at least 1, is {limit}", item="limit", remedy="20 is usual.")
    table = correctness_table(predictions)
    if len(table.models) < 2:
        raise UsageError("needs the predictions of at least two models", item=table.dataset, remedy="Evaluate another model.")
    missed = np.flatnonzero(~table.correct.any(axis=0))
    disputed = [_disputed(table, column) for column in missed.tolist()]
    disputed.sort(key=lambda one: (-one.votes, one.image))
    varied = [_disputed(table, column) for column in np.flatnonzero((table.predicted != table.predicted[0]).any(axis=0)).tolist()]
    varied.sort(key=lambda one: (-one.entropy_bits, one.image))
    m, n = table.correct.shape
    return Disagreement(table.dataset, m, n, len(missed), tuple(disputed[:limit]), tuple(varied[:limit]), table.notes)


def _disputed(table: Correctness, column: int) -> DisputedImage:
    answers = Counter(table.predicted[:, column].tolist())
    prediction, votes = min(answers.items(), key=lambda entry: (-entry[1], entry[0]))
    shares = np.array(sorted(answers.values()), dtype=np.float64) / len(table.models)
    entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
    return DisputedImage(table.image_ids[column], int(table.labels[column]), prediction, votes, len(answers), entropy)
