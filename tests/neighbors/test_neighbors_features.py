"""The feature search against brute force in float64 and in exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from retest.errors import InputError, UsageError
from retest.neighbors import features, nearest_features, pair_distance
from retest.neighbors.features import search_features


def exact_distances(queries, references):
    """Squared distances as fractions."""
    return [[sum((Fraction(float(x)) - Fraction(float(y))) ** 2 for x, y in zip(a, b, strict=True)) for b in references] for a in queries]


def assert_order_of_float64(found, queries, references, k):
    """The k smallest by (reported distance, index), where a distance does not depend on which search reports it."""
    everything = np.array([[pair_distance("features", a, b) for b in references] for a in queries])
    order = np.argsort(everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.indices[:, : order.shape[1]], order)
    np.testing.assert_array_equal(found.distances[:, : order.shape[1]], np.take_along_axis(everything, order, axis=1))


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    references = np.maximum(rng.normal(size=(400, 129)), 0).astype(np.float32)
    queries = references[::7]
    found = nearest_features(queries, references, k=9)
    distances, _ = (
        NearestNeighbors(n_neighbors=9, algorithm="brute").fit(references.astype(np.float64)).kneighbors(queries.astype(np.float64))
    )
    np.testing.assert_allclose(found.distances, distances**2, rtol=1e-9, atol=1e-9)
    assert (found.distances[:, 0] == 0).all()
    assert_order_of_float64(found, queries, references, 9)


def test_order_that_float32_cannot_see():
    """References that differ in the last bits: the float32 product gives all of them one distance, or a wrong order."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=64).astype(np.float32) * 100
    references = np.repeat(base[None], 200, axis=0)
    for row in range(200):
        for _ in range(row % 5):
            at = rng.integers(64)
            references[row, at] = np.nextafter(references[row, at], np.float32(np.inf))
    queries = np.stack([base, base + 1])
    found, computed = search_features(queries, references, k=20)
    assert_order_of_float64(found, queries, references, 20)
    single = ((queries[1] - references) ** 2).sum(axis=1)
    assert len(np.unique(single)) < len(np.unique(nearest_features(queries[1:], references, k=200).distances))
    assert computed > 40, "float32 alone cannot have decided this"


def test_few_distances_are_computed_where_float32_decides():
    rng = np.random.default_rng(2)
    references = rng.normal(size=(3000, 256)).astype(np.float32)
    _, computed = search_features(references[:50], references, k=10)
    assert computed <= 50 * 14


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_finite_features(data):
    d = data.draw(st.sampled_from([1, 2, 7, 31, 32, 33, 70]))
    scale = data.draw(st.sampled_from([1.0, 2.0**-140, 2.0**-70, 2.0**60, 2.0**120]))
    values = st.floats(-1, 1, width=32) | st.sampled_from([0.0, 1.0, -1.0, 2.0**-24, 1 + 2.0**-23 - 1])
    table = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, 12)), d), elements=values, fill=st.just(np.float32(0.5))))
    references = (table * np.float32(scale)).astype(np.float32)
    queries = references[data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=4))]
    k = data.draw(st.integers(1, 15))
    before = features._REFERENCES_AT_ONCE
    features._REFERENCES_AT_ONCE = data.draw(st.integers(1, 12))
    try:
        found = nearest_features(queries, references, k=k)
    finally:
        features._REFERENCES_AT_ONCE = before
    assert_order_of_float64(found, queries, references, k)
    for row, exact in enumerate(exact_distances(queries, references)):
        for index, distance in zip(found.indices[row], found.distances[row], strict=True):
            if index >= 0:
                assert distance == pytest.approx(float(exact[index]), rel=1e-14, abs=1e-300)
    assert (found.indices[:, len(references) :] == -1).all()


def test_subset_threads_and_blocks(monkeypatch):
    rng = np.random.default_rng(4)
    references = rng.normal(size=(500, 40)).astype(np.float32)
    subset = np.sort(rng.permutation(500)[:300])
    expected = nearest_features(references[:60], np.ascontiguousarray(references[subset]), k=7)
    monkeypatch.setattr(features, "_REFERENCES_AT_ONCE", 64)
    monkeypatch.setattr(features, "_QUERIES_AT_ONCE", 16)
    for threads in (1, 3):
        found = nearest_features(references[:60], references, k=7, subset=subset, threads=threads)
        np.testing.assert_array_equal(found.indices, subset[expected.indices])
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_nothing_to_search():
    table = np.ones((3, 4), np.float32)
    assert len(nearest_features(table[:0], table, k=2)) == 0
    assert nearest_features(table, table[:0], k=2).indices.tolist() == [[-1, -1]] * 3
    assert nearest_features(table[:, :0], table[:, :0], k=2).indices.tolist() == [[0, 1]] * 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"queries": np.zeros((2, 4))}, UsageError, "queries: float64 .* is not a table of features"),
        ({"references": np.zeros(4, np.float32)}, UsageError, "references: float32 .* is not a table"),
        ({"references": np.zeros((2, 5), np.float32)}, UsageError, "queries have 4 dimensions, references 5"),
        (
            {"references": np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]], np.float32)},
            InputError,
            r"references\[1\]: the features are not finite",
        ),
        ({"queries": np.array([[np.inf, 2, 3, 4]], np.float32)}, InputError, r"queries\[0\]: the features are not finite"),
        ({"k": 0}, UsageError, "k: is 0, not a whole number of at least 1"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"queries": np.zeros((2, 4), np.float32), "references": np.zeros((2, 4), np.float32), "k": 1} | change
    with pytest.raises(error, match=message):
        nearest_features(**arguments)
