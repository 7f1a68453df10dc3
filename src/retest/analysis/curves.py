"""Accuracy as a smooth function of the true selection frequency, estimated from noisy counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, xlogy

from retest.analysis.mixture import cell_masses

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_GRID = 64
_CHUNK_ENTRIES = 100_000  # small enough for the processor's cache
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


def fit_curves(posterior: Floats, images: Floats, right: Floats, *, knots: int, start: Floats | None = None) -> Floats:
    """Coefficients (m, b, p) that maximise the binomial likelihood of the right answers per cell, by Fisher scoring.

    The probability of a right answer in a cell is the mean of the curve over the posterior of true frequencies. A weak
    ridge keeps coefficients finite where a model is right or wrong everywhere.

    Args:
        posterior: of the true frequency in each cell, (b, c, g).
        images: per cell, (b, c).
        right: right answers per cell, (m, b, c).
        knots: of the spline, p.
        start: coefficients to start from, (m, 1, p); flat curves without it.
    """
    m, b, _ = right.shape
    basis = _spline_basis(_MIDDLE, _knots(knots))
    coefficients = np.zeros((b, m, knots))
    if start is None:
        coefficients[:, :, 0] = logit((right.sum(axis=2) + 0.5) / (images.sum(axis=1) + 1.0)).T
    else:
        coefficients[:] = start[:, 0]
    hits = right.transpose(1, 0, 2)
    step = max(1, _CHUNK_ENTRIES // (m * posterior.shape[1] * knots))
    for at in range(0, b, step):
        part = slice(at, at + step)
        coefficients[part] = _score_curves(coefficients[part], posterior[part], images[part, None], hits[part], basis)
    return coefficients.transpose(1, 0, 2)


def _score_curves(coefficients: Floats, posterior: Floats, images: Floats, right: Floats, basis: Floats) -> Floats:
    b, m, p = coefficients.shape
    ridge = np.full(p, 1e-2)
    ridge[0] = 1e-6
    to_mean = np.ascontiguousarray(posterior.swapaxes(1, 2))  # (b, g, c)
    to_slope = (to_mean[..., None] * basis[None, :, None, :]).reshape(b, len(basis), -1)  # (b, g, c * p)
    step, best = np.zeros_like(coefficients), np.full((b, m, 1), -np.inf)
    for _ in range(_MOST_STEPS):
        trial = coefficients + step
        curve = expit(trial @ basis.T)  # (b, m, g)
        mean = np.clip(curve @ to_mean, 1e-9, 1 - 1e-9)  # (b, m, c)
        likelihood = (xlogy(right, mean) + xlogy(images - right, 1.0 - mean)).sum(axis=2) - 0.5 * (trial**2 @ ridge)
        better = likelihood[..., None] >= best  # where not, the next trial is a shorter step from the same place
        coefficients, best = np.where(better, trial, coefficients), np.maximum(best, likelihood[..., None])
        jacobian = ((curve * (1.0 - curve)) @ to_slope).reshape(b, m, -1, p)
        variance = mean * (1.0 - mean)
        score = (((right - images * mean) / variance)[:, :, None, :] @ jacobian)[:, :, 0] - ridge * trial
        information = (jacobian * (images / variance)[..., None]).swapaxes(2, 3) @ jacobian + np.diag(ridge)
        scoring = np.linalg.solve(information, score[..., None])[..., 0]
        scoring /= np.maximum(1.0, np.abs(scoring).max(axis=-1, keepdims=True) / 2.0)
        step = np.where(better, scoring, 0.25 * step)
        if np.abs(step).max() < 1e-4:
            break
    return coefficients


def _knots(number: int) -> Floats:
    return np.linspace(0.0, 1.0, number)


def _spline_basis(s: Floats, knots: Floats) -> Floats:
    """Natural cubic splines: 1, s, and one function per inner knot (Hastie et al. 2009, eq. 5.4), (len(s), len(knots))."""
    cubes = np.maximum(s[:, None] - knots, 0.0) ** 3
    divided = (cubes[:, :-1] - cubes[:, -1:]) / (knots[-1] - knots[:-1])
    return np.concatenate([np.ones((len(s), 1)), s[:, None], divided[:, :-1] - divided[:, -1:]], axis=1)
