import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, norm

from retest.analysis import (
    AnalysisParameters,
    MatchingParameters,
    ModelPoint,
    PlanParameters,
    TwoSampleParameters,
    fit_accuracies,
    from_scale,
    mean_band,
    pair_models,
    prediction_band,
    to_scale,
)
from retest.errors import ConfigError, InputError, UsageError

FISHER = ("fv_4k", "fv_16k", "fv_64k")


def cloud(n=30, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 0.85, n)
    return [
        ModelPoint(f"m{i}", float(a), float(1.1 * a - 0.2 + e)) for i, (a, e) in enumerate(zip(x, rng.normal(0, noise, n), strict=True))
    ]


@pytest.mark.parametrize("scale", ["linear", "probit", "logit"])
def test_fit_equals_scipy(scale):
    points = cloud()
    f = {"linear": lambda p: 100 * p, "probit": norm.ppf, "logit": lambda p: np.log(p / (1 - p))}[scale]
    x, y = f(np.array([p.original for p in points])), f(np.array([p.new for p in points]))
    expected = linregress(x, y)
    fit = fit_accuracies(points, scale=scale, bootstrap=1000)
    assert (fit.slope, fit.intercept, fit.r2) == pytest.approx((expected.slope, expected.intercept, expected.rvalue**2))
    assert fit.residuals == pytest.approx(y - expected.slope * x - expected.intercept)
    assert to_scale(fit.predict(points[0].original), scale) == pytest.approx(expected.slope * x[0] + expected.intercept)


def test_bootstrap_equals_a_loop_of_polyfits():
    points = cloud(12)
    x, y = np.array([100 * p.original for p in points]), np.array([100 * p.new for p in points])
    rng = np.random.default_rng(5)
    lines = np.array([np.polyfit(x[i], y[i], 1) for i in rng.integers(0, 12, (8000, 12)) if len(set(i)) > 1])
    expected = np.percentile(lines, (2.5, 97.5), axis=0)
    fit = fit_accuracies(points, bootstrap=100_000, seed=1)
    spread = lines.std(axis=0)
    assert np.array([[fit.slope_low, fit.intercept_low], [fit.slope_high, fit.intercept_high]]) == pytest.approx(
        expected, abs=0.1 * spread.max()
    )
    assert abs(fit.slope_low - expected[0, 0]) < 0.12 * spread[0]
    assert abs(fit.slope_high - expected[1, 0]) < 0.12 * spread[0]


def test_bootstrap_is_reproducible_and_seeded():
    fits = [fit_accuracies(cloud(), bootstrap=2000, seed=seed) for seed in (3, 3, 4)]
    assert fits[0] == fits[1]
    assert fits[0].slope_low != fits[2].slope_low
    assert fits[0].slope == fits[2].slope


def test_bootstrap_interval_covers_the_true_slope():
    inside = sum(
        (fit := fit_accuracies(cloud(60, seed), bootstrap=1000, seed=seed)).slope_low <= 1.1 <= fit.slope_high for seed in range(200)
    )
    assert 0.88 <= inside / 200 <= 0.985


def test_sizes_of_one_model_are_drawn_together():
    # Every model at two sizes with equal accuracy: drawing pairs one by one would halve the variance.
    single = cloud(40)
    double = [ModelPoint(p.model, p.original, p.new, img_size=size) for p in single for size in (224, 288)]
    one, two = (fit_accuracies(points, bootstrap=20_000, seed=2) for points in (single, double))
    assert (two.n_models, two.n_distinct_models, two.models[:2]) == (80, 40, ("m0@224", "m0@288"))
    assert two.slope == pytest.approx(one.slope)
    assert (two.slope_low, two.slope_high) == pytest.approx((one.slope_low, one.slope_high))


def test_three_models_leave_out_draws_without_a_line():
    fit = fit_accuracies(cloud(3), bootstrap=30_000)
    # A draw of three is of one model only with probability 3 / 27.
    assert fit.bootstrap_degenerate / 30_000 == pytest.approx(1 / 9, abs=0.01)
    assert np.isfinite([fit.slope_low, fit.slope_high, fit.intercept_low, fit.intercept_high]).all()


def test_perfect_line():
    fit = fit_accuracies([ModelPoint(str(i), a, a / 2) for i, a in enumerate((0.2, 0.5, 0.9))], bootstrap=500)
    assert (fit.slope, fit.r2) == pytest.approx((0.5, 1.0))
    assert fit.intercept == pytest.approx(0.0, abs=1e-12)
    assert (fit.slope_low, fit.slope_high) == pytest.approx((0.5, 0.5))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 2), st.floats(-5, 5))
