"""Confidence intervals of a proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from retest.analysis._checks import check_choice, check_open_fraction
from retest.errors import UsageError

IntervalMethod = Literal["clopper-pearson", "wilson"]
INTERVAL_METHODS: tuple[IntervalMethod, ...] = ("clopper-pearson", "wilson")
"""How an interval of a proportion may be made."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the ends of its interval, in the unit of the field that holds it."""

    value: float
    low: float
    high: float


def estimate_difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b`` of independent estimates, with the interval combined from theirs (MOVER; Zou & Donner 2008).

    ``low = a - b - sqrt((a - a_low)^2 + (b_high - b)^2)`` and likewise above; for Wilson intervals this is Newcombe's
    method 10.
    """
    value = a.value - b.value
    down = float(np.hypot(a.value - a.low, b.high - b.value))
    up = float(np.hypot(a.high - a.value, b.value - b.low))
    return Estimate(value, value - down, value + up)


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Exact interval of a binomial proportion (Clopper & Pearson 1934), with tails of ``(1 - confidence) / 2`` each.

    ``[Beta(a/2; k, n-k+1), Beta(1-a/2; k+1, n-k)]`` with a = 1 - confidence; 0 where k = 0 and 1 where k = n.

    Args:
        successes: k, integers of any shape, 0 <= k <= n.
        trials: n, integers that broadcast against ``successes``, at least 1.
        confidence: coverage, strictly between 0 and 1.

    Returns:
        Lower and upper ends, float64 fractions in the broadcast shape.

    Raises:
        UsageError: a count is impossible or ``confidence`` is no fraction.
    """
    k, n = _counts(successes, trials, confidence)
    tail = (1.0 - confidence) / 2.0
    # betaincinv needs positive parameters; the clipped entries are the ends that np.where overwrites.
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1.0), n - k + 1.0, tail))
    high = np.where(k == n, 1.0, betaincinv(k + 1.0, np.maximum(n - k, 1.0), 1.0 - tail))
    return low, high


def wilson(successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Score interval of a binomial proportion (Wilson 1927), without continuity correction.

    ``(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``. Arguments, results and errors as
    :func:`clopper_pearson`.
    """
    k, n = _counts(successes, trials, confidence)
    z = float(ndtri(0.5 + confidence / 2.0))
    centre = (k + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4.0)
    # At the ends the formula gives exactly 0 and 1 but for rounding.
    low = np.where(k == 0, 0.0, centre - half)
    high = np.where(k == n, 1.0, centre + half)
    return low, high


def proportion_interval(
    successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95, method: IntervalMethod = "clopper-pearson"
) -> tuple[Floats, Floats]:
    """Interval of a proportion by the named method; see :func:`clopper_pearson` and :func:`wilson`.

    Returns:
        Lower and upper ends as fractions, float64 of the shape that ``successes`` and ``trials`` broadcast to.

    Raises:
        UsageError: there is no such method, or the counts or the confidence are impossible.
    """
    check_choice("method", method, INTERVAL_METHODS)
    interval = clopper_pearson if method == "clopper-pearson" else wilson
    return interval(successes, trials, confidence=confidence)


def _counts(successes: ArrayLike, trials: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    check_open_fraction("confidence", confidence)
    try:
        k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    except ValueError as error:
        raise UsageError(f"do not fit ({error})", item="successes and trials", remedy="Give a number of trials for each.") from error
    possible = (n >= 1) & (k >= 0) & (k <= n) & (k == np.floor(k)) & (n == np.floor(n))
    if not possible.all():
        at = int(np.flatnonzero(~possible)[0])
        raise UsageError(
            f"{k.flat[at]:g} successes of {n.flat[at]:g} trials are impossible",
            item="successes",
            remedy="Give whole counts with 0 <= successes <= trials and at least one trial.",
        )
    return k, n
