"""Planning a study: interval widths, power, expected matching bias and cost of a design."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, gammaln, ndtr, ndtri, xlogy

from retest.analysis._checks import check_fraction, check_open_fraction, check_whole
from retest.analysis.matching import MatchingParameters
from retest.analysis.matching_simulation import EstimatorCheck, MatchingScenario, check_estimators
from retest.errors import ConfigError, UsageError
from retest.settings import check_count, check_number, plain_numbers

Floats = NDArray[np.float64]

_MOST_IMAGES = 100_000_000
_LEAST_POOL = 20_000


@dataclass(frozen=True, slots=True)
@plain_numbers
class PlanParameters:
    """A planned study. The defaults are those of ImageNetV2."""

    classes: int = field(default=1000, metadata={"help": "number of classes"})
    per_class: int = field(default=10, metadata={"help": "new images per class"})
    candidates_per_class: int = field(default=200, metadata={"help": "candidates to label per class"})
    annotators: int = field(default=10, metadata={"help": "answers per candidate"})
    n_original: int = field(default=50_000, metadata={"help": "images of the original test set"})
    n_annotated: int = field(default=20_000, metadata={"help": "original images with selection frequencies"})
    accuracy: float = field(default=0.75, metadata={"help": "accuracy that a typical model has on the original test set"})
    drop: float = field(default=0.02, metadata={"help": "accuracy drop that the study must detect (fraction)"})
    discordant: float = field(default=0.1, metadata={"help": "share of images that one of two compared models alone gets right"})
    class_sd: float = field(
        default=0.0, metadata={"help": "spread of accuracy between classes, where the classes are a sample of more (0: they are all)"}
    )
    confidence: float = field(default=0.95, metadata={"help": "coverage of intervals; 1 - confidence is the level of tests"})
    power: float = field(default=0.8, metadata={"help": "probability with which a difference is to be detected"})
    candidates_per_hit: int = field(default=42, metadata={"help": "candidates per labelling task"})
    reward_cents: int = field(default=10, metadata={"help": "reward per assignment in whole cents"})
    fee_percent: float = field(default=40.0, metadata={"help": "the platform's fee (Mechanical Turk: 20, and 40 from 10 assignments)"})
    replications: int = field(default=20, metadata={"help": "simulated studies for the expected matching bias: 2 or more, or 0 (none)"})
    seed: int = field(default=0, metadata={"help": "seed of the simulation"})

    def __post_init__(self) -> None:
        for name in ("classes", "per_class", "annotators", "n_original", "n_annotated", "candidates_per_hit"):
            check_count(name, getattr(self, name), low=1)
        check_count("candidates_per_class", self.candidates_per_class, low=self.per_class, remedy="Label at least per_class")
        for name in ("accuracy", "drop", "discordant", "confidence", "power"):
            check_number(name, getattr(self, name), high=1.0, ends=False, remedy="Give a fraction, not in percent")
        if self.drop >= self.accuracy:
            raise ConfigError(f"{self.drop} is not below the accuracy {self.accuracy}", item="drop", remedy="Plan for a smaller drop")
        most = math.sqrt(self.accuracy * (1 - self.accuracy))
        check_number("class_sd", self.class_sd, high=most, remedy="At this accuracy no spread is larger")
        check_number("fee_percent", self.fee_percent)
        for name in ("reward_cents", "replications", "seed"):
            check_count(name, getattr(self, name))
        self._check_simulation()

    def _check_simulation(self) -> None:
        if self.replications == 1:
            raise ConfigError("one simulated study has no spread", item="replications", remedy="Give at least 2, or 0 for none")
        if self.replications and self.annotators < 2:
            problem = "with one answer per image there is nothing to correct the noise of frequencies by"
            raise ConfigError(problem, item="annotators", remedy="Give at least 2, or replications = 0")


@dataclass(frozen=True, slots=True)
class LabellingCost:
    """Work and money of labelling; ``cost_cents`` includes the fee, rounded up to whole cents."""

    hits: int
    assignments: int
    reward_cents: int
    fee_cents: int
    cost_cents: int


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a design can tell. Differences and widths are percentage points of accuracy.

    ``half_width_points`` belongs to the interval of one model's new accuracy; ``power`` to the test of the drop asked
    for; ``detectable_drop_points`` and ``detectable_paired_points`` are found with the probability asked for, between
    test sets and between two models on the new set. ``naive_bias_points`` is the expected bias of matching on observed
    frequencies in the assumed scenario (many images), ``simulated`` what the estimators do in simulated studies of the
    planned size (of 20,000 candidates at least).
    """

    parameters: PlanParameters
    n_new: int
    half_width_points: float
    power: float
    detectable_drop_points: float | None
    detectable_paired_points: float | None
    naive_bias_points: float
    simulated: tuple[EstimatorCheck, ...]
    cost: LabellingCost


