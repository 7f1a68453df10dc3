"""What large studies need: figures from a process of its own, a long history by time, first figures when the server starts."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from review_hits_study import add_hits
from review_server import STAMP

from retest.errors import NotFoundError, StageError
from retest.stages import review, review_hits, review_revisions
from retest.stages._review_aside import Aside
from retest.stages._review_memo import Memo
from retest.stages.review import Change, DecisionFilter
from retest.stages.review_hits import HitFilter
from retest.study import open_study


@pytest.fixture
def study(folder):
    with closing(open_study(folder)) as opened:
        yield opened


@pytest.fixture
def aside(folder):
    with closing(Aside(folder)) as process:
        yield process


def _fail(study):
    raise NotFoundError("nothing here", item=study.config.study.name)


def _end(study):
    raise SystemExit(3)


def test_figures_from_another_process_are_those_of_this_one_and_its_errors_come_back(folder, study, aside, monkeypatch):
    add_hits(folder)
    monkeypatch.setattr("retest.stages._review_hit_figures.NOW", 0)
    memo = Memo(elsewhere=aside)
    assert review_hits.list_hits(study, memo, HitFilter()).rows == ()
    assert review_hits.refresh_figures(study, memo)
    there = review_hits.list_hits(study, memo, HitFilter(), limit=1000), review_hits.list_workers(study, memo, limit=1000)
    with study.database.write() as tables:
        tables.hit_figures.start_again()
    assert review_hits.refresh_figures(study, Memo())
    assert (review_hits.list_hits(study, Memo(), HitFilter(), limit=1000), review_hits.list_workers(study, Memo(), limit=1000)) == there
    assert there[1].rows
    with pytest.raises(NotFoundError, match="nothing here"):
        memo.aside(study, _fail)
    with pytest.raises(StageError, match="exit code 3"):
        memo.aside(study, _end)


def test_what_another_process_takes_long_for_is_dear(study):
    clock = iter((0.0, 5.0))
    later = []

    def elsewhere(function, *arguments):
        return function(study, *arguments)

    memo = Memo(later=lambda name, job: later.append(name), elsewhere=elsewhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retest.stages._review_memo.time.monotonic", lambda: next(clock))
        assert memo.recent("checks", 1, lambda: (1, memo.aside(study, lambda study: "first"))).value == "first"
    assert not memo.recent("checks", 2, lambda: (2, "second")).current
    assert later == ["checks"]


@pytest.mark.parametrize("few", [0, 5, 2000])
def test_a_time_of_the_history_is_what_a_plain_reading_gives_whatever_order_times_have(study, monkeypatch, few):
    monkeypatch.setattr("retest.store.ledger._FEW", few)
    rng = random.Random(few)
    rows = [
        {"time": f"2026-01-{rng.randrange(1, 29):02d}", "user": rng.choice("ab"), "kind": "problematic", "item": str(n), "after": n}
        for n in range(60)
    ]
    with study.database.write() as tables:
        tables.decisions.add_many(rows)
        everything = sorted((one for one in tables.decisions.all()), key=lambda one: -one["no"])
    for since, until, user in (
        (None, "2026-01-05", None),
        ("2026-01-10", "2026-01-12", "a"),
        ("2026-01-20", None, None),
        ("2027", None, None),
    ):
        wanted = [
            one["no"]
            for one in everything
            if (since is None or one["time"] >= since) and (until is None or one["time"] < until) and user in (None, one["user"])
        ]
        pages = [review.history(study, DecisionFilter(since=since, until=until, user=user), limit=7)]
        while (before := pages[-1].next) is not None:
            pages.append(review.history(study, DecisionFilter(since=since, until=until, user=user), before=before, limit=7))
        assert [one.no for page in pages for one in page.decisions] == wanted
        assert len(pages) == max(1, -(-len(wanted) // 7))


def test_a_class_of_an_unknown_revision_is_no_item(study):
    with pytest.raises(NotFoundError, match="no revision of this name"):
        review.decide(study, [Change("class_review", "none/n0", {"reviewed": True, "problematic": False}, 0)], stamp=STAMP)
    with pytest.raises(NotFoundError):
        review_revisions.difference(study, Memo(), "none", "none")
