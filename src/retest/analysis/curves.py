"""Accuracy as a smooth function of the true selection frequency, estimated from noisy counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from retest.analysis.mixture import cell_masses

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_GRID = 64
_CHUNK_ENTRIES = 8_000_000
_MOST_STEPS = 50

_EDGES = np.sin(0.5 * np.pi * np.arange(_GRID + 1) / _GRID) ** 2  # fine near 0 and 1, where beta densities are steep
_MIDDLE = 0.5 * (_EDGES[1:] + _EDGES[:-1])


@dataclass(frozen=True, slots=True)
class AccuracyCurve:
    """Probability of a right answer given the true selection frequency: expit of a natural cubic spline in s."""

    knots: tuple[float, ...]
    coefficients: tuple[float, ...]

    def __call__(self, s: ArrayLike) -> Floats:
        """Accuracies (fractions) at true frequencies ``s`` in [0, 1], same shape."""
        at = np.asarray(s, dtype=np.float64)
        values: Floats = expit(_spline_basis(at.ravel(), np.array(self.knots)) @ np.array(self.coefficients)).reshape(at.shape)
        return values


def curve_of(coefficients: Floats) -> AccuracyCurve:
    """Curve with evenly spaced knots and the given coefficients (p,)."""
    return AccuracyCurve(tuple(_knots(len(coefficients)).tolist()), tuple(coefficients.tolist()))


def posterior_frequencies(n: Integers, k: Integers, mixtures: Floats) -> Floats:
    """Distribution of the true frequency on the grid given k of n selections, under b mixtures, (b, c, g)."""
    log_likelihood = k[:, None] * np.log(_MIDDLE) + (n - k)[:, None] * np.log1p(-_MIDDLE)
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    joint = likelihood * cell_masses(mixtures, _EDGES)[:, None, :]
    posterior: Floats = joint / joint.sum(axis=2, keepdims=True)
    return posterior


def mean_accuracy(coefficients: Floats, mixtures: Floats) -> Floats:
    """Mean of curves (m, b, p) over the true frequencies of b mixtures: ``integral g(s) p(s) ds``, (m, b)."""
    curves = expit(coefficients @ _spline_basis(_MIDDLE, _knots(coefficients.shape[-1])).T)
    mean: Floats = np.einsum("mbg,bg->mb", curves, cell_masses(mixtures, _EDGES))
    return mean


def fit_curves(posterior: Floats, images: Floats, right: Floats, *, knots: int) -> Floats:
    """Coefficients (m, b, p) that maximise the binomial likelihood of the right answers per cell, by Fisher scoring.

    The probability of a right answer in a cell is the mean of the curve over the posterior of true frequencies. A weak
    ridge keeps coefficients finite where a model is right or wrong everywhere.

    Args:
        posterior: of the true frequency in each cell, (b, c, g).
        images: per cell, (b, c).
        right: right answers per cell, (m, b, c).
        knots: of the spline, p.
    """
    m, b, _ = right.shape
    p = knots
    basis = _spline_basis(_MIDDLE, _knots(p))
    rate = (right.sum(axis=2) + 0.5) / (images.sum(axis=1) + 1.0)
    coefficients = np.zeros((m, b, p))
    coefficients[:, :, 0] = logit(rate)
    step = max(1, _CHUNK_ENTRIES // (m * len(basis) * p))
    for start in range(0, b, step):
        part = slice(start, start + step)
        coefficients[:, part] = _score_curves(coefficients[:, part], posterior[part], images[part], right[:, part], basis)
    return coefficients


def _score_curves(coefficients: Floats, posterior: Floats, images: Floats, right: Floats, basis: Floats) -> Floats:
    m, b, p = coefficients.shape
    ridge = np.full(p, 1e-2)
    ridge[0] = 1e-6
    for _ in range(_MOST_STEPS):
        curve = expit(coefficients @ basis.T)  # (m, b, g)
        mean = np.einsum("bcg,mbg->mbc", posterior, curve, optimize=True)
        slope = (curve * (1.0 - curve)).transpose(1, 2, 0)[..., None] * basis[None, :, None, :]  # (b, g, m, p)
        jacobian = (posterior @ slope.reshape(b, -1, m * p)).reshape(b, -1, m, p).transpose(2, 0, 1, 3)  # (m, b, c, p)
        mean = np.clip(mean, 1e-9, 1 - 1e-9)
        variance = mean * (1.0 - mean)
        score = np.einsum("mbc,mbcp->mbp", (right - images * mean) / variance, jacobian, optimize=True) - ridge * coefficients
        information = (jacobian * (images / variance)[..., None]).swapaxes(2, 3) @ jacobian + np.diag(ridge)
        step = np.linalg.solve(information, score[..., None])[..., 0]
        step /= np.maximum(1.0, np.abs(step).max(axis=-1, keepdims=True) / 2.0)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def _knots(number: int) -> Floats:
    return np.linspace(0.0, 1.0, number)


def _spline_basis(s: Floats, knots: Floats) -> Floats:
    """Natural cubic splines: 1, s, and one function per inner knot (Hastie et al. 2009, eq. 5.4), (len(s), len(knots))."""
    cubes = np.maximum(s[:, None] - knots, 0.0) ** 3
    divided = (cubes[:, :-1] - cubes[:, -1:]) / (knots[-1] - knots[:-1])
    return np.concatenate([np.ones((len(s), 1)), s[:, None], divided[:, :-1] - divided[:, -1:]], axis=1)