def test_line_is_equivariant_in_y(factor, shift):
    base = cloud(15)
    moved = [ModelPoint(p.model, p.original, (p.new * factor + shift / 100) / 3 + 0.1) for p in base]
    if not all(0 <= p.new <= 1 for p in moved):
        return
    a, b = fit_accuracies(base, bootstrap=200), fit_accuracies(moved, bootstrap=200)
    assert b.slope == pytest.approx(a.slope * factor / 3, abs=1e-9)
    assert b.slope_high == pytest.approx(a.slope_high * factor / 3, abs=1e-9)


def test_exclude_by_name_and_label_says_so():
    points = [*cloud(5), ModelPoint("big", 0.5, 0.4, img_size=224), ModelPoint("big", 0.6, 0.5, img_size=384)]
    assert fit_accuracies(points, exclude=["big"], bootstrap=100).models == tuple(f"m{i}" for i in range(5))
    fit = fit_accuracies(points, exclude=["big@224", "m0"], bootstrap=100)
    assert fit.excluded == ("m0", "big@224")
    assert "big@384" in fit.models
    assert fit.notes == ("left out by name: m0, big@224",)
    with pytest.raises(UsageError, match="exclude bigg: not among the 7 models compared"):
        fit_accuracies(points, exclude=["bigg"])


def test_accuracies_of_0_and_1_are_adjusted_openly():
    points = [*cloud(5), ModelPoint("perfect", 1.0, 0.0, 200, 100)]
    fit = fit_accuracies(points, scale="probit", bootstrap=100)
    assert (fit.x[-1], fit.y[-1]) == pytest.approx((norm.ppf(200.5 / 201), norm.ppf(0.5 / 101)))
    assert fit.notes[0] == "perfect: original accuracy 1 of 200 images taken as 0.997512 = (k + 0.5)/(n + 1)"
    assert len(fit.notes) == 2
    assert fit_accuracies(points, bootstrap=100).notes == ()
    unknown = [*cloud(5), ModelPoint("perfect", 1.0, 0.5)]
    with pytest.raises(InputError, match="perfect: original accuracy 1 has no logit and the size of the test set is unknown"):
        fit_accuracies(unknown, scale="logit")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (cloud(2), "2 model.s. are too few for a fit"),
        ([*cloud(3), cloud(1)[0]], "m0: comes twice"),
        ([*cloud(3), ModelPoint("x", 76.1, 0.6)], "x: accuracy 76.1 is no fraction"),
        ([ModelPoint(str(i), 0.5, 0.1 * i) for i in range(4)], "all models have the same original accuracy"),
    ],
)
def test_unusable_points_are_named(points, message):
    with pytest.raises(InputError, match=message):
        fit_accuracies(points)


@pytest.mark.parametrize("scale", ["linear", "logit"])
def test_bands_equal_statsmodels(scale):
    points = cloud(25)
    fit = fit_accuracies(points, scale=scale, bootstrap=100)
    at = np.array([0.4, 0.66, 0.9])
    model = sm.OLS(np.array(fit.y), sm.add_constant(np.array(fit.x))).fit()
    frame = model.get_prediction(sm.add_constant(to_scale(at, scale))).summary_frame(alpha=0.1)
    band, line = prediction_band(fit, at, confidence=0.9), mean_band(fit, at, confidence=0.9)
    assert to_scale(band.low, scale) == pytest.approx(frame["obs_ci_lower"].to_numpy())
    assert to_scale(band.high, scale) == pytest.approx(frame["obs_ci_upper"].to_numpy())
    assert to_scale(line.low, scale) == pytest.approx(frame["mean_ci_lower"].to_numpy())
    assert to_scale(line.new, scale) == pytest.approx(frame["mean"].to_numpy())


@pytest.mark.parametrize("band", [prediction_band, mean_band])
def test_a_line_over_two_models_has_no_band(band):
    fit = fit_accuracies(cloud(3), bootstrap=100)
    assert np.isfinite(band(fit, [0.5]).low).all()  # with three models there is one degree of freedom
    two = replace(fit, n_models=2, n_distinct_models=2, models=fit.models[:2], x=fit.x[:2], y=fit.y[:2], residuals=(0.0, 0.0))
    with pytest.raises(InputError, match=r"a line over 2 models leaves nothing .* needs at least 3 models"):
        band(two, [0.5])


