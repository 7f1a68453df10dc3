"""Any image bytes -> oriented 8-bit RGB -> the three stored JPEG variants (method, section 2). No I/O, no clock, no state.

Every image of a study, whether original or candidate, goes through this one path: an annotator or a near-duplicate
search must never be able to tell them apart by how they were decoded, resized or encoded.

Colour rules, fixed here so that equal pictures in different containers give equal pixels:

* transparency is composited over white; a palette or grey image becomes RGB;
* 16-bit samples keep their high byte (``v >> 8``), which is what decoding 16-bit RGB to 8 bits does as well;
* CMYK goes through its embedded ICC profile to sRGB, or through Pillow's plain formula where there is none;
* the ICC profile of an RGB or grey image is not applied: classifiers read the stored samples, so we keep them.

Every failure is an :class:`~retest.errors.ImageError` whose ``reason`` is one of :data:`REASONS`.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from retest.errors import ConfigError, ImageError
from retest.settings import plain_numbers

__all__ = [
    "DECODER_CRASHED",
    "IMAGE_SUFFIXES",
    "JPEG_SUFFIXES",
    "REASONS",
    "DecodedImage",
    "EncodedVariant",
    "ImageParameters",
    "VariantSet",
    "compare_array",
    "content_hash",
    "decode_image",
    "load_rgb",
    "make_variants",
    "variant_names",
]

REASONS: Final = (
    "empty",
    "too_many_bytes",
    "html",
    "not_an_image",
    "unsupported_format",
    "unsupported_mode",
    "too_many_pixels",
    "too_long_side",
    "truncated",
    "corrupt",
)
"""The reason codes that an image can be refused with; stored with the exclusion, so they never change meaning."""

DECODER_CRASHED: Final = "decoder_crashed"
"""The reason code of an image that ended the process that decoded it, which no code here can say; it never changes meaning either."""

ORIGINAL: Final = "original"

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm"}
)
"""Lower-case suffixes by which image files are recognised in folders; every one belongs to a format that can be decoded."""

JPEG_SUFFIXES: Final = (".jpg", ".jpeg")
"""Lower-case suffixes of the JPEG files that published test sets hold and exports write."""

# Only raster formats whose decoders are pure data readers: never EPS (runs an interpreter) or formats with file references.
_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
_PILLOW_PIXEL_LIMIT: Final = 178_956_970
_JPEG_SIDE_LIMIT: Final = 65_500
_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise on damaged input; none of these names a fault of ours, because the bytes are the only input.
_DECODER_ERRORS: Final = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AttributeError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
)
_BOMB_ERRORS: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class ImageParameters:
    """Section ``[images]`` of the study: sizes and limits of the stored variants (method, section 2).

    Raises:
        ConfigError: a value is out of range.
    """

    display_side: int = field(default=500, metadata={"help": "longest side, in pixels, of the variant that annotators see"})
    compare_side: int = field(default=256, metadata={"help": "side, in pixels, of the square variant that near-duplicate search reads"})
    jpeg_quality: int = field(default=90, metadata={"help": "JPEG quality of all variants (1 to 95)"})
    max_pixels: int = field(default=89_478_485, metadata={"help": "refuse images with more pixels than this, before decoding them"})
    max_bytes: int = field(default=100_000_000, metadata={"help": "refuse image files larger than this many bytes"})

    def __post_init__(self) -> None:
        ranges = {
            "display_side": (1, 16_384),
            "compare_side": (1, 4_096),
            "jpeg_quality": (1, 95),
            "max_pixels": (1, _PILLOW_PIXEL_LIMIT),
            "max_bytes": (1, 2**31 - 1),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"is {value!r}, not an integer from {low} to {high}", item=name, remedy=f"Set {name} in that range.")
        if self.display_side == self.compare_side:
            raise ConfigError(
                f"equals compare_side ({self.compare_side}), so two variants would share a name",
                item="display_side",
                remedy="Make the two sides differ by at least one pixel.",
            )


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels of a source image: ``image`` is upright RGB, 8 bits per channel; ``format`` the container it came in.

    ``notes`` say what was done to get there, for example ``("exif_orientation=6", "alpha_over_white")``.
    """

    image: Image.Image
    format: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedVariant:
    """One rendition as JPEG bytes without any metadata; ``width`` and ``height`` in pixels, ``sha256`` of ``data``."""

    name: str
    data: bytes = field(repr=False)
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True)
class VariantSet:
    """The three variants of one image in the order of :func:`variant_names`, and what was noted on decoding."""

    item: str
    source_sha256: str
    notes: tuple[str, ...]
    variants: tuple[EncodedVariant, ...]

    def __getitem__(self, name: str) -> EncodedVariant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)


