"""The distribution of true selection frequencies behind noisy counts: mixtures of beta distributions fitted by EM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln, digamma, gammaln, polygamma

from retest.analysis._checks import check_whole
from retest.analysis.frequency import AnnotationCounts
from retest.errors import InputError, UsageError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_STEPS = 300
_GAIN = 1e-5  # of log-likelihood; an interval's end differs by 1.9, so what is left is nothing
_LOG_RANGE = (np.log(0.02), np.log(2000.0))  # beyond these a beta distribution is a point mass for any number of annotators


@dataclass(frozen=True, slots=True)
class BetaMixture:
    """Distribution of an image's true selection frequency s: ``p(s) = sum_j weights[j] Beta(s; alpha[j], beta[j])``.

    Of an image that n annotators saw, ``k ~ Binomial(n, s)`` select it, so that k is beta-binomial in each component.
    ``log_likelihood`` is that of the counts it was fitted to (None if it was not), without binomial coefficients.
    """

    weights: tuple[float, ...]
    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    log_likelihood: float | None = None
    n_images: int | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.weights), len(self.alpha), len(self.beta)}
        if len(lengths) != 1 or not self.weights:
            raise UsageError("weights, alpha and beta differ in length", item="BetaMixture", remedy="Give one of each per component.")
        positive = all(0 < value < np.inf for value in (*self.alpha, *self.beta))
        if not positive or not all(weight >= 0 for weight in self.weights) or not abs(sum(self.weights) - 1) <= 1e-6:
            raise UsageError(
                "weights must be shares that sum to 1, alpha and beta positive", item="BetaMixture", remedy="Correct the parameters."
            )

    @property
    def mean(self) -> float:
        """Mean true selection frequency."""
        return float(sum(w * a / (a + b) for w, a, b in zip(self.weights, self.alpha, self.beta, strict=True)))

    def cdf(self, s: ArrayLike) -> Floats:
        """Share of images with true frequency at most s, any shape."""
        at = np.asarray(s, dtype=np.float64)[..., None]
        result: Floats = betainc(np.array(self.alpha), np.array(self.beta), at) @ np.array(self.weights)
        return result

    def count_probabilities(self, annotators: int) -> Floats:
        """Probability that 0, 1, ... n of n annotators select an image, float64 (n + 1,).

        Raises:
            UsageError: ``annotators`` is less than 1.
        """
        check_whole("annotators", annotators, 1)
        k = np.arange(annotators + 1)
        choose = gammaln(annotators + 1) - gammaln(k + 1) - gammaln(annotators - k + 1)
        log_p: Floats = choose + _logsumexp(_log_terms(pack(self), np.full(len(k), annotators), k)[0])
        return np.exp(log_p)

    def sample(self, size: int, rng: np.random.Generator) -> Floats:
        """True frequencies of ``size`` random images."""
        component = rng.choice(len(self.weights), size=size, p=np.array(self.weights) / sum(self.weights))
        return rng.beta(np.array(self.alpha)[component], np.array(self.beta)[component])


def fit_beta_mixture(counts: AnnotationCounts, *, components: int = 2) -> BetaMixture:
    """Maximum likelihood mixture of beta distributions by EM (Engstrom et al. 2020, section 5; Dempster et al. 1977).

    The latent variables are each image's component and true frequency. EM is slow near the maximum, so after a few
    steps from each of several starts damped scoring steps finish; the likelihood never decreases. Components are in
    order of increasing mean.

    Args:
        counts: of the images; those without assignments are left out.
        components: number of beta distributions, at least 1.

    Raises:
        InputError: no image has at least two assignments (one answer per image says nothing about the spread).
        UsageError: a parameter is out of range.
    """
    check_whole("components", components, 1)
    n, k, weight = count_cells(counts)
    if not len(n) or n.max() < 2:
        raise InputError("no image has two assignments or more", item="counts", remedy="Collect more answers per image.")
    starts = _starts(n, k, weight, components)
    theta, ll = fit_cells(starts, n, k, np.repeat(weight[None, :], len(starts), axis=0))
    best = int(np.argmax(ll))
    return _unpack(theta[best], float(ll[best]), int(weight.sum()))


def count_cells(counts: AnnotationCounts) -> tuple[Integers, Integers, Floats]:
    """Distinct (assignments, selected) of the labelled images, and how many images have them; each (c,)."""
    labelled = counts.labelled
    n, k = counts.assignments[labelled], counts.selected[labelled]
    radix = int(n.max(initial=0)) + 1
    code, weight = np.unique(n * radix + k, return_counts=True)
    return code // radix, code % radix, weight.astype(np.float64)


def fit_cells(theta: Floats, n: Integers, k: Integers, weight: Floats, *, em_steps: int = 10) -> tuple[Floats, Floats]:
    """Fit many weightings of the same cells at once: some EM steps, then damped scoring steps until none gains.

    Args:
        theta: start values, (b, 3, j): logits of the weights, log alpha, log beta.
        n: assignments per cell, (c,).
        k: selections per cell, (c,).
        weight: images per cell in each of the b problems, (b, c).
        em_steps: number of EM steps.

    Returns:
        Fitted parameters (b, 3, j) and log-likelihoods (b,).
    """
    for _ in range(em_steps):
        theta = _em_step(theta, n, k, weight)
    theta, active = theta.copy(), np.arange(len(theta))
    ll, damping = log_likelihood(theta, n, k, weight), np.full(len(theta), 1e-2)
    for _ in range(_MOST_STEPS):
        new = _scoring_step(theta[active], n, k, weight[active], damping[active])
        gain = log_likelihood(new, n, k, weight[active]) - ll[active]
        better = gain >= 0
        theta[active] = np.where(better[:, None, None], new, theta[active])
        ll[active] += np.where(better, gain, 0.0)
        damping[active] = np.maximum(damping[active] * np.where(better, 0.2, 5.0), 1e-7)
        active = active[~((better & (gain < _GAIN)) | (damping[active] > 1e6))]
        if not len(active):
            break
    return theta, ll


def cell_masses(theta: Floats, edges: Floats) -> Floats:
    """Probability of each interval of true frequencies between ``edges`` (g + 1,) under b mixtures, (b, g)."""
    a, b = np.exp(theta[:, 1, :, None]), np.exp(theta[:, 2, :, None])
    masses: Floats = (_softmax(theta[:, 0])[:, None, :] @ np.diff(betainc(a, b, edges), axis=2))[:, 0]
    return masses


def pack(mixture: BetaMixture) -> Floats:
    """Parameters of one mixture as (1, 3, j): logits of the weights, log alpha, log beta."""
    packed: Floats = np.log(np.array([(np.maximum(mixture.weights, 1e-300), mixture.alpha, mixture.beta)]))
    return packed


def _unpack(theta: Floats, log_likelihood: float, n_images: int) -> BetaMixture:
    weights, a, b = _softmax(theta[0]), np.exp(theta[1]), np.exp(theta[2])
    order = np.argsort(a / (a + b))
    w, alpha, beta = (tuple(part[order].tolist()) for part in (weights, a, b))
    return BetaMixture(w, alpha, beta, log_likelihood, n_images)


def _starts(n: Integers, k: Integers, weight: Floats, components: int) -> Floats:
    """Start values: components of several precisions around means spread over the observed range, (starts, 3, j)."""
    mean = float((weight * k / n).sum() / weight.sum())
    starts = []
    for precision in (2.0, 10.0):
        for reach in (0.5, 0.9):
            spread = np.linspace(-reach, reach, components) if components > 1 else np.zeros(1)
            means = np.clip(np.where(spread < 0, mean * (1 + spread), mean + (1 - mean) * spread), 0.02, 0.98)
            starts.append(np.stack([np.zeros(components), np.log(means * precision), np.log((1 - means) * precision)]))
    return np.stack(starts)


def _log_terms(theta: Floats, n: Integers, k: Integers) -> Floats:
    """log(weight_j * B(alpha_j + k, beta_j + n - k) / B(alpha_j, beta_j)), (b, c, j)."""
    logits, a, b = theta[:, None, 0], np.exp(theta[:, None, 1]), np.exp(theta[:, None, 2])
    log_weights = logits - _logsumexp(logits)[..., None]
    terms: Floats = log_weights + betaln(a + k[:, None], b + (n - k)[:, None]) - betaln(a, b)
    return terms


def log_likelihood(theta: Floats, n: Integers, k: Integers, weight: Floats) -> Floats:
    """Log-likelihoods (b,) of the cells, without binomial coefficients; arguments as :func:`fit_cells`."""
    ll: Floats = (weight * _logsumexp(_log_terms(theta, n, k))).sum(axis=1)
    return ll


def _scoring_step(theta: Floats, n: Integers, k: Integers, weight: Floats, damping: Floats) -> Floats:
    """A step along the score, scaled by the damped outer-product information (Berndt et al. 1974, Levenberg 1944)."""
    per_cell = _scores(theta, n, k)
    weighted = weight[:, :, None] * per_cell
    information = weighted.swapaxes(1, 2) @ per_cell
    diagonal = np.einsum("bii->bi", information)
    diagonal += damping[:, None] * diagonal + 1e-6
    step = np.linalg.solve(information, weighted.sum(axis=1)[:, :, None])
    new: Floats = theta + np.clip(step, -2.0, 2.0).reshape(theta.shape)
    new[:, 1:] = np.clip(new[:, 1:], *_LOG_RANGE)
    new[:, 0] = np.clip(new[:, 0] - new[:, 0].max(axis=1, keepdims=True), -30.0, 0.0)
    return new


def _scores(theta: Floats, n: Integers, k: Integers) -> Floats:
    """Derivatives of each cell's log-probability by the parameters, (b, c, 3j)."""
    share = _softmax(_log_terms(theta, n, k))
    a, b = np.exp(theta[:, None, 1]), np.exp(theta[:, None, 2])
    both = digamma(a + b) - digamma(a + b + n[:, None])
    by_a = share * a * (digamma(a + k[:, None]) - digamma(a) + both)
    by_b = share * b * (digamma(b + (n - k)[:, None]) - digamma(b) + both)
    by_weight = share - _softmax(theta[:, None, 0])
    return np.concatenate([by_weight, by_a, by_b], axis=2)


