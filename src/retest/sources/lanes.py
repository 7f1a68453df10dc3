"""Turns: how many downloads run at once, how fast each host is asked, and how many bytes may wait in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from retest.sources.limits import TokenBucket

__all__ = ["ByteBudget", "HostBusyError", "Lanes"]

_MOST_LANES: Final = 10_000


class HostBusyError(Exception):
    """The host asked for more patience than this run has."""


class ByteBudget:
    """How many downloads, and how many bytes of them, may wait in memory; first come, first served. Belongs to one event loop.

    Args:
        limit: bytes.
        most: downloads.
    """

    def __init__(self, limit: int, *, most: int) -> None:
        self._limit = limit
        self._most = most
        self._held = 0
        self._count = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.peak = 0
        """The most bytes ever reserved at once."""

    async def acquire(self, amount: int) -> None:
        """Wait for a place with ``amount`` bytes and take it; more than the limit waits for all of it."""
        amount = min(amount, self._limit)
        if not self._waiting and self._fits(amount):
            self._hold(amount)
            return
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount, ready)
        self._waiting.append(entry)
        try:
            await ready
        except asyncio.CancelledError:
            if ready.done() and not ready.cancelled():
                self.release(amount)
            elif entry in self._waiting:
                self._waiting.remove(entry)
                self._serve()
            raise

    def shrink(self, reserved: int, used: int) -> None:
        """Keep the place, but with ``used`` instead of ``reserved`` bytes."""
        self._held -= min(reserved, self._limit) - min(used, self._limit)
        self._serve()

    def release(self, amount: int) -> None:
        """Give up a place and its bytes."""
        self._held -= min(amount, self._limit)
        self._count -= 1
        self._serve()

    def _fits(self, amount: int) -> bool:
        return self._count < self._most and self._held + amount <= self._limit

    def _hold(self, amount: int) -> None:
        self._held += amount
        self._count += 1
        self.peak = max(self.peak, self._held)

    def _serve(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            amount, ready = self._waiting.popleft()
            if not ready.done():
                self._hold(amount)
                ready.set_result(None)


class _Lane:
    def __init__(self, *, at_once: int, rate_per_s: float) -> None:
        self.slots = asyncio.Semaphore(at_once)
        self.bucket = TokenBucket(rate_per_s=rate_per_s, burst=at_once)
        self.not_before = float("-inf")
        self.users = 0


class Lanes:
    """One lane per host, and a limit over all of them.

    A download that waits for its host's turn does not keep others from theirs.

    Args:
        at_once: downloads that run at the same time.
        per_host: of these, at one host.
        rate_per_s: downloads begun per second at one host.
        longest_wait_s: a host that asks for a longer pause is left for this run.
    """

    def __init__(
        self, *, at_once: int, per_host: int, rate_per_s: float, longest_wait_s: float, clock: Callable[[], float], most: int = _MOST_LANES
    ) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._per_host = per_host
        self._rate_per_s = rate_per_s
        self._longest_wait_s = longest_wait_s
        self._clock = clock
        self._most = most
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lanes)

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait for a turn at ``host`` and keep it.

        Raises:
            HostBusyError: the host asked for a longer pause than allowed.
        """
        lane = self._lane(host)
        lane.users += 1
        try:
            async with lane.slots:
                await asyncio.sleep(lane.bucket.reserve(self._clock()))
                while (pause := lane.not_before - self._clock()) > 0:
                    if pause > self._longest_wait_s:
                        raise HostBusyError(f"{host} asks to wait {pause:.0f} s")
                    await asyncio.sleep(pause)
                async with self._slots:
                    yield
        finally:
            lane.users -= 1

    def pause(self, host: str, seconds: float) -> None:
        """Begin nothing at ``host`` for so long."""
        lane = self._lane(host)
        lane.not_before = max(lane.not_before, self._clock() + seconds)

    def _lane(self, host: str) -> _Lane:
        lane = self._lanes.get(host)
        if lane is None:
            self._evict()
            lane = self._lanes[host] = _Lane(at_once=self._per_host, rate_per_s=self._rate_per_s)
        self._lanes.move_to_end(host)
        return lane

    def _evict(self) -> None:
        """Forget the longest unused lanes that nobody waits in, so that a million hosts do not stay in memory."""
        while len(self._lanes) >= self._most:
            idle = next((name for name, lane in self._lanes.items() if not lane.users and lane.not_before <= self._clock()), None)
            if idle is None:
                return
            del self._lanes[idle]
