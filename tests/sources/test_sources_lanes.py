"""Turns per host and the budget of bytes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.sources.lanes import ByteBudget, HostBusyError, Lanes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_budget_is_never_exceeded_and_everyone_is_served(amounts: list[int], rng) -> None:
    async def go() -> int:
        budget = ByteBudget(100, most=1000)

        async def one(amount: int) -> None:
            await budget.acquire(amount)
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            budget.release(amount)

        await asyncio.wait_for(asyncio.gather(*(one(a) for a in amounts)), 5)
        await asyncio.wait_for(budget.acquire(100), 1)  # all of it came back
        return budget.peak

    assert asyncio.run(go()) <= 100


def test_the_budget_is_first_come_first_served() -> None:
    async def go() -> list[str]:
        budget, order = ByteBudget(10, most=1000), []
        await budget.acquire(8)

        async def one(name: str, amount: int) -> None:
            await budget.acquire(amount)
            order.append(name)

        tasks = [asyncio.create_task(one("large", 9)), asyncio.create_task(one("small", 1))]
        await asyncio.sleep(0)
        assert order == []  # the small one would fit, but would starve the large one
        budget.release(8)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(go()) == ["large", "small"]


def test_the_number_of_places_is_limited_whatever_their_size() -> None:
    async def go() -> None:
        budget = ByteBudget(1000, most=2)
        await budget.acquire(100)
        await budget.acquire(100)
        third = asyncio.create_task(budget.acquire(1))
        budget.shrink(100, 5)
        await asyncio.sleep(0)
        assert not third.done()  # room for bytes is no place
        budget.release(5)
        await asyncio.wait_for(third, 1)
        budget.release(100)
        await asyncio.wait_for(budget.acquire(999), 1)  # the other 999 bytes are free again

    asyncio.run(go())


def test_one_who_gives_up_waiting_keeps_nothing() -> None:
    async def go() -> None:
        budget = ByteBudget(10, most=1000)
        await budget.acquire(10)
        waiting = asyncio.create_task(budget.acquire(10))
        later = asyncio.create_task(budget.acquire(5))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        budget.release(10)
        await asyncio.wait_for(later, 1)
        await asyncio.wait_for(budget.acquire(5), 1)

    asyncio.run(go())


def test_one_who_is_cancelled_at_the_moment_of_being_served_gives_it_back() -> None:
    async def go() -> None:
        budget = ByteBudget(10, most=1000)
        await budget.acquire(10)
        waiting = asyncio.create_task(budget.acquire(10))
        await asyncio.sleep(0)
        budget.release(10)  # serves the waiting one ...
        waiting.cancel()  # ... which is cancelled before it runs
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(budget.acquire(10), 1)

    asyncio.run(go())


class Time:
    """A clock that stands still but for the sleeps of the lanes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            self.now += seconds
            await real(0)

        monkeypatch.setattr("retest.sources.lanes.asyncio.sleep", sleep)

    def lanes(self, **options) -> Lanes:
        return Lanes(**{"at_once": 100, "per_host": 1, "rate_per_s": 1.0, "longest_wait_s": 60.0, "clock": lambda: self.now} | options)


def test_a_host_is_asked_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)

    async def go() -> None:
        lanes = time.lanes(rate_per_s=4.0)
        for _ in range(9):
            async with lanes.turn("a"):
                pass

    asyncio.run(go())
    assert time.now == pytest.approx(2.0)


def test_limits_over_all_and_per_host_hold() -> None:
    async def go() -> tuple[int, int]:
        lanes = Lanes(at_once=3, per_host=2, rate_per_s=1e6, longest_wait_s=1, clock=asyncio.get_running_loop().time)
        running: dict[str, int] = {}
        most_host = most_all = 0

        async def one(host: str) -> None:
            nonlocal most_host, most_all
            async with lanes.turn(host):
                running[host] = running.get(host, 0) + 1
                most_host = max(most_host, running[host])
                most_all = max(most_all, sum(running.values()))
                await asyncio.sleep(0.001)
                running[host] -= 1

        await asyncio.gather(*(one(f"host{i % 2}") for i in range(60)))
        return most_host, most_all

    assert asyncio.run(go()) == (2, 3)


def test_a_slow_host_does_not_keep_others_waiting() -> None:
    async def go() -> None:
        lanes = Lanes(at_once=4, per_host=1, rate_per_s=0.01, longest_wait_s=1, clock=asyncio.get_running_loop().time)

        async def one(host: str) -> None:
            async with lanes.turn(host):
                pass

        slow = [asyncio.create_task(one("slow")) for _ in range(50)]
        await asyncio.wait_for(asyncio.gather(*(one(f"host{i}") for i in range(50))), 2)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(go())


def test_a_pause_is_kept_and_a_long_one_ends_the_run_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)

    async def go() -> None:
        lanes = time.lanes()
        lanes.pause("a", 30.0)
        async with lanes.turn("a"):
            assert time.now >= 30.0
        lanes.pause("a", 61.0)
        with pytest.raises(HostBusyError, match="a asks to wait 61 s"):
            async with lanes.turn("a"):
                pass
        async with lanes.turn("b"):
            pass

    asyncio.run(go())


def test_a_million_hosts_do_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)

    async def go() -> int:
        lanes = time.lanes(most=10)
        lanes.pause("busy", 50.0)
        for i in range(100):
            async with lanes.turn(f"host{i}"):
                pass
        assert lanes._lane("busy").not_before == 50.0  # a pause is not forgotten
        return len(lanes)

    assert asyncio.run(go()) <= 10
