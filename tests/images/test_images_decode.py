"""Decoding: every colour mode, orientation and fault of the method's section 2, against independent arithmetic."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from retest.errors import ConfigError, ImageError
from retest.images import IMAGE_SUFFIXES, REASONS, ImageParameters, content_hash, decode_image, load_rgb


def encode(image: Image.Image, container: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, container, **options)
    return buffer.getvalue()


def picture(height: int = 5, width: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(samples: np.ndarray, colour_type: int, depth: int, extra: bytes = b"") -> bytes:
    """A PNG written from the specification, without Pillow: ``samples`` (height, width, channels) of uint8 or uint16."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape[:2]
    rows = samples.astype(">u2" if depth == 16 else "u1").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def reason_of(data: bytes, **parameters: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, item="photo 1", parameters=ImageParameters(**parameters))
    assert str(caught.value).startswith("photo 1: ")
    return caught.value.reason


# EXIF 2.3, tag 0x0112: where row 0 and column 0 of the stored array lie on the upright picture. `stored` undoes it in numpy.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),  # must be turned 90 degrees clockwise to view
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["PNG", "TIFF", "WEBP"])
def test_all_eight_exif_orientations_come_out_upright(orientation: int, container: str) -> None:
    upright = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if container == "WEBP" else {}
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), container, exif=exif, **options)
    np.testing.assert_array_equal(load_rgb(data), upright)


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_an_undefined_orientation_leaves_the_pixels_alone(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_rgb(encode(Image.fromarray(picture()), exif=exif)), picture())


