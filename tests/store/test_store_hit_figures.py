"""Pages of HITs and answers in every order are what plain sorting of the same rows gives, on every database."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import sqlalchemy as sa
import store_records as make

from retest.labeling import AssignmentQuality, ControlAccuracy
from retest.store import Database
from retest.store.hit_figures import HIT_SORTS, AnswerRow, HitFigures, HitFilter, JudgedHit

VALUES = {
    "added": lambda one: one.no,
    "answers": lambda one: one.valid,
    "controls": lambda one: one.controls,
    "seconds": lambda one: one.median_duration_s,
    "agreement": lambda one: one.agreement,
}
FILTERS = (
    HitFilter(),
    HitFilter(wnid="n00000001"),
    HitFilter(worker="w1", flagged="yes"),
    HitFilter(state="open"),
    HitFilter(state="planned"),
    HitFilter(state="complete", excluded="no", flagged="no"),
    HitFilter(excluded="yes"),
    HitFilter(min_controls=0.5, max_seconds=30.0),
    HitFilter(min_agreement=0.5, max_agreement=0.5),
    HitFilter(max_controls=0.25, min_seconds=0.1),
)


def fits(one: HitFigures, wanted: HitFilter, workers: dict[int, set[str]], excluded: set[str]) -> bool:
    def within(value: float | None, least: float | None, most: float | None) -> bool:
        if least is None and most is None:
            return True
        return value is not None and (least is None or value >= least) and (most is None or value <= most)

    return (
        wanted.wnid in (None, one.wnid)
        and (wanted.worker is None or wanted.worker in workers[one.no])
        and wanted.state in ("any", one.state)
        and wanted.excluded in ("any", "yes" if one.uuid in excluded else "no")
        and wanted.flagged in ("any", "yes" if one.flagged else "no")
        and within(one.controls, wanted.min_controls, wanted.max_controls)
        and within(one.median_duration_s, wanted.min_seconds, wanted.max_seconds)
        and within(one.agreement, wanted.min_agreement, wanted.max_agreement)
    )


def in_order(found: list[HitFigures], sort: str, descending: bool) -> list[HitFigures]:
    value = VALUES[sort]
    known = sorted((one for one in found if value(one) is not None), key=lambda one: (value(one), one.no), reverse=descending)
    return known + sorted((one for one in found if value(one) is None), key=lambda one: one.no, reverse=descending)


@pytest.fixture
def figures(database: Database) -> tuple[list[HitFigures], dict[int, set[str]], set[str]]:
    rng = random.Random(5)
    hits = [replace(make.hit(number), wnid=f"n{number % 3:08d}") for number in range(40)]
    share = [None, 0.25, 0.5, 1 / 3, 0.1 + 0.2]  # few values, so that many are equal
    workers: dict[int, set[str]] = {}
    excluded = {one.uuid for one in rng.sample(hits, 9)}
    with database.write() as tables:
        tables.hits.add(hits, assignments=3)
        for one in hits[::2]:
            tables.hits.mark_submitted(one.uuid, crowd="c", hit_id="H", hit_type_id="T", user="u", time=make.TIME)
        tables.hits.exclude(sorted(excluded), "x")
        while tables.hit_figures.note_hits(7):
            pass
        judged = []
        for one in tables.hit_figures.page(HitFilter(), "added", descending=False, limit=100):
            workers[one.no] = set(rng.sample(["w1", "w2", "w3"], rng.randrange(4)))
            mine = replace(one, valid=rng.randrange(5), flagged=rng.randrange(2), controls=rng.choice(share), agreement=rng.choice(share))
            mine = replace(mine, median_duration_s=rng.choice([None, 0.1, 30.0, 40.5]))
            answers = tuple(
                (worker, AnswerRow(f"{one.no}-{worker}", one.uuid, one.wnid, "Submitted", None, None)) for worker in workers[one.no]
            )
            judged.append(JudgedHit(mine, answers))
        tables.hit_figures.put_hits(judged)
    return [one.figures for one in judged], workers, excluded


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_pages_places_and_neighbours_agree_with_plain_sorting(database: Database, figures, wanted):
    everything, workers, excluded = figures
    found = [one for one in everything if fits(one, wanted, workers, excluded)]
    outside = [one for one in everything if one not in found]
    assert found
    with database.read() as tables:
        table = tables.hit_figures
        assert table.count(wanted) == len(found)
        for sort in HIT_SORTS:
            for descending in (False, True):
                listed = in_order(found, sort, descending)
                pages, after = [], None
                while page := table.page(wanted, sort, descending=descending, after=after, limit=3):
                    pages += page
                    after = page[-1]
                assert pages == listed
                for place, (one, following) in enumerate(pairwise(listed)):
                    assert table.place(wanted, sort, descending=descending, of=one) == place
                    assert table.page(wanted, sort, descending=descending, after=following, limit=1, backward=True) == [one]
                assert table.page(wanted, sort, descending=descending, after=listed[0], limit=1, backward=True) == []
                assert all(table.place(wanted, sort, descending=descending, of=one) is None for one in outside)


def test_answers_are_paged_from_the_newest_and_come_back_as_they_were_judged(database: Database):
    rng = random.Random(1)
    hits = [make.hit(number) for number in range(30)]
    with database.write() as tables:
        tables.hits.add(hits, assignments=3)
        tables.hit_figures.note_hits(100)
        listed = tables.hit_figures.page(HitFilter(), "added", descending=False, limit=100)
        mine = []
        for one in listed:
            controls = ControlAccuracy(*(rng.randrange(4) for _ in range(4)))
            quality = AssignmentQuality(
                f"a{one.no}", one.uuid, "me", controls, 48, 5, rng.choice([None, 0.1 * one.no]), 1 / 3, (("c", "ü"),)
            )
            time = rng.choice([None, "2026-01-01T00:00:00+00:00", f"2026-01-{one.no:02}T00:00:00+00:00"])
            mine.append(AnswerRow(f"a{one.no}", one.uuid, one.wnid, "Approved", time, rng.choice([None, quality])))
        both = [(("me", row), ("you", replace(row, id=f"b{row.id}"))) for row in mine]
        tables.hit_figures.put_hits(JudgedHit(one, answers) for one, answers in zip(listed, both, strict=True))
    newest = sorted(mine, key=lambda row: (row.submit_time or "", row.id), reverse=True)
    with database.read() as tables:
        found, after = [], None
        while page := tables.hit_figures.newest_answers("me", after=after, limit=4):
            found += page
            after = page[-1].id
        assert found == newest
        assert tables.hit_figures.newest_answers("me", limit=7, judged=True) == [row for row in newest if row.quality][:7]
        assert tables.hit_figures.newest_answers("me", after="ba1", limit=4) is None
        times = [row.submit_time for row in mine if row.submit_time]
        assert tables.hit_figures.times_of("me") == (len(mine), min(times), max(times))
        assert tables.hit_figures.times_of("nobody") == (0, None, None)
        assert tables.hit_figures.waiting_workers(9) == ["me", "you"]


def test_queries_of_large_lists_walk_an_index(sqlite_database: Database):
    """No page of a list sorts all HITs, and none reads them all."""
    with sqlite_database.read() as tables:
        seen = []
        execute = tables.connection.exec_driver_sql

        def explain(statement, parameters):
            seen.extend(row[3] for row in execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

        @sa.event.listens_for(tables.connection, "before_cursor_execute")
        def _look(connection, cursor, statement, parameters, context, many):
            if not statement.startswith(("EXPLAIN", "BEGIN")):
                explain(statement, tuple(parameters))

        one = HitFigures(5, "u", "n1", 3, True, 48, 3, 0, 0.5, 0.5, 30.0, 0)
        for sort in HIT_SORTS:
            for descending in (False, True):
                for after in (None, one):
                    tables.hit_figures.page(HitFilter(), sort, descending=descending, after=after, limit=100)
        tables.hit_figures.newest_answers("w", limit=5)
        tables.hit_figures.settled()
        tables.hit_figures.waiting_hits(50)
    assert len(seen) > 30
    assert [
        text for text in seen if "TEMP B-TREE" in text or (text.startswith("SCAN") and "USING" not in text and "hit_figures" not in text)
    ] == []
