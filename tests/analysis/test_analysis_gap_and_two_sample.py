import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from retest.analysis import (
    Estimate,
    MatchedAccuracy,
    ModelPoint,
    TwoSampleParameters,
    clopper_pearson,
    decompose_gap,
    estimate_difference,
    two_sample_test,
)
from retest.analysis.curves import AccuracyCurve
from retest.analysis.two_sample import _auc, _permuted
from retest.errors import ConfigError, InputError

POINT = ModelPoint("resnet50", 0.7613, 0.6333, 50_000, 10_000)


def matched(value, low, high):
    e = Estimate(value, low, high)
    return MatchedAccuracy("resnet50", 0.6333, e, e, e, e, AccuracyCurve((0.0, 1.0), (0.0, 1.0)))


def test_parts_add_up_to_the_drop():
    parts = decompose_gap(POINT, matched=matched(0.7, 0.68, 0.715))
    assert parts.drop_points.value == pytest.approx(12.8)
    assert parts.frequency_points.value == pytest.approx(6.67)
    assert parts.frequency_points.value + parts.remainder_points.value == pytest.approx(parts.drop_points.value)
    low, high = clopper_pearson([38065, 6333], [50_000, 10_000])
    assert parts.generalisation_points.high == pytest.approx(100 * (high[1] - 0.6333))
    assert parts.generalisation_points.value == 0.0
    assert parts.original_chance_points.low == pytest.approx(100 * (0.7613 - high[0]))
    assert parts.remainder_points.high == pytest.approx(100 * (0.0613 + np.hypot(high[0] - 0.7613, 0.7 - 0.68)))
    assert parts.remainder_points.low == pytest.approx(100 * (0.0613 - np.hypot(0.7613 - low[0], 0.715 - 0.7)))


def test_without_frequencies_parts_stay_unknown():
    parts = decompose_gap(POINT)
    assert (parts.frequency_points, parts.remainder_points) == (None, None)
    assert "cannot be told apart" in parts.assumptions[-1]
    with pytest.raises(InputError, match="x: the numbers of images are unknown"):
        decompose_gap(ModelPoint("x", 0.7, 0.6))


def test_drop_interval_covers():
    rng = np.random.default_rng(0)
    k = rng.binomial([500, 200], [0.8, 0.7], size=(1000, 2))
    inside = 0
    for a, b in k:
        drop = decompose_gap(ModelPoint("m", a / 500, b / 200, 500, 200)).drop_points
        inside += drop.low <= 10 <= drop.high
    assert 0.94 <= inside / 1000 <= 0.985


def test_difference_of_symmetric_intervals_is_the_usual_one():
    z = norm.ppf(0.975)
    result = estimate_difference(Estimate(3, 3 - z * 0.3, 3 + z * 0.3), Estimate(1, 1 - z * 0.4, 1 + z * 0.4))
    assert (result.low, result.high) == pytest.approx((2 - z * 0.5, 2 + z * 0.5))


def test_auc_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=(3, 50)), rng.random((3, 50)) < 0.3
    assert _auc(scores, positive) == pytest.approx([roc_auc_score(positive[j], scores[j]) for j in range(3)])
    assert _auc(scores, np.ones((3, 50), dtype=bool)).tolist() == [0.5] * 3


def test_statistic_equals_a_cross_validated_ridge_classifier():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 10)), rng.normal(0.25, 1, size=(200, 10))
    result = two_sample_test(a, b, parameters=TwoSampleParameters(permutations=19, seed=3))
    x, y = np.concatenate([a, b]), np.repeat([0, 1], [300, 200])
    values = []
    for seed in range(8):
        fold = np.random.default_rng(seed).permutation(500) % 5
        for part in range(5):
            model = RidgeClassifier(alpha=0.01 * 400).fit(x[fold != part], y[fold != part])
            values.append(roc_auc_score(y[fold == part], model.decision_function(x[fold == part])))
    assert result.auc == pytest.approx(np.mean(values), abs=0.025)
    assert 0.6 < result.balanced_accuracy < result.auc
    assert (result.n_original, result.n_new, result.n_features) == (300, 200, 10)


def test_p_values_are_uniform_when_nothing_differs_and_small_when_something_does():
    parameters = TwoSampleParameters(folds=3, permutations=99)
    p = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        p.append(two_sample_test(rng.normal(size=(45, 5)), rng.normal(size=(30, 5)), parameters=parameters).p_value)
    assert kstest(np.array(p) - np.random.default_rng(0).uniform(0, 0.01, 120), "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.11
    rng = np.random.default_rng(7)
    shifted = two_sample_test(rng.normal(size=(45, 5)), rng.normal(1.0, 1, size=(30, 5)), parameters=parameters)
    assert shifted.p_value == 0.01
    assert shifted.auc > shifted.null_auc_high > shifted.null_auc_mean


def test_strata_remove_differences_of_class_shares():
    rng = np.random.default_rng(2)
    classes = [np.repeat([0, 1], [150, 50]), np.repeat([0, 1], [50, 150])]
    sets = [rng.normal(size=(200, 4)) + 3 * c[:, None] for c in classes]
    parameters = TwoSampleParameters(permutations=199)
    assert two_sample_test(*sets, parameters=parameters).p_value == 0.005
    assert two_sample_test(*sets, strata=tuple(classes), parameters=parameters).p_value > 0.05


def test_labels_are_exchanged_within_groups_only():
    rng = np.random.default_rng(0)
    groups, is_new = rng.integers(0, 3, 60), rng.random(60) < 0.5
    drawn = _permuted(is_new, groups, 50, rng)
    for g in range(3):
        assert (drawn[:, groups == g].sum(axis=1) == is_new[groups == g].sum()).all()
    assert len({row.tobytes() for row in drawn}) == 50


def test_wide_features_are_reduced_without_the_labels():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(300, 700)), rng.normal(size=(300, 700))
    b[:, 0] += 30
    result = two_sample_test(a, b, parameters=TwoSampleParameters(permutations=19, components=5))
    assert result.auc == 1.0
    assert result.p_value == 0.05


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((20, 2)), np.zeros((20, 3)), r"features of shapes \(20, 2\) and \(20, 3\) do not fit"),
        (np.zeros((20, 2)), np.zeros((9, 2)), "new: 9 images are too few for 5 folds"),
        (np.full((20, 2), np.nan), np.zeros((20, 2)), "original: features are not finite"),
        (np.zeros((20, 2)), np.zeros((20, 2)), "all images have the same features"),
    ],
)
def test_unusable_features_are_named(a, b, message):
    with pytest.raises(InputError, match=message):
        two_sample_test(a, b)


def test_parameters_and_strata_are_checked():
    with pytest.raises(ConfigError, match="permutations: must be a whole number of at least 19, not 5"):
        TwoSampleParameters(permutations=5)
    with pytest.raises(ConfigError, match="seed: must be a whole number from 0 to 4294967295"):
        TwoSampleParameters(seed=2**32)
    with pytest.raises(InputError, match="strata: 21 strata for 40 images"):
        two_sample_test(np.zeros((20, 2)), np.zeros((20, 2)), strata=(np.zeros(20), np.zeros(1)))
