"""The stored variants: sizes, filter, determinism, and nothing but pixels in the bytes."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retest.errors import ImageError
from retest.images import ImageParameters, compare_array, load_rgb, make_variants, variant_names

SHARED_PHOTOS = Path(__file__).parents[2].parent / "shared" / "photos"


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def triangle_resize(array: np.ndarray, width: int, height: int) -> np.ndarray:
    """Antialiased bilinear in float64: each output sample is the triangle-weighted mean over its footprint."""

    def weights(source: int, target: int) -> np.ndarray:
        scale = max(1.0, source / target)
        centres = (np.arange(target) + 0.5) * source / target
        positions = np.arange(source) + 0.5
        matrix = np.clip(1.0 - np.abs(positions[None] - centres[:, None]) / scale, 0.0, None)
        return matrix / matrix.sum(axis=1, keepdims=True)

    rows = np.tensordot(weights(array.shape[0], height), array.astype(float), axes=(1, 0))
    return np.tensordot(rows, weights(array.shape[1], width), axes=(1, 1)).transpose(0, 2, 1)


def test_names_follow_the_sizes() -> None:
    assert variant_names() == ("original", "scaled_500", "scaled_256")
    assert variant_names(ImageParameters(display_side=96, compare_side=32)) == ("original", "scaled_96", "scaled_32")


@given(width=st.integers(1, 700), height=st.integers(1, 700))
@settings(max_examples=25, deadline=None)
def test_sizes_of_the_three_variants(width: int, height: int) -> None:
    result = make_variants(png(np.zeros((height, width, 3), np.uint8)), item="a")
    original, shown, compared = result.variants
    assert (original.width, original.height) == (width, height)
    assert (compared.width, compared.height) == (256, 256)
    assert max(shown.width, shown.height) == 500
    exact = min(width, height) * 500 / max(width, height)
    assert abs(min(shown.width, shown.height) - exact) <= 0.5 or (min(shown.width, shown.height) == 1 and exact < 1)
    assert (shown.width >= shown.height) == (width >= height) or shown.width == shown.height
    for variant in result.variants:
        with Image.open(io.BytesIO(variant.data)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (variant.width, variant.height))


def test_a_thin_image_keeps_at_least_one_pixel() -> None:
    shown = make_variants(png(np.zeros((1, 5000, 3), np.uint8)), item="a")["scaled_500"]
    assert (shown.width, shown.height) == (500, 1)


@pytest.mark.parametrize(("height", "width"), [(610, 555), (90, 130), (300, 256), (40, 900)])
def test_both_scaled_variants_are_antialiased_bilinear_of_the_source(height: int, width: int) -> None:
    source = noise(height, width)
    np.testing.assert_allclose(compare_array(png(source)), triangle_resize(source, 256, 256), atol=1.01)
    shown = make_variants(png(source), item="a")["scaled_500"]
    resized = Image.fromarray(source).resize((shown.width, shown.height), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(np.asarray(resized), triangle_resize(source, shown.width, shown.height), atol=1.01)
    buffer = io.BytesIO()
    resized.save(buffer, "JPEG", quality=90)
    assert shown.data == buffer.getvalue()


def test_an_image_of_the_wanted_size_is_not_resized() -> None:
    source = noise(256, 256)
    np.testing.assert_array_equal(compare_array(png(source)), source)
    result = make_variants(png(source), item="a")
    assert result["scaled_256"].data == result["original"].data
    stored = result["scaled_256"].data
    np.testing.assert_array_equal(compare_array(stored), np.asarray(Image.open(io.BytesIO(stored))))


def test_quality_is_the_setting() -> None:
    source = png(noise(64, 64))
    ninety = Image.open(io.BytesIO(make_variants(source, item="a")["original"].data)).quantization
    reference = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(reference, "JPEG", quality=90)
    assert ninety == Image.open(reference).quantization
    fifty = Image.open(io.BytesIO(make_variants(source, item="a", parameters=ImageParameters(jpeg_quality=50))["original"].data))
    assert fifty.quantization != ninety


def segments(jpeg: bytes) -> list[int]:
    """Marker bytes of a JPEG up to its scan, read from the container itself (ITU T.81, annex B)."""
    markers, position = [], 2
    while jpeg[position + 1] != 0xDA:
        markers.append(jpeg[position + 1])
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return markers


def test_no_metadata_survives() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(noise(40, 30)).save(
        buffer, "JPEG", exif=exif, comment=b"secret comment", icc_profile=b"secret profile", xmp=b"<x>secret</x>", dpi=(301, 301)
    )
    assert b"secret" in buffer.getvalue().lower()
    plain = make_variants(png(noise(30, 40)), item="a")
    for variant in make_variants(buffer.getvalue(), item="a").variants:
        assert b"secret" not in variant.data.lower()
        assert segments(variant.data) == segments(plain[variant.name].data)
        assert variant.data[:20] == plain[variant.name].data[:20]  # the same JFIF header, resolution included


def test_bytes_are_deterministic_across_processes() -> None:
    data = png(noise(333, 222))
    here = make_variants(data, item="a")
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        there = pool.submit(make_variants, data, item="a").result()
    assert here == there
    for variant in here.variants:
        assert variant.sha256 == hashlib.sha256(variant.data).hexdigest()
    assert here.source_sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(KeyError):
        here["scaled_999"]


def test_a_side_too_long_for_jpeg_is_refused() -> None:
    with pytest.raises(ImageError, match="longer than JPEG allows") as caught:
        make_variants(png(np.zeros((1, 65_501, 3), np.uint8)), item="a")
    assert caught.value.reason == "too_long_side"


@pytest.mark.skipif(not SHARED_PHOTOS.is_dir(), reason="the shared sample photos are not here")
def test_real_photos() -> None:
    for path in sorted(SHARED_PHOTOS.glob("*.JPEG"))[:10]:
        data = path.read_bytes()
        with Image.open(path) as plain:
            expected = np.asarray(plain.convert("RGB"))
            square = np.asarray(plain.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(load_rgb(data), expected)
        np.testing.assert_array_equal(compare_array(data), square)
        result = make_variants(data, item=path.name)
        assert np.abs(load_rgb(result["scaled_256"].data).astype(int) - square).mean() < 6
