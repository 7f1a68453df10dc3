"""One attempt to fetch one URL: redirects followed and checked again, size and time limited, opt-outs honoured."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import httpcore
import httpx

from retest.sources.connections import Connections
from retest.sources.guard import AddressRefused, GuardedBackend
from retest.sources.lanes import ByteBudget, HostBusyError, Lanes
from retest.sources.limits import TEMPORARY_STATUS, retry_after_s

__all__ = ["Failure", "FetchLimits", "Fetched", "Fetcher", "opted_out"]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PERMANENT: Final = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "gone", 451: "forbidden"}
_DRAIN_BYTES: Final = 65_536
_HOST: Final = re.compile(rb"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
# Directives of X-Robots-Tag that are themselves written with a colon, unlike an agent's name before one.
_WITH_VALUE: Final = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body; its bytes stay reserved in the budget until the consumer is done with them."""

    data: bytes = field(repr=False)
    url: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no body. ``temporary``: it may be there later; ``retry``: within this run."""

    reason: str
    detail: str
    temporary: bool = False
    retry: bool = False
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Limits of one attempt; times in seconds."""

    max_bytes: int
    max_redirects: int
    connect_timeout_s: float
    read_timeout_s: float
    total_timeout_s: float
    opt_out: tuple[str, ...]
    user_agent: str


