"""Accuracy as a function of selection frequency, frequency histograms, and accuracy re-weighted to another histogram."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from retest.analysis._checks import as_binary, check_open_fraction, same_length
from retest.analysis.intervals import IntervalMethod, proportion_interval
from retest.errors import InputError, UsageError
from retest.records import SelectionFrequency

FREQUENCY_EDGES: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Bin edges of the published matched-frequency sampling: ``lo <= f < hi``, the last bin closed."""


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationCounts:
    """How many annotators saw and selected each of n images: ``0 <= selected <= assignments``, int64 (n,) each (made of any integers).

    An image without assignments has frequency NaN; functions leave such images out and say how many.
    """

    assignments: NDArray[np.int64]
    selected: NDArray[np.int64]

    def __post_init__(self) -> None:
        n, k = np.asarray(self.assignments), np.asarray(self.selected)
        if n.ndim != 1 or n.shape != k.shape or n.dtype.kind not in "iu" or k.dtype.kind not in "iu":
            raise InputError(
                f"shapes {n.shape} and {k.shape} are not two columns of whole counts", item="counts", remedy="Give integer arrays (n,)."
            )
        if ((k < 0) | (k > n)).any():
            at = int(np.flatnonzero((k < 0) | (k > n))[0])
            raise InputError(f"{k[at]} selections of {n[at]} assignments", item=f"image {at}", remedy="Count valid assignments only.")
        # Sums and products of narrow or unsigned counts would wrap round or become floats.
        object.__setattr__(self, "assignments", n.astype(np.int64, copy=False))
        object.__setattr__(self, "selected", k.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.assignments)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which images have an assignment, bool (n,)."""
        mask: NDArray[np.bool_] = self.assignments > 0
        return mask

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Selection frequencies, float64 (n,), NaN without assignments."""
        unknown = np.full(len(self), np.nan)
        values: NDArray[np.float64] = np.divide(self.selected, self.assignments, out=unknown, where=self.labelled)
        return values

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> AnnotationCounts:
        """The counts of some of the images."""
        return AnnotationCounts(self.assignments[which], self.selected[which])


@dataclass(frozen=True, slots=True)
class FrequencyHistogram:
    """Number of images in each bin ``edges[i] <= f < edges[i + 1]`` (last closed), and of images without assignments."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    n_unlabelled: int = 0

    @property
    def n(self) -> int:
        """Number of images in the bins."""
        return sum(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Fraction of the images in each bin; 0 everywhere without images."""
        return tuple(count / max(self.n, 1) for count in self.counts)


@dataclass(frozen=True, slots=True)
class BinAccuracy:
    """Accuracy on the images of one frequency bin; fractions, None where the bin is empty."""

    low_edge: float
    high_edge: float
    n: int
    accuracy: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ReweightedAccuracy:
    """Accuracy as it would be if the frequencies were distributed as in the target histogram; fractions.

    ``covered`` is the share of the target that lies in bins with images; the rest cannot be estimated and is left out
    (the value is over the covered part).
    """

    accuracy: float
    low: float
    high: float
    n: int
    n_target: int
    covered: float
    notes: tuple[str, ...] = ()


def annotation_counts(frequencies: Iterable[SelectionFrequency], images: Sequence[tuple[str, str]]) -> AnnotationCounts:
    """Counts in the order of a test set's images.

    Args:
        frequencies: counts per (image, wnid), any order; others are ignored.
        images: pairs (image id, wnid), as in :attr:`retest.records.Revision.images`.

    Returns:
        Counts of the same length as ``images``, 0 of 0 where there are none.
    """
    found = {(f.image_id, f.wnid): (f.num_assignments, f.num_selected) for f in frequencies}
    pairs = np.array([found.get((image, wnid), (0, 0)) for image, wnid in images], dtype=np.int64).reshape(-1, 2)
    return AnnotationCounts(pairs[:, 0], pairs[:, 1])


def frequency_histogram(frequencies: ArrayLike, *, edges: Sequence[float] = FREQUENCY_EDGES) -> FrequencyHistogram:
    """Histogram of selection frequencies.

    Args:
        frequencies: fractions, (n,); NaN = no assignment.
        edges: increasing, from 0 to 1.

    Raises:
        InputError: a frequency is no fraction.
        UsageError: the edges are not increasing from 0 to 1.
    """
    f = _frequencies(frequencies)
    _check_edges(edges)
    labelled = ~np.isnan(f)
    counts = np.bincount(_bins(f[labelled], edges), minlength=len(edges) - 1)
    return FrequencyHistogram(tuple(edges), tuple(counts.tolist()), int((~labelled).sum()))


