"""Bias of matching on noisy frequencies: parts against brute force, the whole against studies with a known truth."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit

from retest.analysis import (
    AnnotationCounts,
    BetaMixture,
    MatchingParameters,
    MatchingScenario,
    check_estimators,
    fit_beta_mixture,
    held_out_gap,
    matching_bias,
    simulate_study,
    thin_counts,
)
from retest.analysis.curves import curve_of, mean_accuracy, posterior_frequencies
from retest.analysis.mixture import _em_step, count_cells, fit_cells, log_likelihood, pack
from retest.errors import ConfigError, InputError, UsageError

MIXTURE = BetaMixture((0.3, 0.7), (0.7, 6.0), (1.5, 1.2))
SCENARIO = MatchingScenario()


def counts_of(mixture, size, annotators=10, seed=0):
    rng = np.random.default_rng(seed)
    n = np.full(size, annotators) if np.isscalar(annotators) else rng.choice(annotators, size)
    return AnnotationCounts(n, rng.binomial(n, mixture.sample(size, rng)))


def reference_log_likelihood(mixture, counts):
    """By scipy's beta-binomial, less the binomial coefficients."""
    n, k = counts.assignments, counts.selected
    p = sum(w * stats.betabinom.pmf(k, n, a, b) for w, a, b in zip(mixture.weights, mixture.alpha, mixture.beta, strict=True))
    return float(np.log(p).sum() - np.log(stats.binom.pmf(k, n, 0.5) * 2.0**n).sum())


def test_count_probabilities_and_cdf_equal_scipy():
    k = np.arange(13)
    expected = 0.3 * stats.betabinom.pmf(k, 12, 0.7, 1.5) + 0.7 * stats.betabinom.pmf(k, 12, 6.0, 1.2)
    assert MIXTURE.count_probabilities(12) == pytest.approx(expected)
    assert float(MIXTURE.cdf(0.4)) == pytest.approx(0.3 * stats.beta.cdf(0.4, 0.7, 1.5) + 0.7 * stats.beta.cdf(0.4, 6.0, 1.2))
    assert MIXTURE.mean == pytest.approx(0.3 * 0.7 / 2.2 + 0.7 * 6 / 7.2)
    assert MIXTURE.sample(200_000, np.random.default_rng(0)).mean() == pytest.approx(MIXTURE.mean, abs=0.005)


@pytest.mark.parametrize("annotators", [10, [5, 10, 14]])
def test_fit_reaches_the_maximum_that_a_general_optimiser_finds(annotators):
    counts = counts_of(MIXTURE, 3000, annotators)
    fitted = fit_beta_mixture(counts, components=2)

    def loss(theta):
        w = expit(theta[0])
        return -reference_log_likelihood(BetaMixture((w, 1 - w), tuple(np.exp(theta[1:3])), tuple(np.exp(theta[3:5]))), counts)

    start = np.concatenate([[-0.8], np.log([0.7, 6.0]), np.log([1.5, 1.2])])
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-3})
    assert fitted.log_likelihood == pytest.approx(reference_log_likelihood(fitted, counts), abs=1e-6)
    assert fitted.log_likelihood == pytest.approx(-best.fun, abs=1e-3)
    assert fitted.mean == pytest.approx(MIXTURE.mean, abs=0.015)
    assert fitted.n_images == 3000


def test_em_never_lowers_the_likelihood():
    n, k, weight = count_cells(counts_of(MIXTURE, 500, [3, 10]))
    theta, values = pack(BetaMixture((0.5, 0.5), (1.0, 3.0), (3.0, 1.0))), []
    for steps in range(0, 40, 4):
        values.append(float(log_likelihood(theta, n, k, weight[None])[0]))
        for _ in range(4 if steps else 1):
            theta = _em_step(theta, n, k, weight[None])
    assert (np.diff(values) > 0).all()


