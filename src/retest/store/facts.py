"""What sampling asks of every candidate, in few passes over the tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import sqlalchemy as sa

from retest.records import Split
from retest.sampling import CandidateFacts, OriginalFacts
from retest.store import review_people, schema
from retest.store.rows import TableGroup

_T = schema.candidates
_BLOCK = 5000
_ALL_REVIEWED = 1e100


class FactTable(TableGroup):
    """Candidates and original images beside what is known of them, as last derived."""

    def candidates(self, metrics: Sequence[str], *, ids: Iterable[str] | None = None) -> Iterator[CandidateFacts]:
        """Every candidate by class and id, or those of these ids, with the review thresholds of these metrics.

        One that a reviewer calls problematic counts as excluded.
        """
        wanted = None if ids is None else list(ids)
        thresholds = self._thresholds(metrics, wanted)
        none: dict[str, float] = {}
        query = _candidate_query()
        # By class and id: so every table that is joined is walked along its own index.
        rows = self._plain(query.order_by(_T.c.wnid, _T.c.id)) if wanted is None else self._plain(query, _T.c.id, wanted)
        flags = review_people.FlagTable(self._connection)
        flagged = flags.ids() if wanted is None else flags.get(wanted).keys()  # few, so a join would only cost
        for image, wnid, number, selected, excluded, duplicate in rows:
            frequency = selected / number if number else 0.0
            reached = thresholds.get(image, none)
            left_out = excluded is not None or image in flagged
            yield CandidateFacts(image, sys.intern(wnid), frequency, number or 0, left_out, bool(duplicate), reached)

    def _thresholds(self, metrics: Sequence[str], ids: list[str] | None) -> dict[str, dict[str, float]]:
        """candidate -> metric -> review threshold; one row per candidate comes faster than a join per metric."""
        t = schema.review_thresholds
        sides = [sa.func.max(sa.case((t.c.metric == metric, t.c.threshold))) for metric in metrics]
        query = sa.select(t.c.candidate_id, *sides).group_by(t.c.candidate_id)
        rows = self._plain(query) if ids is None else self._plain(query, t.c.candidate_id, ids)
        equal: dict[tuple[float | None, ...], dict[str, float]] = {}  # most candidates are reviewed to the end, so they share one
        result: dict[str, dict[str, float]] = {}
        for row in rows:
            key = tuple(row[1:])
            found = equal.get(key)
            if found is None:
                found = {metric: value for metric, value in zip(metrics, key, strict=True) if value is not None}
                if all(value >= _ALL_REVIEWED for value in found.values()):  # distances of neighbours are hardly ever equal
                    equal[key] = found
            result[row[0]] = found
        return result

    def _plain(self, query: sa.Select[Any], column: sa.Column[Any] | None = None, ids: Iterable[str] = ()) -> Iterator[Sequence[Any]]:
        """Rows block by block: a quarter of a million of them feel what asking for each costs."""
        if column is not None:
            yield from cast("Iterator[Sequence[Any]]", self._by_ids(query, column, ids))
            return
        for block in self._connection.execute(query, execution_options={"yield_per": _BLOCK}).partitions():
            yield from cast("Sequence[Sequence[Any]]", block)

    def originals(self, split: Split) -> Iterator[OriginalFacts]:
        """Every original image of a split that has a class."""
        image, counts = schema.originals, schema.selection_frequencies
        own = (counts.c.wnid == image.c.wnid) & (counts.c.image_id == image.c.id)
        query = sa.select(image.c.id, image.c.wnid, counts.c.num_assignments, counts.c.num_selected)
        query = query.select_from(image.outerjoin(counts, own)).where(image.c.split == str(split), image.c.wnid.is_not(None))
        for found, wnid, number, selected in self._plain(query):
            yield OriginalFacts(found, wnid, selected / number if number else 0.0, number or 0)

    def search_keys(self) -> Iterator[tuple[str, str]]:
        """(candidate id, search term) of every candidate that was found by one."""
        t = schema.candidates
        query = sa.select(t.c.id, t.c.search_key).where(t.c.search_key.is_not(None))
        return ((image, key) for image, key in self._plain(query))

    def candidates_by_source(self) -> dict[str, int]:
        """source -> number of candidates."""
        return self._counts_by(schema.candidates.c.source)

    def assignments_by_status(self) -> dict[str, int]:
        """status -> number of answers."""
        return self._counts_by(schema.assignments.c.status)

    def annotators(self) -> int:
        """Number of different annotators who answered."""
        workers = sa.select(sa.func.count(schema.assignments.c.worker.distinct()))
        return int(self._connection.execute(workers).scalar_one())

    def hit_days(self) -> tuple[str, str] | None:
        """First and last day (ISO-8601) on which HITs were made; None when none says."""
        day = sa.func.substr(schema.hits.c.time, 1, 10)
        first, last = self._connection.execute(sa.select(sa.func.min(day), sa.func.max(day)).where(schema.hits.c.time != "")).one()
        return None if first is None else (first, last)


def _candidate_query() -> sa.Select[Any]:
    counts, excluded, fate = schema.selection_frequencies, schema.exclusions, schema.resolutions
    source = _T.outerjoin(counts, (counts.c.wnid == _T.c.wnid) & (counts.c.image_id == _T.c.id))
    source = source.outerjoin(excluded, excluded.c.candidate_id == _T.c.id).outerjoin(fate, fate.c.candidate_id == _T.c.id)
    columns = (_T.c.id, _T.c.wnid, counts.c.num_assignments, counts.c.num_selected, excluded.c.candidate_id, fate.c.near_duplicate)
    return sa.select(*columns).select_from(source)
