import numpy as np
import pytest
from scipy.fft import dctn

from retest.errors import UsageError
from retest.neighbors import nearest_hashes, pair_distance, perceptual_hashes


def smooth(seed, side=256):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = sum(rng.normal(0, 30) * np.cos(np.pi * (rng.integers(0, 7) * y + rng.integers(0, 7) * x)) for _ in range(12))
    return np.clip(128 + waves[..., None] + rng.normal(0, 4, (side, side, 3)), 0, 255).astype(np.uint8)


def definition(image):
    """pHash with SciPy's transform of the grey averages."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    side = image.shape[0] // 32
    waves = dctn(grey.reshape(32, side, 32, side).mean(axis=(1, 3)))[:8, :8].ravel()
    # SciPy's type 2 transform has the same cosines for every frequency, as here
    return sum(1 << i for i in range(64) if waves[i] >= np.median(waves[1:]))


def test_equals_the_definition():
    images = np.stack([smooth(seed) for seed in range(12)])
    assert [int(code) for code in perceptual_hashes(images)] == [definition(image) for image in images]
    np.testing.assert_array_equal(perceptual_hashes(images, threads=2), perceptual_hashes(images))


def test_copies_are_near_and_others_far():
    image = smooth(1)
    brighter = np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8)
    smaller = image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    assert pair_distance("phash", image, image) == 0
    assert pair_distance("phash", image, brighter) <= 4
    assert pair_distance("phash", image, smaller) <= 4
    assert min(pair_distance("phash", image, smooth(seed)) for seed in range(2, 12)) > 10


@pytest.mark.parametrize("shape", [(1, 1), (7, 50), (33, 31), (255, 257)])
def test_any_size_and_flat_images(shape):
    flat = np.full((2, *shape, 3), 77, np.uint8)
    flat[1] = 5
    assert (perceptual_hashes(flat) == np.uint64(2**64 - 1)).all(), "no wave is below the median"
    assert perceptual_hashes(flat[:0]).shape == (0,)


def test_search_is_brute_force():
    rng = np.random.default_rng(0)
    references = rng.integers(0, 2**64, 300, np.uint64, endpoint=False)
    references[200:] = references[:100] ^ (np.uint64(1) << rng.integers(0, 64, 100, np.uint64))
    queries, subset = references[::9], np.sort(rng.permutation(300)[:250])
    distances = np.array([[bin(int(a) ^ int(b)).count("1") for b in references] for a in queries])
    order = np.argsort(distances, axis=1, kind="stable")[:, :12]
    found = nearest_hashes(queries, references, k=12, threads=2)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))
    part = nearest_hashes(queries, references, k=12, subset=subset)
    np.testing.assert_array_equal(part.indices, subset[np.argsort(distances[:, subset], axis=1, kind="stable")[:, :12]])
    with pytest.raises(UsageError, match="queries: these are not hashes"):
        nearest_hashes(queries.astype(np.int64), references, k=1)