def test_batched_fits_equal_single_ones():
    n, k, weight = count_cells(counts_of(MIXTURE, 800))
    weights = np.random.default_rng(0).multinomial(800, weight / 800, size=5).astype(float)
    start = pack(MIXTURE)
    _, together = fit_cells(np.repeat(start, 5, axis=0), n, k, weights)
    single = [fit_cells(start, n, k, row[None])[1][0] for row in weights]
    assert together == pytest.approx(single, abs=1e-3)


def test_one_answer_per_image_says_nothing():
    with pytest.raises(InputError, match="no image has two assignments or more"):
        fit_beta_mixture(AnnotationCounts(np.array([1, 1, 0]), np.array([0, 1, 0])))
    with pytest.raises(UsageError, match="alpha and beta positive"):
        BetaMixture((1.0,), (0.0,), (1.0,))
    with pytest.raises(UsageError, match="differ in length"):
        BetaMixture((1.0,), (1.0, 2.0), (1.0,))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_thinning_equals_all_choices_of_annotators(answers, m):
    table = thin_counts(np.array([len(answers)]), np.array([sum(answers)]), m)[0]
    if m > len(answers):
        assert np.isnan(table).all()
        return
    sums = [sum(choice) for choice in combinations(answers, m)]
    assert table == pytest.approx(np.bincount(sums, minlength=m + 1) / len(sums))


def test_naive_and_jackknife_equal_brute_force_over_answers():
    rng = np.random.default_rng(0)
    votes1, votes2 = rng.random((400, 4)) < rng.beta(4, 1, (400, 1)), rng.random((500, 4)) < rng.beta(1.5, 1, (500, 1))
    correct = rng.random(500) < 0.7

    def naive(columns):
        s1, s2 = votes1[:, columns].sum(axis=1), votes2[:, columns].sum(axis=1)
        return sum((s1 == j).mean() * correct[s2 == j].mean() for j in range(len(columns) + 1))

    full = naive([0, 1, 2, 3])
    # Counts over all choices of three annotators at once: shares and accuracies are ratios of sums over the choices.
    p, hit, seen = np.zeros(4), np.zeros(4), np.zeros(4)
    for columns in combinations(range(4), 3):
        s1, s2 = votes1[:, columns].sum(axis=1), votes2[:, columns].sum(axis=1)
        p += np.bincount(s1, minlength=4) / 4 / 400
        hit += np.bincount(s2, weights=correct, minlength=4)
        seen += np.bincount(s2, minlength=4)
    fewer = (p * hit / seen).sum()
    four = np.full(500, 4)
    result = matching_bias(
        AnnotationCounts(four[:400], votes1.sum(axis=1)),
        AnnotationCounts(four, votes2.sum(axis=1)),
        correct,
        parameters=MatchingParameters(components=1, knots=2, bootstrap=50),
    )
    assert result.annotators == 4
    assert result.rows[0].naive.value == pytest.approx(full)
    assert result.rows[0].jackknife.value == pytest.approx(4 * full - 3 * fewer)
    assert result.rows[0].measured == correct.mean()


def test_jackknife_of_a_matched_set_weights_accuracies_by_the_pool():
    study = simulate_study(SCENARIO, n_original=3000, n_pool=20_000, n_new=1000, annotators=4, seed=9)
    share, pool = (np.bincount(c.selected, minlength=5) / len(c) for c in (study.original, study.pool))
    accuracy = [study.correct[study.new.selected == k].mean() for k in range(5)]
    full = sum(share[k] * accuracy[k] for k in range(5))
    # One of four annotators left out: k of 4 stays k with probability (4 - k)/4 and becomes k - 1 otherwise.
    fewer = 0.0
    for j in range(4):
        stay, fall = (4 - j) / 4, (j + 1) / 4
        seen = pool[j] * stay + pool[j + 1] * fall
        right = pool[j] * stay * accuracy[j] + pool[j + 1] * fall * accuracy[j + 1]
        fewer += (share[j] * stay + share[j + 1] * fall) * right / seen
    row = matching_bias(
        study.original, study.new, study.correct, pool=study.pool, parameters=MatchingParameters(components=1, knots=2, bootstrap=50)
    ).rows[0]
    assert row.naive.value == pytest.approx(full)
    assert row.jackknife.value == pytest.approx(4 * full - 3 * fewer)