def plan_study(parameters: PlanParameters | None = None, *, scenario: MatchingScenario | None = None) -> StudyPlan:
    """Interval width, power, expected matching bias and cost of a planned study.

    Args:
        parameters: the design.
        scenario: assumed distributions of true frequencies; see :class:`retest.analysis.MatchingScenario`.

    Raises:
        UsageError: studies are to be simulated and, in this scenario, a pool lacks candidates for the match.
    """
    p, scenario = parameters or PlanParameters(), scenario or MatchingScenario()
    n_new, alpha = p.classes * p.per_class, 1.0 - p.confidence
    return StudyPlan(
        parameters=p,
        n_new=n_new,
        half_width_points=100.0 * _half_width(p),
        power=drop_power(p.n_original, n_new, accuracy=p.accuracy, drop=p.drop, alpha=alpha),
        detectable_drop_points=_in_points(
            _smallest(lambda d: drop_power(p.n_original, n_new, accuracy=p.accuracy, drop=d, alpha=alpha), p.accuracy, p.power)
        ),
        detectable_paired_points=_in_points(
            _smallest(lambda d: paired_power(n_new, discordant=p.discordant, difference=d, alpha=alpha), p.discordant, p.power)
        ),
        naive_bias_points=scenario.naive_bias_points(p.annotators),
        simulated=_simulated(p, scenario),
        cost=labelling_cost(
            classes=p.classes,
            candidates_per_class=p.candidates_per_class,
            annotators=p.annotators,
            candidates_per_hit=p.candidates_per_hit,
            reward_cents=p.reward_cents,
            fee_percent=p.fee_percent,
        ),
    )


def interval_half_width(n: int, *, accuracy: float, confidence: float = 0.95) -> float:
    """Half the width of the Clopper-Pearson interval at the expected number ``n * accuracy`` of right answers; a fraction.

    Args:
        n: number of images.
        accuracy: expected accuracy.
        confidence: coverage.

    Raises:
        UsageError: ``n`` is less than 1, or ``accuracy`` or ``confidence`` is no fraction.
    """
    check_whole("n", n, 1)
    check_fraction("accuracy", accuracy)
    check_open_fraction("confidence", confidence)
    k, tail = n * accuracy, 0.5 * (1.0 - confidence)  # not rounded, so that the width falls steadily with n
    low = betaincinv(k, n - k + 1.0, tail) if k > 0 else 0.0
    high = betaincinv(k + 1.0, n - k, 1.0 - tail) if k < n else 1.0
    return 0.5 * float(high - low)


def images_for_half_width(half_width: float, *, accuracy: float, confidence: float = 0.95) -> int:
    """Number of images from which on the interval is at most as wide; see :func:`interval_half_width`.

    Raises:
        UsageError: an argument is no fraction, or more than 100 million images would be needed.
    """
    check_open_fraction("half_width", half_width)
    return _first(lambda n: interval_half_width(n, accuracy=accuracy, confidence=confidence) <= half_width)


