"""Structural dissimilarity against scikit-image, and its two shortcuts against the exact search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import structural_similarity

from retest.errors import UsageError
from retest.neighbors import dssim, nearest_dssim, pair_distance
from retest.neighbors._checks import read_only
from retest.neighbors._ssim import Lanes, Queries, Scale, coarse
from retest.neighbors._ssim_bound import SLACK, Extremes


def reference_dssim(a, b, window):
    return (1 - structural_similarity(a, b, channel_axis=-1, win_size=window)) / 2


def reference_matrix(queries, references, window):
    return np.array([[reference_dssim(a, b, window) for b in references] for a in queries])


def images(count, height, width, seed):
    """Waves and noise in several strengths, with some images much alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    out = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        waves = sum(
            rng.normal(0, 40, 3) * np.sin(2 * np.pi * (f * (x * rng.normal() + y * rng.normal()) + rng.random()))[..., None]
            for f in range(1, 6)
        )
        out[i] = np.clip(rng.uniform(40, 220, 3) + waves + rng.normal(0, rng.choice([0, 5, 40]), (height, width, 3)), 0, 255)
    for i in range(count // 4, count // 2):
        out[i] = np.clip(out[i - count // 4] * rng.uniform(0.8, 1.1) + rng.normal(0, 12, (height, width, 3)), 0, 255)
    return out


@pytest.mark.parametrize(
    ("shape", "window"), [((256, 256), 35), ((35, 35), 35), ((41, 90), 35), ((16, 23), 7), ((64, 64), 11), ((9, 9), 3)]
)
def test_equals_scikit_image(shape, window):
    pixels = images(7, *shape, seed=1)
    pixels[5], pixels[6] = 255, np.random.default_rng(2).integers(0, 256, (*shape, 3))
    found = nearest_dssim(pixels[:4], pixels, k=7, window=window)
    expected = reference_matrix(pixels[:4], pixels, window)
    np.testing.assert_allclose(found.distances, np.take_along_axis(expected, found.indices, axis=1), rtol=0, atol=1e-12)
    assert (np.sort(found.indices, axis=1) == np.arange(7)).all()
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert found.indices[:, 0].tolist() == [0, 1, 2, 3]
    assert (found.distances[:, 0] == 0.0).all(), "equal images must have distance 0 exactly"


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.uint8, (2, 12, 13, 3), elements=st.sampled_from([0, 1, 127, 128, 254, 255]), fill=st.sampled_from([0, 255])),
    st.sampled_from([3, 5, 11]),
)
def test_extreme_pixels_equal_scikit_image(pair, window):
    distance = pair_distance("dssim", pair[0], pair[1], window=window)
    assert distance == pytest.approx(reference_dssim(pair[0], pair[1], window), abs=1e-12)
    assert distance == pair_distance("dssim", pair[1], pair[0], window=window)


def test_a_figure_does_not_depend_on_its_neighbours():
    """Lanes, tiles, blocks and threads are only ways to cut the work: not a bit may change."""
    pixels = images(45, 40, 44, seed=3)
    whole = nearest_dssim(pixels, pixels, k=45)
    for i, j in ((0, 44), (7, 8), (33, 2)):
        alone = pair_distance("dssim", pixels[i], pixels[j])
        assert alone == whole.distances[i][whole.indices[i] == j][0]
    again = nearest_dssim(pixels, pixels, k=45, threads=3)
    np.testing.assert_array_equal(whole.indices, again.indices)
    np.testing.assert_array_equal(whole.distances, again.distances)


def test_blocks_subset_and_ties(monkeypatch):
    pixels = images(30, 36, 36, seed=4)
    pixels[20:25] = pixels[3]
    monkeypatch.setattr(dssim, "_REFERENCES_AT_ONCE", 10)
    monkeypatch.setattr(dssim, "_QUERIES_AT_ONCE", 3)
    subset = np.array([0, 2, 3, 7, 11, 20, 21, 22, 23, 24, 29])
    found = nearest_dssim(pixels[:8], pixels, k=4, subset=subset)
    expected = reference_matrix(pixels[:8], pixels[subset], 35)
    np.testing.assert_allclose(found.distances, np.sort(expected, axis=1)[:, :4], rtol=0, atol=1e-12)
    assert found.indices[3].tolist() == [3, 20, 21, 22], "equal distances go to the smaller index"


def test_more_neighbours_than_references():
    pixels = images(3, 36, 36, seed=5)
    found = nearest_dssim(pixels, pixels, k=5)
    assert found.indices[:, 3:].tolist() == [[-1, -1]] * 3
    assert np.isinf(found.distances[:, 3:]).all()
    assert nearest_dssim(pixels, pixels[:0], k=2).indices.tolist() == [[-1, -1]] * 3
    assert len(nearest_dssim(pixels[:0], pixels, k=2)) == 0


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.2205, 0.4, 1.0])
def test_threshold_is_the_exact_search_cut_off(threshold):
    pixels = images(60, 48, 52, seed=6)
    exact = nearest_dssim(pixels[:20], pixels, k=60)
    found = nearest_dssim(pixels[:20], pixels, k=60, threshold=threshold)
    near = exact.distances <= threshold
    np.testing.assert_array_equal(found.indices, np.where(near, exact.indices, -1))
    np.testing.assert_array_equal(found.distances, np.where(near, exact.distances, np.inf))
    assert near.sum() >= 20


