"""What the counts would be with fewer annotators: exact averages over all choices of annotators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from retest.analysis._checks import check_whole
from retest.analysis.frequency import AnnotationCounts
from retest.analysis.mixture import count_cells
from retest.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def thin_counts(n: Integers, k: Integers, annotators: int) -> Floats:
    """Probability that j of ``annotators`` chosen from the n of each cell selected the image, given k of n did.

    Hypergeometric: ``C(k, j) C(n - k, m - j) / C(n, m)``, float64 (c, m + 1); NaN where n < m.

    Raises:
        UsageError: ``annotators`` is negative.
    """
    check_whole("annotators", annotators, 0)
    j = np.arange(annotators + 1)
    k, rest = k[:, None], (n - k)[:, None]
    m_j = annotators - j
    possible = (j <= k) & (m_j <= rest)
    top = _log_choose(np.where(possible, k, j), j) + _log_choose(np.where(possible, rest, m_j), m_j)
    table = np.where(possible, np.exp(top - _log_choose(np.maximum(n, annotators)[:, None], annotators)), 0.0)
    return np.where((n >= annotators)[:, None], table, np.nan)


def held_out_gap(original: AnnotationCounts, new: AnnotationCounts, *, annotators: int) -> float:
    """Check of a match: mean frequency with *other* annotators, original - new, after matching on ``annotators``.

    For each image some ``annotators`` of its n are used to match and the rest to check, averaged over all choices:
    ``sum_j P1(j) (E1[held-out | j] - E2[held-out | j])``. 0 if matching on counts matched the images; positive where the
    new images that look alike are worse (Engstrom et al. 2020, section 4). A fraction, between -1 and 1.

    Args:
        original: counts of original images.
        new: counts of new images or of the pool.
        annotators: how many to match on; images with no more assignments are left out.

    Raises:
        InputError: no image has enough assignments.
        UsageError: ``annotators`` is less than 1.
    """
    check_whole("annotators", annotators, 1)
    means, totals = [], []
    for counts in (original, new):
        n, k, weight = count_cells(counts.take(counts.assignments > annotators))
        if not len(n):
            raise InputError(f"no image has more than {annotators} assignments", item="annotators", remedy="Match on fewer.")
        table = weight[:, None] * thin_counts(n, k, annotators)
        held_out = (k[:, None] - np.arange(annotators + 1)) / (n - annotators)[:, None]
        total = table.sum(axis=0)
        means.append(np.divide((table * held_out).sum(axis=0), total, out=np.full(len(total), np.nan), where=total > 0))
        totals.append(total)
    usable = ~np.isnan(means[0]) & ~np.isnan(means[1])
    p = totals[0][usable] / totals[0][usable].sum()
    return float(p @ (means[0] - means[1])[usable])


def _log_choose(n: Integers, k: Integers | int) -> Floats:
    result: Floats = gammaln(n + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(n - k + 1.0)
    return result
