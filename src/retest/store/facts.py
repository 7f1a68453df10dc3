"""What sampling asks of every candidate, in few passes over the tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from retest.records import Split
from retest.sampling import CandidateFacts, OriginalFacts
from retest.store import review_people, schema
from retest.store.rows import TableGroup

_T = schema.candidates
_ALL_REVIEWED = 1e100


class FactTable(TableGroup):
    """Candidates and original images beside what is known of them, as last derived."""

    def candidates(self, metrics: Sequence[str], *, ids: Iterable[str] | None = None) -> Iterator[CandidateFacts]:
        """Every candidate by class and id, or those of these ids, with the review thresholds of these metrics.

        One that a reviewer calls problematic counts as excluded.
        """
        flags = review_people.FlagTable(self._connection)
        if ids is not None:
            wanted = list(ids)
            flagged = frozenset(flags.get(wanted))
            rows = self._by_ids(_candidate_query(), _T.c.id, wanted)
            reached = self._thresholds(metrics, self._by_ids(_threshold_query(metrics), schema.review_thresholds.c.candidate_id, wanted))
            yield from _facts(cast("Iterator[Sequence[Any]]", rows), reached, flagged)
            return
        for wnid in self._counts_by(_T.c.wnid):
            yield from self.candidates_of(wnid, metrics)

    def candidates_of(self, wnid: str, metrics: Sequence[str]) -> Iterator[CandidateFacts]:
        """The candidates of a class by id."""
        joined = _T.join(schema.review_thresholds, schema.review_thresholds.c.candidate_id == _T.c.id)
        reached = self._thresholds(metrics, self._plain_rows(_threshold_query(metrics).select_from(joined).where(_T.c.wnid == wnid)))
        flagged = frozenset(review_people.FlagTable(self._connection).ids())  # few, so a join would only cost
        # By id: so every table that is joined is walked along its own index.
        yield from _facts(self._plain_rows(_candidate_query().where(_T.c.wnid == wnid).order_by(_T.c.id)), reached, flagged)

    @staticmethod
    def _thresholds(metrics: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, dict[str, float]]:
        """candidate -> metric -> review threshold."""
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

    def originals_of(self, wnid: str, split: Split) -> Iterator[OriginalFacts]:
        """The original images of a class and split."""
        return _original_facts(self._plain_rows(_original_query(split).where(schema.originals.c.wnid == wnid)))

    def originals_among(self, ids: Iterable[str], split: Split) -> Iterator[OriginalFacts]:
        """Those of these ids that are original images of a split and have a class."""
        query = _original_query(split).where(schema.originals.c.wnid.is_not(None))
        return _original_facts(cast("Iterator[Sequence[Any]]", self._by_ids(query, schema.originals.c.id, ids)))

    def search_keys(self, wnid: str) -> Iterator[tuple[str, str]]:
        """(candidate id, search term) of every candidate of a class that was found by one."""
        t = schema.candidates
        query = sa.select(t.c.id, t.c.search_key).where(t.c.wnid == wnid, t.c.search_key.is_not(None))
        return ((image, sys.intern(key)) for image, key in self._plain_rows(query))

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


def _facts(rows: Iterable[Sequence[Any]], thresholds: Mapping[str, dict[str, float]], flagged: frozenset[str]) -> Iterator[CandidateFacts]:
    none: dict[str, float] = {}
    ratios: dict[tuple[int, int], float] = {}  # few are different: candidates share them
    for image, wnid, number, selected, excluded, duplicate in rows:
        frequency = ratios.setdefault((selected, number), selected / number) if number else 0.0
        left_out = excluded is not None or image in flagged
        yield CandidateFacts(image, sys.intern(wnid), frequency, number or 0, left_out, bool(duplicate), thresholds.get(image, none))


def _original_query(split: Split) -> sa.Select[Any]:
    image, counts = schema.originals, schema.selection_frequencies
    own = (counts.c.wnid == image.c.wnid) & (counts.c.image_id == image.c.id)
    columns = (image.c.id, image.c.wnid, counts.c.num_assignments, counts.c.num_selected)
    return sa.select(*columns).select_from(image.outerjoin(counts, own)).where(image.c.split == str(split))


def _original_facts(rows: Iterable[Sequence[Any]]) -> Iterator[OriginalFacts]:
    return (OriginalFacts(image, wnid, selected / number if number else 0.0, number or 0) for image, wnid, number, selected in rows)


def _threshold_query(metrics: Sequence[str]) -> sa.Select[Any]:
    """One row per candidate, which comes faster than a join per metric."""
    t = schema.review_thresholds
    sides = [sa.func.max(sa.case((t.c.metric == metric, t.c.threshold))) for metric in metrics]
    return sa.select(t.c.candidate_id, *sides).group_by(t.c.candidate_id)


def _candidate_query() -> sa.Select[Any]:
    counts, excluded, fate = schema.selection_frequencies, schema.exclusions, schema.resolutions
    source = _T.outerjoin(counts, (counts.c.wnid == _T.c.wnid) & (counts.c.image_id == _T.c.id))
    source = source.outerjoin(excluded, excluded.c.candidate_id == _T.c.id).outerjoin(fate, fate.c.candidate_id == _T.c.id)
    columns = (_T.c.id, _T.c.wnid, counts.c.num_assignments, counts.c.num_selected, excluded.c.candidate_id, fate.c.near_duplicate)
    return sa.select(*columns).select_from(source)