def accuracy_by_frequency(
    correct: ArrayLike,
    frequencies: ArrayLike,
    *,
    edges: Sequence[float] = FREQUENCY_EDGES,
    confidence: float = 0.95,
    method: IntervalMethod = "clopper-pearson",
) -> list[BinAccuracy]:
    """Accuracy in each bin of selection frequency (Recht et al. 2019, section 5, figure 2).

    Args:
        correct: 1 where the model is right, (n,).
        frequencies: fractions, (n,); images with NaN are left out.
        edges: increasing, from 0 to 1.
        confidence: coverage of the intervals.
        method: of the intervals.

    Raises:
        InputError: the arrays do not fit or hold impossible values.
        UsageError: a parameter is out of range.
    """
    check_open_fraction("confidence", confidence)
    hits, n = _binned(correct, frequencies, edges)
    low, high = proportion_interval(hits, np.maximum(n, 1), confidence=confidence, method=method)
    return [
        BinAccuracy(float(edges[b]), float(edges[b + 1]), int(n[b]), float(hits[b] / n[b]), float(low[b]), float(high[b]))
        if n[b]
        else BinAccuracy(float(edges[b]), float(edges[b + 1]), 0, None, None, None)
        for b in range(len(edges) - 1)
    ]


def reweighted_accuracy(
    correct: ArrayLike, frequencies: ArrayLike, *, target: FrequencyHistogram, confidence: float = 0.95
) -> ReweightedAccuracy:
    """Accuracy re-weighted to a target histogram of frequencies: ``sum_b p_target(b) * acc(b)`` (statistics, formula 5).

    The bins are those of the target. The interval is normal with the variance of a stratified mean whose weights are
    themselves a sample: ``sum_b p_b^2 v_b / n_b + (sum_b p_b a_b^2 - A^2) / n_target``; v_b uses
    ``(k + 0.5) / (n + 1)`` so that a bin without errors does not count as known. It takes the observed frequencies at
    face value; the bias from their noise is the subject of :func:`retest.analysis.matching_bias`.

    Args:
        correct: 1 where the model is right, (n,).
        frequencies: fractions, (n,); images with NaN are left out.
        target: histogram to weight to, for instance of the original images.
        confidence: coverage of the interval.

    Raises:
        InputError: the arrays do not fit, or no image is in a bin of the target.
        UsageError: ``confidence`` is out of range.
    """
    check_open_fraction("confidence", confidence)
    hits, n = _binned(correct, frequencies, target.edges)
    weights = np.array(target.shares)
    usable = (n > 0) & (weights > 0)
    covered = float(weights[usable].sum())
    if covered == 0.0:
        raise InputError("no image lies in a bin of the target", item="frequencies", remedy="Label more images or use wider bins.")
    p, a = weights[usable] / covered, hits[usable] / n[usable]
    accuracy = float(p @ a)
    smooth = (hits[usable] + 0.5) / (n[usable] + 1.0)
    variance = float((p**2 * smooth * (1.0 - smooth) / n[usable]).sum()) + (float(p @ a**2) - accuracy**2) / (target.n * covered)
    half = float(ndtri(0.5 + confidence / 2.0)) * float(np.sqrt(variance))
    missing = [f"[{target.edges[b]:g}, {target.edges[b + 1]:g}]" for b in np.flatnonzero((n == 0) & (weights > 0))]
    notes = (f"no images in bins {', '.join(missing)}: {100 * (1 - covered):.1f} % of the target is left out",) if missing else ()
    return ReweightedAccuracy(
        accuracy, max(0.0, accuracy - half), min(1.0, accuracy + half), int(n[usable].sum()), target.n, covered, notes
    )


def _frequencies(frequencies: ArrayLike) -> NDArray[np.float64]:
    f = np.asarray(frequencies, dtype=np.float64)
    if f.ndim != 1 or ((f < 0) | (f > 1)).any():
        raise InputError("are not fractions between 0 and 1", item="frequencies", remedy="Give selected / assignments, NaN without any.")
    return f


def _check_edges(edges: Sequence[float]) -> None:
    if len(edges) < 2 or edges[0] != 0.0 or edges[-1] != 1.0 or any(b <= a for a, b in pairwise(edges)):
        raise UsageError(f"{tuple(edges)} do not increase from 0 to 1", item="edges", remedy="Give for instance 0, 0.2, 0.4, 0.6, 0.8, 1.")


def _bins(frequencies: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.intp]:
    return np.minimum(np.searchsorted(edges, frequencies, side="right") - 1, len(edges) - 2)


def _binned(correct: ArrayLike, frequencies: ArrayLike, edges: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Right answers and images per bin."""
    hit, f = as_binary("correct", correct), _frequencies(frequencies)
    same_length(correct=hit, frequencies=f)
    _check_edges(edges)
    labelled = ~np.isnan(f)
    where = _bins(f[labelled], edges)
    n = np.bincount(where, minlength=len(edges) - 1)
    return np.bincount(where[hit[labelled]], minlength=len(edges) - 1), n
