import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from retest.analysis import (
    MatchingScenario,
    PlanParameters,
    drop_power,
    images_for_half_width,
    images_for_power,
    interval_half_width,
    labelling_cost,
    mcnemar,
    paired_power,
    plan_study,
)
from retest.errors import ConfigError, UsageError


def test_half_width_equals_scipy_and_inverts():
    ci = binomtest(7500, 10_000).proportion_ci()
    assert interval_half_width(10_000, accuracy=0.75) == pytest.approx((ci.high - ci.low) / 2)
    n = images_for_half_width(0.01, accuracy=0.75)
    assert interval_half_width(n, accuracy=0.75) <= 0.01 < interval_half_width(n - 1, accuracy=0.75)
    assert interval_half_width(5, accuracy=1.0) == pytest.approx((1 - 0.025 ** (1 / 5)) / 2)


def test_drop_power_equals_simulation():
    rng = np.random.default_rng(0)
    n1, n2 = 2000, 800
    k1, k2 = rng.binomial(n1, 0.75, 40_000), rng.binomial(n2, 0.70, 40_000)
    pooled = (k1 + k2) / (n1 + n2)
    z = (k1 / n1 - k2 / n2) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    assert drop_power(n1, n2, accuracy=0.75, drop=0.05) == pytest.approx((z > 1.959964).mean(), abs=0.01)
    n = images_for_power(accuracy=0.75, drop=0.05, n_original=n1)
    assert drop_power(n1, n, accuracy=0.75, drop=0.05) >= 0.8 > drop_power(n1, n - 1, accuracy=0.75, drop=0.05)


def test_power_that_cannot_be_reached():
    with pytest.raises(UsageError, match="no number of images up to 100 million is enough"):
        images_for_power(accuracy=0.75, drop=0.001, n_original=1000)


@pytest.mark.parametrize(("n", "discordant", "difference"), [(1, 0.5, 0.2), (30, 0.3, 0.1), (200, 0.1, 0.05), (120, 0.2, 0.0)])
def test_paired_power_equals_enumeration(n, discordant, difference):
    better, worse = (discordant + difference) / 2, (discordant - difference) / 2
    m = np.arange(n + 1)
    expected = 0.0
    for b in m:
        c = m[: n - b + 1]
        p = binom.pmf(b, n, better) * binom.pmf(c, n - b, worse / (1 - better))
        expected += float(p[mcnemar(b, c) <= 0.05].sum())
    assert paired_power(n, discordant=discordant, difference=difference) == pytest.approx(expected, abs=1e-9)


def test_paired_power_equals_simulated_tests():
    rng = np.random.default_rng(1)
    draws = rng.multinomial(400, [0.09, 0.04, 0.87], size=500)
    rejected = np.mean([sm_mcnemar([[0, b], [c, 0]], exact=True).pvalue <= 0.05 for b, c, _ in draws])
    assert paired_power(400, discordant=0.13, difference=0.05) == pytest.approx(rejected, abs=0.07)
    assert paired_power(400, discordant=0.0, difference=0.0) == 0.0
    with pytest.raises(UsageError, match=r"difference: is 0.2, not between 0 and the discordant share 0.1"):
        paired_power(10, discordant=0.1, difference=0.2)


def test_cost_of_a_plan():
    cost = labelling_cost(classes=3, candidates_per_class=43, annotators=10, fee_percent=20)
    assert (cost.hits, cost.assignments, cost.reward_cents, cost.fee_cents, cost.cost_cents) == (6, 60, 600, 120, 720)
    assert labelling_cost(classes=1, candidates_per_class=1, annotators=1, reward_cents=1, fee_percent=20).cost_cents == 2


def test_plan_of_the_published_design():
    plan = plan_study(PlanParameters(replications=0))
    assert plan.n_new == 10_000
    assert plan.half_width_points == pytest.approx(100 * interval_half_width(10_000, accuracy=0.75))
    assert plan.power == drop_power(50_000, 10_000, accuracy=0.75, drop=0.02)
    assert drop_power(50_000, 10_000, accuracy=0.75, drop=plan.detectable_drop_points / 100) == pytest.approx(0.8, abs=1e-6)
    assert paired_power(10_000, discordant=0.1, difference=plan.detectable_paired_points / 100) == pytest.approx(0.8, abs=1e-3)
    assert plan.naive_bias_points == MatchingScenario().naive_bias_points(10)
    assert plan.cost.cost_cents == 700_000
    assert plan.simulated == ()


def test_simulated_bias_agrees_with_the_expected_one():
    small = PlanParameters(classes=2, per_class=5, candidates_per_class=20, n_annotated=100, annotators=5, replications=6)
    plan = plan_study(small)
    naive = plan.simulated[0]
    assert naive.estimator == "naive"
    assert naive.bias_points == pytest.approx(plan.naive_bias_points, abs=4 * naive.bias_error_points)
    assert plan.detectable_paired_points is None


def test_classes_as_a_sample_widen_the_interval():
    fixed, sampled = (plan_study(PlanParameters(classes=20, per_class=50, class_sd=sd, replications=0)) for sd in (0.0, 0.15))
    rng = np.random.default_rng(0)
    a, b = 0.75 * (0.75 * 0.25 / 0.15**2 - 1), 0.25 * (0.75 * 0.25 / 0.15**2 - 1)
    means = (rng.binomial(50, rng.beta(a, b, (4000, 20))) / 50).mean(axis=1)
    assert sampled.half_width_points == pytest.approx(196 * means.std(), rel=0.04)
    assert fixed.half_width_points < 0.8 * sampled.half_width_points


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": 0.8}, "drop: 0.8 is not below the accuracy 0.75. Plan for a smaller drop"),
        ({"classes": 0}, "classes: must be a whole number of at least 1, not 0"),
        ({"candidates_per_class": 5}, "candidates_per_class: must be a whole number of at least 10, not 5. Label at least per_class"),
        ({"class_sd": 0.6}, "class_sd: the value must be a number from 0 to 0.433013, not 0.6. At this accuracy no spread is larger"),
        ({"replications": 1}, "replications: one simulated study has no spread. Give at least 2, or 0 for none"),
        ({"annotators": 1}, "annotators: with one answer per image"),
    ],
)
def test_impossible_designs_are_named(settings, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        PlanParameters(**settings)


def test_a_design_with_one_answer_per_image_can_be_planned_without_simulation():
    assert plan_study(PlanParameters(annotators=1, replications=0)).simulated == ()


def test_an_original_set_without_images_is_refused():
    with pytest.raises(UsageError, match="n_original: is 0, less than 1"):
        images_for_power(accuracy=0.75, drop=0.02, n_original=0)
