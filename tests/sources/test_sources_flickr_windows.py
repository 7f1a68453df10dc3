"""The walk over date windows against a simulated service with a result cap, wrong totals and one-second crowds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.errors import SourceError
from retest.sources import Query, flickr_windows
from retest.sources.flickr_windows import WindowWalk

QUERY = Query("q", "flickr", "n1", "term")


@pytest.fixture(autouse=True, scope="module")
def _small_numbers():
    """Pages of 5 and a cap of 40 instead of 500 and 4,000; the ratios stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flickr_windows, "PAGE_SIZE", 5)
        patch.setattr(flickr_windows, "RESULT_CAP", 40)
        patch.setattr(flickr_windows, "SAFE_TOTAL", 35)
        yield


class Service:
    """Photos as (second, id); only the first 40 results of a question are real, later pages repeat."""

    def __init__(self, times: list[int], *, factor: float = 1.0) -> None:
        self.photos = sorted((second, str(number)) for number, second in enumerate(times))
        self.factor = factor
        self.asked: list[tuple] = []

    def ask(self, walk: WindowWalk, *, descending: bool = False) -> dict:
        self.asked.append((walk.window, walk.page))
        low, high = walk.window
        found = [i for t, i in self.photos if (low is None or t >= low) and (high is None or t <= high)]
        found = found[::-1] if descending else found
        total = int(len(found) * self.factor)
        pages = max(1, -(-min(len(found), 40) // 5))
        return {"ids": found[:40][(min(walk.page, pages) - 1) * 5 :][:5], "total": total, "pages": -(-total // 5)}


def run(service: Service, *, limit: int | None = None, low: int | None = None, high: int | None = None, descending: bool = False):
    walk, found, notes = WindowWalk.start(low, high), [], []
    for _ in range(5000):
        answer = service.ask(walk, descending=descending)
        step = walk.after(**answer, limit=limit, descending=descending)
        found += answer["ids"][: step.use]
        notes += step.notes
        if step.cursor is None:
            return found, notes
        assert len(step.cursor) < 4000
        walk = WindowWalk.read(step.cursor, query=QUERY)
    raise AssertionError("no end")


TIMES = st.lists(st.integers(0, 400), max_size=150)


@settings(max_examples=150, deadline=None)
@given(times=TIMES, factor=st.sampled_from([0.0, 0.3, 0.9, 1.0, 1.1, 3.0]), bounded=st.booleans())
def test_every_photo_that_can_be_reached_is_found(times: list[int], factor: float, bounded: bool) -> None:
    crowded = {t for t in times if times.count(t) > 40}  # more in one second than the service can ever show
    service = Service(times, factor=factor)
    found, _ = run(service, low=0 if bounded else None, high=400 if bounded else None)
    reachable = {str(number) for number, t in enumerate(times) if t not in crowded}
    assert reachable <= set(found)


@settings(max_examples=100, deadline=None)
@given(times=TIMES, descending=st.booleans())
def test_with_true_totals_nothing_comes_twice_and_order_is_kept(times: list[int], descending: bool) -> None:
    service = Service([t * 7 for t in times])
    found, _ = run(service, descending=descending)
    expected = [i for _, i in service.photos]
    assert found == (expected[::-1] if descending else expected)
    assert len(set(service.asked)) == len(service.asked)


@settings(max_examples=100, deadline=None)
@given(times=TIMES, limit=st.integers(1, 160), factor=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_limit_takes_exactly_the_first_results(times: list[int], limit: int, factor: float) -> None:
    times = [7 * number for number in range(len(times))]
    service = Service(times, factor=factor)
    found, _ = run(service, limit=limit)
    assert len(dict.fromkeys(found)) <= limit
    if limit <= 35 or factor >= 1.0:  # a total reported too low makes photos come twice, and each counts
        assert found == [i for _, i in service.photos][:limit]


def test_a_small_limit_is_read_without_cutting() -> None:
    service = Service(list(range(1000)))
    found, _ = run(service, limit=12)
    assert found == [str(n) for n in range(12)]
    assert service.asked == [((None, None), 1), ((None, None), 2), ((None, None), 3)]


def test_the_questions_are_those_of_a_bisection() -> None:
    service = Service(list(range(60)))
    run(service, low=0, high=59)
    windows = list(dict.fromkeys(window for window, _ in service.asked))
    assert windows == [(0, 59), (0, 29), (30, 59)]
    assert len(service.asked) == 1 + 6 + 1 + 6 + 1  # a full last page is followed by one more question


def test_one_crowded_second_is_reported() -> None:
    found, notes = run(Service([5] * 60), low=5, high=5)
    assert len(found) == 40
    assert "one moment has more than 40 results; the rest cannot be reached" in notes


@pytest.mark.parametrize(
    "cursor",
    [
        '{"base":0,"last":"","page":1,"taken":0,"windows":[]}',
        '{"base":0,"last":"","page":1,"taken":0,"windows":[[1]]}',
        '{"base":0,"last":"","page":1,"taken":0,"windows":[["a","b"]]}',
        '{"base":0,"last":"","page":"1","taken":0,"windows":[[1,2]]}',
    ],
)
def test_a_damaged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(SourceError):
        WindowWalk.read(cursor, query=QUERY)
