"""The pruned pixel search against brute force in integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from retest.errors import UsageError
from retest.neighbors import l2, nearest_l2
from retest.neighbors._l2_codes import Scheme, encode
from retest.neighbors.l2 import search_l2


def brute_force(queries, references, k):
    """Distances by subtraction in int64, ties by index."""
    a, b = queries.reshape(len(queries), -1).astype(np.int64), references.reshape(len(references), -1).astype(np.int64)
    distances = np.stack([((a - row) ** 2).sum(axis=1) for row in b], axis=1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def assert_brute_force(queries, references, k, found):
    order, distances = brute_force(queries, references, k)
    kept = order.shape[1]
    assert found.indices.shape == found.distances.shape == (len(queries), k)
    np.testing.assert_array_equal(found.indices[:, :kept], order)
    np.testing.assert_array_equal(found.distances[:, :kept], distances)
    assert (found.indices[:, kept:] == -1).all()
    assert np.isinf(found.distances[:, kept:]).all()


@st.composite
def adversarial_image(draw, height, width):
    """Flat, checked, striped, noisy, extreme and smooth images: what bounds by block means and norms find hardest."""
    y, x = np.mgrid[:height, :width]
    low, high = draw(st.integers(0, 255)), draw(st.integers(0, 255))
    period = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["flat", "check", "stripes", "noise", "extremes", "ramp", "colours"]))
    match kind:
        case "flat":
            image = np.full((height, width, 3), low)
        case "check":
            image = np.where((y // period + x // period) % 2, low, high)[..., None].repeat(3, 2)
        case "stripes":
            image = np.where((x // period) % 2, low, high)[..., None].repeat(3, 2)
        case "noise":
            image = rng.integers(0, 256, (height, width, 3))
        case "extremes":
            image = 255 * rng.integers(0, 2, (height, width, 3))
        case "ramp":
            image = (low + y + 2 * x)[..., None].repeat(3, 2) % 256
        case _:
            image = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3))
    return image.astype(np.uint8)


@st.composite
def searches(draw):
    height, width = draw(st.sampled_from([(1, 1), (1, 7), (3, 5), (8, 8), (9, 17), (16, 33), (32, 32), (40, 24)]))
    base = draw(st.lists(adversarial_image(height, width), min_size=1, max_size=10))
    images = list(base)
    for _ in range(draw(st.integers(0, 10))):
        copy = draw(st.sampled_from(base)).copy()
        change = draw(st.sampled_from(["equal", "one pixel", "inverted", "one step"]))
        if change == "one pixel":
            y, x, c = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1)), draw(st.integers(0, 2))
            copy[y, x, c] = draw(st.integers(0, 255))
        elif change == "inverted":
            copy = 255 - copy
        elif change == "one step":
            copy = copy ^ 1
        images.append(copy)
    images = np.stack(images)
    queries = images[draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=6))]
    return queries, images, draw(st.integers(1, 12)), draw(st.integers(1, 9))


@settings(max_examples=120, deadline=None)
@given(searches())
def test_adversarial_images_equal_brute_force(search):
    queries, references, k, block = search
    before = l2._REFERENCES_AT_ONCE
    l2._REFERENCES_AT_ONCE = block  # several blocks, so that limits are carried from one to the next
    try:
        found = nearest_l2(queries, references, k=k)
    finally:
        l2._REFERENCES_AT_ONCE = before
    assert_brute_force(queries, references, k, found)


def smooth_images(count, height, width, seed):
    """Sums of a few waves: like photos, most of their energy is in coarse structure, so that bounds can prune."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    images = np.empty((count, height, width, 3), np.uint8)
    for image in images:
        waves = sum(
            rng.normal(0, 60 / (1 + f), 3) * np.sin(2 * np.pi * (f * (x * rng.normal() + y * rng.normal()) + rng.random()))[..., None]
            for f in range(5)
        )
        image[:] = np.clip(rng.uniform(60, 200, 3) + waves + rng.normal(0, 3, image.shape), 0, 255)
    return images


@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (71, 150), (256, 256)])
def test_pruning_keeps_the_exact_result(shape):
    references = smooth_images(100, *shape, seed=3)
    references[90:] = references[:10]
    references[95:, 0, 0, 0] ^= 1
    queries = references[::5]
    found, work = search_l2(queries, references, k=5)
    assert_brute_force(queries, references, 5, found)
    assert work.pairs == len(queries) * len(references)
    assert work.exact < 0.25 * work.pairs, "the bounds no longer prune"
    assert work.complete <= work.exact <= work.fine <= work.middle


