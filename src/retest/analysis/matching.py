"""The statistical bias of matching test sets on noisy selection frequencies, and its corrections.

Engstrom et al. (2020), "Identifying Statistical Bias in Dataset Replication": an image's observed frequency scatters
around its true one. Where the pool of candidates has lower true frequencies than the original images, a candidate with
observed frequency 0.8 is on average a worse image than an original with 0.8, so a set matched on observed frequencies
is harder than the original, and its accuracy too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retest.analysis._checks import as_binary
from retest.analysis.curves import AccuracyCurve, curve_of, fit_curves, mean_accuracy, posterior_frequencies
from retest.analysis.frequency import AnnotationCounts
from retest.analysis.intervals import Estimate
from retest.analysis.mixture import BetaMixture, count_cells, fit_beta_mixture, fit_cells, pack
from retest.analysis.subsampling import thin_counts
from retest.errors import InputError, UsageError
from retest.settings import check_count, check_number, plain_numbers

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
@plain_numbers
class MatchingParameters:
    """How accuracies are corrected for the noise of selection frequencies."""

    components: int = field(default=2, metadata={"help": "beta distributions in the mixture of true selection frequencies"})
    knots: int = field(default=5, metadata={"help": "knots of the spline of accuracy over true frequency"})
    annotators: int | None = field(
        default=None, metadata={"help": "annotators per image for naive and jackknife; without it as many as 95 % of the images have"}
    )
    leave_out: int = field(default=1, metadata={"help": "annotators that the jackknife leaves out"})
    bootstrap: int = field(default=500, metadata={"help": "draws of images for the intervals"})
    confidence: float = field(default=0.95, metadata={"help": "coverage of the intervals"})
    seed: int = field(default=0, metadata={"help": "seed of the bootstrap"})

    def __post_init__(self) -> None:
        check_count("components", self.components, low=1, high=5)
        check_count("knots", self.knots, low=2, high=8)
        if self.annotators is not None:
            check_count("annotators", self.annotators, low=2, remedy="Give more, or leave it out")
        check_count("leave_out", self.leave_out, low=1)
        check_count("bootstrap", self.bootstrap, low=50)
        check_number("confidence", self.confidence, high=1.0, ends=False, remedy="Give a fraction such as 0.95")
        check_count("seed", self.seed)


@dataclass(frozen=True, slots=True)
class MatchedAccuracy:
    """One model's accuracy on new images, matched to the selection frequencies of the original images; fractions.

    ``measured`` is the plain accuracy on the new images given. ``naive`` matches observed frequencies, ``jackknife``
    removes the part of its bias that falls with 1 / annotators, ``corrected`` deconvolves the noise. ``bias_points`` =
    100 * (naive - corrected): what naive matching adds to the accuracy, negative where it makes the set too hard.
    """

    model: str
    measured: float
    naive: Estimate
    jackknife: Estimate
    corrected: Estimate
    bias_points: Estimate
    curve: AccuracyCurve


@dataclass(frozen=True, slots=True)
class MatchingBias:
    """Corrected accuracies of all models, and the distributions they rest on."""

    annotators: int
    n_original: int
    n_new: int
    n_pool: int
    original: BetaMixture
    pool: BetaMixture
    rows: tuple[MatchedAccuracy, ...]
    parameters: MatchingParameters
    notes: tuple[str, ...]

    @property
    def mean_bias_points(self) -> float:
        """Bias of naive matching, mean over models."""
        return float(np.mean([row.bias_points.value for row in self.rows]))

    @property
    def warning(self) -> str:
        """What a report of a naively matched study has to say."""
        values = [row.bias_points.value for row in self.rows]
        spread = f" on average over the models ({min(values):+.1f} to {max(values):+.1f})" if len(values) > 1 else ""
        return (
            f"The new set was matched on observed selection frequencies of {self.annotators} annotators, which are noisy. "
            f"The expected bias of its accuracies is {self.mean_bias_points:+.1f} points{spread}; "
            "compare the corrected accuracies instead (Engstrom et al. 2020)."
        )


def matching_bias(
    original: AnnotationCounts,
    new: AnnotationCounts,
    correct: ArrayLike,
    *,
    models: Sequence[str] | None = None,
    pool: AnnotationCounts | None = None,
    parameters: MatchingParameters | None = None,
) -> MatchingBias:
    """Accuracy on new images matched to the original images' selection frequencies, naive and corrected.

    With p1, p2 the distributions of the true frequency s of original images and of the pool, the quantity wanted is
    ``integral E2[correct | s] p1(s) ds``.

    * naive: ``sum_k P1(k) acc2(k)`` over the number k of ``annotators`` that select an image;
    * delete-d jackknife: ``(n theta_n - (n - d) theta_(n-d)) / d``, where theta_m is the naive value with m annotators
      per image, averaged over all choices of the m (in closed form: k of m is hypergeometric given k of n);
    * corrected: p1 and p2 as mixtures of beta distributions by EM, ``E2[correct | s]`` as a smooth curve by maximum
      likelihood from ``P(correct | k) = integral E2[correct | s] p2(s | k) ds``.

    Intervals: percentiles of a bootstrap of images in which everything is estimated anew. Assumes that annotators are
    exchangeable and answer independently given the image, that the answers to an image and a model's answer are
    independent given s, and, with ``pool``, that new images were chosen from the pool by their counts alone.

    Args:
        original: counts of original images (a random sample of them).
        new: counts of the n new images.
        correct: 1 where a model is right on a new image, (n,) or (m, n).
        models: names of the m models.
        pool: counts of all candidates that the new images were chosen from; without it the new images themselves count
            as a random sample of the pool (right only if they were not chosen by frequency).
        parameters: see :class:`MatchingParameters`.

    Raises:
        InputError: arrays do not fit, or there are too few answers.
        UsageError: more annotators are asked for than images have.
    """
    parameters = parameters or MatchingParameters()
    hits = as_binary("correct", np.atleast_2d(np.asarray(correct)), ndim=2)
    names = tuple(models) if models is not None else tuple(f"model {i}" for i in range(len(hits)))
    if not names or len(names) != len(hits) or hits.shape[1] != len(new):
        raise InputError(
            f"{hits.shape} results for {len(names)} models and {len(new)} images do not fit", item="correct", remedy="Give (m, n)."
        )
    data = _prepare(original, new, hits, pool, parameters)
    p1 = fit_beta_mixture(original, components=parameters.components)
    source = new if pool is None else pool
    p2 = fit_beta_mixture(source, components=parameters.components)
    point = _estimate(data, data.whole(), pack(p1), pack(p2), parameters)
    draws = _estimate(data, data.draw(parameters.bootstrap, parameters.seed), pack(p1), pack(p2), parameters, start=point.coefficients)
    rows = _rows(names, hits[:, new.labelled].mean(axis=1), point, draws, parameters.confidence)
    n_original, n_new, n_pool = (int(counts.labelled.sum()) for counts in (original, new, source))
    return MatchingBias(data.annotators, n_original, n_new, n_pool, p1, p2, rows, parameters, data.notes)


@dataclass(frozen=True, slots=True)
class _Draws:
    """Images per cell in b draws: original (b, c1), pool (b, c2), new images (b, c) and right answers (m, b, c)."""

    original: Floats
    pool: Floats
    images: Floats
    right: Floats


@dataclass(frozen=True, slots=True)
class _Estimates:
    """Accuracies of m models in b draws, each (m, b), and curve coefficients (m, b, p)."""

    naive: Floats
    jackknife: Floats
    corrected: Floats
    coefficients: Floats

    def with_bias(self) -> Floats:
        return np.stack([self.naive, self.jackknife, self.corrected, self.naive - self.corrected])


@dataclass(frozen=True, slots=True)
class _Cells:
    """The data as counts of images per distinct (assignments, selected)."""

    original: tuple[Integers, Integers, Floats]
    pool: tuple[Integers, Integers, Floats]
    new: tuple[Integers, Integers, Floats]
    right: Floats  # (m, c)
    in_pool: Integers | None  # cell of the pool for each cell of the new images; None: the new images are the pool
    annotators: int
    notes: tuple[str, ...]

    def whole(self) -> _Draws:
        return _Draws(self.original[2][None], self.pool[2][None], self.new[2][None], self.right[:, None])

    def draw(self, draws: int, seed: int) -> _Draws:
        rng = np.random.default_rng(seed)
        original, new, pool = (_resample(rng, cells[2], draws) for cells in (self.original, self.new, self.pool))
        rate = self.right / self.new[2]
        right = rng.binomial(new.astype(np.int64), rate[:, None, :]).astype(np.float64)
        return _Draws(original, new if self.in_pool is None else pool, new, right)


def _rows(names: Sequence[str], measured: Floats, point: _Estimates, draws: _Estimates, confidence: float) -> tuple[MatchedAccuracy, ...]:
    """A row per model: values from the data themselves, the ends of the intervals from the draws."""
    values = point.with_bias()[:, :, 0]
    if np.isnan(values).any():
        raise InputError("no original image has a selection frequency that a new image has", item="new", remedy="Label more images.")
    tail = 50.0 * (1.0 - confidence)
    # In very small studies a draw can lack any common frequency; it has no naive value.
    low, high = np.nanpercentile(draws.with_bias(), (tail, 100.0 - tail), axis=-1)
    table = np.stack([values, low, high], axis=-1)
    table[3] *= 100.0  # the bias is in points, the accuracies are fractions
    rows = []
    for i, name in enumerate(names):
        naive, jackknife, corrected, bias = (Estimate(*numbers) for numbers in table[:, i].tolist())
        rows.append(MatchedAccuracy(name, float(measured[i]), naive, jackknife, corrected, bias, curve_of(point.coefficients[i, 0])))
    return tuple(rows)


def _resample(rng: np.random.Generator, weight: Floats, draws: int) -> Floats:
    return rng.multinomial(int(weight.sum()), weight / weight.sum(), size=draws).astype(np.float64)


def _prepare(
    original: AnnotationCounts,
    new: AnnotationCounts,
    hits: NDArray[np.bool_],
    pool: AnnotationCounts | None,
    parameters: MatchingParameters,
) -> _Cells:
    for name, counts in (("original", original), ("new", new), *((("pool", pool),) if pool is not None else ())):
        if not counts.labelled.any():
            raise InputError("no image has an assignment", item=name, remedy="Collect answers first.")
    source = new if pool is None else pool
    annotators = parameters.annotators or int(min(np.quantile(c.assignments[c.labelled], 0.05, method="lower") for c in (original, source)))
    if annotators <= parameters.leave_out:
        raise UsageError(
            f"{annotators} annotators per image are too few to leave {parameters.leave_out} out", item="annotators", remedy="Collect more."
        )
    if annotators > min(int(counts.assignments.max()) for counts in (original, source)):
        raise UsageError(
            f"no original or new image has as many as {annotators} assignments", item="annotators", remedy="Match on fewer annotators."
        )
    cells, pool_cells, known = count_cells(new), count_cells(source), new.take(new.labelled)
    where = _positions(known.assignments, known.selected, cells)
    right = np.stack([np.bincount(where[row], minlength=len(cells[0])) for row in hits[:, new.labelled]]).astype(np.float64)
    in_pool = None if pool is None else _positions(cells[0], cells[1], pool_cells)
    return _Cells(count_cells(original), pool_cells, cells, right, in_pool, annotators, _notes(original, source, new, annotators))


def _positions(n: Integers, k: Integers, cells: tuple[Integers, Integers, Floats]) -> Integers:
    """Position of each (n, k) among the cells, which are in increasing order."""
    radix = int(max(n.max(), cells[0].max())) + 1
    codes, wanted = cells[0] * radix + cells[1], n * radix + k
    at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    missing = np.flatnonzero(codes[at] != wanted)
    if len(missing):
        i = missing[0]
        raise InputError(
            f"new images with {k[i]} of {n[i]} selections, but no candidate has them", item="pool", remedy="Give the whole pool."
        )
    return at.astype(np.int64)


def _notes(original: AnnotationCounts, pool: AnnotationCounts, new: AnnotationCounts, annotators: int) -> tuple[str, ...]:
    notes = []
    for name, counts in (("original", original), ("pool", pool), ("new", new)):
        unlabelled, few = int((~counts.labelled).sum()), int((counts.labelled & (counts.assignments < annotators)).sum())
        if unlabelled:
            notes.append(f"{name}: {unlabelled} of {len(counts)} images have no assignment and are left out")
        if few:
            notes.append(f"{name}: {few} of {len(counts)} images have fewer than {annotators} assignments: not in naive and jackknife")
    return tuple(notes)


def _estimate(
    data: _Cells, draws: _Draws, p1: Floats, p2: Floats, parameters: MatchingParameters, *, start: Floats | None = None
) -> _Estimates:
    """Estimates for each draw; with ``start`` (curves of the data themselves) the mixtures are fitted anew to each."""
    n, d = data.annotators, parameters.leave_out
    full, fewer = _naive(data, draws, n), _naive(data, draws, n - d)
    b = len(draws.original)
    theta1, theta2 = np.repeat(p1, b, axis=0), np.repeat(p2, b, axis=0)
    if start is not None:
        theta1, _ = fit_cells(theta1, data.original[0], data.original[1], draws.original, em_steps=2)
        theta2, _ = fit_cells(theta2, data.pool[0], data.pool[1], draws.pool, em_steps=2)
    posterior = posterior_frequencies(data.new[0], data.new[1], theta2)
    coefficients = fit_curves(posterior, draws.images, draws.right, knots=parameters.knots, start=start)
    corrected = mean_accuracy(coefficients, theta1)
    return _Estimates(full, (n * full - (n - d) * fewer) / d, corrected, coefficients)


def _naive(data: _Cells, draws: _Draws, annotators: int) -> Floats:
    """Naive matched accuracy with some number of annotators, (m, b)."""
    original = draws.original @ _weights_of(data.original, annotators)
    table = _weights_of(data.new, annotators)
    weight = draws.images if data.in_pool is None else np.where(draws.images > 0, draws.pool[:, data.in_pool], 0.0)
    accuracy = np.divide(draws.right, draws.images, out=np.zeros_like(draws.right), where=draws.images > 0)
    images, right = weight @ table, (weight * accuracy) @ table
    accuracy_j = np.divide(right, images, out=np.zeros_like(right), where=images > 0)
    share = np.where(images > 0, original, 0.0)
    covered = share.sum(axis=-1)
    total = (share * accuracy_j).sum(axis=-1)
    result: Floats = np.divide(total, covered, out=np.full(total.shape, np.nan), where=covered > 0)
    return result


def _weights_of(cells: tuple[Integers, Integers, Floats], annotators: int) -> Floats:
    return np.nan_to_num(thin_counts(cells[0], cells[1], annotators))