def test_truth_and_naive_limit_equal_quadrature():
    def density(mixture, s):
        return sum(w * stats.beta.pdf(s, a, b) for w, a, b in zip(mixture.weights, mixture.alpha, mixture.beta, strict=True))

    truth = quad(lambda s: density(SCENARIO.original, s) * SCENARIO.accuracy(s), 0, 1, limit=200)[0]
    assert SCENARIO.matched_accuracy() == pytest.approx(truth, abs=1e-6)
    p1 = SCENARIO.original.count_probabilities(6)
    limit = 0.0
    for k in range(7):
        top = quad(lambda s, k=k: density(SCENARIO.pool, s) * stats.binom.pmf(k, 6, s) * SCENARIO.accuracy(s), 0, 1, limit=200)[0]
        limit += p1[k] * top / SCENARIO.pool.count_probabilities(6)[k]
    assert SCENARIO.naive_accuracy(6) == pytest.approx(limit, abs=1e-5)


def test_grid_is_fine_enough():
    low, high = (np.log(p / (1 - p)) for p in (SCENARIO.accuracy_at_0, SCENARIO.accuracy_at_1))
    line = np.array([[[low, high - low]]])
    assert float(mean_accuracy(line, pack(SCENARIO.original))[0, 0]) == pytest.approx(SCENARIO.matched_accuracy(), abs=5e-5)
    n, k = np.full(7, 6), np.arange(7)
    curve = curve_of(line[0, 0])
    assert curve([0.2, 0.7]) == pytest.approx(SCENARIO.accuracy([0.2, 0.7]))
    given = posterior_frequencies(n, k, pack(SCENARIO.pool))[0].sum(axis=1)
    assert given == pytest.approx(1.0)


def test_naive_bias_falls_with_annotators():
    bias = [SCENARIO.naive_bias_points(n) for n in (2, 5, 10, 20, 100)]
    assert all(a < b < 0 for a, b in pairwise(bias))
    assert bias[-1] > -0.3
    same = MatchingScenario(original=MIXTURE, pool=MIXTURE)
    assert same.naive_bias_points(5) == pytest.approx(0.0, abs=1e-5)


def test_corrected_intervals_cover_and_naive_ones_do_not():
    naive, jackknife, corrected = check_estimators(
        SCENARIO, n_original=2500, n_pool=2500, replications=80, parameters=MatchingParameters(bootstrap=120), seed=3
    )
    assert naive.bias_points == pytest.approx(SCENARIO.naive_bias_points(10), abs=4 * naive.bias_error_points)
    assert naive.coverage < 0.7
    assert abs(jackknife.bias_points) < 0.5 * abs(naive.bias_points)
    assert abs(corrected.bias_points) < 3.5 * corrected.bias_error_points
    assert 0.88 <= corrected.coverage <= 1.0
    assert corrected.half_width_points == pytest.approx(1.96 * corrected.spread_points, rel=0.3)


def test_a_set_matched_from_a_pool_is_corrected_with_the_pool():
    naive, _, corrected = check_estimators(
        SCENARIO,
        n_original=5000,
        n_pool=30_000,
        n_new=3000,
        annotators=5,
        replications=25,
        parameters=MatchingParameters(bootstrap=60, knots=4),
        seed=5,
    )
    assert naive.bias_points < -3
    assert naive.coverage == 0.0
    assert abs(corrected.bias_points) < 0.6
    assert corrected.coverage >= 0.84