class Fetcher:
    """Fetches over a pool of guarded connections. Belongs to one event loop; close it.

    Args:
        lanes: turns per host.
        budget: bytes that may wait in memory.
        utc_now: the present, for Retry-After dates.
    """

    def __init__(
        self,
        limits: FetchLimits,
        *,
        lanes: Lanes,
        budget: ByteBudget,
        backend: GuardedBackend,
        connections: int,
        utc_now: Callable[[], datetime],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._lanes = lanes
        self._budget = budget
        self._utc_now = utc_now
        self._connections = Connections(backend=backend, ssl_context=ssl_context or httpx.create_ssl_context(), most_idle=connections)

    async def fetch(self, address: str) -> Fetched | Failure:
        """Fetch a URL, following redirects; every hop takes a turn at its host and passes the guard."""
        for _ in range(self._limits.max_redirects + 1):
            url = _usable(address)
            if isinstance(url, Failure):
                return url
            try:
                async with self._lanes.turn(url.host):
                    result = await self._hop(url)
            except HostBusyError as error:
                return Failure("rate_limited", str(error), temporary=True)
            if not isinstance(result, _Redirect):
                return result
            address = result.url
        return Failure("too_many_redirects", f"more than {self._limits.max_redirects} redirects")

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _hop(self, url: httpx.URL) -> Fetched | Failure | _Redirect:
        request = self._request(url)
        connection = await self._connections.take(request.url)
        try:
            response = await asyncio.wait_for(connection.handle_async_request(request), self._limits.total_timeout_s)
            try:
                verdict = self._judge(url, response)
                if verdict is None:
                    return await self._body(url, response)
                await self._drain(response)
                return verdict
            finally:
                await response.aclose()
        except AddressRefused as error:
            return Failure("private_address", str(error))
        except (TimeoutError, httpcore.TimeoutException):
            return Failure("timeout", f"no whole answer in time from {url.host}", temporary=True, retry=True)
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return Failure("connection_failed", f"{type(error).__name__}: {error}"[:200], temporary=True, retry=True)
        finally:
            await self._connections.give_back(connection, request.url)

    def _request(self, url: httpx.URL) -> httpcore.Request:
        headers = [
            (b"Host", url.netloc),
            (b"User-Agent", self._limits.user_agent.encode()),
            (b"Accept", b"image/*,*/*;q=0.5"),
            (b"Accept-Encoding", b"identity"),
        ]
        timeout = {"connect": self._limits.connect_timeout_s, "read": self._limits.read_timeout_s, "write": self._limits.read_timeout_s}
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return httpcore.Request("GET", target, headers=headers, extensions={"timeout": timeout})

    def _judge(self, url: httpx.URL, response: httpcore.Response) -> Failure | _Redirect | None:
        """What the head of an answer already decides; None if its body is wanted."""
        headers = _headers(response)
        status = response.status
        if status in _REDIRECTS and headers.get("location"):
            return _redirect(url, headers["location"])
        if status in TEMPORARY_STATUS:
            asked = retry_after_s(headers.get("retry-after"), now=self._utc_now())
            if asked is not None:
                self._lanes.pause(url.host, asked)
            return Failure(
                "rate_limited" if status == 429 else "server_error", f"HTTP {status}", temporary=True, retry=True, wait_s=asked or 0.0
            )
        if status != 200:
            return Failure(_PERMANENT.get(status, "http_error"), f"HTTP {status}")
        if opted_out(_values(response, b"x-robots-tag"), directives=self._limits.opt_out, agent=self._limits.user_agent):
            return Failure("opted_out", f"X-Robots-Tag: {headers['x-robots-tag']}"[:200])
        if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            return Failure("content_encoding", f"sent as {headers['content-encoding']} although not asked for"[:200])
        declared = _length(headers)
        if declared is not None and declared > self._limits.max_bytes:
            return Failure("too_many_bytes", f"{declared} bytes exceed the limit of {self._limits.max_bytes}")
        return None

    async def _body(self, url: httpx.URL, response: httpcore.Response) -> Fetched | Failure:
        headers = _headers(response)
        declared = _length(headers)
        reserved = self._limits.max_bytes if declared is None else declared
        # Waiting for memory is not the host's fault, so it is outside the time limit.
        await self._budget.acquire(reserved)
        data: bytes | Failure | None = None
        try:
            data = await self._read(response)
        finally:
            if isinstance(data, bytes):
                self._budget.shrink(reserved, len(data))
            else:
                self._budget.release(reserved)
        return data if isinstance(data, Failure) else Fetched(data, str(url), headers.get("content-type", ""))

    async def _read(self, response: httpcore.Response) -> bytes | Failure:
        parts: list[bytes] = []
        size = 0
        async with asyncio.timeout(self._limits.total_timeout_s):
            async for part in response.aiter_stream():
                size += len(part)
                if size > self._limits.max_bytes:
                    return Failure("too_many_bytes", f"more than {self._limits.max_bytes} bytes")
                parts.append(part)
        return b"".join(parts) if size else Failure("empty", "the answer has no content")

    async def _drain(self, response: httpcore.Response) -> None:
        """Read a short rest, so that the connection can be used again."""
        declared = _length(_headers(response))
        if declared is None or declared > _DRAIN_BYTES:
            return
        with suppress(TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            async with asyncio.timeout(self._limits.read_timeout_s):
                async for _ in response.aiter_stream():
                    pass


def opted_out(values: Iterable[str], *, directives: Iterable[str], agent: str) -> bool:
    """Whether ``X-Robots-Tag`` values forbid the use (noai, noindex ...), for everyone or for this agent by name.

    A value is ``directive, directive`` or ``agent: directive, directive``; ``unavailable_after: date`` is a directive.
    """
    wanted = {directive.lower() for directive in directives}
    name = agent.split("/")[0].split(" ")[0].lower()
    for value in values:
        applies = True
        for part in value.lower().split(","):
            head, colon, rest = part.partition(":")
            if colon and head.strip() not in _WITH_VALUE:
                applies = head.strip() in (name, "*")
                part = rest
            if applies and part.strip() in wanted:
                return True
    return False


def _usable(address: str) -> httpx.URL | Failure:
    try:
        url = httpx.URL(address)
        named = bool(_HOST.fullmatch(url.raw_host)) and bool(url.host)  # .host raises where a name cannot be decoded
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        return Failure("bad_url", str(error)[:200])
    if url.scheme not in ("http", "https") or url.userinfo or not named:
        return Failure("bad_url", "not an http or https address without credentials")
    if url.port is not None and not 0 < url.port < 65_536:
        return Failure("bad_url", f"there is no port {url.port}")
    return url


def _redirect(url: httpx.URL, location: str) -> Failure | _Redirect:
    try:
        target = url.join(location)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        return Failure("bad_url", f"redirected to an unusable address ({error})"[:200])
    if target.path.rsplit("/", 1)[-1].startswith("photo_unavailable"):
        return Failure("not_found", "the host shows its picture for missing photos")
    return _Redirect(str(target))


def _headers(response: httpcore.Response) -> Mapping[str, str]:
    """Lower-case names; of repeated headers the first one counts."""
    result: dict[str, str] = {}
    for name, value in response.headers:
        result.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return result


def _values(response: httpcore.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in response.headers if key.lower() == name]


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