@given(st.floats(0.001, 0.999), st.sampled_from(["linear", "probit", "logit"]))
def test_scales_invert(p, scale):
    assert from_scale(to_scale(p, scale), scale) == pytest.approx(p)


def test_pairs_are_the_intersection_and_say_so(published_rows):
    rows = [r for r in published_rows if not (r.dataset == "imagenetv2-b-33" and r.model == "alexnet")]
    paired = pair_models(rows, original="imagenet-validation-original", new="imagenetv2-b-33", metric="top5")
    assert len(paired.points) == 46
    assert paired.notes == ("1 model(s) have no counterpart and are left out, only on imagenet-validation-original: alexnet",)
    with pytest.raises(UsageError, match=r"c-12: no predictions for this test set. Test sets with predictions: imagenet-val"):
        pair_models(rows, original="imagenet-validation-original", new="c-12")


@pytest.mark.parametrize(("new", "slope"), [("imagenetv2-b-33", 1.1098), ("imagenetv2-a-44", 1.0954)])
def test_published_fits_are_near_the_published_lines(published_rows, new, slope):
    # 44 of the 64 published networks are at hand, so the line is near, not equal.
    points = pair_models(published_rows, original="imagenet-validation-original", new=new).points
    fit = fit_accuracies(points, exclude=FISHER, bootstrap=5000)
    assert fit.n_models == 44
    assert fit.slope == pytest.approx(slope, abs=0.02)
    assert fit.slope_low < slope < fit.slope_high
    expected = linregress(
        [100 * p.original for p in points if p.model not in FISHER], [100 * p.new for p in points if p.model not in FISHER]
    )
    assert (fit.slope, fit.intercept) == pytest.approx((expected.slope, expected.intercept))


def test_published_probit_fit_has_the_published_quality(published_rows):
    points = pair_models(published_rows, original="imagenet-validation-original", new="imagenetv2-b-33").points
    fit = fit_accuracies(points, scale="probit", bootstrap=2000)
    assert fit.slope == pytest.approx(0.9524, abs=0.01)
    assert fit.intercept == pytest.approx(-0.3160, abs=0.01)
    assert fit.r2 == pytest.approx(0.9983, abs=0.001)


def test_equal_new_accuracies_give_a_flat_line():
    fit = fit_accuracies([ModelPoint(str(i), a, 0.5) for i, a in enumerate((0.6, 0.7, 0.8))], bootstrap=100)
    assert (fit.slope, fit.intercept, fit.r2) == pytest.approx((0.0, 50.0, 1.0))


@pytest.mark.parametrize(
    ("settings", "item"),
    [
        ({"confidence": 95}, "confidence: the value must be a number between 0 and 1, ends excluded, not 95"),
        ({"interval": "wald"}, "interval: must be one of clopper-pearson, wilson, not 'wald'"),
        ({"bootstrap": 1}, "bootstrap: must be a whole number of at least 100, not 1"),
        ({"bootstrap": 100.5}, "bootstrap: must be a whole number"),
        ({"seed": -1}, "seed: must be a whole number of at least 0, not -1"),
    ],
)
def test_parameters_name_the_wrong_setting(settings, item):
    with pytest.raises(ConfigError, match=item):
        AnalysisParameters(**settings)


@pytest.mark.parametrize("kind", [AnalysisParameters, MatchingParameters, PlanParameters, TwoSampleParameters])
@pytest.mark.parametrize("seed", [-1, 0.5, True, "1"])
def test_a_seed_that_no_generator_takes_is_refused_at_once(kind, seed):
    with pytest.raises(ConfigError, match="seed: must be a whole number"):
        kind(seed=seed)


def test_the_seed_of_a_fit_is_checked():
    with pytest.raises(UsageError, match="seed: is -1, less than 0"):
        fit_accuracies([ModelPoint(str(i), a, a) for i, a in enumerate((0.6, 0.7, 0.8))], bootstrap=100, seed=-1)


def test_parameter_fields_are_plain_and_explained():
    for kind in (AnalysisParameters, MatchingParameters, PlanParameters, TwoSampleParameters):
        kind()
        for f in dataclasses.fields(kind):
            assert f.metadata["help"]
            assert f.default is not dataclasses.MISSING
            assert f.type in ("int", "float", "str", "bool", "int | None")