def variant_names(parameters: ImageParameters = ImageParameters()) -> tuple[str, str, str]:
    """Names of the variants: the full size, what annotators see, what near-duplicate search reads."""
    return (ORIGINAL, f"scaled_{parameters.display_side}", f"scaled_{parameters.compare_side}")


def content_hash(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decode_image(data: bytes, *, item: str, parameters: ImageParameters = ImageParameters()) -> DecodedImage:
    """Decode image bytes from an untrusted source to upright 8-bit RGB.

    Args:
        data: the whole file.
        item: what the bytes are (an id, a path), for messages.
        parameters: the limits; sizes are checked before any pixel is decoded.

    Raises:
        ImageError: the bytes are no usable image; ``reason`` is one of :data:`REASONS`.
    """
    _check_bytes(data, item, parameters)
    try:
        return _decode(data, item, parameters)
    except _BOMB_ERRORS as error:
        raise _refuse("more pixels than the decoder accepts", item, "too_many_pixels") from error
    except UnidentifiedImageError as error:
        raise _refuse(*_describe_unknown(data, item)) from error
    except _DECODER_ERRORS as error:
        reason = "truncated" if isinstance(error, EOFError) or "truncated" in str(error).lower() else "corrupt"
        raise _refuse(f"the image data is {reason} ({error})", item, reason) from error


def make_variants(data: bytes, *, item: str, parameters: ImageParameters = ImageParameters()) -> VariantSet:
    """Make the three stored variants of an image (method, section 2): JPEG, no metadata, deterministic bytes.

    Both scaled variants come from the decoded source through Pillow's antialiased bilinear filter. ``scaled_<display>``
    has its longest side exactly that long (small images are enlarged), the short side rounded, at least 1 pixel.
    ``scaled_<compare>`` is exactly square; the aspect ratio is not kept. A source of the wanted size is not resized.

    Raises:
        ImageError: as :func:`decode_image`; also when a side is too long for JPEG (65,500 pixels).
    """
    decoded = decode_image(data, item=item, parameters=parameters)
    image = decoded.image
    if max(image.size) > _JPEG_SIDE_LIMIT:
        raise _refuse(f"a side of {max(image.size)} pixels is longer than JPEG allows ({_JPEG_SIDE_LIMIT})", item, "too_long_side")
    square = (parameters.compare_side, parameters.compare_side)
    sizes = (image.size, _display_size(image.size, parameters.display_side), square)
    variants: list[EncodedVariant] = []
    for name, size in zip(variant_names(parameters), sizes, strict=True):
        same = next((v for v in variants if (v.width, v.height) == size), None)
        # A source that already has the wanted size is not encoded twice: photo services often serve exactly 500 pixels.
        variants.append(replace(same, name=name) if same else _encode(name, _resized(image, size), parameters.jpeg_quality))
    return VariantSet(item, content_hash(data), decoded.notes, tuple(variants))


def load_rgb(data: bytes, *, item: str = "image", parameters: ImageParameters = ImageParameters()) -> NDArray[np.uint8]:
    """Decode to an array of shape (height, width, 3), dtype uint8, upright RGB.

    Raises:
        ImageError: as :func:`decode_image`.
    """
    return np.asarray(decode_image(data, item=item, parameters=parameters).image, dtype=np.uint8).copy()


def compare_array(data: bytes, *, item: str = "image", parameters: ImageParameters = ImageParameters()) -> NDArray[np.uint8]:
    """Pixels that near-duplicate search compares: shape (compare_side, compare_side, 3), dtype uint8.

    A stored ``scaled_<compare>`` variant, and any image of exactly that size, is taken as it is; any other image is
    resized as the stored variant is (without the JPEG step in between).

    Raises:
        ImageError: as :func:`decode_image`.
    """
    image = decode_image(data, item=item, parameters=parameters).image
    side = parameters.compare_side
    return np.asarray(_resized(image, (side, side)), dtype=np.uint8).copy()


def _refuse(problem: str, item: str, reason: str) -> ImageError:
    return ImageError(problem, item=item, reason=reason)


def _check_bytes(data: bytes, item: str, parameters: ImageParameters) -> None:
    if not data:
        raise _refuse("the file is empty", item, "empty")
    if len(data) > parameters.max_bytes:
        raise _refuse(f"{len(data)} bytes exceed the limit max_bytes = {parameters.max_bytes}", item, "too_many_bytes")


def _decode(data: bytes, item: str, parameters: ImageParameters) -> DecodedImage:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        width, height = image.size
        if width * height > parameters.max_pixels:
            problem = f"{width} x {height} pixels exceed the limit max_pixels = {parameters.max_pixels}"
            raise _refuse(problem, item, "too_many_pixels")
        image.load()
        rgb, colour_notes = _to_rgb(image, item)
        upright, orientation_notes = _upright(rgb, _orientation(image))
        notes = (*orientation_notes, *colour_notes, *_frame_notes(image))
        container = "JPEG" if image.format == "MPO" else str(image.format)
    # Pillow's JPEG writer copies a comment found in `info` into the output.
    upright.info = {}
    return DecodedImage(upright, container, notes)


def _describe_unknown(data: bytes, item: str) -> tuple[str, str, str]:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in head:
        return "an HTML page instead of an image", item, "html"
    known = {b"<svg": "SVG", b"<?xml": "XML or SVG", b"%pdf": "PDF", b"8bps": "Photoshop", b"%!ps": "PostScript"}
    for start, name in known.items():
        if head.startswith(start):
            return f"{name} is not supported", item, "unsupported_format"
    if data[4:8] == b"ftyp":
        return "HEIC or video is not supported", item, "unsupported_format"
    return "the bytes are not an image in a known format", item, "not_an_image"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1  # damaged EXIF says nothing about the pixels
    return value if isinstance(value, int) else 1


def _upright(image: Image.Image, orientation: int) -> tuple[Image.Image, tuple[str, ...]]:
    method = _TRANSPOSE.get(orientation)
    if method is None:
        return image, ()
    return image.transpose(method), (f"exif_orientation={orientation}",)


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    # MPO holds a camera's preview or the other eye's view, not an animation.
    if image.format == "MPO":
        return ()
    try:
        animated = bool(getattr(image, "is_animated", False))
    except _DECODER_ERRORS:
        animated = True  # there is a second frame, but it is damaged; the first one is whole
    return ("first_frame",) if animated else ()


def _to_rgb(image: Image.Image, item: str) -> tuple[Image.Image, tuple[str, ...]]:
    mode = image.mode
    if mode.startswith("I"):
        return _from_16_bit(image, item), ("from_16_bit",)
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(image), ("alpha_over_white",)
    if mode == "RGB":
        return image, ()
    if mode == "CMYK":
        return _from_cmyk(image)
    if mode in ("1", "L", "P", "YCbCr", "RGBX"):
        return image.convert("RGB"), (f"from_{_MODE_NAMES[mode]}",)
    if mode == "LAB":
        return _apply_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), ("from_lab",)
    raise _refuse(f"colour mode {mode} (32-bit samples without a defined range) is not supported", item, "unsupported_mode")


_MODE_NAMES: Final = {"1": "bilevel", "L": "grey", "P": "palette", "YCbCr": "ycbcr", "RGBX": "rgbx"}


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _from_16_bit(image: Image.Image, item: str) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 0xFFFF):
        raise _refuse("32-bit samples beyond the 16-bit range are not supported", item, "unsupported_mode")
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")


def _from_cmyk(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB"), ("from_cmyk",)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "CMYK":
            return image.convert("RGB"), ("from_cmyk",)
        return _apply_profile(image, source), ("from_cmyk_profile",)
    except (OSError, ImageCms.PyCMSError):
        return image.convert("RGB"), ("from_cmyk", "icc_profile_unreadable")


def _apply_profile(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:  # only with inPlace=True
        raise ValueError("no image came back from the colour conversion")
    return converted


def _display_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = size
    if width >= height:
        return side, max(1, round(height * side / width))
    return max(1, round(width * side / height)), side


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _encode(name: str, image: Image.Image, quality: int) -> EncodedVariant:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", exif=b"", icc_profile=b"")
    data = buffer.getvalue()
    return EncodedVariant(name, data, image.width, image.height, content_hash(data))
