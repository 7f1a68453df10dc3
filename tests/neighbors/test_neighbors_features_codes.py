"""Feature vectors as int16 codes only propose: their bounds hold, their products are exact, and the search gives the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from retest.neighbors import _features_products as products
from retest.neighbors import features, nearest_features
from retest.neighbors._features_codes import encode, scales_of_products
from retest.neighbors.features import search_features


def brute(queries, references, k):
    """Distances in extended precision, ties by index."""
    a, b = queries.astype(np.longdouble), references.astype(np.longdouble)
    distances = np.array([((b - row) ** 2).sum(axis=1) for row in a])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1).astype(np.float64)


def coded(vectors, width):
    vectors = np.ascontiguousarray(vectors, np.float32)
    norms = (vectors.astype(np.float64) ** 2).sum(axis=1)
    return encode(vectors, np.arange(len(vectors)), norms, width=width, slack=8 * (vectors.shape[1] + 3) * 2.0**-53)


def bounds(a, b):
    """Upper and lower bounds of the squared distances of all pairs, as the search uses them."""
    codes_a, codes_b = coded(a, products.ROWS), coded(b, products.COLUMNS)
    out = np.empty((len(codes_a.packed) * products.ROWS, len(codes_b.packed) * products.COLUMNS), np.int32)
    products.multiply(codes_a.packed, codes_b.packed, out)
    inner = codes_b.scales * out[: len(a), : len(b)]
    above, below = scales_of_products(codes_a)
    return codes_a.above[:, None] + codes_b.above - above[:, None] * inner, codes_a.below[:, None] + codes_b.below - below[:, None] * inner


def exact(a, b):
    return ((a.astype(np.longdouble)[:, None] - b.astype(np.longdouble)) ** 2).sum(axis=2)


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(np.float32, (4, 9), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
    st.sampled_from([1.0, 1e-3, 2.0**-40, 1e15]),
    st.integers(0, 2**32 - 1),
)
def test_bounds_enclose_the_distance(vectors, factor, seed):
    """Of any two vectors: of wild range, equal, almost equal, zero."""
    noise = np.random.default_rng(seed).normal(size=vectors.shape) * 1e-4 + 1
    with np.errstate(over="ignore"):
        everything = np.vstack([vectors, vectors * noise, vectors * np.float32(factor), np.zeros((1, 9))]).astype(np.float32)
    everything = everything[np.isfinite(everything).all(axis=1)]
    above, below = bounds(everything, everything)
    true = exact(everything, everything)
    assert (below <= true).all()
    assert (true <= above).all()


def test_bounds_are_tight_enough():
    rng = np.random.default_rng(0)
    vectors = np.maximum(rng.normal(size=(40, 2048)), 0).astype(np.float32)
    above, below = bounds(vectors, vectors)
    true = exact(vectors, vectors).astype(np.float64) + np.diag(np.full(40, np.inf))
    assert ((above - below) / true).max() < 0.005


@pytest.mark.parametrize("d", [64, 65, 127, 4096])
def test_products_of_the_largest_codes_are_exact(d):
    """Vectors in the same direction, or with one number only, come as near to the largest int32 as any can."""
    rng = np.random.default_rng(d)
    vectors = np.vstack([np.ones((3, d)), -np.ones((2, d)), np.eye(9, d), rng.normal(size=(75, d)), rng.integers(-3, 4, (3, d))])
    vectors = vectors.astype(np.float32)
    norms = (vectors.astype(np.float64) ** 2).sum(axis=1)
    codes = np.empty((len(vectors), d + d % 2), np.int16)
    scales, lengths, errors = (np.empty(len(vectors)) for _ in range(3))
    products.quantize(vectors, np.arange(len(vectors)), norms, codes, scales, lengths, errors)
    wide = codes.astype(np.int64)
    assert (wide @ wide.T).max() < 2**31
    assert (np.abs(wide) <= 32767).all()
    a, b = coded(vectors, products.ROWS), coded(vectors, products.COLUMNS)
    out = np.empty((len(a.packed) * products.ROWS, len(b.packed) * products.COLUMNS), np.int32)
    products.multiply(a.packed, b.packed, out)
    np.testing.assert_array_equal(out[: len(vectors), : len(vectors)], wide @ wide.T)
    np.testing.assert_allclose(scales[:, None] * wide[:, :d], vectors, rtol=0, atol=(errors.max() + 1e-12))
    assert (np.linalg.norm(scales[:, None] * wide[:, :d] - vectors, axis=1) <= errors).all()


def table(count, d, seed):
    """Rectified mixtures, some equal, some almost, one of them zero."""
    rng = np.random.default_rng(seed)
    out = np.maximum(rng.normal(size=(count, 12)) @ rng.normal(size=(12, d)) + rng.normal(size=(count, d)) * 0.3, 0)
    out[7:12] = out[3]
    out[12:20] = out[3:11] * (1 + 1e-6 * rng.normal(size=(8, d)))
    out[20] = 0
    return out.astype(np.float32)


@pytest.mark.parametrize(("count", "d", "k", "threads"), [(300, 64, 5, 1), (131, 301, 30, 2), (97, 128, 97, 1), (1000, 70, 1, 2)])
def test_search_equals_brute_force_and_the_search_by_floats(monkeypatch, count, d, k, threads):
    references = table(count, d, seed=count)
    queries = references[:60] if count < 500 else references[::7].copy()
    monkeypatch.setattr(features, "_REFERENCES_AT_ONCE", 128)
    monkeypatch.setattr(features, "_QUERIES_AT_ONCE", 50)
    done = []
    found = nearest_features(queries, references, k=k, threads=threads, progress=done.append)
    assert sum(done) == len(queries) * count
    monkeypatch.setattr(features, "_CODED_QUERIES", 10**9)
    by_floats = nearest_features(queries, references, k=k)
    np.testing.assert_array_equal(found.indices, by_floats.indices)
    np.testing.assert_array_equal(found.distances, by_floats.distances)
    order, distances = brute(queries, references, k)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(found.indices, order)


def test_codes_rule_out_almost_everything(monkeypatch):
    references = table(2000, 256, seed=1)
    computed = search_features(references[100:164], references, k=10)[1]
    assert computed < 64 * 13
    monkeypatch.setattr(features, "_CODED_QUERIES", 10**9)
    assert search_features(references[100:164], references, k=10)[1] < computed + 64, "the test should have gone by codes"


@pytest.mark.parametrize("side", ["references", "queries"])
def test_a_number_that_dwarfs_all_others_costs_time_only(side):
    """An int16 leaves little of the others: more distances are computed, and the result is right."""
    references = table(200, 80, seed=2)
    queries = references[40:80].copy()
    (references if side == "references" else queries)[5, 3] = 1e6
    found = nearest_features(queries, references, k=4)
    order, distances = brute(queries, references, 4)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
