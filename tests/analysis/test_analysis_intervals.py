import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from retest.analysis import clopper_pearson, proportion_interval, wilson
from retest.errors import UsageError

CASES = [(0, 1), (1, 1), (0, 10), (10, 10), (5, 10), (1, 50_000), (49_999, 50_000), (38_065, 50_000), (7270, 10_000)]


@pytest.mark.parametrize(("k", "n"), CASES)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(
    ("method", "scipy_name", "statsmodels_name"), [("clopper-pearson", "exact", "beta"), ("wilson", "wilson", "wilson")]
)
def test_interval_equals_scipy_and_statsmodels(k, n, confidence, method, scipy_name, statsmodels_name):
    low, high = proportion_interval(k, n, confidence=confidence, method=method)
    expected = binomtest(k, n).proportion_ci(confidence, method=scipy_name)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-10)
    other = proportion_confint(k, n, alpha=1 - confidence, method=statsmodels_name)
    assert (float(low), float(high)) == pytest.approx(np.clip(other, 0, 1), abs=1e-10)


def test_clopper_pearson_covers_at_least_nominally_and_wilson_on_average():
    n = 40
    k = np.arange(n + 1)
    p = np.linspace(0.01, 0.99, 199)
    weights = binom.pmf(k[None, :], n, p[:, None])

    def coverage(interval):
        low, high = interval(k, n, confidence=0.9)
        return (weights * ((low <= p[:, None]) & (p[:, None] <= high))).sum(axis=1)

    assert coverage(clopper_pearson).min() >= 0.9
    assert coverage(wilson).mean() == pytest.approx(0.9, abs=0.01)


def test_intervals_broadcast():
    low, high = clopper_pearson(np.array([[1], [2]]), np.array([4, 5, 6]))
    assert low.shape == high.shape == (2, 3)


@pytest.mark.parametrize(("k", "n"), [(3, 2), (-1, 2), (0, 0), (0.5, 2)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(UsageError, match=r"successes of .* trials are impossible"):
        clopper_pearson(k, n)


def test_counts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(UsageError, match=r"successes and trials: do not fit \(.*\). Give a number of trials for each"):
        wilson([1, 2], [3, 4, 5])


def test_confidence_and_method_are_checked():
    with pytest.raises(UsageError, match="confidence: is 95, not strictly between 0 and 1"):
        wilson(1, 2, confidence=95)
    with pytest.raises(UsageError, match=r"method: 'wald' is unknown. Choose one of: clopper-pearson, wilson"):
        proportion_interval(1, 2, method="wald")