def test_matched_set_has_the_original_histogram():
    study = simulate_study(SCENARIO, n_original=2000, n_pool=20_000, n_new=2000, seed=1)
    assert np.bincount(study.new.selected, minlength=11).tolist() == np.bincount(study.original.selected, minlength=11).tolist()
    assert len(set(study.chosen.tolist())) == 2000
    with pytest.raises(UsageError, match=r"n_pool: .* candidates with .* of 10 selections, .* wanted"):
        simulate_study(SCENARIO, n_original=2000, n_pool=2000, n_new=2000)


def test_several_models_share_the_distributions():
    study = simulate_study(SCENARIO, n_original=2000, n_pool=3000, seed=2)
    rng = np.random.default_rng(0)
    correct = np.stack([study.correct, rng.random(3000) < 0.6])
    parameters = MatchingParameters(bootstrap=60)
    both = matching_bias(study.original, study.pool, correct, models=["a", "b"], parameters=parameters)
    alone = matching_bias(study.original, study.pool, study.correct, parameters=parameters)
    assert [row.model for row in both.rows] == ["a", "b"]
    assert both.rows[0].corrected.value == pytest.approx(alone.rows[0].corrected.value)
    # A model whose accuracy does not depend on the frequency has no bias.
    assert both.rows[1].bias_points.low < 0 < both.rows[1].bias_points.high
    assert both.rows[0].bias_points.high < 0
    assert both.mean_bias_points == pytest.approx(np.mean([row.bias_points.value for row in both.rows]))
    assert "noisy" in both.warning
    assert f"{both.mean_bias_points:+.1f} points" in both.warning
    curve = both.rows[0].curve(np.array([0.3, 0.6, 0.9]))
    assert curve == pytest.approx(SCENARIO.accuracy([0.3, 0.6, 0.9]), abs=0.12)


def test_result_is_reproducible_and_says_what_it_left_out():
    study = simulate_study(SCENARIO, n_original=500, n_pool=500, seed=4)
    new = AnnotationCounts(study.pool.assignments.copy(), study.pool.selected.copy())
    new.assignments[:3] = new.selected[:3] = 0
    new.assignments[3], new.selected[3] = 2, 1
    parameters = MatchingParameters(bootstrap=50, components=1, knots=3)
    first, second = (matching_bias(study.original, new, study.correct, parameters=parameters) for _ in range(2))
    assert first.rows == second.rows
    assert (first.n_new, first.annotators) == (497, 10)
    assert first.notes == (
        "pool: 3 of 500 images have no assignment and are left out",
        "pool: 1 of 500 images have fewer than 10 assignments: not in naive and jackknife",
        "new: 3 of 500 images have no assignment and are left out",
        "new: 1 of 500 images have fewer than 10 assignments: not in naive and jackknife",
    )


def test_model_that_is_always_right_stays_at_one():
    study = simulate_study(SCENARIO, n_original=300, n_pool=300, seed=6)
    row = matching_bias(study.original, study.pool, np.ones(300), parameters=MatchingParameters(bootstrap=50)).rows[0]
    assert row.naive.value == 1.0
    assert row.corrected.value > 0.99


def test_held_out_annotators_reveal_the_mismatch():
    same = held_out_gap(counts_of(MIXTURE, 20_000, seed=1), counts_of(MIXTURE, 20_000, seed=2), annotators=5)
    assert abs(same) < 0.01
    study = simulate_study(SCENARIO, n_original=20_000, n_pool=20_000, seed=3)
    few, many = (held_out_gap(study.original, study.pool, annotators=m) for m in (3, 9))
    assert few > many > 0.02
    with pytest.raises(InputError, match="no image has more than 10 assignments"):
        held_out_gap(study.original, study.pool, annotators=10)