def drop_power(n_original: int, n_new: int, *, accuracy: float, drop: float, alpha: float = 0.05) -> float:
    """Probability that a two-sided test of two independent proportions finds a drop (Fleiss et al. 2003, section 4.3).

    ``Phi((|d| - z_(1-alpha/2) se_0) / se_1)`` with se_0 from the pooled and se_1 from the two accuracies (without
    continuity correction; the tail on the wrong side is left out).

    Args:
        n_original: images of the original test set.
        n_new: images of the new one.
        accuracy: on the original set.
        drop: original - new accuracy, a fraction.
        alpha: level of the test.

    Raises:
        UsageError: there are no images in a set, or an accuracy or ``alpha`` is no fraction.
    """
    check_whole("n_original", n_original, 1)
    check_whole("n_new", n_new, 1)
    check_open_fraction("alpha", alpha)
    check_fraction("accuracy", accuracy)
    check_fraction("accuracy - drop", accuracy - drop)
    p1, p2 = accuracy, accuracy - drop
    pooled = (n_original * p1 + n_new * p2) / (n_original + n_new)
    se_0 = math.sqrt(pooled * (1 - pooled) * (1 / n_original + 1 / n_new))
    se_1 = math.sqrt(p1 * (1 - p1) / n_original + p2 * (1 - p2) / n_new)
    excess = abs(drop) - float(ndtri(1 - alpha / 2)) * se_0
    return float(ndtr(excess / se_1)) if se_1 > 0 else float(excess > 0)


def images_for_power(*, accuracy: float, drop: float, power: float = 0.8, n_original: int | None = None, alpha: float = 0.05) -> int:
    """Number of new images with which a drop is found with some probability; see :func:`drop_power`.

    Args:
        accuracy: on the original set.
        drop: to detect, a fraction, not 0.
        power: probability of detecting it.
        n_original: images of the original set; None: as many as of the new one.
        alpha: level of the test.

    Raises:
        UsageError: an argument is out of range, or no number up to 100 million is enough (for instance because the original set
            is too small).
    """
    check_open_fraction("power", power)
    if n_original is not None:
        check_whole("n_original", n_original, 1)
    return _first(lambda n: drop_power(n if n_original is None else n_original, n, accuracy=accuracy, drop=drop, alpha=alpha) >= power)


def paired_power(n: int, *, discordant: float, difference: float, alpha: float = 0.05) -> float:
    """Exact power of McNemar's exact test on n images.

    The number of discordant images is Binomial(n, discordant); given m of them those of the better model are
    Binomial(m, (1 + difference / discordant) / 2), and the test rejects where
    ``2 P(Binomial(m, 1/2) <= min(b, m - b)) <= alpha``.

    Args:
        n: number of images.
        discordant: share of images that exactly one of the two models gets right.
        difference: of the accuracies, a fraction, at most ``discordant``.
        alpha: level of the test.

    Raises:
        UsageError: ``n`` is less than 1, a share is impossible or ``alpha`` no fraction.
    """
    check_whole("n", n, 1)
    check_open_fraction("alpha", alpha)
    check_fraction("discordant", discordant)
    if not 0.0 <= difference <= discordant:
        raise UsageError(
            f"is {difference}, not between 0 and the discordant share {discordant}", item="difference", remedy="Give a smaller difference."
        )
    if discordant == 0.0:
        return 0.0
    spread = 8.0 * math.sqrt(n * discordant * (1 - discordant)) + 8.0
    m = np.arange(max(0, math.floor(n * discordant - spread)), min(n, math.ceil(n * discordant + spread)) + 1)
    weight = np.exp(gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1) + xlogy(m, discordant) + xlogy(n - m, 1 - discordant))
    critical = _critical(m, alpha)
    better = 0.5 * (1.0 + difference / discordant)
    reject = np.where(critical >= 0, _cdf(critical, m, better) + _cdf(critical, m, 1.0 - better), 0.0)
    return float(min(1.0, weight @ reject))


