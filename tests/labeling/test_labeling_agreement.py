from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import UsageError
from retest.labeling import agreement_of_frequencies, krippendorff_alpha, selection_frequencies, sensitivity
from retest.records import Assignment, AssignmentStatus, Hit, SelectionFrequency

# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: example A (two observers, binary, alpha = 0.095) and
# example C (four observers, missing data, nominal alpha = 0.743).
EXAMPLE_A = ["0100000010", "1110010000"]
EXAMPLE_C = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def table(rows):
    values = sorted(set("".join(rows)) - {"."})
    return np.array([[sum(row[unit] == value for row in rows) for value in values] for unit in range(len(rows[0]))])


def alpha_by_coincidences(units):
    """Section C of the paper, literally: the matrix of coincidences, then one minus observed over expected."""
    coincidences = Counter()
    for unit in units:
        for i, first in enumerate(unit):
            for j, second in enumerate(unit):
                if i != j:
                    coincidences[first, second] += 1 / (len(unit) - 1)
    marginals = Counter()
    for (first, _), number in coincidences.items():
        marginals[first] += number
    n = sum(marginals.values())
    observed = sum(number for (first, second), number in coincidences.items() if first != second)
    expected = sum(marginals[a] * marginals[b] for a in marginals for b in marginals if a != b) / (n - 1)
    return 1 - observed / expected


def test_the_published_examples():
    assert krippendorff_alpha(table(EXAMPLE_A)).alpha == pytest.approx(0.095, abs=5e-4)
    result = krippendorff_alpha(table(EXAMPLE_C))
    assert result.alpha == pytest.approx(0.743, abs=5e-4)
    assert (result.units, result.values) == (11, 40)


@given(st.lists(st.lists(st.integers(0, 2), min_size=0, max_size=5), min_size=1, max_size=12))
def test_equals_the_matrix_of_coincidences(units):
    counts = np.array([[unit.count(value) for value in range(3)] for unit in units])
    result = krippendorff_alpha(counts)
    pairable = [unit for unit in units if len(unit) > 1]
    if len({value for unit in pairable for value in unit}) < 2:
        assert result.alpha is None
    else:
        assert result.alpha == pytest.approx(alpha_by_coincidences(pairable), abs=1e-12)


def test_perfect_agreement_and_pure_chance():
    assert krippendorff_alpha([[5, 0], [0, 5], [5, 0]]).alpha == 1
    rng = np.random.default_rng(0)
    selected = rng.binomial(10, 0.4, 20_000)
    assert abs(krippendorff_alpha(np.stack([selected, 10 - selected], axis=1)).alpha) < 0.01


def test_agreement_of_frequencies_counts_selected_and_not():
    frequencies = [SelectionFrequency("a", "n01", 3, 2), SelectionFrequency("b", "n01", 2, 0), SelectionFrequency("c", "n01", 1, 1)]
    assert agreement_of_frequencies(frequencies) == krippendorff_alpha([[2, 1], [0, 2], [1, 0]])
    assert agreement_of_frequencies([]).alpha is None


@pytest.mark.parametrize("counts", [[1, 2], [[0.5, 1]], [[-1, 2]]])
def test_a_table_of_counts_is_required(counts):
    with pytest.raises(UsageError, match="counts: must be a table of whole numbers"):
        krippendorff_alpha(counts)


# ------------------------------------------------------------------------------------------------- sensitivity


def answer(name, uuid, worker, selected, status=AssignmentStatus.SUBMITTED):
    return Assignment(name, uuid, worker, status, tuple(selected))


HITS = [
    Hit("u1", "n01", ("a", "b"), ("p",), (), ("a", "p", "b")),
    Hit("u2", "n02", ("c",), (), (), ("c",)),
]
ANSWERS = [
    answer("1", "u1", "good", "ap"),
    answer("2", "u1", "kind", "ap"),
    answer("3", "u1", "spam", "b"),
    answer("4", "u2", "spam", "c"),
    answer("5", "u1", "spam", "abp", AssignmentStatus.REJECTED),
]


def test_sensitivity_by_hand():
    result = sensitivity(HITS, iter(ANSWERS), ["spam"])
    assert result.left_out == ("spam",)
    assert result.assignments_left_out == 2
    assert {(item.image_id, item.wnid): item.change for item in result.changes} == {
        ("a", "n01"): pytest.approx(1 / 3),
        ("p", "n01"): pytest.approx(1 / 3),
        ("b", "n01"): pytest.approx(-1 / 3),
        ("c", "n02"): None,
    }
    assert (result.now_above, result.now_below, result.without_answers) == (2, 0, 1)
    assert result.mean_absolute_change == pytest.approx(1 / 3)
    assert result.max_absolute_change == pytest.approx(1 / 3)


def test_leaving_nobody_out_changes_nothing():
    result = sensitivity(HITS, ANSWERS, [])
    assert (result.changes, result.assignments_left_out, result.max_absolute_change) == ((), 0, 0)


def test_kept_frequencies_are_those_without_the_annotator():
    result = sensitivity(HITS, ANSWERS, ["good"], threshold=0.5, excluded_hits=["u2"])
    without = selection_frequencies(HITS, [item for item in ANSWERS if item.worker != "good"], ["u2"])
    assert {(item.image_id, item.wnid): item.kept_answers for item in result.changes} == without
    assert (result.now_above, result.now_below) == (1, 0)  # b rises from 1/3 to 1/2; a and p fall from 2/3 to 1/2, which is not below


def test_one_annotator_may_be_given_as_a_text():
    assert sensitivity(HITS, ANSWERS, "good") == sensitivity(HITS, ANSWERS, ["good"])
    assert sensitivity(HITS, ANSWERS, "good").assignments_left_out > 0


def test_the_threshold_is_a_share():
    with pytest.raises(UsageError, match="threshold: must be between 0 and 1, not 70"):
        sensitivity(HITS, ANSWERS, [], threshold=70)