@pytest.mark.parametrize(("shape", "window"), [((48, 52), 35), ((60, 45), 7), ((256, 256), 35)])
def test_bound_is_below_every_distance_and_useful(shape, window):
    pixels = images(16 if shape[0] == 256 else 40, *shape, seed=7)
    pixels[-1], pixels[-2], pixels[-3] = 0, 255, np.random.default_rng(1).integers(0, 2, (*shape, 3)) * 255
    scale = Scale(*shape, window)
    extremes, lanes = Extremes.of(read_only(pixels), scale), Lanes(scale)
    exact = nearest_dssim(pixels, pixels, k=len(pixels), window=window)
    distances = np.empty((len(pixels), len(pixels)))
    np.put_along_axis(distances, exact.indices, exact.distances, axis=1)
    ruled_out = 0
    for start in range(0, len(pixels), 8):
        lanes.fill(read_only(pixels), np.arange(start, min(start + 8, len(pixels))))
        most = extremes.possible(lanes.planes).most / float(np.prod(scale.windows))
        least = ((1 - most) / 2)[:, : len(pixels) - start] - SLACK
        assert (least <= distances[:, start : start + 8]).all()
        ruled_out += int((least > 0.1).sum())
    assert ruled_out > 0.3 * distances.size, "the bound no longer rules out enough"


def test_prerank_compares_exactly_what_it_chose():
    pixels = images(80, 70, 70, seed=8)
    exact = nearest_dssim(pixels[:10], pixels, k=5)
    all_of_them = nearest_dssim(pixels[:10], pixels, k=5, prerank=80)
    np.testing.assert_array_equal(all_of_them.indices, exact.indices)
    np.testing.assert_array_equal(all_of_them.distances, exact.distances)
    few = nearest_dssim(pixels[:10], pixels, k=5, prerank=30, threads=2)
    assert (few.worst_prerank >= 5).all()
    assert (few.worst_prerank <= 30).all()
    np.testing.assert_array_equal(few.indices, exact.indices)
    narrow = nearest_dssim(pixels[:10], pixels, k=5, prerank=5)
    assert (narrow.worst_prerank == 5).all(), "all that was chosen was used: the margin is none"
    assert (narrow.distances >= exact.distances).all()
    assert exact.worst_prerank is None


def test_prerank_reports_the_place_of_the_last_used():
    pixels = images(40, 70, 70, seed=9)
    first = nearest_dssim(pixels[:4], pixels, k=20, prerank=20)
    step = coarse(70, 70, 35)
    approximate = 1 - coarse_matrix(pixels[:4], pixels, step)
    order = np.argsort(approximate, axis=1, kind="stable")[:, :20]
    assert np.array_equal(np.sort(first.indices, axis=1), np.sort(order, axis=1))
    found = nearest_dssim(pixels[:4], pixels, k=3, prerank=20)
    for row in range(4):
        assert found.worst_prerank[row] == 1 + max(int(np.flatnonzero(order[row] == index)[0]) for index in found.indices[row])


def coarse_matrix(queries, references, scale):
    lanes, prepared = Lanes(scale), Queries.prepare(queries, scale)
    out = np.empty((len(queries), len(references)))
    for start in range(0, len(references), 8):
        lanes.fill(read_only(references), np.arange(start, min(start + 8, len(references))))
        out[:, start : start + 8] = lanes.ssim(prepared, np.arange(len(queries)))[:, : len(references) - start]
    return out


def test_coarse_scale_is_ssim_of_images_without_detail():
    """On images made of blocks of equal pixels nothing is lost: every fifth window of the full map, averaged."""
    blocks = images(6, 14, 12, seed=10)
    pixels = blocks.repeat(5, axis=1).repeat(5, axis=2)
    scale = coarse(70, 60, 35)
    assert scale.side == 5
    found = coarse_matrix(pixels, pixels, scale)
    for i in range(6):
        for j in range(6):
            _, full = structural_similarity(pixels[i], pixels[j], channel_axis=-1, win_size=35, full=True)
            assert found[i, j] == pytest.approx(full[17:-17:5, 17:-17:5].mean(), abs=1e-12)


@pytest.mark.parametrize(("window", "side"), [(35, 5), (7, 1), (11, 1), (21, 3), (49, 1), (63, 1), (3, 1)])
def test_coarse_scale_keeps_sums_within_int32(window, side):
    scale = coarse(256, 256, window)
    assert scale.side == side
    assert 255**2 * scale.side**4 * scale.span**2 < 2**31


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 34}, "window: the window 34 is not an odd number"),
        ({"window": 183}, "window: the window 183 is not an odd number"),
        ({"window": 51}, "images of 50x60 pixels are smaller than the SSIM window of 51. Use .* at most 49"),
        ({"threshold": 1.5}, "threshold: 1.5 is not a dissimilarity"),
        ({"threshold": 0.1, "prerank": 9}, "prerank: threshold and prerank exclude each other"),
        ({"prerank": 1}, "prerank: is 1, not a whole number of at least 2"),
        ({"window": 35.0}, "window: is 35.0, not a whole number"),
        ({"k": 2.5}, "k: is 2.5, not a whole number"),
        ({"threads": True}, "threads: is True, not a whole number"),
        ({"k": 0}, "k: is 0, not a whole number of at least 1"),
        ({"threads": -1}, "threads: is -1, not a whole number of at least 1"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"queries": np.zeros((2, 50, 60, 3), np.uint8), "references": np.zeros((2, 50, 60, 3), np.uint8), "k": 2} | change
    with pytest.raises(UsageError, match=message):
        nearest_dssim(**arguments)


def test_remedy_for_small_images_is_odd():
    with pytest.raises(UsageError, match="at most 19 pixels"):
        nearest_dssim(np.zeros((1, 20, 20, 3), np.uint8), np.zeros((1, 20, 20, 3), np.uint8), k=1)