def labelling_cost(
    *,
    classes: int,
    candidates_per_class: int,
    annotators: int = 10,
    candidates_per_hit: int = 42,
    reward_cents: int = 10,
    fee_percent: float = 40.0,
) -> LabellingCost:
    """Number of labelling tasks and their cost: ``ceil(candidates / per HIT)`` tasks per class, times annotators.

    Args:
        classes: number of classes.
        candidates_per_class: candidates to label in each.
        annotators: assignments per task.
        candidates_per_hit: candidates on one page (controls come on top).
        reward_cents: per assignment.
        fee_percent: the platform's share on top of the rewards.

    Raises:
        UsageError: a number is too small.
    """
    values = {"classes": classes, "candidates_per_class": candidates_per_class, "annotators": annotators}
    for name, value in (*values.items(), ("candidates_per_hit", candidates_per_hit)):
        check_whole(name, value, 1)
    check_whole("reward_cents", reward_cents, 0)
    if not fee_percent >= 0:
        raise UsageError(f"is {fee_percent}, less than 0", item="fee_percent", remedy="Give the fee in percent of the reward.")
    hits = classes * -(-candidates_per_class // candidates_per_hit)
    rewards = hits * annotators * reward_cents
    fee = math.ceil(rewards * fee_percent / 100 - 1e-9)
    return LabellingCost(hits, hits * annotators, rewards, fee, rewards + fee)


def _simulated(p: PlanParameters, scenario: MatchingScenario) -> tuple[EstimatorCheck, ...]:
    """Estimators on simulated studies of the planned size, or of the least size where every match can be made."""
    if p.replications == 0:
        return ()
    n_pool = max(p.classes * p.candidates_per_class, _LEAST_POOL)
    checks = check_estimators(
        scenario,
        n_original=max(p.n_annotated, _LEAST_POOL // 10),
        n_pool=n_pool,
        n_new=min(max(p.classes * p.per_class, _LEAST_POOL // 10), n_pool // 10),
        annotators=p.annotators,
        replications=p.replications,
        parameters=MatchingParameters(bootstrap=100, confidence=p.confidence),
        seed=p.seed,
    )
    return tuple(checks)


def _half_width(p: PlanParameters) -> float:
    n = p.classes * p.per_class
    if p.class_sd == 0.0:
        return interval_half_width(n, accuracy=p.accuracy, confidence=p.confidence)
    within = p.accuracy * (1 - p.accuracy) - p.class_sd**2
    return float(ndtri(0.5 + p.confidence / 2)) * math.sqrt(within / n + p.class_sd**2 / p.classes)


def _critical(m: NDArray[np.int64], alpha: float) -> NDArray[np.int64]:
    """Largest c with ``2 P(Binomial(m, 1/2) <= c) <= alpha``; -1 where none."""
    c = np.floor(0.5 * m + 0.5 * ndtri(alpha / 2) * np.sqrt(m)).astype(np.int64) + 2
    while True:
        too_large = (c >= 0) & (2.0 * _cdf(c, m, 0.5) > alpha)
        if not too_large.any():
            largest: NDArray[np.int64] = np.maximum(c, -1)
            return largest
        c = np.where(too_large, c - 1, c)


def _cdf(c: NDArray[np.int64], m: NDArray[np.int64], p: float) -> Floats:
    inside = np.clip(c, 0, np.maximum(m, 1)).astype(np.float64)
    values: Floats = bdtr(inside, np.maximum(m, 1), p)
    return np.where(c < 0, 0.0, np.where(m == 0, 1.0, values))


def _smallest(power: Callable[[float], float], most: float, wanted: float) -> float | None:
    """Smallest difference up to ``most`` with the wanted power, by bisection; None if there is none."""
    low, high = 0.0, most
    if power(high) < wanted:
        return None
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if power(middle) >= wanted else (middle, high)
    return high


def _in_points(fraction: float | None) -> float | None:
    return None if fraction is None else 100.0 * fraction


def _first(enough: Callable[[int], bool]) -> int:
    """Smallest n with ``enough(n)``, for a condition that stays true once it is."""
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST_IMAGES:
            raise UsageError("no number of images up to 100 million is enough", item="images", remedy="Ask for less, or enlarge both sets.")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
