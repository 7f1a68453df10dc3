import pytest
from scipy.stats import kendalltau, norm, spearmanr
from statsmodels.stats.proportion import confint_proportions_2indep

from retest.analysis import AccuracyRow, ModelPoint, compare_test_sets, effective_robustness, newcombe_difference
from retest.errors import InputError, UsageError


def row(dataset, model, k, n=100):
    return AccuracyRow(dataset, model, n, k / n, 0.0, 1.0, 1, None, None, None, None)


ROWS = [
    *(row("old", m, k) for m, k in (("a", 90), ("b", 85), ("c", 85), ("d", 70), ("gone", 60))),
    *(row("new", m, k) for m, k in (("a", 80), ("b", 82), ("c", 75), ("d", 75), ("late", 99))),
]


def test_drops_and_rank_changes():
    result = compare_test_sets(ROWS, original="old", new="new")
    assert [(r.model, r.original_rank, r.new_rank, r.rank_change) for r in result.rows] == [
        ("b", 2, 1, 1),
        ("a", 1, 2, -1),
        ("c", 2, 3, -1),
        ("d", 4, 3, 1),
    ]
    assert [r.drop_points for r in result.rows] == pytest.approx([3, 10, 10, -5])
    assert result.mean_drop_points == pytest.approx(4.5)
    x, y = [90, 85, 85, 70], [80, 82, 75, 75]
    assert result.spearman == pytest.approx(spearmanr(x, y).statistic)
    assert result.kendall == pytest.approx(kendalltau(x, y).statistic)
    assert len(result.notes) == 2
    assert "gone" in result.notes[0]
    assert "late" in result.notes[1]


@pytest.mark.parametrize("counts", [(90, 100, 80, 100), (7613, 10_000, 6333, 10_000), (0, 10, 3, 20), (20, 20, 20, 20)])
def test_newcombe_equals_statsmodels(counts):
    expected = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=0.05)
    assert newcombe_difference(*counts) == pytest.approx(expected, abs=1e-9)


def test_no_common_model_and_unknown_set():
    with pytest.raises(InputError, match="old and new share no model"):
        compare_test_sets([row("old", "a", 1), row("new", "b", 1)], original="old", new="new")
    with pytest.raises(UsageError, match=r"newer: no predictions for this test set. Test sets with predictions: old, new."):
        compare_test_sets(ROWS, original="old", new="newer")


def test_one_model_has_no_correlation():
    result = compare_test_sets([row("old", "a", 5), row("new", "a", 4)], original="old", new="new")
    assert (result.spearman, result.kendall, result.mean_drop_points) == (None, None, pytest.approx(1.0))


def test_published_ranks_hardly_change(published_rows):
    result = compare_test_sets(published_rows, original="imagenet-validation-original", new="imagenetv2-b-33")
    # Over all 67 published models the mean change is -11.83; 47 of them are at hand.
    assert result.mean_drop_points == pytest.approx(11.83, abs=0.15)
    assert result.spearman > 0.98
    assert max(abs(r.rank_change) for r in result.rows) <= 7
    assert all(r.drop_low_points < r.drop_points < r.drop_high_points for r in result.rows)


def points():
    standard = [ModelPoint(f"s{i}", a, float(norm.cdf(0.95 * norm.ppf(a) - 0.3))) for i, a in enumerate((0.55, 0.6, 0.7, 0.75, 0.8, 0.85))]
    return [*standard, ModelPoint("robust", 0.72, 0.72), ModelPoint("plain", 0.75, 0.66)]


def test_effective_and_relative_robustness():
    baseline = [f"s{i}" for i in range(6)]
    result = effective_robustness(points(), baseline=baseline, without_intervention={"robust": "plain"}, scale="probit", bootstrap=100)
    rows = {r.model: r for r in result.rows}
    assert result.rows[0].model == "robust"
    assert rows["robust"].expected == pytest.approx(norm.cdf(0.95 * norm.ppf(0.72) - 0.3))
    assert rows["robust"].rho_points == pytest.approx(100 * (0.72 - rows["robust"].expected))
    assert rows["robust"].tau_points == pytest.approx(6.0)
    assert (rows["robust"].in_baseline, rows["s0"].in_baseline, rows["s0"].relative_to) == (False, True, None)
    assert rows["s3"].rho_points == pytest.approx(0.0, abs=1e-9)
    assert result.fit.n_models == 6


def test_robustness_band_holds_the_baseline(published_rows):
    from retest.analysis import pair_models

    pairs = pair_models(published_rows, original="imagenet-validation-original", new="imagenetv2-b-33").points
    baseline = [p.model for p in pairs if not p.model.startswith("fv_")]
    result = effective_robustness(pairs, baseline=baseline, bootstrap=100)
    inside = [r.rho_low_points <= 0 <= r.rho_high_points for r in result.rows if r.in_baseline]
    assert 0.85 <= sum(inside) / len(inside) <= 1
    assert sum(r.rho_points for r in result.rows if r.in_baseline) == pytest.approx(0, abs=2)


def test_robustness_names_are_checked():
    with pytest.raises(UsageError, match=r"baseline: unknown model.s.: s9"):
        effective_robustness(points(), baseline=["s0", "s9"])
    with pytest.raises(UsageError, match=r"baseline: unknown model\(s\): s0s1s2"):
        effective_robustness(points(), baseline="s0s1s2")
    with pytest.raises(UsageError, match=r"without_intervention: unknown model.s.: nobody"):
        effective_robustness(points(), baseline=["s0", "s1", "s2"], without_intervention={"robust": "nobody"})
    with pytest.raises(InputError, match="too few for a fit"):
        effective_robustness(points(), baseline=["s0", "s1"])