def _em_step(theta: Floats, n: Integers, k: Integers, weight: Floats) -> Floats:
    terms = _log_terms(theta, n, k)
    share = weight[:, :, None] * _softmax(terms)  # images of cell c in component j, (b, c, j)
    total = np.maximum(share.sum(axis=1), 1e-12)
    a, b = np.exp(theta[:, None, 1]), np.exp(theta[:, None, 2])
    # Posterior means of log s and log(1 - s): a beta distribution with k and n - k added.
    both = digamma(a + b + n[:, None])
    log_s = (share * (digamma(a + k[:, None]) - both)).sum(axis=1) / total
    log_r = (share * (digamma(b + (n - k)[:, None]) - both)).sum(axis=1) / total
    log_a, log_b = _beta_from_logs(theta[:, 1], theta[:, 2], log_s, log_r)
    logits = np.log(total)
    return np.stack([logits - logits.max(axis=1, keepdims=True), log_a, log_b], axis=1)


def _beta_from_logs(log_a: Floats, log_b: Floats, log_s: Floats, log_r: Floats) -> tuple[Floats, Floats]:
    """Beta parameters with given means of log s and log(1 - s): Newton steps for two digamma equations."""
    for _ in range(3):  # from the last values; an inexact solution still raises the likelihood (generalised EM)
        a, b = np.exp(log_a), np.exp(log_b)
        both, curve = digamma(a + b), polygamma(1, a + b)
        ga, gb = a * (both - digamma(a) + log_s), b * (both - digamma(b) + log_r)
        haa = a * a * (polygamma(1, a) - curve)
        hbb = b * b * (polygamma(1, b) - curve)
        hab = -a * b * curve
        det = haa * hbb - hab * hab
        step_a = (hbb * ga - hab * gb) / det
        step_b = (haa * gb - hab * ga) / det
        log_a = np.clip(log_a + np.clip(step_a, -1.0, 1.0), *_LOG_RANGE)
        log_b = np.clip(log_b + np.clip(step_b, -1.0, 1.0), *_LOG_RANGE)
    return log_a, log_b


def _softmax(x: Floats) -> Floats:
    """Softmax over the last axis (scipy's is several times slower on arrays this small)."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Floats = e / e.sum(axis=-1, keepdims=True)
    return shares


def _logsumexp(x: Floats) -> Floats:
    top = x.max(axis=-1)
    total: Floats = top + np.log(np.exp(x - top[..., None]).sum(axis=-1))
    return total
