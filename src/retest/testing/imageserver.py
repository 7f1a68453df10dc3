"""A local web server of images that fails in every way a download must survive, each image in a way of its own.

Image ``number`` lies at ``/image/<number>.jpg``. What happens there is its *manner*, one of :data:`MANNERS`; manners that end
in ``-once`` fail the first time they are asked, also across restarts of the client, and then behave.
"""

from __future__ import annotations

import io
import random
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from PIL import Image

from retest.settings import check_choice

__all__ = ["MANNERS", "FaultyImageServer", "mixed_manners", "sample_image"]

MANNERS: Final[Mapping[str, str | None]] = {
    "ok": None,
    "no-length": None,
    "redirect": None,
    "error-500-once": None,
    "error-503-once": None,
    "error-429-once": None,
    "disconnect-once": None,
    "short-once": None,
    "stall-once": None,
    "rotated": None,
    "grey": None,
    "cmyk": None,
    "palette": None,
    "alpha": None,
    "16-bit": None,
    "animated": None,
    "always-500": "server_error",
    "drip": "timeout",
    "not-found": "not_found",
    "missing-picture": "not_found",
    "gone": "gone",
    "forbidden": "forbidden",
    "teapot": "http_error",
    "empty": "empty",
    "opted-out": "opted_out",
    "gzip": "content_encoding",
    "redirect-loop": "too_many_redirects",
    "redirect-metadata": "private_address",
    "redirect-file": "bad_url",
    "too-large": "too_many_bytes",
    "endless": "too_many_bytes",
    "html": "html",
    "truncated": "truncated",
    "not-an-image": "not_an_image",
    "pixel-bomb": "too_many_pixels",
}
"""Manner -> the reason with which its image ends up left out (of the download or of the decoding); None: it is a good image."""


