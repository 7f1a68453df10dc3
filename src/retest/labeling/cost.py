"""What a plan costs before anything is spent: money in whole cents, hours, wage, and the precision that it buys."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Integral

from retest.errors import UsageError
from retest.labeling.plan import HitParameters
from retest.records import Hit
from retest.settings import check_count, check_number, plain_numbers

_MAX_ASSIGNMENTS = 1_000_000


@dataclass(frozen=True, slots=True)
@plain_numbers
class CostParameters:
    """Prices and pace. The defaults are Mechanical Turk's last published fees and the published study's reward."""

    reward_cents: int = field(
        default=10, metadata={"help": "paid to an annotator for one page, in cents", "derived_from": "crowd.reward_cents"}
    )
    fee_percent: int = field(default=20, metadata={"help": "the platform's fee in percent of the reward; 0 on your own server"})
    many_assignments_fee_percent: int = field(default=20, metadata={"help": "further fee in percent for pages with many annotators"})
    many_assignments: int = field(default=10, metadata={"help": "annotators per page from which the further fee is due"})
    min_fee_cents: int = field(default=1, metadata={"help": "smallest fee for one paid answer, in cents"})
    seconds_per_image: float = field(default=1.5, metadata={"help": "assumed pace of an annotator, in seconds per image"})
    expected_frequency: float = field(
        default=0.5, metadata={"help": "selection frequency at which the interval's width is stated; 0.5 is the widest"}
    )
    confidence: float = field(default=0.95, metadata={"help": "confidence of that interval"})

    def __post_init__(self) -> None:
        for name in ("reward_cents", "fee_percent", "many_assignments_fee_percent", "min_fee_cents"):
            check_count(name, getattr(self, name), remedy="Money is counted in whole cents, fees in whole percent.")
        check_count("many_assignments", self.many_assignments, low=1, remedy="Mechanical Turk's was 10.")
        check_number("seconds_per_image", self.seconds_per_image, ends=False, remedy="State seconds per image.")
        _check_interval_arguments(self.expected_frequency, self.confidence)


@dataclass(frozen=True, slots=True)
class PlanEstimate:
    """What a set of HITs asks for. Money in whole cents; ``hourly_wage_cents`` rounded down."""

    hits: int
    classes: int
    assignments: int
    images_to_label: int
    """Distinct (image, class) pairs that are labelled, without controls."""
    images_shown: int
    """Images on all pages, controls and repeats included, for one annotator each."""
    reward_cents: int
    fee_cents: int
    total_cents: int
    hours: float
    hourly_wage_cents: int
    seconds_per_image: float
    frequency_half_width: float
    """Expected half width of the interval of one image's selection frequency, as a fraction."""
    confidence: float


