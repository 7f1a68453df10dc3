from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from retest.analysis import (
    FREQUENCY_EDGES,
    AnnotationCounts,
    FrequencyHistogram,
    accuracy_by_frequency,
    annotation_counts,
    frequency_histogram,
    reweighted_accuracy,
)
from retest.errors import InputError, UsageError
from retest.records import SelectionFrequency

# Tenths as divisions: 3/5 and 0.6 must fall into the same bin, and 0.6 into [0.6, 0.8).
TENTHS = [k / 10 for k in range(11)]


def test_edges_are_compared_as_literals():
    assert frequency_histogram(TENTHS).counts == (2, 2, 2, 2, 3)
    assert frequency_histogram([*TENTHS, float("nan")]).n_unlabelled == 1


@given(st.lists(st.floats(0, 1), max_size=50))
def test_histogram_equals_the_rule(frequencies):
    expected = [sum(lo <= f < hi or (hi == 1.0 and f == 1.0) for f in frequencies) for lo, hi in pairwise(FREQUENCY_EDGES)]
    assert list(frequency_histogram(frequencies).counts) == expected


def test_accuracy_by_frequency():
    f = np.array([0.1, 0.1, 0.7, 0.7, 0.7, 1.0, np.nan])
    bins = accuracy_by_frequency([0, 1, 1, 1, 0, 1, 1], f)
    assert [(b.n, b.accuracy) for b in bins] == [(2, 0.5), (0, None), (0, None), (3, pytest.approx(2 / 3)), (1, 1.0)]
    ci = binomtest(2, 3).proportion_ci()
    assert (bins[3].low, bins[3].high) == pytest.approx((ci.low, ci.high))
    assert (bins[3].low_edge, bins[3].high_edge) == (0.6, 0.8)


def test_empty_histogram_has_no_shares():
    assert frequency_histogram([]).shares == (0.0,) * 5


def test_reweighting_to_its_own_histogram_changes_nothing():
    rng = np.random.default_rng(0)
    f = rng.integers(0, 11, 500) / 10
    correct = rng.random(500) < 0.3 + 0.6 * f
    own = reweighted_accuracy(correct, f, target=frequency_histogram(f))
    assert own.accuracy == pytest.approx(correct.mean())
    assert (own.covered, own.n, own.n_target, own.notes) == (1.0, 500, 500, ())


def test_reweighting_leaves_out_bins_without_images_and_says_so():
    result = reweighted_accuracy([1, 0, 1, 1], [0.9, 0.9, 0.7, 0.7], target=FrequencyHistogram(FREQUENCY_EDGES, (20, 0, 0, 20, 60)))
    assert result.accuracy == pytest.approx((0.2 * 1 + 0.6 * 0.5) / 0.8)
    assert result.covered == pytest.approx(0.8)
    assert result.notes == ("no images in bins [0, 0.2]: 20.0 % of the target is left out",)
    with pytest.raises(InputError, match="no image lies in a bin of the target"):
        reweighted_accuracy([1], [0.9], target=FrequencyHistogram(FREQUENCY_EDGES, (5, 0, 0, 0, 0)))


def test_reweighted_interval_covers_nominally():
    rng = np.random.default_rng(1)
    p, q = np.array([0.05, 0.1, 0.15, 0.3, 0.4]), np.array([0.2, 0.2, 0.2, 0.2, 0.2])
    accuracy = np.array([0.2, 0.4, 0.5, 0.7, 0.9])
    middle = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    truth, inside = p @ accuracy, 0
    for _ in range(400):
        target = frequency_histogram(middle[rng.choice(5, 300, p=p)])
        where = rng.choice(5, 400, p=q)
        result = reweighted_accuracy(rng.random(400) < accuracy[where], middle[where], target=target)
        inside += result.low <= truth <= result.high
    assert 0.925 <= inside / 400 <= 0.975


def test_counts_follow_the_images_of_the_revision():
    records = [SelectionFrequency("x", "n1", 10, 7), SelectionFrequency("x", "n2", 10, 1), SelectionFrequency("z", "n1", 4, 4)]
    counts = annotation_counts(records, [("z", "n1"), ("x", "n1"), ("missing", "n1")])
    assert counts.assignments.tolist() == [4, 10, 0]
    assert counts.frequencies[:2].tolist() == [1.0, 0.7]
    assert np.isnan(counts.frequencies[2])
    assert counts.labelled.tolist() == [True, True, False]
    assert len(annotation_counts([], [])) == 0
    assert counts.take(counts.labelled).selected.tolist() == [4, 7]


def test_impossible_values_are_named():
    with pytest.raises(InputError, match="image 1: 3 selections of 2 assignments"):
        AnnotationCounts(np.array([2, 2]), np.array([2, 3]))
    with pytest.raises(InputError, match="not two columns of whole counts"):
        AnnotationCounts(np.array([2.0]), np.array([1.0]))
    with pytest.raises(InputError, match="frequencies: are not fractions"):
        frequency_histogram([70.0])
    with pytest.raises(UsageError, match=r"edges: .* do not increase from 0 to 1"):
        accuracy_by_frequency([1], [0.5], edges=(0, 0.5))
    with pytest.raises(InputError, match="lengths differ: correct has 1, frequencies has 2"):
        accuracy_by_frequency([1], [0.5, 0.5])
