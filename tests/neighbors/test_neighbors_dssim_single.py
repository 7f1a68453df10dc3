"""SSIM in float32 only proposes: its margin holds on every image, and the search it speeds up gives the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import njit
from skimage.metrics import structural_similarity

from retest.neighbors import dssim, nearest_dssim
from retest.neighbors._checks import read_only
from retest.neighbors._simd import load_wide, multiply_add, pair_products, splat_wide, store, to_float32, to_float64
from retest.neighbors._ssim import Queries, Scale
from retest.neighbors._ssim_single import SingleLanes, margin


def estimates(queries, references, window):
    scale = Scale(*queries.shape[1:3], window)
    return SingleLanes(scale).ssim(Queries.prepare(queries, scale), read_only(references)), margin(scale)


def exact(queries, references, window):
    return np.array([[structural_similarity(a, b, channel_axis=-1, win_size=window) for b in references] for a in queries])


def adversarial(side, seed):
    """Where sums of squares are largest and variances smallest: the margin is about their ratio."""
    rng = np.random.default_rng(seed)
    board = np.indices((side, side)).sum(axis=0) % 2
    flat = np.broadcast_to(np.array([255, 254, 1]), (side, side, 3))
    kinds = [
        flat * 0,
        flat * 0 + 255,
        flat,
        flat * 0 + 255,
        np.repeat(board[..., None] * 255, 3, axis=2),
        255 - board[..., None] * [255, 1, 2],
    ]
    kinds[3][side // 2, side // 2] = 254
    kinds += [rng.integers(0, 256, flat.shape), rng.integers(254, 256, flat.shape), np.clip(rng.normal(250, 2, flat.shape), 0, 255)]
    return np.stack(kinds).astype(np.uint8)


@pytest.mark.parametrize(("side", "window"), [(64, 35), (20, 3), (23, 11), (190, 181)])
def test_margin_holds_where_rounding_is_worst(side, window):
    pixels = adversarial(side, seed=side)
    found, most = estimates(pixels, pixels, window)
    off = np.abs(found - exact(pixels, pixels, window)).max()
    assert off <= most
    assert most < 6e-4, "wide margins would propose everything"


def test_margin_is_not_idle():
    """Bright images with hardly any contrast do come near it: nothing else bounds their error."""
    pixels = adversarial(64, seed=1)
    found, most = estimates(pixels, pixels, 35)
    assert np.abs(found - exact(pixels, pixels, 35)).max() > most / 10


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.uint8, (3, 12, 13, 3), elements=st.sampled_from([0, 1, 127, 128, 254, 255]), fill=st.sampled_from([0, 254, 255])),
    st.sampled_from([3, 5, 11]),
)
def test_margin_holds_on_extreme_pixels(pixels, window):
    found, most = estimates(pixels[:1], pixels, window)
    assert np.abs(found - exact(pixels[:1], pixels, window)).max() <= most


def collection(count, seed, side=40):
    """Some images much alike, some equal, and some that differ by so little that float32 cannot order them."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 256, (count, side // 4, side // 4, 3)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    for i in range(0, count - 4, 5):
        out[i + 1] = np.clip(out[i] + rng.normal(0, 12, out[i].shape), 0, 255)
        out[i + 2] = out[i + 1]
        out[i + 3] = out[i + 1]
        out[i + 3, rng.integers(side), rng.integers(side)] ^= 1
    return out


@pytest.mark.parametrize(("k", "at_once", "threads"), [(1, 4096, 1), (4, 4096, 2), (6, 37, 1), (3, 16, 1)])
def test_search_equals_the_one_that_computes_everything(monkeypatch, k, at_once, threads):
    pixels = collection(101, seed=k)
    subset = np.flatnonzero(np.arange(len(pixels)) % 11)
    monkeypatch.setattr(dssim, "_REFERENCES_AT_ONCE", at_once)
    monkeypatch.setattr(dssim, "_QUERIES_AT_ONCE", 9)
    seen = []
    near = dssim._Block.near
    monkeypatch.setattr(dssim._Block, "near", lambda *arguments: seen.append(near(*arguments)) or seen[-1])
    found = nearest_dssim(pixels[:25], pixels, k=k, subset=subset, threads=threads)
    computed = sum(int(np.isfinite(matrix).sum()) for matrix in seen)
    assert 0 < computed < 25 * subset.size / 2, "the estimates should rule most out"
    monkeypatch.setattr(dssim, "_WORTHWHILE", 10**9)
    everything = nearest_dssim(pixels[:25], pixels, k=k, subset=subset)
    np.testing.assert_array_equal(found.indices, everything.indices)
    np.testing.assert_array_equal(found.distances, everything.distances)


def test_progress_counts_every_pair_once():
    pixels, done = collection(45, seed=9), []
    nearest_dssim(pixels[:7], pixels, k=2, progress=done.append)
    assert sum(done) == 7 * 45


@njit
def _wide(bytes_, integers, floats, out, doubles):
    values, x = load_wide(bytes_, 1), load_wide(floats, 0)
    store(out[0], 0, multiply_add(x, to_float32(values), splat_wide(np.float32(0.5))))
    store(out[1], 0, to_float32(pair_products(load_wide(integers, 0), splat_wide(np.int32(3 * 65536 + 2)))))
    store(doubles, 0, to_float64(x) / to_float64(values))


def test_sixteen_lanes_compute_what_scalars_do():
    rng = np.random.default_rng(3)
    bytes_, pairs = rng.integers(1, 256, 17, dtype=np.uint8), rng.integers(-(2**15), 2**15, (16, 2)).astype(np.int16)
    floats = rng.normal(size=16).astype(np.float32)
    out, doubles = np.empty((2, 16), np.float32), np.empty(16)
    _wide(bytes_, pairs.view(np.int32)[:, 0], floats, out, doubles)
    np.testing.assert_array_equal(out[0], (floats.astype(np.float64) * bytes_[1:] + 0.5).astype(np.float32))
    np.testing.assert_array_equal(out[1], (pairs.astype(np.int64) @ [2, 3]).astype(np.float32))
    np.testing.assert_array_equal(doubles, floats.astype(np.float64) / bytes_[1:])
