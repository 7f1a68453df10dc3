"""Which bytes may be embedded in a page: only what its own first bytes show to be a JPEG or a PNG image.

The page never trusts a file name or a declared type: an SVG or HTML file that calls itself a picture could carry script.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Final

from retest.errors import ImageError

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_START: Final = b"\xff\xd8\xff"
# Start-of-frame markers hold the size; C4, C8 and CC in the same range are tables and reserved (ITU T.81, table B.1).
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class ImageKind:
    """What the header of an image says: media type and size in pixels (before any EXIF rotation)."""

    media_type: str
    width: int
    height: int


def sniff_image(data: bytes, *, item: str) -> ImageKind:
    """Media type and size of a JPEG or PNG image from its own header.

    Args:
        data: the whole file.
        item: name of the image in messages.

    Raises:
        ImageError: the bytes are neither JPEG nor PNG, or end before their size is stated.
    """
    size: tuple[int, int] | None = None
    if data.startswith(_PNG_SIGNATURE):
        media_type, size = "image/png", _png_size(data)
    elif data.startswith(_JPEG_START):
        media_type, size = "image/jpeg", _jpeg_size(data)
    else:
        raise ImageError("is neither a JPEG nor a PNG image", item=item, remedy="Give one of the study's stored variants.")
    if size is None or 0 in size:
        raise ImageError("ends before its size is stated", item=item, remedy="Store the image again.", reason="truncated")
    return ImageKind(media_type, *size)


def data_uri(data: bytes, media_type: str) -> str:
    """The bytes as a ``data:`` address (RFC 2397, base64)."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        elif marker in _JPEG_FRAMES:
            if at + 9 > len(data):
                return None
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return int(width), int(height)
        else:
            at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return None