def test_images_that_cannot_be_pruned():
    references = np.random.default_rng(0).integers(0, 256, (90, 64, 64, 3), np.uint8)
    found, work = search_l2(references[:7], references, k=3)
    assert_brute_force(references[:7], references, 3, found)
    assert work.exact > 0.5 * work.pairs


def test_threads_blocks_and_query_order_do_not_change_the_result(monkeypatch):
    references = smooth_images(300, 64, 64, seed=5)
    queries = references[::-1][:150]
    expected = nearest_l2(queries, references, k=4)
    assert_brute_force(queries, references, 4, expected)
    monkeypatch.setattr(l2, "_REFERENCES_AT_ONCE", 64)
    monkeypatch.setattr(l2, "_QUERIES_AT_ONCE", 40)
    for threads in (1, 2, 3):
        found = nearest_l2(queries, references, k=4, threads=threads)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_memory_mapped_references_and_subset(tmp_path):
    images = smooth_images(60, 48, 40, seed=6)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    subset = np.array([1, 4, 5, 20, 33, 58])
    found = nearest_l2(images[:9], mapped, k=4, subset=subset)
    order, distances = brute_force(images[:9], images[subset], 4)
    np.testing.assert_array_equal(found.indices, subset[order])
    np.testing.assert_array_equal(found.distances, distances)


def test_images_that_are_not_contiguous():
    images = smooth_images(30, 40, 40, seed=7)
    mirrored = images[:, :, ::-1]
    assert_brute_force(mirrored[:5], images, 3, nearest_l2(mirrored[:5], images, k=3))


def test_nothing_to_search():
    images = smooth_images(3, 16, 16, seed=8)
    assert len(nearest_l2(images[:0], images, k=2)) == 0
    none = nearest_l2(images, images[:0], k=2)
    assert none.indices.tolist() == [[-1, -1]] * 3
    assert np.isinf(none.distances).all()
    assert nearest_l2(images, images, k=2, subset=np.array([], np.int64)).indices.tolist() == [[-1, -1]] * 3


def test_larger_distances_than_int32():
    references = np.zeros((3, 256, 256, 3), np.uint8)
    references[1] = 255
    references[2, ::2] = 255
    found = nearest_l2(references[:1], references, k=3)
    assert found.distances.tolist() == [[0.0, 65025.0 * 256 * 256 * 3 / 2, 65025.0 * 256 * 256 * 3]]


def callable_from_python(helper):
    return njit(helper.py_func)


