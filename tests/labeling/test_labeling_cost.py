import numpy as np
import pytest
from scipy.stats import binom, binomtest

from retest.errors import ConfigError, UsageError
from retest.labeling import (
    ClassImages,
    CostParameters,
    HitParameters,
    assignments_for_width,
    estimate_plan,
    expected_half_width,
    fee_cents_per_assignment,
    plan_hits,
)


def plan(parameters):
    return plan_hits(
        [
            ClassImages("n01", tuple(f"a{n}" for n in range(90)), tuple(f"p{n}" for n in range(50)), tuple(f"n{n}" for n in range(50))),
            ClassImages("n02", tuple(f"b{n}" for n in range(10)), tuple(f"p{n}" for n in range(50)), tuple(f"n{n}" for n in range(50))),
        ],
        parameters,
    )


def test_the_published_settings_cost_what_mechanical_turk_charged():
    # 4 HITs x 10 assignments x 0.10 USD; the fee was 20 % and 20 % more from 10 assignments: 0.04 USD each.
    estimate = estimate_plan(plan(HitParameters()), HitParameters(), CostParameters())
    assert (estimate.hits, estimate.classes, estimate.assignments) == (4, 2, 40)
    assert (estimate.images_to_label, estimate.images_shown) == (100, 192)
    assert (estimate.reward_cents, estimate.fee_cents, estimate.total_cents) == (400, 160, 560)
    assert estimate.hours == pytest.approx(40 * 48 * 1.5 / 3600)
    assert estimate.hourly_wage_cents == 500  # 10 cents per 72 seconds


def test_twelve_dollars_an_hour_need_thirty_seconds_a_page():
    estimate = estimate_plan(plan(HitParameters()), HitParameters(), CostParameters(seconds_per_image=30 / 48))
    assert estimate.hourly_wage_cents == 1200


@pytest.mark.parametrize(
    ("reward", "assignments", "fee"),
    [(10, 10, 4), (10, 9, 2), (1, 9, 1), (1, 10, 1), (3, 10, 2), (7, 9, 2), (100, 10, 40), (0, 10, 0)],
)
def test_fee_in_whole_cents(reward, assignments, fee):
    assert fee_cents_per_assignment(CostParameters(reward_cents=reward), assignments) == fee


def test_no_fee_on_ones_own_server():
    assert fee_cents_per_assignment(CostParameters(fee_percent=0, many_assignments_fee_percent=0), 10) == 0


def test_an_empty_plan_costs_nothing():
    estimate = estimate_plan([], HitParameters(), CostParameters())
    assert (estimate.total_cents, estimate.hours, estimate.hourly_wage_cents) == (0, 0, 0)


def half_width_by_definition(n, p, confidence):
    intervals = [binomtest(k, n).proportion_ci(confidence, method="exact") for k in range(n + 1)]
    return sum(binom.pmf(k, n, p) * (interval.high - interval.low) / 2 for k, interval in enumerate(intervals))


@pytest.mark.parametrize("n", [1, 2, 10, 37])
@pytest.mark.parametrize("p", [0, 0.05, 0.5, 0.7, 1])
def test_half_width_equals_scipys_exact_interval(n, p):
    for confidence in (0.95, 0.8):
        ours = expected_half_width(n, expected_frequency=p, confidence=confidence)
        assert ours == pytest.approx(half_width_by_definition(n, p, confidence), rel=1e-9)


def test_the_estimate_states_the_half_width_of_its_assignments():
    estimate = estimate_plan([], HitParameters(assignments_per_hit=10), CostParameters(expected_frequency=0.7))
    assert estimate.frequency_half_width == pytest.approx(half_width_by_definition(10, 0.7, 0.95))


@pytest.mark.parametrize("p", [0.5, 0.7, 0.95, 1])
def test_the_half_width_falls_with_every_answer(p):
    # What the inverse relies on.
    widths = [expected_half_width(n, expected_frequency=p) for n in np.arange(1, 300)]
    assert np.all(np.diff(widths) < 0)


@pytest.mark.parametrize(("target", "p"), [(0.3, 0.5), (0.1, 0.7), (0.05, 0.5), (0.49, 0.5), (0.02, 0.9)])
def test_the_inverse_gives_the_fewest_assignments(target, p):
    n = assignments_for_width(target, expected_frequency=p)
    assert expected_half_width(n, expected_frequency=p) <= target
    assert n == 1 or expected_half_width(n - 1, expected_frequency=p) > target


def test_wrong_arguments_are_named():
    with pytest.raises(UsageError, match=r"half_width: must be between 0 and 0\.5, not 10"):
        assignments_for_width(10)
    with pytest.raises(UsageError, match="needs more than 1000000 assignments"):
        assignments_for_width(1e-6)
    with pytest.raises(ConfigError, match="assignments: must be a whole number of at least 1, not 0"):
        expected_half_width(0)
    with pytest.raises(ConfigError, match=r"reward_cents: must be a whole number of at least 0, not 0\.1"):
        CostParameters(reward_cents=0.1)
    with pytest.raises(ConfigError, match="seconds_per_image: the value must be a number above 0, not 0"):
        CostParameters(seconds_per_image=0)
    with pytest.raises(ConfigError, match="expected_frequency: the value must be a number from 0 to 1, not 70"):
        CostParameters(expected_frequency=70)
