import numpy as np
import pytest
from skimage.metrics import structural_similarity

from retest.errors import UsageError
from retest.neighbors import nearest_dssim, nearest_features, nearest_l2


def brute(distances, k):
    order = np.lexsort((np.broadcast_to(np.arange(distances.shape[1]), distances.shape), distances), axis=1)[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("shape", [(32, 32), (7, 19), (64, 48)])
def test_l2_is_brute_force(shape):
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (9, *shape, 3), np.uint8)
    b = np.concatenate([rng.integers(0, 256, (40, *shape, 3), np.uint8), a[:4], a[:4]])
    expected = ((a[:, None].astype(np.int64) - b[None].astype(np.int64)) ** 2).sum((2, 3, 4))
    found = nearest_l2(a, b, k=5)
    order, values = brute(expected, 5)
    assert np.array_equal(found.indices, order)
    assert np.array_equal(found.distances, values)


def test_dssim_is_scikit_image():
    rng = np.random.default_rng(2)
    a = rng.integers(0, 256, (3, 48, 60, 3), np.uint8)
    b = np.concatenate([rng.integers(0, 256, (5, 48, 60, 3), np.uint8), a])
    expected = np.array([[(1 - structural_similarity(x, y, channel_axis=-1, win_size=35)) / 2 for y in b] for x in a])
    order, values = brute(expected, 4)
    found = nearest_dssim(a, b, k=4)
    assert np.array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, values, rtol=0, atol=1e-12)
    pre = nearest_dssim(a, b, k=4, prerank=8)
    assert np.array_equal(pre.indices, order)
    few = nearest_dssim(a, b, k=4, prerank=5)
    assert few.worst_prerank.shape == (3,)
    near = nearest_dssim(a, b, k=4, threshold=0.1)
    assert near.indices[:, 0].tolist() == [5, 6, 7]
    assert (near.indices[:, 1:] == -1).all()
    with pytest.raises(UsageError, match="smaller than the SSIM window"):
        nearest_dssim(a[:, :20], b[:, :20], k=1)


def test_features_are_float64_brute_force():
    rng = np.random.default_rng(3)
    a, b = rng.random((6, 37), np.float32), rng.random((50, 37), np.float32)
    expected = ((a[:, None].astype(float) - b[None].astype(float)) ** 2).sum(-1)
    order, values = brute(expected, 10)
    found = nearest_features(a, b, k=10)
    assert np.array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, values, rtol=1e-14)
