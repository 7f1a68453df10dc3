"""Studies with a known truth: how large the bias of naive matching is, and how well its corrections do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from retest.analysis._checks import check_whole
from retest.analysis.frequency import AnnotationCounts
from retest.analysis.intervals import Estimate
from retest.analysis.matching import MatchingParameters, matching_bias
from retest.analysis.mixture import BetaMixture
from retest.errors import UsageError
from retest.settings import check_number, plain_numbers

Floats = NDArray[np.float64]

_QUADRATURE = 4000

_LIKE_IMAGENET = BetaMixture((0.25, 0.75), (0.9, 6.0), (1.5, 1.0))
_LIKE_FLICKR = BetaMixture((0.55, 0.45), (0.4, 4.0), (2.0, 1.5))


@dataclass(frozen=True, slots=True)
@plain_numbers
class MatchingScenario:
    """A made-up study: distributions of the true frequency s, and a model's accuracy ``g(s)``.

    The logit of the accuracy is a straight line in s from ``accuracy_at_0`` to ``accuracy_at_1``. The defaults resemble
    ImageNet's validation images (mean frequency 0.74) and candidates from a photo site (0.42).
    """

    original: BetaMixture = field(default=_LIKE_IMAGENET, metadata={"help": "true frequencies of original images"})
    pool: BetaMixture = field(default=_LIKE_FLICKR, metadata={"help": "true frequencies of candidates"})
    accuracy_at_0: float = field(default=0.25, metadata={"help": "accuracy on images that no annotator would select"})
    accuracy_at_1: float = field(default=0.88, metadata={"help": "accuracy on images that every annotator would select"})

    def __post_init__(self) -> None:
        for name in ("accuracy_at_0", "accuracy_at_1"):
            check_number(name, getattr(self, name), high=1.0, ends=False, remedy="Give a fraction, not in percent")

    def accuracy(self, s: ArrayLike) -> Floats:
        """Accuracy g(s) at true frequencies s, same shape."""
        low, high = logit(self.accuracy_at_0), logit(self.accuracy_at_1)
        result: Floats = expit(low + (high - low) * np.asarray(s, dtype=np.float64))
        return result

    def matched_accuracy(self) -> float:
        """The truth: ``integral g(s) p_original(s) ds``."""
        s, masses = _quadrature(self.original)
        return float(masses @ self.accuracy(s))

    def naive_accuracy(self, annotators: int) -> float:
        """What naive matching tends to with many images: ``sum_k P_original(k) E_pool[g(s) | k of n]``.

        Raises:
            UsageError: ``annotators`` is less than 1.
        """
        check_whole("annotators", annotators, 1)
        s, masses = _quadrature(self.pool)
        k = np.arange(annotators + 1)[:, None]
        joint = masses * s**k * (1.0 - s) ** (annotators - k)
        given_k = (joint @ self.accuracy(s)) / joint.sum(axis=1)
        return float(self.original.count_probabilities(annotators) @ given_k)

    def naive_bias_points(self, annotators: int) -> float:
        """Expected bias of naive matching in percentage points, negative where the new set becomes too hard."""
        return 100.0 * (self.naive_accuracy(annotators) - self.matched_accuracy())


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedStudy:
    """Counts of original images and of the pool; which candidates were chosen, and where a model is right on them."""

    original: AnnotationCounts
    pool: AnnotationCounts
    chosen: NDArray[np.intp]
    correct: NDArray[np.bool_]

    @property
    def new(self) -> AnnotationCounts:
        """Counts of the new images."""
        return self.pool.take(self.chosen)


@dataclass(frozen=True, slots=True)
class EstimatorCheck:
    """One estimator over simulated studies: mean error and its standard error, spread, and coverage of the interval."""

    estimator: str
    truth: float
    bias_points: float
    bias_error_points: float
    spread_points: float
    half_width_points: float
    coverage: float
    replications: int


def simulate_study(
    scenario: MatchingScenario, *, n_original: int, n_pool: int, n_new: int | None = None, annotators: int = 10, seed: int = 0
) -> SimulatedStudy:
    """Draw a study: every image gets ``annotators`` answers, Binomial(annotators, s).

    Args:
        scenario: the truth.
        n_original: number of original images with answers.
        n_pool: number of candidates.
        n_new: size of the new set, chosen from the pool so that its counts are distributed as the original images'
            (naive matching); None takes the whole pool.
        annotators: answers per image.
        seed: of all draws.

    Raises:
        UsageError: a number is too small, or the pool lacks candidates for the match.
    """
    for name, value in (("n_original", n_original), ("n_pool", n_pool), ("annotators", annotators)):
        check_whole(name, value, 1)
    if n_new is not None:
        check_whole("n_new", n_new, 1)
    check_whole("seed", seed, 0)
    rng = np.random.default_rng(seed)
    original = _answers(scenario.original.sample(n_original, rng), annotators, rng)
    true_pool = scenario.pool.sample(n_pool, rng)
    pool = _answers(true_pool, annotators, rng)
    chosen = np.arange(n_pool) if n_new is None else _match(original.selected, pool.selected, n_new, annotators, rng)
    correct = rng.random(len(chosen)) < scenario.accuracy(true_pool[chosen])
    return SimulatedStudy(original, pool, chosen, correct)


def check_estimators(
    scenario: MatchingScenario,
    *,
    n_original: int,
    n_pool: int,
    n_new: int | None = None,
    annotators: int = 10,
    replications: int = 200,
    parameters: MatchingParameters | None = None,
    seed: int = 0,
) -> list[EstimatorCheck]:
    """Bias, spread and coverage of the naive, jackknife and corrected accuracies over simulated studies.

    Args as :func:`simulate_study` and :func:`retest.analysis.matching_bias`; study r has the seed ``(seed, r)``.

    Raises:
        UsageError: a number is too small, or a simulated pool lacks candidates for the match.
    """
    check_whole("replications", replications, 2)
    check_whole("seed", seed, 0)
    truth = scenario.matched_accuracy()
    found: dict[str, list[Estimate]] = {"naive": [], "jackknife": [], "corrected": []}
    for r in range(replications):
        study_seed = int(np.random.SeedSequence((seed, r)).generate_state(1)[0])
        study = simulate_study(scenario, n_original=n_original, n_pool=n_pool, n_new=n_new, annotators=annotators, seed=study_seed)
        pool = None if n_new is None else study.pool
        row = matching_bias(study.original, study.new, study.correct, pool=pool, parameters=parameters).rows[0]
        for name, estimates in found.items():
            estimates.append(getattr(row, name))
    return [_check(name, truth, estimates) for name, estimates in found.items()]


def _check(name: str, truth: float, estimates: list[Estimate]) -> EstimatorCheck:
    errors = 100.0 * (np.array([e.value for e in estimates]) - truth)
    spread = float(errors.std(ddof=1))
    return EstimatorCheck(
        estimator=name,
        truth=truth,
        bias_points=float(errors.mean()),
        bias_error_points=spread / float(np.sqrt(len(errors))),
        spread_points=spread,
        half_width_points=50.0 * float(np.mean([e.high - e.low for e in estimates])),
        coverage=float(np.mean([e.low <= truth <= e.high for e in estimates])),
        replications=len(errors),
    )


def _answers(s: Floats, annotators: int, rng: np.random.Generator) -> AnnotationCounts:
    return AnnotationCounts(np.full(len(s), annotators, dtype=np.int64), rng.binomial(annotators, s).astype(np.int64))


def _match(original: NDArray[np.int64], pool: NDArray[np.int64], n_new: int, annotators: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Candidates whose histogram of counts is that of the original images (largest remainder)."""
    share = np.bincount(original, minlength=annotators + 1) * (n_new / len(original))
    target = np.floor(share).astype(np.int64)
    target[np.argsort(target - share, kind="stable")[: n_new - int(target.sum())]] += 1
    chosen = []
    for k, wanted in enumerate(target):
        candidates = np.flatnonzero(pool == k)
        if len(candidates) < wanted:
            raise UsageError(
                f"{len(candidates)} candidates with {k} of {annotators} selections, {wanted} wanted",
                item="n_pool",
                remedy="Simulate a larger pool or a smaller new set.",
            )
        chosen.append(rng.choice(candidates, size=wanted, replace=False))
    return np.concatenate(chosen)


def _quadrature(mixture: BetaMixture) -> tuple[Floats, Floats]:
    """Middles of fine intervals and the mixture's exact mass in each."""
    edges = np.sin(0.5 * np.pi * np.arange(_QUADRATURE + 1) / _QUADRATURE) ** 2
    return 0.5 * (edges[1:] + edges[:-1]), np.diff(mixture.cdf(edges))
