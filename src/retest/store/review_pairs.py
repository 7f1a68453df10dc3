"""The queue of near-duplicate review: which candidates have a neighbour that waits for a decision, the nearest first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from retest.store import review_tables, schema
from retest.store.rows import TableGroup, chunks

_Q, _E, _C = review_tables.pair_queue, schema.exclusions, schema.candidates
_IDS = 400


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A candidate that waits in a metric: distance of the nearest neighbour that waits; ``waiting`` of them lie within the target."""

    metric: str
    candidate_id: str
    nearest: float
    waiting: int


class PairQueueTable(TableGroup):
    """Candidates by metric and by the distance of the nearest neighbour that waits; derived from neighbours and reviews."""

    def put(self, rows: Iterable[QueueRow]) -> None:
        self._put(_Q, (asdict(row) for row in rows))

    def remove(self, metric: str, candidate_ids: Iterable[str]) -> None:
        for block in chunks(candidate_ids, _IDS):
            self._change(_Q, sa.delete(_Q).where(_Q.c.metric == metric, _Q.c.candidate_id.in_(block)))

    def remove_all_but(self, metrics: Sequence[str]) -> None:
        """Forget the rows of other metrics."""
        self._change(_Q, sa.delete(_Q).where(_Q.c.metric.not_in(metrics)))

    def page(
        self, metric: str, *, threshold: float, after: tuple[float, str] | None = None, wnid: str | None = None, limit: int
    ) -> list[QueueRow]:
        """Candidates that are not excluded and have a neighbour waiting within ``threshold``, the nearest first, then by id."""
        query = sa.select(_Q).outerjoin(_E, _E.c.candidate_id == _Q.c.candidate_id)
        nearest: sa.ColumnElement[float] = _Q.c.nearest
        if wnid is not None:
            # The sum keeps the index by distance out: the few candidates of a class are looked up one by one instead.
            nearest = _Q.c.nearest + 0.0
            query = query.where(_Q.c.candidate_id.in_(sa.select(_C.c.id).where(_C.c.wnid == wnid)))
        query = query.where(_Q.c.metric == metric, nearest <= threshold, _E.c.candidate_id.is_(None))
        if after is not None:
            query = query.where(sa.tuple_(nearest, _Q.c.candidate_id) > sa.tuple_(*map(sa.literal, after)))
        rows = self._connection.execute(query.order_by(nearest, _Q.c.candidate_id).limit(limit))
        return [QueueRow(**row._mapping) for row in rows]

    def rows_of(self, metric: str, candidate_ids: Iterable[str]) -> dict[str, QueueRow]:
        """candidate -> its row, for those of these candidates that have one in a metric."""
        found = self._by_ids(sa.select(_Q).where(_Q.c.metric == metric), _Q.c.candidate_id, candidate_ids)
        return {row.candidate_id: QueueRow(**row._mapping) for row in found}

    def counts(self, metric: str, thresholds: Sequence[float]) -> list[int]:
        """How many candidates that are not excluded wait within each threshold."""
        left_out = sa.select(_Q.c.nearest).join(_E, _E.c.candidate_id == _Q.c.candidate_id).where(_Q.c.metric == metric)
        excluded = sorted(self._connection.execute(left_out).scalars())
        counts: dict[float, int] = {}
        total, low = 0, -1.0
        for threshold in sorted(set(thresholds)):  # one walk along the index in all
            total += self._count(_Q, _Q.c.metric == metric, _Q.c.nearest > low, _Q.c.nearest <= threshold)
            counts[threshold] = total - bisect_right(excluded, threshold)
            low = threshold
        return [counts[threshold] for threshold in thresholds]

    def waiting(self, metric: str) -> int:
        """How many neighbours of candidates that are not excluded wait within the target."""
        total = sa.func.coalesce(sa.func.sum(_Q.c.waiting), 0)
        whole = int(self._connection.execute(sa.select(total).where(_Q.c.metric == metric)).scalar_one())
        excluded = sa.select(total).join(_E, _E.c.candidate_id == _Q.c.candidate_id).where(_Q.c.metric == metric)
        return whole - int(self._connection.execute(excluded).scalar_one())

    def neighbors_after(self, metric: str, after: str, limit: int) -> list[tuple[str, list[list[Any]]]]:
        """Stored neighbours of the candidates behind ``after``, by id: (candidate, [[reference, distance], ...])."""
        t = schema.neighbors
        query = sa.select(t.c.query_id, t.c.neighbors).where(t.c.metric == metric, t.c.query_id > after).order_by(t.c.query_id).limit(limit)
        return [(row.query_id, row.neighbors) for row in self._connection.execute(query)]

    def reviewed(self, metric: str, candidate_ids: Iterable[str]) -> dict[str, dict[str, bool]]:
        """candidate -> reference -> whether it is a near-duplicate, of what was reviewed for these candidates in a metric."""
        t = schema.reviewed_neighbors
        query = sa.select(t.c.candidate_id, t.c.reference, t.c.near_duplicate).where(t.c.metric == metric)
        found: dict[str, dict[str, bool]] = {}
        for row in self._by_ids(query, t.c.candidate_id, candidate_ids):
            found.setdefault(row.candidate_id, {})[row.reference] = row.near_duplicate
        return found

    def decided_elsewhere(self, candidate_ids: Iterable[str], references: Iterable[str]) -> Iterator[tuple[str, str, str, bool, str, str]]:
        """(candidate, metric, reference, near-duplicate, reviewer, time) of reviews of these pairs in any metric, in both directions."""
        t = schema.reviewed_neighbors
        ids = sorted({*candidate_ids, *references})
        among = set(ids)
        for row in self._by_ids(sa.select(t), t.c.candidate_id, ids):
            if row.reference in among:
                yield row.candidate_id, row.metric, row.reference, row.near_duplicate, row.reviewer, row.time

    def forget_reviews(self, candidate_id: str, metric: str, references: Iterable[str]) -> None:
        """Let these neighbours wait again."""
        t = schema.reviewed_neighbors
        for block in chunks(references, _IDS):
            mine = (t.c.candidate_id == candidate_id, t.c.metric == metric, t.c.reference.in_(block))
            self._change(t, sa.delete(t).where(*mine))

    def among_components(self, names: Iterable[str]) -> dict[str, str]:
        """candidate -> its component, for all candidates of these components."""
        t = schema.resolutions
        rows = self._by_ids(sa.select(t.c.candidate_id, t.c.component), t.c.component, names)
        return {row.candidate_id: row.component for row in rows}

    def components(self, *, after: str = "", limit: int) -> list[tuple[str, int, int]]:
        """(component, candidates in it, how many of them are near-duplicates) by name."""
        t = schema.resolutions
        marked = sa.func.sum(sa.case((t.c.near_duplicate.is_(True), 1), else_=0))
        query = sa.select(t.c.component, sa.func.count(), marked).where(t.c.component > after)
        rows = self._connection.execute(query.group_by(t.c.component).order_by(t.c.component).limit(limit))
        return [(row[0], int(row[1]), int(row[2])) for row in rows]