def test_jpeg_orientation_is_applied_and_noted() -> None:
    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(encode(Image.fromarray(halves), "JPEG", exif=exif), item="a")
    assert decoded.image.size == (16, 32)
    assert decoded.notes == ("exif_orientation=6",)
    pixels = np.asarray(decoded.image)
    assert pixels[:14].max() < 10
    assert pixels[18:].min() > 245


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_lose_the_picture() -> None:
    data = encode(Image.fromarray(picture(16, 16)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert load_rgb(data).shape == (16, 16, 3)


def test_grey_palette_and_bilevel_become_rgb() -> None:
    grey = picture()[..., 0]
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(load_rgb(encode(Image.fromarray(grey))), as_rgb)
    bilevel = np.where(grey > 127, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(
        load_rgb(encode(Image.fromarray(bilevel).convert("1", dither=Image.Dither.NONE))), np.repeat(bilevel[..., None], 3, axis=2)
    )
    indices = np.arange(35, dtype=np.uint8).reshape(5, 7)
    colours = picture(1, 35, seed=3)[0]
    palette = Image.frombytes("P", (7, 5), indices.tobytes())
    palette.putpalette(colours.tobytes())
    np.testing.assert_array_equal(load_rgb(encode(palette)), colours[indices])
    assert decode_image(encode(palette), item="a").notes == ("from_palette",)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return rgb * share + 255.0 * (1.0 - share)


def test_alpha_is_composited_over_white() -> None:
    rgb, alpha = picture(), picture(seed=1)[..., 0]
    alpha[0] = 0
    alpha[1] = 255
    data = png(np.dstack([rgb, alpha]), colour_type=6, depth=8)
    decoded = decode_image(data, item="a")
    assert decoded.notes == ("alpha_over_white",)
    assert np.abs(np.asarray(decoded.image) - over_white(rgb, alpha)).max() <= 1.0
    assert (np.asarray(decoded.image)[0] == 255).all()
    np.testing.assert_array_equal(np.asarray(decoded.image)[1], rgb[1])
    grey = decode_image(png(np.dstack([rgb[..., 0], alpha]), colour_type=4, depth=8), item="a")
    assert np.abs(np.asarray(grey.image) - over_white(np.repeat(rgb[..., :1], 3, axis=2), alpha)).max() <= 1.0


def test_a_transparent_palette_or_key_colour_becomes_white() -> None:
    palette = Image.frombytes("P", (2, 1), bytes([0, 1]))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(load_rgb(encode(palette, transparency=0)), [[[255, 255, 255], [40, 50, 60]]])
    np.testing.assert_array_equal(load_rgb(encode(palette, "GIF", transparency=1)), [[[10, 20, 30], [255, 255, 255]]])
    key = struct.pack(">I", 6) + b"tRNS" + b"\0\x01\0\x02\0\x03" + struct.pack(">I", zlib.crc32(b"tRNS\0\x01\0\x02\0\x03"))
    rgb = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    np.testing.assert_array_equal(load_rgb(png(rgb, colour_type=2, depth=8, extra=key)), [[[255, 255, 255], [1, 2, 4]]])


def test_sixteen_bit_grey_and_colour_are_scaled_alike() -> None:
    values = np.random.default_rng(2).integers(0, 65536, (6, 9, 1), dtype=np.uint16)
    values[0, :4, 0] = [0, 255, 256, 65535]
    expected = np.repeat((values // 256).astype(np.uint8), 3, axis=2)
    decoded = decode_image(png(values, colour_type=0, depth=16), item="a")
    np.testing.assert_array_equal(np.asarray(decoded.image), expected)
    assert "from_16_bit" in decoded.notes
    np.testing.assert_array_equal(load_rgb(png(np.repeat(values, 3, axis=2), colour_type=2, depth=16)), expected)
    tiff = encode(Image.fromarray(values[..., 0]), "TIFF")
    np.testing.assert_array_equal(load_rgb(tiff), expected)
    pgm = b"P5 9 6 65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(load_rgb(pgm), expected)


def test_samples_without_a_defined_range_are_refused() -> None:
    assert reason_of(encode(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF")) == "unsupported_mode"
    assert reason_of(encode(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF")) == "unsupported_mode"


def test_cmyk_without_a_profile_uses_the_plain_formula() -> None:
    cmyk = np.random.default_rng(5).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    data = encode(Image.frombytes("CMYK", (4, 4), cmyk.tobytes()), "TIFF")
    decoded = decode_image(data, item="a")
    c, m, y, k = (cmyk[..., i].astype(float) for i in range(4))
    expected = np.stack([(255 - ink) * (255 - k) / 255 for ink in (c, m, y)], axis=2)
    assert np.abs(np.asarray(decoded.image) - expected).max() <= 1.0
    assert decoded.notes == ("from_cmyk",)


def test_cmyk_jpeg_is_not_inverted() -> None:
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert load_rgb(encode(white, "JPEG", quality=95)).min() > 250


def cmyk_profile() -> bytes:
    """A minimal ICC v2 output profile, CMYK -> Lab by a 2^4 lookup table that swaps the meaning of cyan and black.

    Written from the ICC specification (lut8Type); no common profile is swapped, so a reader that ignores it fails.
    """
    corners = []
    for index in range(16):
        cyan = index >> 3 & 1  # the first channel varies slowest
        lightness = 0 if cyan else 255  # full cyan prints black; black ink does nothing
        corners += [lightness, 128, 128]
    identity = bytes(range(256))
    matrix = b"".join(struct.pack(">i", v) for v in (65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    lut = b"mft1" + b"\0" * 4 + bytes([4, 3, 2, 0]) + matrix + identity * 4 + bytes(corners) + identity * 3
    white = b"XYZ " + b"\0" * 4 + struct.pack(">iii", 63190, 65536, 54061)
    description = b"desc" + b"\0" * 4 + struct.pack(">I", 5) + b"test\0" + b"\0" * 78
    copyright_text = b"text" + b"\0" * 4 + b"none\0"
    tags = [(b"desc", description), (b"wtpt", white), (b"A2B0", lut), (b"cprt", copyright_text)]
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for signature, content in tags:
        table += signature + struct.pack(">II", offset + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    size = 128 + len(table) + len(body)
    header = struct.pack(">I", size) + b"\0" * 4 + struct.pack(">I", 0x02400000) + b"prtrCMYKLab " + b"\0" * 12 + b"acsp"
    header += b"\0" * 28 + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def test_cmyk_goes_through_its_own_profile() -> None:
    profile = cmyk_profile()
    ImageCms.ImageCmsProfile(io.BytesIO(profile))
    inks = Image.new("CMYK", (2, 1))
    inks.putpixel((0, 0), (255, 0, 0, 0))
    inks.putpixel((1, 0), (0, 0, 0, 255))
    decoded = decode_image(encode(inks, "TIFF", icc_profile=profile), item="a")
    assert decoded.notes == ("from_cmyk_profile",)
    pixels = np.asarray(decoded.image)[0]
    assert pixels[0].max() < 10
    assert pixels[1].min() > 245


def test_an_unreadable_cmyk_profile_falls_back_openly() -> None:
    inks = Image.new("CMYK", (2, 1), (255, 0, 0, 0))
    decoded = decode_image(encode(inks, "TIFF", icc_profile=b"no profile at all"), item="a")
    assert decoded.notes == ("from_cmyk", "icc_profile_unreadable")
    np.testing.assert_array_equal(np.asarray(decoded.image)[0, 0], [0, 255, 255])


@pytest.mark.parametrize("container", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame_and_says_so(container: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if container == "WEBP" else {}
    data = encode(frames[0], container, save_all=True, append_images=frames[1:], **options)
    decoded = decode_image(data, item="a")
    assert decoded.image.getpixel((3, 3)) == (255, 0, 0)
    assert "first_frame" in decoded.notes
    assert "first_frame" not in decode_image(encode(frames[0], container), item="a").notes


def test_a_stereo_camera_file_is_a_plain_jpeg() -> None:
    left, right = Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 200, 0))
    decoded = decode_image(encode(left, "MPO", save_all=True, append_images=[right]), item="a")
    assert (decoded.format, decoded.notes) == ("JPEG", ())
    assert decoded.image.getpixel((3, 3))[0] > 190


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><body>photo unavailable</body></html>", "html"),
        (b"<!-- error --><html></html>", "html"),
        (b"\xef\xbb\xbf<HTML>", "html"),
        (b"<?xml version='1.0'?><svg/>", "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported_format"),
        (b'{"stat": "fail"}', "not_an_image"),
        (b"\xff\xd8\xff", "not_an_image"),
    ],
)
def test_what_is_not_an_image_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_truncated_files_are_refused_not_padded() -> None:
    whole = picture(64, 64)
    for container in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        data = encode(Image.fromarray(whole), container)
        assert reason_of(data[: len(data) * 2 // 3]) in ("truncated", "corrupt"), container
    jpeg = encode(Image.fromarray(whole), "JPEG")
    assert reason_of(jpeg[:-200]) == "truncated"


def test_the_pixel_limit_is_checked_before_decoding() -> None:
    # 60,000 x 60,000 pixels in a file of 100 bytes; its pixel data is absent, so decoding would give another reason.
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    assert reason_of(bomb) == "too_many_pixels"
    small = encode(Image.new("RGB", (100, 100)))
    assert reason_of(small, max_pixels=9_999) == "too_many_pixels"
    assert decode_image(small, item="a", parameters=ImageParameters(max_pixels=10_000)).image.size == (100, 100)


def test_the_byte_limit() -> None:
    data = encode(Image.new("RGB", (4, 4)))
    assert reason_of(data, max_bytes=len(data) - 1) == "too_many_bytes"
    decode_image(data, item="a", parameters=ImageParameters(max_bytes=len(data)))


def test_an_image_error_survives_a_process_border() -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(b"", item="photo 1")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, copy.item, str(copy)) == ("empty", "photo 1", str(caught.value))


SEEDS = [
    encode(Image.fromarray(picture(24, 24)), container, **options)
    for container, options in [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ]
] + [encode(Image.new("CMYK", (9, 9)), "TIFF", icc_profile=cmyk_profile())]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's words about the damage
@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12),
    cut=st.none() | st.integers(0, 2000),
)
def test_damaged_bytes_either_decode_or_raise_an_image_error(seed: bytes, changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(seed)
    for position, value in changes:
        data[position % len(data)] = value
    try:
        decoded = decode_image(bytes(data[:cut]), item="a", parameters=ImageParameters(max_pixels=1_000_000))
        outcome = decoded.image.mode
    except ImageError as error:
        outcome = error.reason
    assert outcome in (*REASONS, "RGB")


@given(st.binary(max_size=200))
def test_random_bytes_never_escape_the_error_tree(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(data, item="a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("display_side", 0),
        ("compare_side", 5000),
        ("jpeg_quality", 96),
        ("max_pixels", 10**9),
        ("max_bytes", 0),
        ("display_side", 1.5),
        ("display_side", True),
    ],
)
def test_parameters_out_of_range_name_the_field(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: is {value!r}, not an integer from .* Set {name} in that range\.$"):
        ImageParameters(**{name: value})


def test_equal_sides_would_share_a_name() -> None:
    with pytest.raises(ConfigError, match="share a name"):
        ImageParameters(display_side=32, compare_side=32)


def test_content_hash_is_sha256() -> None:
    # FIPS 180-2, appendix B.1
    assert content_hash(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_of_an_image_file_belongs_to_a_format_that_is_decoded(suffix: str) -> None:
    container = Image.registered_extensions()[suffix]
    image = Image.fromarray(picture(16, 24))
    data = encode(image.convert("L") if suffix == ".pgm" else image, container)
    assert decode_image(data, item=f"photo{suffix}").image.size == (24, 16)
