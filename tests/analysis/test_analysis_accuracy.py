import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, rankdata
from sklearn.metrics import top_k_accuracy_score

from retest.analysis import accuracy_rows, class_accuracies, competition_ranks, top_correct
from retest.errors import InputError
from retest.records import Predictions


def record(dataset="d", model="m", labels=(0, 1, 2), top=((0,), (1,), (0,)), **kwargs):
    labels = np.asarray(labels, dtype=np.int64)
    return Predictions(dataset, model, tuple(f"i{i}" for i in range(len(labels))), labels, np.asarray(top, dtype=np.int64), **kwargs)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_competition_ranks_equal_scipys_min_ranks(values):
    assert competition_ranks(values).tolist() == rankdata([-v for v in values], method="min").tolist()


def test_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(400, 20))
    labels = rng.integers(0, 20, 400)
    scores[np.arange(400), labels] += 1.0
    top = np.argsort(-scores, axis=1)[:, :5]
    (row,) = accuracy_rows([record(labels=labels, top=top)])
    assert row.top1 == top_k_accuracy_score(labels, scores, k=1)
    assert row.top5 == top_k_accuracy_score(labels, scores, k=5)
    ci = binomtest(round(row.top5 * 400), 400).proportion_ci()
    assert (row.top5_low, row.top5_high) == pytest.approx((ci.low, ci.high))


def test_unknown_labels_are_left_out():
    (row,) = accuracy_rows([record(labels=[0, -1, 2], top=[[0], [-1], [0]])])
    assert (row.n, row.top1) == (2, 0.5)
    assert top_correct(record(labels=[0, -1], top=[[0], [-1]])).tolist() == [True, False]


def test_ranks_count_within_the_test_set_and_share_ties():
    right, wrong = [[0], [1], [2]], [[1], [2], [0]]
    rows = accuracy_rows(
        [record(model="b", top=wrong), record(model="c", top=right), record(model="a", top=right), record("other", "b", top=wrong)]
    )
    assert [(r.dataset, r.model, r.top1_rank) for r in rows] == [("d", "a", 1), ("d", "c", 1), ("d", "b", 3), ("other", "b", 1)]


def test_top5_needs_five_columns_or_a_smaller_benchmark():
    top3 = [[0, 1, 2], [2, 1, 0], [1, 0, 2]]
    assert accuracy_rows([record(top=top3)])[0].top5 is None
    assert accuracy_rows([record(top=top3)], n_classes=4)[0].top5 is None
    small = accuracy_rows([record(top=top3)], n_classes=3)[0]
    assert (small.top1, small.top5, small.top5_rank) == (1 / 3, 1.0, 1)


def test_top5_ranks_are_among_the_models_that_have_top5():
    five = [[1, 0, 2, 3, 4]] * 3
    rows = {r.model: r for r in accuracy_rows([record(model="one"), record(model="five", top=five)])}
    assert rows["one"].top1_rank == 1
    assert rows["five"].top1_rank == 2
    assert (rows["one"].top5_rank, rows["five"].top5_rank) == (None, 1)


def test_class_accuracies_average_to_the_accuracy():
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 6, 300)
    rec = record(labels=labels, top=rng.integers(0, 6, (300, 1)))
    classes = class_accuracies(rec)
    (row,) = accuracy_rows([rec])
    assert [c.cid for c in classes] == list(range(6))
    assert sum(c.n for c in classes) == row.n
    assert sum(c.n * c.top1 for c in classes) / row.n == pytest.approx(row.top1)
    two = classes[2]
    assert two.top1 == (rec.top[labels == 2, 0] == 2).mean()
    assert two.low < two.top1 < two.high


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(), record()], "m on d: predictions come twice"),
        ([record(labels=[-1], top=[[0]])], "m on d: no image has a known label"),
        (
            [record(labels=[0, 1], top=[[0]])],
            r"m on d: 2 image ids, labels of shape \(2,\) and predicted classes of shape \(1, 1\) do not fit",
        ),
    ],
)
def test_unusable_predictions_are_named(records, message):
    with pytest.raises(InputError, match=message):
        accuracy_rows(records)


def test_top_correct_names_missing_columns():
    with pytest.raises(InputError, match="top-5 needs 5 predicted classes per image, there are 1"):
        top_correct(record(), k=5)


@pytest.mark.parametrize(
    ("model", "original", "a44", "b33"),
    [("resnet50", 76.13, 72.70, 63.33), ("alexnet", 56.52, 51.31, 43.98), ("nasnetalarge", 82.51, 80.00, 72.21)],
)
def test_published_accuracies(published_rows, model, original, a44, b33):
    found = {row.dataset[-4:]: row.top1 * 100 for row in published_rows if row.model == model}
    assert list(found.values()) == pytest.approx([original, a44, b33], abs=0.00501)


def test_published_nasnetalarge_interval_and_sizes(published_rows):
    rows = {(row.dataset, row.model): row for row in published_rows}
    row = rows["imagenetv2-b-33", "nasnetalarge"]
    assert row.n == 10_000
    assert (row.top1_low, row.top1_high) == pytest.approx(tuple(binomtest(round(row.top1 * 10_000), 10_000).proportion_ci()), abs=1e-12)
    assert rows["imagenet-validation-original", "resnet50"].n == 50_000
    assert row.top5 > row.top1
