"""Asking a JSON web service politely: one question at a time, at its pace, again only where that helps, keeping secrets."""

from __future__ import annotations

import random
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx

from retest.errors import SourceError
from retest.records import ClassInfo
from retest.sources.base import Query
from retest.sources.limits import TEMPORARY_STATUS, RetryParameters, TokenBucket, retry_after_s
from retest.sources.search import SearchParameters, class_queries

__all__ = ["ApiClient", "ApiSource", "Busy", "Clock"]

_LATER = "Run the same command again later: it continues where it stopped."


class Busy(Exception):  # noqa: N818 - not an error yet: it asks for another attempt
    """The service said, inside a good HTTP answer, that asking again may help."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, so that tests need neither."""

    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    utc_now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    rng: random.Random = field(default_factory=lambda: random.Random(0))


class ApiClient:
    """A client of one service.

    ``secret_params`` and ``secret_headers`` are added below the level where httpx logs addresses and builds its errors, so
    a key can be in no log and no message. Redirects are not followed. The system's proxy is used where it has one.

    Args:
        service: its name in messages.
        url: the address that is asked; parameters go into its query.
        bucket: the pace.
        key_remedy: what to do when the service refuses the key.
        transport: another httpx transport, for tests.
    """

    def __init__(
        self,
        *,
        service: str,
        url: str,
        bucket: TokenBucket,
        key_remedy: str,
        user_agent: str,
        secret_params: Mapping[str, str] | None = None,
        secret_headers: Mapping[str, str] | None = None,
        retry: RetryParameters | None = None,
        clock: Clock | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._service = service
        self._url = url
        self._bucket = bucket
        self._key_remedy = key_remedy
        self._retry = retry or RetryParameters()
        self._clock = clock or Clock()
        inner = transport or httpx.HTTPTransport(proxy=system_proxy(url))
        self._client = httpx.Client(
            transport=_SecretTransport(inner, dict(secret_params or {}), dict(secret_headers or {})),
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            timeout=timeout_s,
            follow_redirects=False,
        )

    def get(self, params: Mapping[str, str | int], interpret: Callable[[Any], Any]) -> Any:
        """Ask once, with retries, and return ``interpret(JSON)``.

        ``interpret`` raises :class:`Busy` to ask again and :class:`~retest.errors.SourceError` to stop.

        Raises:
            SourceError: the service refuses, or does not answer properly in all attempts.
        """
        problem = ""
        for attempt in range(1, self._retry.attempts + 1):
            self._clock.sleep(self._bucket.reserve(self._clock.monotonic_s()))
            asked_wait: float | None = None
            try:
                response = self._client.get(self._url, params=dict(params))
                asked_wait = retry_after_s(response.headers.get("Retry-After"), now=self._clock.utc_now())
                return interpret(self._json(response))
            except httpx.RequestError as error:
                problem = f"no answer ({type(error).__name__})"
            except Busy as busy:
                problem = str(busy)
            if attempt < self._retry.attempts:
                self._wait(attempt, asked_wait, problem)
        raise SourceError(f"{self._service} failed {self._retry.attempts} times, last with: {problem}", remedy=_LATER)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _json(self, response: httpx.Response) -> Any:
        status = response.status_code
        if status in TEMPORARY_STATUS:
            raise Busy(f"HTTP {status}")
        if status in (401, 403):
            raise SourceError(f"{self._service} refuses the access (HTTP {status})", remedy=self._key_remedy)
        if status != 200:
            raise SourceError(f"{self._service} answers HTTP {status}", remedy="Check the address of the service and the search settings.")
        try:
            return response.json()
        except (ValueError, RecursionError):  # also bytes that are no text, and a million brackets
            kind = response.headers.get("Content-Type", "no content type").split(";")[0][:40]
            raise Busy(f"an answer that is not JSON ({kind})") from None

    def _wait(self, attempt: int, asked_wait: float | None, problem: str) -> None:
        if asked_wait is not None and asked_wait > self._retry.longest_retry_after_s:
            raise SourceError(f"{self._service} asks to wait {asked_wait:.0f} s ({problem})", remedy=_LATER)
        wait = max(self._retry.wait_s(attempt, self._clock.rng), asked_wait or 0.0)
        self._bucket.pause_until(self._clock.monotonic_s() + wait)


class ApiSource:
    """What the sources have in common that ask a service for the terms of a class, one query per term."""

    name: ClassVar[str]

    def __init__(self, client: ApiClient, *, parameters: SearchParameters | None, hand_terms: Mapping[str, Sequence[str]] | None) -> None:
        self._client = client
        self._parameters = parameters or SearchParameters()
        self._hand_terms = hand_terms

    def queries(self, info: ClassInfo) -> list[Query]:
        """One query per term of the class."""
        return class_queries(info, source=self.name, parameters=self._parameters, hand_terms=self._hand_terms)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def system_proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY ...); this machine itself needs none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


class _SecretTransport(httpx.BaseTransport):
    """Adds secrets to a request on its last steps, to a copy that nothing else ever sees."""

    def __init__(self, inner: httpx.BaseTransport, params: dict[str, str], headers: dict[str, str]) -> None:
        self._inner, self._params, self._headers = inner, params, headers

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        complete = httpx.Request(
            request.method,
            request.url.copy_merge_params(self._params),
            headers=[*request.headers.raw, *((k.encode(), v.encode()) for k, v in self._headers.items())],
            stream=request.stream,
            extensions=request.extensions,
        )
        return self._inner.handle_request(complete)

    def close(self) -> None:
        self._inner.close()
