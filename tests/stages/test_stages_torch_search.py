"""The search for GPUs, run on torch's processor device: bit for bit what the processor's own search finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.errors import UsageError
from retest.neighbors import NeighborParameters, nearest_dssim, nearest_features, nearest_l2

torch = pytest.importorskip("torch", reason="needs the extra 'models'")

from retest.stages import _torch_search  # noqa: E402

RNG = np.random.default_rng(11)


def search(metric, queries, references, *, subset=None, progress=None, **values):
    parameters = NeighborParameters(**values)
    return _torch_search.nearest(
        metric, queries, references, parameters=parameters, subset=subset, device="cpu", threads=1, progress=progress
    )


def assert_equal(found, expected):
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


def pictures(kind: str, count: int, height: int, width: int) -> np.ndarray:
    base = RNG.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    match kind:
        case "extremes":
            return np.where(base > 127, np.uint8(255), np.uint8(0))
        case "equal":
            return np.repeat(base[:1], count, axis=0)
        case "near copies":
            copies = np.repeat(base[:1], count, axis=0)
            copies[np.arange(count), np.arange(count) % height, 0, 0] ^= 1
            return copies
        case "flat":
            return np.broadcast_to(base[:, :1, :1], base.shape).copy()
    return base


KINDS = ["noise", "extremes", "equal", "near copies", "flat"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subset", [None, np.arange(1, 60, 3)])
def test_l2(kind, subset, monkeypatch):
    monkeypatch.setattr(_torch_search, "_REFERENCES_AT_ONCE", 17)
    monkeypatch.setattr(_torch_search, "_QUERIES_AT_ONCE", 16)
    monkeypatch.setattr(_torch_search, "_EXACT_TERMS", 500)
    images, done = pictures(kind, 60, 21, 19), []
    found = search("l2", images[:35], images, k=7, subset=subset, progress=done.append)
    assert_equal(found, nearest_l2(images[:35], images, k=7, subset=subset))
    assert sum(done) == 35 * (60 if subset is None else subset.size)


def test_l2_of_whole_images_at_the_ends_of_the_range():
    """White against black at full size: the largest sums that occur."""
    images = np.zeros((5, 256, 256, 3), np.uint8)
    images[1] = 255
    images[2, ::2] = 255
    images[3] = 254
    assert_equal(search("l2", images, images, k=5), nearest_l2(images, images, k=5))
    assert search("l2", images[:1], images[1:2], k=1).distances[0, 0] == 196608 * 255**2


@pytest.mark.parametrize("values", [{}, {"dssim_threshold": 0.45}, {"dssim_threshold": 0.0}])
@pytest.mark.parametrize("kind", KINDS)
def test_dssim(kind, values, monkeypatch):
    monkeypatch.setattr(_torch_search, "_PAIRS_AT_ONCE", 9)
    images, done = pictures(kind, 30, 24, 20), []
    subset = np.arange(2, 30, 2)
    for some in (None, subset):
        done.clear()
        found = search("dssim", images[:12], images, k=4, ssim_window=7, subset=some, progress=done.append, **values)
        expected = nearest_dssim(images[:12], images, k=4, window=7, threshold=values.get("dssim_threshold"), subset=some)
        assert_equal(found, expected)
        assert sum(done) == 12 * (30 if some is None else subset.size)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "relu", "copies", "huge", "zeros"]), st.integers(1, 9))
def test_features(seed, kind, k):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((40, 33), dtype=np.float32)
    match kind:
        case "relu":
            table = np.maximum(table, 0)
        case "copies":
            table = np.repeat(table[:4], 10, axis=0) + (rng.random((40, 33)) < 0.01).astype(np.float32) * np.float32(1e-6)
        case "huge":
            table = table * np.float32(1e18)
        case "zeros":
            table = np.zeros_like(table)
    subset = np.flatnonzero(rng.random(40) < 0.7)
    for some in (None, subset):
        assert_equal(search("halves", table[:15], table, k=k, subset=some), nearest_features(table[:15], table, k=k, subset=some))


def test_features_in_several_parts(monkeypatch):
    monkeypatch.setattr(_torch_search, "_FEATURES_AT_ONCE", 7)
    monkeypatch.setattr(_torch_search, "_QUERIES_AT_ONCE", 8)
    table = np.maximum(RNG.standard_normal((50, 40), dtype=np.float32), 0)
    assert_equal(search("fc7", table[:20], table, k=9), nearest_features(table[:20], table, k=9))


def test_what_is_refused():
    images = pictures("noise", 4, 16, 16)
    with pytest.raises(UsageError, match="dssim_prerank: is not for a GPU"):
        search("dssim", images, images, k=2, ssim_window=5, dssim_prerank=3)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="PyTorch sees 0 GPUs"):
            _torch_search.nearest(
                "l2", images, images, parameters=NeighborParameters(), subset=None, device="cuda", threads=1, progress=None
            )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("metric", ["l2", "dssim", "features"])
def test_on_a_gpu(metric):
    images = pictures("noise", 70, 64, 48)
    data = images if metric != "features" else RNG.standard_normal((70, 130), dtype=np.float32)
    plain = {"l2": nearest_l2, "dssim": lambda *a, k: nearest_dssim(*a, k=k, window=11), "features": nearest_features}[metric]
    parameters = NeighborParameters(k=6, ssim_window=11)
    found = _torch_search.nearest(metric, data[:33], data, parameters=parameters, subset=None, device="cuda", threads=1, progress=None)
    assert_equal(found, plain(data[:33], data, k=6))