@pytest.mark.parametrize("shape", [(256, 256), (64, 200), (130, 67), (20, 20), (5, 3), (320, 384)])
def test_bounds_hold(shape):
    """Codes bound the distance from below and above, for pairs at every distance up to black and white."""
    from retest.neighbors import _l2_kernels as kernels

    within, lower, upper = (callable_from_python(helper) for helper in (kernels._within, kernels._lower, kernels._upper))
    rng = np.random.default_rng(11)
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = [np.zeros((*shape, 3)), np.full((*shape, 3), 255), rng.integers(0, 256, (*shape, 3)), 255 * rng.integers(0, 2, (*shape, 3))]
    images += [(255 * ((x // n + y // n) % 2))[..., None].repeat(3, 2) for n in (1, 2, 4, 8)]
    images += [rng.integers(0, 2, (*shape, 3)), images[2] // 2, np.minimum(images[2] + 1, 255)]
    flat = l2._flat(np.stack(images).astype(np.uint8))
    scheme = Scheme.of(*shape)
    codes = encode(flat, np.arange(len(flat)), scheme)
    fine, middle = scheme.fine, scheme.middle
    middle_strip, fine_strip = middle.strip_rows * middle.length, fine.strip_rows * fine.length
    setup = kernels.Setup(
        2.0**-23 * codes.longest,
        middle.step,
        middle.slack,
        middle_strip,
        fine.step,
        fine.slack,
        fine_strip,
        fine.length,
        fine.columns,
        scheme.strip_pixels,
    )
    products = codes.rough @ codes.rough.T
    for i in range(len(flat)):
        for j in range(len(flat)):
            distance = int(((flat[i].astype(np.int64) - flat[j]) ** 2).sum())
            code = within(codes.fine[i], codes.fine[j], fine_strip, 2**62)
            assert code >= 0
            assert lower(code, setup) <= distance <= upper(code, codes.fine[i], codes.fine[j], setup)
            coarse = within(codes.middle[i], codes.middle[j], middle_strip, 2**62)
            assert np.sqrt(coarse) * middle.step - 2 * middle.slack <= np.sqrt(distance) * (1 + 1e-12)
            rough = float(codes.rough_norms[i]) + float(codes.rough_norms[j]) - 2 * float(products[i, j])
            assert rough <= (np.sqrt(distance) + 2 * setup.rough_slack) ** 2 * (1 + 1e-12) + 1
            for s in range(-(-fine.rows // fine.strip_rows)):
                rest = within(codes.fine[i, s * fine_strip :], codes.fine[j, s * fine_strip :], fine_strip, 2**62)
                part = slice(s * scheme.strip_pixels, None)
                assert lower(rest, setup) <= int(((flat[i, part].astype(np.int64) - flat[j, part]) ** 2).sum())


@pytest.mark.parametrize("shape", [(256, 256), (64, 200), (7, 4000), (130, 67), (1, 1), (640, 512)])
def test_codes_are_close_to_the_numbers_they_stand_for(shape):
    """The slack is the claimed distance between code and number; numbers computed here from the definition."""
    rng = np.random.default_rng(13)
    image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    scheme = Scheme.of(*shape)
    codes = encode(l2._flat(image[None]), np.arange(1), scheme)
    for layout, code in ((scheme.fine, codes.fine[0]), (scheme.middle, codes.middle[0])):
        numbers = numbers_by_definition(image, layout)
        assert np.linalg.norm(code * layout.step - numbers.ravel()) <= layout.slack
        assert np.abs(code).max() <= 8000
    numbers = numbers_by_definition(image, scheme.rough)
    full = scheme.rough.width // (2 * scheme.rough.side)
    numbers[: scheme.rough.height // (2 * scheme.rough.side), : 4 * full] -= 127.5 * np.sqrt(3) * scheme.rough.side
    assert np.linalg.norm(codes.rough[0] - numbers.ravel()) <= 2.0**-23 * codes.longest + 1e-9


def numbers_by_definition(image, layout):
    side = layout.side
    red, green, blue = image.astype(np.float64).transpose(2, 0, 1)
    colours = (red + green + blue) / np.sqrt(3), (red - blue) / np.sqrt(2), (red - 2 * green + blue) / np.sqrt(6)
    full_rows, full = layout.height // (2 * side), layout.width // (2 * side)
    out = np.zeros((layout.rows, layout.length))
    for cy in range(layout.rows):
        for cx in range(layout.columns):
            cell = np.s_[2 * side * cy : 2 * side * (cy + 1), 2 * side * cx : 2 * side * (cx + 1)]
            left = sum((colour[cell] ** 2).sum() for colour in colours)
            if cy < full_rows and cx < full:
                y = colours[0][cell].reshape(2, side, 2, side).sum((1, 3)) / side
                out[cy, [2 * cx, 2 * cx + 1]], out[cy, [2 * (full + cx), 2 * (full + cx) + 1]] = y
                out[cy, 4 * full + cx], out[cy, 5 * full + cx] = (colours[c][cell].sum() / (2 * side) for c in (1, 2))
                left -= (y**2).sum() + out[cy, 4 * full + cx] ** 2 + out[cy, 5 * full + cx] ** 2
            out[cy, 6 * full + cx] = np.sqrt(max(left, 0.0))
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.zeros((2, 8, 8, 3))}, "queries: float64 .* is not an array of RGB images"),
        ({"references": np.zeros((2, 8, 8), np.uint8)}, "references: uint8 .* is not an array of RGB images"),
        ({"references": [1]}, "references: list is not an array"),
        ({"references": np.zeros((2, 8, 9, 3), np.uint8)}, "queries are 8x8, references 8x9 pixels"),
        ({"queries": np.zeros((2, 0, 8, 3), np.uint8)}, "queries: images of 0x8 pixels"),
        ({"k": 0}, "k: is 0, not a whole number of at least 1"),
        ({"threads": 0}, "threads: is 0, not a whole number of at least 1"),
        ({"subset": np.array([1, 1])}, "not strictly ascending"),
        ({"subset": np.array([0, 2])}, "within the references"),
        ({"subset": np.array([0.5])}, "not a list of positions"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"queries": np.zeros((2, 8, 8, 3), np.uint8), "references": np.zeros((2, 8, 8, 3), np.uint8), "k": 1} | change
    with pytest.raises(UsageError, match=message):
        nearest_l2(**arguments)