def test_arguments_are_checked():
    study = simulate_study(SCENARIO, n_original=50, n_pool=50, seed=0)
    with pytest.raises(InputError, match=r"correct: \(1, 49\) results for 1 models and 50 images do not fit"):
        matching_bias(study.original, study.pool, study.correct[:49])
    with pytest.raises(InputError, match="original: no image has an assignment"):
        matching_bias(AnnotationCounts(np.zeros(3, int), np.zeros(3, int)), study.pool, study.correct)
    with pytest.raises(UsageError, match="annotators: 2 annotators per image are too few to leave 2 out"):
        matching_bias(study.original, study.pool, study.correct, parameters=MatchingParameters(annotators=2, leave_out=2))
    with pytest.raises(UsageError, match="annotators: no original or new image has as many as 11 assignments"):
        matching_bias(study.original, study.pool, study.correct, parameters=MatchingParameters(annotators=11))
    other = AnnotationCounts(np.array([10]), np.array([10]))
    with pytest.raises(InputError, match=r"pool: new images with .* but no candidate has them"):
        matching_bias(study.original, study.pool, study.correct, pool=other)
    with pytest.raises(InputError, match="new: no original image has a selection frequency that a new image has"):
        matching_bias(AnnotationCounts(np.full(9, 3), np.zeros(9, int)), AnnotationCounts(np.full(9, 3), np.full(9, 3)), np.ones(9))
    with pytest.raises(ConfigError, match="knots: must be a whole number from 2 to 8, not 1"):
        MatchingParameters(knots=1)
    with pytest.raises(UsageError, match="annotators: is 0, less than 1"):
        held_out_gap(study.original, study.pool, annotators=0)
    for bad, message in (({"seed": -1}, "seed: is -1"), ({"n_new": 0}, "n_new: is 0")):
        with pytest.raises(UsageError, match=message):
            simulate_study(SCENARIO, **{"n_original": 50, "n_pool": 50, **bad})
    with pytest.raises(UsageError, match="seed: is -1"):
        check_estimators(SCENARIO, n_original=50, n_pool=50, seed=-1)


@pytest.mark.parametrize(
    ("weights", "alpha", "beta"),
    [((np.nan,), (1.0,), (1.0,)), ((0.5, 0.4), (1.0, 1.0), (1.0, 1.0)), ((1.0,), (np.inf,), (1.0,)), ((1.0,), (1.0,), (0.0,))],
)
def test_a_mixture_that_is_none_is_refused(weights, alpha, beta):
    with pytest.raises(UsageError, match="BetaMixture: weights must be shares that sum to 1, alpha and beta positive"):
        BetaMixture(weights, alpha, beta)


def test_numbers_of_annotators_are_whole_and_not_negative():
    for call in (lambda: MIXTURE.count_probabilities(0), lambda: thin_counts(np.array([5]), np.array([3]), -1)):
        with pytest.raises(UsageError, match=r"annotators: is .*, less than"):
            call()
    with pytest.raises(UsageError, match=r"annotators: is 2\.5, no whole number"):
        simulate_study(SCENARIO, n_original=5, n_pool=5, annotators=2.5)
    study = simulate_study(SCENARIO, n_original=50, n_pool=50)
    with pytest.raises(InputError, match=r"correct: \(0, 50\) results for 0 models and 50 images do not fit"):
        matching_bias(study.original, study.pool, np.zeros((0, 50)))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64])
def test_the_type_of_the_counts_changes_no_figure(kind):
    study = simulate_study(SCENARIO, n_original=400, n_pool=400, annotators=200, seed=1)
    same = AnnotationCounts(study.original.assignments.astype(kind), study.original.selected.astype(kind))
    assert (same.assignments.dtype, same.selected.dtype) == (np.int64, np.int64)
    assert fit_beta_mixture(same) == fit_beta_mixture(study.original)
    assert held_out_gap(same, same, annotators=5) == 0.0
    assert AnnotationCounts([3, 4], [1, 4]).frequencies.tolist() == [1 / 3, 1.0]
