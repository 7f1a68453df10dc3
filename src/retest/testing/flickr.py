"""A fake Flickr: the documented ``flickr.photos.search`` over real HTTP on the loopback interface, faults included.

It serves a collection of :class:`FakePhoto` the way the service does: parameters that it does not know are ignored, only the first
4,000 results of a question are real and later pages repeat, totals are approximate, numbers arrive as strings or as
integers. Faults are added on request. The images themselves are served too, so a whole collection run works offline::

    with FakeFlickr(sample_photos("goldfish", 30), key="k") as server:
        source = FlickrSource(FlickrKey("k"), url=server.url)
"""

from __future__ import annotations

import functools
import json
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from retest.errors import ConfigError

__all__ = ["FAULTS", "FakeFlickr", "FakePhoto", "FlickrManners", "sample_photos"]

FAULTS: Final = (
    "429",
    "429-date",
    "500",
    "502",
    "503",
    "timeout",
    "disconnect",
    "html",
    "html-503",
    "truncated",
    "no-photos",
    "fail-10",
    "fail-105",
    "fail-106",
)
"""Passing faults that can be put in the way of a question; ``fail-N`` for any other number N is an error answer."""

_SIZES: Final = {"o": (3000, 2000), "k": (2048, 1365), "l": (1024, 683), "z": (640, 427), "m": (500, 333)}
_MESSAGES: Final = {
    10: "Sorry, the Flickr search API is not currently available.",
    100: "Invalid API Key (Key has invalid format)",
    105: "Service currently unavailable",
    106: "Write operation failed",
}


@dataclass(frozen=True, slots=True)
class FakePhoto:
    """A photo of the fake collection. ``uploaded`` in unix seconds; ``sizes`` maps the letter of a size to (width, height)."""

    id: str
    title: str
    uploaded: int
    taken: str
    tags: str = ""
    taken_unknown: bool = False
    license: str = "4"
    owner: str = "12345678@N00"
    owner_name: str = "A. Photographer"
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=lambda: dict(_SIZES))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlickrManners:
    """How the fake misbehaves all the time.

    Args:
        result_cap: only so many results of a question are real; later pages repeat the last one.
        total_factor: reported totals are the true ones times this.
        repeat_every: after so many results one of the earlier ones comes again (0: never).
        mixed_numbers: numbers are strings in every other answer.
        ignores_upload_window: photos outside the asked window of upload dates are returned as well.
    """

    result_cap: int = 4000
    total_factor: float = 1.0
    repeat_every: int = 0
    mixed_numbers: bool = True
    ignores_upload_window: bool = False


def sample_photos(
    text: str, count: int, *, start: str = "2012-07-11", days: float = 365.0, first_id: int = 7_500_000_000, seed: int = 0
) -> list[FakePhoto]:
    """``count`` photos whose titles contain ``text``, uploaded evenly over the days from ``start``, taken up to a day before."""
    rng = random.Random(seed)
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    photos = []
    for number in range(count):
        uploaded = begin + timedelta(days=days * (number + 0.5) / count)
        taken = max(uploaded - timedelta(seconds=rng.randrange(86_400)), begin)
        photos.append(
            FakePhoto(
                id=str(first_id + number),
                title=f"{text} {number}",
                uploaded=int(uploaded.timestamp()),
                taken=f"{taken:%Y-%m-%d %H:%M:%S}",
                license=str(rng.randrange(11)),
            )
        )
    return photos


