"""Two models on the same images: exact McNemar test and paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from retest.analysis._checks import as_binary, as_counts, check_open_fraction, check_whole, same_length
from retest.analysis.correctness import Correctness
from retest.errors import InputError, UsageError


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Model a against model b on the same n images.

    ``only_a`` counts the images that a alone gets right, and so on. ``difference_points`` = accuracy of a - accuracy of
    b in percentage points, with the ends of a paired bootstrap. ``p_value`` is McNemar's exact one; ``p_holm`` is
    adjusted for the number of pairs compared together (Holm 1979), equal to it for a single pair.
    """

    model_a: str
    model_b: str
    n: int
    both: int
    only_a: int
    only_b: int
    neither: int
    difference_points: float
    low_points: float
    high_points: float
    p_value: float
    p_holm: float


def mcnemar(only_a: ArrayLike, only_b: ArrayLike) -> NDArray[np.float64]:
    """Two-sided exact p-value of McNemar's test (1947): given b + c discordant images, b is Binomial(b + c, 1/2).

    ``p = min(1, 2 P(X <= min(b, c)))``; 1 without discordant images.

    Args:
        only_a: images that the first model alone gets right, any shape.
        only_b: images that the second alone gets right, same shape.

    Raises:
        UsageError: these are no counts.
    """
    b, c = as_counts("only_a", only_a), as_counts("only_b", only_b)
    p: NDArray[np.float64] = np.minimum(1.0, 2.0 * bdtr(np.minimum(b, c).astype(np.float64), np.maximum(b + c, 1), 0.5))
    return np.where(b + c == 0, 1.0, p)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Step-down adjusted p-values (Holm 1979): they keep the chance of any false rejection below the level.

    Args:
        p_values: (m,).

    Returns:
        float64 (m,), in the order given.

    Raises:
        UsageError: these are not such p-values.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise UsageError("are not a list of numbers from 0 to 1", item="p_values", remedy="Give one p-value per comparison.")
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    result = np.empty_like(p)
    result[order] = adjusted
    return result


def compare_models(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    model_a: str = "a",
    model_b: str = "b",
    confidence: float = 0.95,
    bootstrap: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two models on the same images.

    The paired bootstrap draws images with replacement; the difference depends on a draw only through its numbers of
    discordant images, which are drawn directly (multinomial), so the result is that of drawing the images.

    Args:
        correct_a: 1 where the first model is right, (n,).
        correct_b: the same of the second model, same images in the same order.
        model_a: name of the first.
        model_b: name of the second.
        confidence: coverage of the percentile interval.
        bootstrap: number of draws, at least 100.
        seed: of the draws.

    Raises:
        InputError: the arrays are not 0/1 of equal positive length.
        UsageError: a parameter is out of range.
    """
    a, b = as_binary("correct_a", correct_a), as_binary("correct_b", correct_b)
    if same_length(correct_a=a, correct_b=b) == 0:
        raise InputError("there are no images", item="correct_a", remedy="Give at least one image.")
    check_open_fraction("confidence", confidence)
    check_whole("bootstrap", bootstrap, 100)
    check_whole("seed", seed, 0)
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((~a & b).sum())
    low, high = _bootstrap_ends(n, np.array([only_a]), np.array([only_b]), confidence, bootstrap, seed)
    p = float(mcnemar(only_a, only_b))
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    difference = 100.0 * (only_a - only_b) / n
    return PairedComparison(model_a, model_b, n, both, only_a, only_b, neither, difference, float(low[0]), float(high[0]), p, p)


def compare_all_pairs(
    table: Correctness,
    *,
    models: Sequence[str] | None = None,
    confidence: float = 0.95,
    bootstrap: int = 1_000,
    seed: int = 0,
) -> list[PairedComparison]:
    """Compare every pair of models, better model first, with p-values adjusted for the number of pairs.

    Args:
        table: results on one test set.
        models: which models; all without it.
        confidence: coverage of each interval (not adjusted for their number).
        bootstrap: number of draws per pair, at least 100.
        seed: of the draws.

    Raises:
        UsageError: a model is unknown or a parameter out of range.
    """
    check_open_fraction("confidence", confidence)
    check_whole("bootstrap", bootstrap, 100)
    check_whole("seed", seed, 0)
    names = list(table.models if models is None else models)
    if not names:
        raise UsageError("no model is named", item="models", remedy=f"Models there: {', '.join(table.models)}.")
    names, correct = _best_first(table, names)
    n = correct.shape[1]
    shared = np.rint(correct @ correct.T).astype(np.int64)
    hits = shared.diagonal()
    pairs = list(combinations(range(len(names)), 2))
    first, second = [i for i, _ in pairs], [j for _, j in pairs]
    only_a, only_b = (hits[first] - shared[first, second], hits[second] - shared[first, second])
    low, high = _bootstrap_ends(n, only_a, only_b, confidence, bootstrap, seed)
    p = mcnemar(only_a, only_b)
    adjusted = holm(p)
    return [
        PairedComparison(
            model_a=names[i],
            model_b=names[j],
            n=n,
            both=int(shared[i, j]),
            only_a=int(only_a[q]),
            only_b=int(only_b[q]),
            neither=n - int(shared[i, j]) - int(only_a[q]) - int(only_b[q]),
            difference_points=100.0 * int(only_a[q] - only_b[q]) / n,
            low_points=float(low[q]),
            high_points=float(high[q]),
            p_value=float(p[q]),
            p_holm=float(adjusted[q]),
        )
        for q, (i, j) in enumerate(pairs)
    ]


def _best_first(table: Correctness, names: list[str]) -> tuple[list[str], NDArray[np.float64]]:
    """The models by their number of right images, equals by name, and 1 where each is right: (models, images)."""
    correct = np.stack([table.row(name) for name in names]).astype(np.float64)
    hits = correct.sum(axis=1)
    order = sorted(range(len(names)), key=lambda m: (-hits[m], names[m]))
    return [names[m] for m in order], correct[order]


def _bootstrap_ends(
    n: int, only_a: NDArray[np.int64], only_b: NDArray[np.int64], confidence: float, draws: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the percentile intervals of the differences of pairs, in points, (pairs,) each."""
    rng = np.random.default_rng(seed)
    discordant = only_a + only_b
    # Drawing all discordant images, then how many of them are the first model's, is the multinomial draw of three cells.
    drawn = rng.binomial(n, (discordant / n)[:, None], size=(len(discordant), draws))
    of_a = rng.binomial(drawn, (only_a / np.maximum(discordant, 1))[:, None])
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(100.0 * (2 * of_a - drawn) / n, (tail, 100.0 - tail), axis=1)
    return low, high
