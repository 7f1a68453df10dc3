"""Disagreement between models, against a count by hand."""

import math

import numpy as np
import pytest

from retest.analysis import disagreement_table
from retest.errors import UsageError
from retest.records import Predictions


def predictions(model, top):
    ids = tuple(f"i{row}" for row in range(len(top)))
    return Predictions("set", model, ids, np.zeros(len(top), np.int64), np.array(top, np.int64)[:, None])


MODELS = [predictions("a", [0, 1, 2, 1, 0]), predictions("b", [0, 1, 3, 1, 2]), predictions("c", [0, 1, 3, 0, 1])]


def test_what_all_miss_and_where_they_differ():
    found = disagreement_table(MODELS)
    assert (found.dataset, found.n_models, found.n_images, found.n_missed_by_all) == ("set", 3, 5, 2)
    assert [(one.image, one.prediction, one.votes, one.classes) for one in found.missed_by_all] == [("i1", 1, 3, 1), ("i2", 3, 2, 2)]
    assert [(one.image, one.prediction, one.votes, one.classes) for one in found.most_disagreement] == [
        ("i4", 0, 1, 3),
        ("i2", 3, 2, 2),
        ("i3", 1, 2, 2),
    ]
    bits = [one.entropy_bits for one in found.most_disagreement]
    third = -(math.log2(1 / 3) / 3 + 2 * math.log2(2 / 3) / 3)
    np.testing.assert_allclose(bits, [math.log2(3), third, third])
    assert found.missed_by_all[0].entropy_bits == 0


def test_limits_and_wrong_arguments():
    found = disagreement_table(MODELS, limit=1)
    assert (len(found.missed_by_all), len(found.most_disagreement), found.n_missed_by_all) == (1, 1, 2)
    with pytest.raises(UsageError, match="at least two models"):
        disagreement_table(MODELS[:1])
    with pytest.raises(UsageError, match="limit"):
        disagreement_table(MODELS, limit=0)
