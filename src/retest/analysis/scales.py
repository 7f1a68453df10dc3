"""The three scales on which accuracies are compared: percent, probit and logit."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri

from retest.analysis._checks import check_choice

Scale = Literal["linear", "probit", "logit"]
SCALES: tuple[Scale, ...] = ("linear", "probit", "logit")
"""Scales on which accuracies are fitted; linear is in percent."""


def to_scale(fractions: ArrayLike, scale: Scale) -> NDArray[np.float64]:
    """Accuracies on a scale: percent (linear), ``ndtri(p)`` (probit) or ``log(p / (1 - p))`` (logit).

    Args:
        fractions: accuracies between 0 and 1, any shape. 0 and 1 become infinite on probit and logit.
        scale: "linear", "probit" or "logit".

    Raises:
        UsageError: ``scale`` is unknown.
    """
    check_choice("scale", scale, SCALES)
    p = np.asarray(fractions, dtype=np.float64)
    result: NDArray[np.float64] = p * 100.0 if scale == "linear" else ndtri(p) if scale == "probit" else logit(p)
    return result


def from_scale(values: ArrayLike, scale: Scale) -> NDArray[np.float64]:
    """Inverse of :func:`to_scale`: fractions, float64 of the same shape. On the linear scale they are not cut to [0, 1].

    Raises:
        UsageError: there is no such scale.
    """
    check_choice("scale", scale, SCALES)
    v = np.asarray(values, dtype=np.float64)
    result: NDArray[np.float64] = v / 100.0 if scale == "linear" else ndtr(v) if scale == "probit" else expit(v)
    return result