def fee_cents_per_assignment(parameters: CostParameters, assignments_per_hit: int) -> int:
    """The platform's fee for one paid answer, in whole cents, rounded up.

    ``fee_percent`` of the reward, plus ``many_assignments_fee_percent`` for HITs with at least ``many_assignments``
    assignments, at least ``min_fee_cents`` in all. Without a reward or a percentage there is no fee.
    """
    percent = parameters.fee_percent
    if assignments_per_hit >= parameters.many_assignments:
        percent += parameters.many_assignments_fee_percent
    if percent == 0 or parameters.reward_cents == 0:
        return 0
    return max(-(-parameters.reward_cents * percent // 100), parameters.min_fee_cents)


def estimate_plan(hits: Iterable[Hit], parameters: HitParameters, cost: CostParameters) -> PlanEstimate:
    """State what ``hits`` will cost and yield when each is answered ``assignments_per_hit`` times."""
    number = shown = 0
    labelled: set[tuple[str, str]] = set()
    classes: set[str] = set()
    for hit in hits:
        number += 1
        shown += len(hit.images_all)
        classes.add(hit.wnid)
        labelled.update((image, hit.wnid) for image in hit.images_to_label)
    assignments = number * parameters.assignments_per_hit
    reward = assignments * cost.reward_cents
    fee = assignments * fee_cents_per_assignment(cost, parameters.assignments_per_hit)
    hours = shown * parameters.assignments_per_hit * cost.seconds_per_image / 3600
    return PlanEstimate(
        hits=number,
        classes=len(classes),
        assignments=assignments,
        images_to_label=len(labelled),
        images_shown=shown,
        reward_cents=reward,
        fee_cents=fee,
        total_cents=reward + fee,
        hours=hours,
        hourly_wage_cents=math.floor(reward / hours) if hours else 0,
        seconds_per_image=cost.seconds_per_image,
        frequency_half_width=expected_half_width(
            parameters.assignments_per_hit, expected_frequency=cost.expected_frequency, confidence=cost.confidence
        ),
        confidence=cost.confidence,
    )


def expected_half_width(assignments: int, *, expected_frequency: float = 0.5, confidence: float = 0.95) -> float:
    """Expected half width of the Clopper-Pearson interval of a selection frequency after ``assignments`` answers.

    With k ~ Binomial(n, p) it is sum_k P(k) (U(k, n) - L(k, n)) / 2, where L and U are the exact interval's ends: the
    alpha/2 quantile of Beta(k, n-k+1) and the 1-alpha/2 quantile of Beta(k+1, n-k) (Clopper and Pearson 1934).

    Args:
        assignments: n, at least 1.
        expected_frequency: p, between 0 and 1.
        confidence: 1 - alpha.

    Raises:
        ConfigError: n is no whole number of at least 1, or p or the confidence out of range.
    """
    count = int(assignments) if isinstance(assignments, Integral) and not isinstance(assignments, bool) else assignments
    check_count("assignments", count, low=1, remedy="One answer is the least that gives an interval.")
    _check_interval_arguments(expected_frequency, confidence)
    return _half_width(count, expected_frequency, confidence)


@lru_cache(maxsize=1024)
def _half_width(n: int, p: float, confidence: float) -> float:
    import numpy as np
    from scipy.special import betaincinv
    from scipy.stats import binom

    tail = (1 - confidence) / 2
    low_k, high_k = (int(end) for end in binom.interval(1 - 1e-12, n, p))
    k = np.arange(low_k, high_k + 1, dtype=np.float64)
    inner_low, inner_high = np.maximum(k, 1), np.minimum(k, n - 1)
    lower = np.where(k == 0, 0.0, betaincinv(inner_low, n - inner_low + 1, tail))
    upper = np.where(k == n, 1.0, betaincinv(inner_high + 1, np.maximum(n - inner_high, 1), 1 - tail))
    return float(np.sum(binom.pmf(k, n, p) * (upper - lower)) / 2)


def assignments_for_width(half_width: float, *, expected_frequency: float = 0.5, confidence: float = 0.95) -> int:
    """The fewest assignments whose :func:`expected_half_width` is at most ``half_width``.

    Raises:
        UsageError: ``half_width`` is not between 0 and 0.5, or more than a million answers would be needed.
    """
    if not 0 < half_width < 0.5:
        raise UsageError(
            f"must be between 0 and 0.5, not {half_width!r}", item="half_width", remedy="For plus or minus 10 points give 0.1."
        )
    _check_interval_arguments(expected_frequency, confidence)
    enough = 1
    while _half_width(enough, expected_frequency, confidence) > half_width:
        enough *= 2
        if enough > _MAX_ASSIGNMENTS:
            raise UsageError(
                f"{half_width!r} needs more than {_MAX_ASSIGNMENTS} assignments", item="half_width", remedy="Ask for a wider interval."
            )
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if _half_width(middle, expected_frequency, confidence) <= half_width:
            enough = middle
        else:
            too_few = middle
    return enough


def _check_interval_arguments(expected_frequency: float, confidence: float) -> None:
    check_number("expected_frequency", expected_frequency, high=1.0, remedy="0.5 is the most cautious.")
    check_number("confidence", confidence, high=1.0, ends=False, remedy="0.95 is usual.")
