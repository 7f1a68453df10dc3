"""Models against models: paired tests, agreement, consensus, multi-label accuracy."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests

from retest.analysis import (
    compare_all_pairs,
    compare_models,
    consensus,
    correctness_table,
    holm,
    mcnemar,
    model_agreement,
    multilabel_accuracy,
)
from retest.errors import InputError, UsageError
from retest.records import Predictions


def record(model, top, labels=(0, 1, 2, 3), ids=None, dataset="d"):
    ids = tuple(f"i{i}" for i in range(len(labels))) if ids is None else ids
    return Predictions(dataset, model, ids, np.asarray(labels, dtype=np.int64), np.asarray(top, dtype=np.int64)[:, None])


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_equals_statsmodels(b, c):
    expected = 1.0 if b + c == 0 else sm_mcnemar([[5, b], [c, 7]], exact=True).pvalue
    assert float(mcnemar(b, c)) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_paired_bootstrap_equals_drawing_images():
    rng = np.random.default_rng(0)
    a = rng.random(600) < 0.8
    b = np.where(rng.random(600) < 0.85, a, rng.random(600) < 0.5)
    result = compare_models(a, b, bootstrap=40_000)
    draws = rng.integers(0, 600, (20_000, 600))
    differences = 100 * (a[draws].mean(axis=1) - b[draws].mean(axis=1))
    assert (result.low_points, result.high_points) == pytest.approx(np.percentile(differences, (2.5, 97.5)), abs=0.12)
    assert result.difference_points == pytest.approx(100 * (a.mean() - b.mean()))
    assert (result.both + result.only_a, result.both + result.only_b) == (a.sum(), b.sum())
    assert result.p_value == pytest.approx(sm_mcnemar([[0, result.only_a], [result.only_b, 0]], exact=True).pvalue)


def test_paired_test_keeps_its_level():
    rng = np.random.default_rng(1)
    hard = rng.random((2000, 150))
    a, b = hard + rng.normal(0, 0.3, hard.shape) < 0.6, hard + rng.normal(0, 0.3, hard.shape) < 0.6
    p = mcnemar((a & ~b).sum(axis=1), (~a & b).sum(axis=1))
    assert (p <= 0.05).mean() <= 0.055
    assert (p <= 0.05).mean() >= 0.015  # discrete, hence conservative, but not blind


def test_equal_models_and_wrong_arrays():
    same = compare_models([1, 0, 1], [1, 0, 1], model_a="x", model_b="y")
    assert (same.p_value, same.low_points, same.high_points, same.difference_points) == (1.0, 0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="lengths differ: correct_a has 2, correct_b has 3"):
        compare_models([1, 0], [1, 0, 1])
    with pytest.raises(InputError, match="correct_b: holds values other than 0 and 1"):
        compare_models([1, 0], [1, 2])
    with pytest.raises(UsageError, match="bootstrap: is 10, less than 100"):
        compare_models([1, 0], [1, 1], bootstrap=10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda table: mcnemar(-1, 2), "only_a: are not counts"),
        (lambda table: mcnemar(1, 2.5), "only_b: are not counts"),
        (lambda table: holm([[0.1, 0.2]]), "p_values: are not a list of numbers from 0 to 1"),
        (lambda table: holm([0.1, np.nan]), "p_values: are not a list"),
        (lambda table: compare_all_pairs(table, models=[]), "models: no model is named. Models there: a, b"),
        (lambda table: compare_all_pairs(table, seed=-1), "seed: is -1, less than 0"),
        (lambda table: compare_models([1, 0], [1, 1], bootstrap=100.5), "bootstrap: is 100.5, no whole number"),
        (lambda table: compare_models([1, 0], [1, 1], seed=-1), "seed: is -1, less than 0"),
    ],
)
def test_impossible_arguments_are_named(call, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        call(correctness_table([record("a", [0, 1, 2, 3]), record("b", [0, 1, 1, 1])]))


def test_all_pairs_agree_with_single_comparisons():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, 500)
    records = [record(f"m{i}", np.where(rng.random(500) < q, labels, (labels + 1) % 5), labels) for i, q in enumerate((0.6, 0.9, 0.8))]
    table = correctness_table(records)
    pairs = compare_all_pairs(table)
    assert [(p.model_a, p.model_b) for p in pairs] == [("m1", "m2"), ("m1", "m0"), ("m2", "m0")]
    for pair in pairs:
        single = compare_models(table.row(pair.model_a), table.row(pair.model_b))
        assert (pair.both, pair.only_a, pair.only_b, pair.neither) == (single.both, single.only_a, single.only_b, single.neither)
        assert pair.low_points == pytest.approx(single.low_points, abs=0.5)
    assert [p.p_holm for p in pairs] == pytest.approx(multipletests([p.p_value for p in pairs], method="holm")[1])
    with pytest.raises(UsageError, match=r"m9: no predictions on d. Models there: m0, m1, m2"):
        compare_all_pairs(table, models=["m0", "m9"])


def test_table_aligns_orders_and_drops_what_is_not_common():
    a = record("a", [0, 1, 9, 3])
    b = record("b", [3, 9, 0, 2, 7], labels=[3, 2, 0, 1, 4], ids=("i3", "i2", "i0", "i1", "i4"))
    table = correctness_table([a, b])
    assert table.image_ids == ("i0", "i1", "i2", "i3")
    assert table.predicted.tolist() == [[0, 1, 9, 3], [0, 2, 9, 3]]
    assert table.correct.tolist() == [[True, True, False, True], [True, False, False, True]]
    assert table.notes == ("1 of 5 images without a label or without predictions of some model are left out",)
    unknown = correctness_table([record("a", [0, 1], labels=[0, -1])])
    assert unknown.image_ids == ("i0",)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no predictions to compare"),
        ([record("a", [0] * 4), record("a", [0] * 4)], "a on d: predictions come twice"),
        ([record("a", [0] * 4), record("b", [0] * 4, dataset="e")], "b on e: not the same test set as d"),
        ([record("a", [0] * 4), record("b", [0] * 4, labels=[0, 1, 2, 2])], "b on d: labels differ from those of a"),
        ([record("a", [0, 1], [0, 1]), record("b", [0, 1], [0, 1], ids=("i0", "i0"))], "b on d: an image comes twice"),
        ([record("a", [0], [0], ids=("x",)), record("b", [0], [0], ids=("y",))], "d: no labelled image is common to all models"),
    ],
)
def test_tables_that_cannot_be_made(records, message):
    with pytest.raises(InputError, match=message):
        correctness_table(records)


def test_agreement_equals_brute_force_and_cohens_kappa():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 300)
    table = correctness_table([record(f"m{i}", np.where(rng.random(300) < 0.7, labels, rng.integers(0, 4, 300)), labels) for i in range(4)])
    result = model_agreement(table)
    for i in range(4):
        for j in range(4):
            assert result.same_prediction[i, j] == (table.predicted[i] == table.predicted[j]).mean()
            assert result.error_consistency[i, j] == pytest.approx(cohen_kappa_score(table.correct[i], table.correct[j]))


def test_kappa_without_room_is_nan():
    table = correctness_table([record("a", [0, 1, 2, 3]), record("b", [0, 1, 2, 3])])
    assert np.isnan(model_agreement(table).error_consistency).all()
    assert (model_agreement(table).same_prediction == 1).all()


def test_consensus_counts_images():
    table = correctness_table([record("a", [0, 1, 9, 9]), record("b", [0, 9, 9, 3]), record("c", [0, 1, 9, 3])])
    result = consensus(table)
    assert result.solved_by == (1, 0, 2, 1)
    assert (result.solved_by_none, result.solved_by_all) == (("i2",), ("i0",))


def test_multilabel_skips_empty_and_unreviewed():
    result = multilabel_accuracy(record("a", [7, 1, 2, 3]), {"i0": {0, 7}, "i1": [2], "i2": set()})
    assert (result.n, result.accuracy, result.n_empty, result.n_unreviewed) == (2, 0.5, 1, 1)
    with pytest.raises(InputError, match="a on d: no image has a reviewed valid class"):
        multilabel_accuracy(record("a", [0] * 4), {"i0": []})


def test_published_pairs(published):
    table = correctness_table(published["b-33"])
    pairs = {(p.model_a, p.model_b): p for p in compare_all_pairs(table, models=["resnet50", "resnet34", "alexnet", "vgg19"])}
    close = pairs["resnet50", "resnet34"]
    unpaired = 100 * 1.96 * np.sqrt(sum(q * (1 - q) / 10_000 for q in (table.row("resnet50").mean(), table.row("resnet34").mean())))
    assert 0.4 < (close.high_points - close.low_points) / 2 / unpaired < 0.75
    assert close.p_value < 1e-6
    counts = consensus(table)
    assert sum(counts.solved_by) == 10_000
    assert counts.solved_by[0] == len(counts.solved_by_none) > 0
    assert sum(j * c for j, c in enumerate(counts.solved_by)) == table.correct.sum()
