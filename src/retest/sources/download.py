"""Downloading many images from many hosts: asynchronous, polite per host, bounded in memory, every failure with a reason.

Nothing is stored here. :meth:`Downloader.run` yields each candidate with its bytes, or with the reason why there are none, as
it finishes, in any order; what a stage has stored it leaves out of the next run, so that a killed run continues where it
stopped.

Memory does not grow with the number of candidates: they are read from their iterator only as fast as outcomes are taken,
and at most ``2 * at_once`` images with ``max_buffered_bytes`` in all wait between the network and the consumer.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from retest.errors import ConfigError
from retest.records import Candidate
from retest.settings import check_count, check_flag, check_number, plain_numbers
from retest.sources.fetching import Failure, Fetched, Fetcher, FetchLimits
from retest.sources.guard import GuardedBackend, Resolver, resolve
from retest.sources.lanes import ByteBudget, Lanes
from retest.sources.limits import RetryParameters

_T = TypeVar("_T")

__all__ = ["FAILURE_REASONS", "DownloadParameters", "Downloaded", "Downloader", "Failed"]

FAILURE_REASONS: Final = (
    "bad_url",
    "private_address",
    "not_found",
    "gone",
    "forbidden",
    "http_error",
    "opted_out",
    "content_encoding",
    "too_many_redirects",
    "too_many_bytes",
    "empty",
    "timeout",
    "connection_failed",
    "server_error",
    "rate_limited",
)
"""Reason codes of a :class:`Failed`; stored with exclusions, so they never change meaning. The last four are temporary."""


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class DownloadParameters:
    """Section ``[download]`` of the study.

    Raises:
        ConfigError: a value is out of range.
    """

    at_once: int = field(default=64, metadata={"help": "downloads that run at the same time"})
    per_host: int = field(default=16, metadata={"help": "of these, at one host"})
    host_rate_per_s: float = field(default=50.0, metadata={"help": "downloads begun per second at one host"})
    outstanding: int = field(
        default=2000, metadata={"help": "candidates taken up but not finished, those waiting for another attempt included"}
    )
    max_bytes: int = field(default=100_000_000, metadata={"help": "refuse files larger than this many bytes"})
    max_buffered_bytes: int = field(default=400_000_000, metadata={"help": "bytes of images that may wait in memory"})
    max_redirects: int = field(default=5, metadata={"help": "redirects followed per image; each is checked again"})
    connect_timeout_s: float = field(default=10.0, metadata={"help": "longest wait for a connection"})
    read_timeout_s: float = field(default=30.0, metadata={"help": "longest wait for the next bytes"})
    total_timeout_s: float = field(default=300.0, metadata={"help": "longest time for one image"})
    attempts: int = field(default=4, metadata={"help": "how often an image is tried in all where trying again may help"})
    first_wait_s: float = field(default=2.0, metadata={"help": "longest wait before the second attempt; doubles each time"})
    longest_wait_s: float = field(
        default=120.0, metadata={"help": "longest wait between two attempts; a host that asks for more is left for this run"}
    )
    allow_private: bool = field(default=False, metadata={"help": "allow addresses of this machine and of private networks"})
    opt_out: tuple[str, ...] = field(
        default=("noai", "noimageai", "noindex", "noimageindex"),
        metadata={"help": "X-Robots-Tag directives that keep an image out; empty: ignore the header"},
    )

    def __post_init__(self) -> None:
        for name in ("at_once", "per_host", "outstanding", "max_bytes", "max_buffered_bytes", "attempts"):
            check_count(name, getattr(self, name), low=1)
        check_count("max_redirects", self.max_redirects)
        for name in ("first_wait_s", "longest_wait_s"):
            check_number(name, getattr(self, name))
        for name in ("host_rate_per_s", "connect_timeout_s", "read_timeout_s", "total_timeout_s"):
            check_number(name, getattr(self, name), ends=False)
        check_flag("allow_private", self.allow_private)
        if self.max_buffered_bytes < self.max_bytes:
            raise ConfigError(
                f"is less than max_bytes = {self.max_bytes}", item="max_buffered_bytes", remedy="Make room for one whole image."
            )


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The bytes of a candidate; ``url`` is where they came from after redirects."""

    candidate: Candidate
    data: bytes = field(repr=False)
    url: str
    content_type: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there are none. A ``temporary`` failure says nothing about the image: try it again in a later run."""

    candidate: Candidate
    reason: str
    detail: str
    temporary: bool
    attempts: int


class Downloader:
    """Downloads candidates' images.

    Args:
        parameters: the section ``[download]``.
        user_agent: sent to every host; name the study and a contact.
        resolver: host names to addresses, for tests.
        seed: of the jitter between attempts.
    """

    def __init__(
        self, parameters: DownloadParameters | None = None, *, user_agent: str = "retest", resolver: Resolver = resolve, seed: int = 0
    ) -> None:
        if not user_agent.isascii() or not user_agent.isprintable() or not user_agent.strip():
            raise ConfigError(f"{user_agent!r} cannot be sent as a name", item="user_agent", remedy="Use plain printable ASCII.")
        self._parameters = parameters or DownloadParameters()
        self._user_agent = user_agent
        self._resolver = resolver
        self._seed = seed

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Downloaded | Failed]:
        """Yield one outcome per candidate, as they finish; closing the iterator stops everything.

        ``candidates`` is read in the thread that takes the outcomes, a little ahead of them. The network runs in a thread
        of its own, so that the consumer may take its time.
        """
        finished: queue.SimpleQueue[Future[Downloaded | Failed]] = queue.SimpleQueue()
        waiting = iter(candidates)
        outstanding = 0
        more = True
        with _event_loop() as loop:
            session = _call(loop, self._session())
            try:
                while True:
                    while more and outstanding < self._parameters.outstanding:
                        candidate = next(waiting, None)
                        if candidate is None:
                            more = False
                            break
                        asyncio.run_coroutine_threadsafe(session.download(candidate), loop).add_done_callback(finished.put)
                        outstanding += 1
                    if outstanding == 0:
                        return
                    outcome = finished.get().result()
                    outstanding -= 1
                    yield outcome
                    if isinstance(outcome, Downloaded):
                        loop.call_soon_threadsafe(session.budget.release, len(outcome.data))
            finally:
                _call(loop, session.close())

    async def _session(self) -> _Session:
        return _Session(self._parameters, self._user_agent, self._resolver, random.Random(self._seed))


class _Session:
    """The parts of one run; lives in its event loop."""

    def __init__(self, parameters: DownloadParameters, user_agent: str, resolver: Resolver, rng: random.Random) -> None:
        self._parameters = p = parameters
        self._rng = rng
        self._retry = RetryParameters(attempts=p.attempts, first_wait_s=p.first_wait_s, longest_wait_s=p.longest_wait_s)
        self.budget = ByteBudget(p.max_buffered_bytes, most=2 * p.at_once)
        self._fetcher = Fetcher(
            FetchLimits(
                max_bytes=p.max_bytes,
                max_redirects=p.max_redirects,
                connect_timeout_s=p.connect_timeout_s,
                read_timeout_s=p.read_timeout_s,
                total_timeout_s=p.total_timeout_s,
                opt_out=p.opt_out,
                user_agent=user_agent,
            ),
            lanes=Lanes(
                at_once=p.at_once, per_host=p.per_host, rate_per_s=p.host_rate_per_s, longest_wait_s=p.longest_wait_s, clock=time.monotonic
            ),
            budget=self.budget,
            backend=GuardedBackend(allow_private=p.allow_private, resolver=resolver),
            connections=p.at_once,
            utc_now=lambda: datetime.now(UTC),
        )

    async def download(self, candidate: Candidate) -> Downloaded | Failed:
        """All attempts for one candidate. One that waits for another attempt holds no turn and no connection."""
        attempt = 1
        while True:
            result = await self._fetcher.fetch(candidate.url)
            if isinstance(result, Fetched):
                return Downloaded(candidate, result.data, result.url, result.content_type, attempt)
            wait_s = max(result.wait_s, self._retry.wait_s(attempt, self._rng))
            if not result.retry or attempt >= self._parameters.attempts or result.wait_s > self._parameters.longest_wait_s:
                return _failed(candidate, result, attempt)
            await asyncio.sleep(wait_s)
            attempt += 1

    async def close(self) -> None:
        """Stop what still runs and close the connections."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._fetcher.close()


def _failed(candidate: Candidate, failure: Failure, attempts: int) -> Failed:
    return Failed(candidate, failure.reason, failure.detail, failure.temporary, attempts)


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="retest-download", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _call(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