class FakeFlickr:
    """The server; a context manager. ``url`` is the address of its API.

    Args:
        photos: the collection.
        key: the only API key that it accepts.
        manners: see :class:`FlickrManners`.
        image: photo id and size letter -> bytes of the image file; without it images are not found.
        stall_s: how long the fault ``timeout`` keeps silent.
    """

    def __init__(
        self,
        photos: Iterable[FakePhoto],
        *,
        key: str = "fake-key",
        manners: FlickrManners | None = None,
        image: Callable[[str, str], bytes] | None = None,
        stall_s: float = 5.0,
    ) -> None:
        self._photos = list(photos)
        self._key = key
        self._manners = manners or FlickrManners()
        self._image = image
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._faults: list[str] = []
        self._closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.asked = 0
        """Questions that arrived, failed ones included."""
        self.log: list[str] = []
        """Questions that got a good answer, one line of sorted parameters each, without the key."""

    @property
    def root(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"{self.root}/services/rest/"

    def fail(self, *faults: str) -> None:
        """Put faults in the way of the next questions, one each.

        Raises:
            ConfigError: there is no such fault.
        """
        for fault in faults:
            if fault not in FAULTS and not fault.removeprefix("fail-").isdigit():
                raise ConfigError(f"there is no fault {fault!r}", remedy=f"Known: {', '.join(FAULTS)}, fail-N.")
        with self._lock:
            self._faults.extend(faults)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next_fault(self) -> str | None:
        with self._lock:
            self.asked += 1
            return self._faults.pop(0) if self._faults else None

    def _stall(self) -> None:
        self._closing.wait(self._stall_s)

    def _answer(self, params: Mapping[str, str]) -> dict[str, Any]:
        if params.get("api_key") != self._key:
            return _fail(100)
        if params.get("method") != "flickr.photos.search":
            return _fail(112, f'Method "{params.get("method")}" not found')
        if not params.get("text", "").strip():
            return _fail(3, "Parameterless searches have been disabled. Please use flickr.photos.getRecent instead.")
        answer = _search(self._photos, params, self._manners, self.root, strings=self.asked % 2 == 0)
        with self._lock:
            self.log.append("&".join(f"{k}={v}" for k, v in sorted(params.items()) if k != "api_key"))
        return answer


def _fail(code: int, message: str | None = None) -> dict[str, Any]:
    return {"stat": "fail", "code": code, "message": message or _MESSAGES.get(code, "Failed")}


def _search(photos: Sequence[FakePhoto], params: Mapping[str, str], manners: FlickrManners, root: str, *, strings: bool) -> dict[str, Any]:
    wanted = _wanted(params, manners)
    found = [photo for photo in photos if wanted(photo)]
    _sort(found, params.get("sort", "date-posted-desc"))
    if manners.repeat_every:
        found = _with_repeats(found, manners.repeat_every)
    per_page = min(max(int(params.get("per_page", 100)), 1), 500)
    page = max(int(params.get("page", 1)), 1)
    last = max(1, -(-min(len(found), manners.result_cap) // per_page))
    shown = found[: manners.result_cap][(min(page, last) - 1) * per_page :][:per_page]
    total = round(len(found) * manners.total_factor)
    number: Callable[[int], int | str] = str if strings and manners.mixed_numbers else int
    extras = set(params.get("extras", "").split(","))
    return {
        "photos": {
            "page": number(page),
            "pages": number(-(-total // per_page)),
            "perpage": number(per_page),
            "total": number(total),
            "photo": [_item(photo, extras, root, number) for photo in shown],
        },
        "stat": "ok",
    }


def _wanted(params: Mapping[str, str], manners: FlickrManners) -> Callable[[FakePhoto], bool]:
    words = params["text"].lower().split()
    licenses = params["license"].split(",") if "license" in params else None
    names = ("min_taken_date", "max_taken_date", "min_upload_date", "max_upload_date")
    least_taken, most_taken, least_uploaded, most_uploaded = (_moment(params.get(name)) for name in names)

    def wanted(photo: FakePhoto) -> bool:
        said = f"{photo.title} {photo.tags}".lower().split()
        if not all(word in said for word in words) or (licenses is not None and photo.license not in licenses):
            return False
        inside = _between(photo.uploaded, least_uploaded, most_uploaded) or manners.ignores_upload_window
        return inside and _between(_moment(photo.taken), least_taken, most_taken)

    return wanted


def _between(value: int | None, low: int | None, high: int | None) -> bool:
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


@functools.lru_cache(maxsize=100_000)
def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdigit() else int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _sort(photos: list[FakePhoto], order: str) -> None:
    keys: dict[str, Callable[[FakePhoto], tuple[int, str]]] = {
        "date-posted": lambda p: (p.uploaded, p.id),
        "date-taken": lambda p: (_moment(p.taken) or 0, p.id),
    }
    kind, _, direction = order.rpartition("-")
    photos.sort(key=keys.get(kind, lambda p: (_relevance(p.id), p.id)), reverse=direction == "desc")


def _relevance(text: str) -> int:
    """A number that stands for a photo's relevance: stable and unrelated to its dates."""
    return random.Random(text).randrange(2**32)


def _with_repeats(photos: Sequence[FakePhoto], every: int) -> list[FakePhoto]:
    result: list[FakePhoto] = []
    for number, photo in enumerate(photos, start=1):
        result.append(photo)
        if number % every == 0:
            result.append(photos[number // 2])
    return result


def _item(photo: FakePhoto, extras: set[str], root: str, number: Callable[[int], int | str]) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": photo.id,
        "owner": photo.owner,
        "title": photo.title,
        "ispublic": 1,
        "secret": "0",
        "server": "1",
        "farm": 1,
    }
    if "license" in extras:
        item["license"] = number(int(photo.license))
    if "date_upload" in extras:
        item["dateupload"] = str(photo.uploaded)
    if "date_taken" in extras:
        item |= {"datetaken": photo.taken, "datetakengranularity": number(0), "datetakenunknown": "1" if photo.taken_unknown else "0"}
    if "owner_name" in extras:
        item["ownername"] = photo.owner_name
    for letter, (width, height) in photo.sizes.items():
        if f"url_{letter}" in extras:
            item |= {
                f"url_{letter}": f"{root}/{photo.id}_{letter}.jpg",
                f"width_{letter}": number(width),
                f"height_{letter}": number(height),
            }
    return item


def _bad_answer(fault: str, params: Mapping[str, str]) -> tuple[int, bytes, str, Mapping[str, str]]:
    """Status, body, content type and further headers of the answer that is a fault."""
    page = b"<!DOCTYPE html><html><body><h1>Hold your clicks a moment please</h1></body></html>"
    soon = datetime.now(UTC) + timedelta(seconds=2)
    known: dict[str, tuple[int, bytes, str, Mapping[str, str]]] = {
        "429": (429, page, "text/html", {"Retry-After": "1"}),
        "429-date": (429, page, "text/html", {"Retry-After": f"{soon:%a, %d %b %Y %H:%M:%S GMT}"}),
        "html": (200, page, "text/html", {}),
        "html-503": (503, page, "text/html", {}),
        "truncated": (200, json.dumps({"photos": {"photo": [{"id": "1"}]}}).encode()[:-7], "application/json", {}),
        "no-photos": (200, b'{"photos": {"total": "12"}, "stat": "ok"}', "application/json", {}),
    }
    if fault in known:
        return known[fault]
    if not fault.startswith("fail-"):
        return int(fault), b"Internal error", "text/plain", {}
    answer = _fail(int(fault.removeprefix("fail-")))
    answer["message"] += f" ({params.get('api_key')})" if fault == "fail-100" else ""
    return 200, json.dumps(answer).encode(), "application/json", {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A fault closes connections early; that is no reason to print a traceback.
    block_on_close = False

    def __init__(self, fake: FakeFlickr) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if path.path == "/services/rest/":
            self._api({k: v[-1] for k, v in parse_qs(path.query, keep_blank_values=True).items()})
        else:
            self._photo(path.path)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._api({k: v[-1] for k, v in parse_qs(body, keep_blank_values=True).items()})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _api(self, params: Mapping[str, str]) -> None:
        fault = self.server.fake._next_fault()
        if fault is None:
            self._send(200, json.dumps(self.server.fake._answer(params)).encode(), "application/json")
        else:
            self._misbehave(fault, params)

    def _misbehave(self, fault: str, params: Mapping[str, str]) -> None:
        if fault in ("timeout", "disconnect"):
            if fault == "timeout":
                self.server.fake._stall()
            self.close_connection = True
        else:
            self._send(*_bad_answer(fault, params))

    def _photo(self, path: str) -> None:
        image = self.server.fake._image
        name, _, size = path.removeprefix("/").removesuffix(".jpg").rpartition("_")
        known = any(photo.id == name and size in photo.sizes for photo in self.server.fake._photos)
        if image is None or not known:
            self._send(404, b"not found", "text/plain")
        else:
            self._send(200, image(name, size), "image/jpeg")

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