def sample_image(number: int, *, side: int = 96) -> Image.Image:
    """A small colourful image that no other number has; the same on every machine."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((side, side * 3 // 4 + number % 7), Image.Resampling.BILINEAR)


def mixed_manners(count: int, *, seed: int = 0, slow: bool = True) -> list[str]:
    """Manners for ``count`` images: every one occurs if ``count`` allows, most images are plain; without ``slow`` none that waits."""
    names = [name for name in MANNERS if slow or name not in ("stall-once", "drip")]
    manners = (names + ["ok"] * count)[:count] if count < 3 * len(names) else names * 2 + ["ok"] * (count - 2 * len(names))
    random.Random(seed).shuffle(manners)
    return manners


class FaultyImageServer:
    """The server; a context manager.

    Args:
        manners: the manner of each image by number.
        stall_s: how long ``stall-once`` keeps silent and ``drip`` waits between two bytes.
        large_bytes: what ``too-large`` declares and ``endless`` at least sends.

    Raises:
        ConfigError: there is no such manner.
    """

    def __init__(self, manners: list[str], *, stall_s: float = 5.0, large_bytes: int = 2_000_000) -> None:
        for manner in manners:
            check_choice("manners", manner, MANNERS)
        self.manners = manners
        self.stall_s = stall_s
        self.large_bytes = large_bytes
        self.asked: Counter[int] = Counter()
        """How often each image was asked for."""
        self.connections = 0
        """How many connections were opened."""
        self.at_once = 0
        self.most_at_once = 0
        """How many images were asked for at the same time."""
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def root(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, number: int) -> str:
        """The address of an image."""
        return f"{self.root}/image/{number}.jpg"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, images: FaultyImageServer) -> None:
        self.images = images
        super().__init__(("127.0.0.1", 0), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.images.connections += 1
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        images = self.server.images
        kind, _, name = self.path.removeprefix("/").partition("/")
        number = int(name.removesuffix(".jpg")) if name.removesuffix(".jpg").isdigit() else -1
        if not 0 <= number < len(images.manners):
            self._send(404, b"")
            return
        with images.lock:
            images.at_once += 1
            images.most_at_once = max(images.most_at_once, images.at_once)
            if kind == "image":
                images.asked[number] += 1
            first = images.asked[number] == 1
        try:
            self._behave("ok" if kind == "moved" else images.manners[number], number, first)
        finally:
            with images.lock:
                images.at_once -= 1

    def _behave(self, manner: str, number: int, first: bool) -> None:
        if manner.endswith("-once"):
            manner = manner.removesuffix("-once") if first else "ok"
        answer = getattr(self, "_do_" + manner.replace("-", "_"), None)
        if answer is not None:
            answer(number)
        else:
            self._send(200, _encoded(manner, number), kind="image/jpeg")

    def _send(self, status: int, body: bytes, *, kind: str = "text/html", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _do_no_length(self, number: int) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(_encoded("ok", number))
        self.close_connection = True

    def _do_redirect(self, number: int) -> None:
        self._send(302, b"moved", Location=f"/moved/{number}.jpg")

    def _do_redirect_loop(self, number: int) -> None:
        self._send(301, b"", Location=f"/image/{number}.jpg")

    def _do_redirect_metadata(self, number: int) -> None:
        self._send(307, b"", Location="http://169.254.169.254/latest/meta-data/")

    def _do_redirect_file(self, number: int) -> None:
        self._send(302, b"", Location="file:///etc/passwd")

    def _do_missing_picture(self, number: int) -> None:
        self._send(302, b"", Location="/images/photo_unavailable.png")

    def _do_error_500(self, number: int) -> None:
        self._send(500, b"<html>error</html>")

    _do_always_500 = _do_error_500

    def _do_error_503(self, number: int) -> None:
        self._send(503, b"", Retry_After="0")

    def _do_error_429(self, number: int) -> None:
        self._send(429, b"", Retry_After="1")

    def _do_disconnect(self, number: int) -> None:
        self.close_connection = True

    def _do_short(self, number: int) -> None:
        body = _encoded("ok", number)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def _do_stall(self, number: int) -> None:
        self.server.images.closing.wait(self.server.images.stall_s)
        self.close_connection = True

    def _do_drip(self, number: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x")
            if self.server.images.closing.wait(self.server.images.stall_s):
                break
        self.close_connection = True

    def _do_not_found(self, number: int) -> None:
        self._send(404, b"<html>not here</html>")

    def _do_gone(self, number: int) -> None:
        self._send(410, b"")

    def _do_forbidden(self, number: int) -> None:
        self._send(403, b"")

    def _do_teapot(self, number: int) -> None:
        self._send(418, b"")

    def _do_empty(self, number: int) -> None:
        self._send(200, b"", kind="image/jpeg")

    def _do_opted_out(self, number: int) -> None:
        self._send(200, _encoded("ok", number), kind="image/jpeg", X_Robots_Tag="noai")

    def _do_gzip(self, number: int) -> None:
        self._send(200, zlib.compress(_encoded("ok", number)), kind="image/jpeg", Content_Encoding="deflate")

    def _do_too_large(self, number: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.images.large_bytes))
        self.end_headers()
        self.close_connection = True

    def _do_endless(self, number: int) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for _ in range(8 * self.server.images.large_bytes // 65_536 + 1):
            self.wfile.write(b"\xff" * 65_536)

    def _do_html(self, number: int) -> None:
        self._send(200, b"<!DOCTYPE html><html><body>Sign in to see this photo</body></html>", kind="image/jpeg")

    def _do_truncated(self, number: int) -> None:
        body = _encoded("ok", number)
        self._send(200, body[: len(body) * 2 // 3], kind="image/jpeg")

    def _do_not_an_image(self, number: int) -> None:
        self._send(200, b"\x00\x01\x02 nothing to see", kind="image/jpeg")

    def _do_pixel_bomb(self, number: int) -> None:
        self._send(200, _png_header(50_000, 50_000), kind="image/png")


def _encoded(manner: str, number: int) -> bytes:
    image = sample_image(number)
    buffer = io.BytesIO()
    if manner == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 2 + number % 7
        image.save(buffer, "JPEG", exif=exif)
    elif manner == "cmyk":
        image.convert("CMYK").save(buffer, "JPEG")
    elif manner == "animated":
        image.save(buffer, "GIF", save_all=True, append_images=[sample_image(number + 1, side=64)])
    elif manner == "16-bit":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(buffer, "PNG")
    elif manner in ("grey", "palette", "alpha"):
        image.convert({"grey": "L", "palette": "P", "alpha": "RGBA"}[manner]).save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    empty = b"IDAT"
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0"
        + empty
        + struct.pack(">I", zlib.crc32(empty))
    )
