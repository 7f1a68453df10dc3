"""Real image files of every format that is read, and ways to damage them that respect, or abuse, how they are built."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\1\0\0", b"\0\0\1\0", b"\xff\xff\0\0", b"\1\0\0\0")


def _picture(mode: str = "RGB", size: tuple[int, int] = (37, 23)) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def samples() -> dict[str, bytes]:
    """Name -> the bytes of a whole file."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "what it shows"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_itxt("title", "é" * 30, zip=True)
    text.add_text("comment", "x" * 50, zip=True)
    frames = [_picture("P"), _picture("P", (37, 23)).rotate(90)]
    deep = Image.fromarray(np.random.default_rng(5).integers(0, 65536, (23, 37)).astype(np.uint16))
    return {
        "jpeg": _saved(_picture(), "JPEG", exif=exif, icc_profile=profile, quality=80),
        "jpeg progressive": _saved(_picture(), "JPEG", progressive=True, comment=b"c" * 40),
        "jpeg cmyk": _saved(_picture("CMYK"), "JPEG"),
        "jpeg grey": _saved(_picture("L"), "JPEG"),
        "png": _saved(_picture(), "PNG", pnginfo=text, icc_profile=profile, exif=exif),
        "png alpha": _saved(_picture("RGBA"), "PNG"),
        "png palette": _saved(_picture("P"), "PNG", transparency=3),
        "png 16 bit": _saved(deep, "PNG"),
        "apng": _saved(frames[0].convert("RGB"), "PNG", save_all=True, append_images=[frames[1].convert("RGB")]),
        "gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=2, comment=b"c" * 20),
        "webp": _saved(_picture(), "WEBP", exif=exif, icc_profile=profile),
        "webp lossless": _saved(_picture("RGBA"), "WEBP", lossless=True),
        "webp animated": _saved(_picture(), "WEBP", save_all=True, append_images=[_picture().rotate(180)]),
        "tiff": _saved(_picture(), "TIFF", exif=exif),
        "tiff lzw": _saved(_picture("RGBA"), "TIFF", compression="tiff_lzw"),
        "tiff deflate": _saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": _saved(_picture(), "TIFF", compression="jpeg"),
        "bmp": _saved(_picture(), "BMP"),
    }


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, bytes, numbers with extreme values, pieces cut out, repeated, moved or taken from the end."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        # Headers decide what a decoder believes, so half of the changes go there.
        at = rng.randrange(min(len(changed), 160)) if rng.random() < 0.5 else rng.randrange(len(changed))
        _CHANGES[rng.randrange(len(_CHANGES))](changed, at, rng)
    return bytes(_with_checksums(changed) if changed.startswith(b"\x89PNG") and rng.random() < 0.7 else changed)


def _bit(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, at: int, rng: random.Random) -> None:
    data[at : at + 4] = rng.choice(_EXTREMES)


def _cut(data: bytearray, at: int, rng: random.Random) -> None:
    del data[at : at + rng.choice((1, 2, 4, 17, 300, len(data)))]


def _repeat(data: bytearray, at: int, rng: random.Random) -> None:
    piece = data[at : at + rng.choice((1, 4, 40, 400))]
    data[at:at] = piece * rng.choice((1, 3))


def _other(data: bytearray, at: int, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[at:at] = data[start : start + rng.randrange(1, 60)]


def _noise(data: bytearray, at: int, rng: random.Random) -> None:
    data[at : at + 8] = rng.randbytes(rng.randrange(20))


_CHANGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (_bit, _byte, _number, _number, _cut, _repeat, _other, _noise)


def _with_checksums(data: bytearray) -> bytes:
    """A PNG whose chunks have right checksums again, as far as they can be told: else every change ends at the checksum."""
    made, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            break
        made += data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(made + data[at:])


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bombs() -> dict[str, bytes]:
    """Small files that ask for much memory."""
    signature = b"\x89PNG\r\n\x1a\n"

    def png(width: int, height: int, *extra: bytes, rows: bytes = b"") -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return signature + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    zeros = zlib.compress(b"\0" * 80_000_000, 1)
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0" * 6
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\x00;"

    def tiff(**fields: int) -> bytes:
        tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 16, 279: 256, **{int(k[1:]): v for k, v in fields.items()}}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0" * 4).ljust(200, b"\0") + b"\0" * 256

    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xfe\x3f\0" * 2 + b"\0" * 40
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
    return {
        "png of 2^31 pixels a side": png(2**31 - 1, 2**31 - 1),
        "png of 30,000 pixels a side": png(30_000, 30_000, rows=b"\0" * 1000),
        "png within the limit that inflates further": png(900, 900, rows=b"\0" * 80_000_000),
        "png with a profile that inflates": png(8, 8, chunk(b"iCCP", b"p\0\0" + zeros), rows=(b"\0" + b"\1" * 24) * 8),
        "png with texts that inflate": png(8, 8, *[chunk(b"zTXt", b"t\0\0" + zeros)] * 3, rows=(b"\0" + b"\1" * 24) * 8),
        "gif of 65,535 pixels a side": gif + frame,
        "gif with a frame beyond its screen": b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + b"\0" * 6 + frame,
        "tiff of 65,535 pixels a side": tiff(t256=65535, t257=65535, t279=2**31),
        "tiff with tiles of 60,000 pixels": tiff(t322=60_000, t323=60_000, t324=200, t325=256),
        "tiff with deflated tiles of 60,000 pixels": tiff(t259=8, t322=60_000, t323=60_000, t324=200, t325=256),
        "tiff of 60,000 samples per pixel": tiff(t277=60_000),
        "tiff with strips of 2 GB": tiff(t259=5, t278=2**31 - 1, t279=2**31 - 1),
        "webp of 16,383 pixels a side": webp,
        "bmp of 2^31 pixels a side": bmp,
    }  # fmt: skip
