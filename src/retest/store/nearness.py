"""Nearest neighbours, what reviewers said of them, and the resolution that follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from retest.records import Neighbor, NeighborReview, Resolution
from retest.store import schema
from retest.store.packed import IDS, fetch_packed, given, ids_text
from retest.store.rows import TableGroup, chunks

_IDS_PER_QUERY = 5000


class NeighborTable(TableGroup):
    """The first k neighbours of every candidate per metric."""

    def put(self, metric: str, lists: Mapping[str, Sequence[Neighbor]]) -> None:
        self._put(schema.neighbors, _list_rows(metric, lists))

    def add_new(self, metric: str, lists: Mapping[str, Sequence[Neighbor]]) -> int:
        """Add the lists of candidates that have none in this metric yet."""
        return self._add_new(schema.neighbors, _list_rows(metric, lists))

    def by_candidate(self) -> Iterator[tuple[str, str, tuple[Neighbor, ...]]]:
        """(candidate, metric, its neighbours ascending), candidate after candidate."""
        t = schema.neighbors
        for row in self._rows(sa.select(t).order_by(t.c.query_id, t.c.metric)):
            yield row.query_id, row.metric, tuple(Neighbor(reference, distance) for reference, distance in row.neighbors)

    def all(self, metric: str) -> Iterator[tuple[str, tuple[Neighbor, ...]]]:
        """(candidate, its neighbours ascending), by candidate id."""
        t = schema.neighbors
        for row in self._rows(sa.select(t).where(t.c.metric == metric).order_by(t.c.query_id)):
            yield row.query_id, tuple(Neighbor(reference, distance) for reference, distance in row.neighbors)

    def get(self, query_ids: Iterable[str], metric: str) -> dict[str, tuple[Neighbor, ...]]:
        """candidate -> its neighbours ascending, for those of these candidates that have a list in this metric."""
        t = schema.neighbors
        found = self._by_ids(sa.select(t.c.query_id, t.c.neighbors).where(t.c.metric == metric), t.c.query_id, query_ids)
        return {row.query_id: tuple(Neighbor(reference, distance) for reference, distance in row.neighbors) for row in found}

    def metrics(self) -> list[str]:
        return list(self._counts_by(schema.neighbors.c.metric))

    def longest(self, metric: str) -> tuple[int, int]:
        """(number of lists in a metric, neighbours in the longest of them)."""
        t = schema.neighbors
        longest = sa.func.coalesce(sa.func.max(sa.func.json_array_length(t.c.neighbors)), 0)
        number, most = self._connection.execute(sa.select(sa.func.count(), longest).where(t.c.metric == metric)).one()
        return int(number), int(most)

    def counts(self) -> dict[str, int]:
        return self._counts_by(schema.neighbors.c.metric)


def _list_rows(metric: str, lists: Mapping[str, Sequence[Neighbor]]) -> Iterator[dict[str, object]]:
    for query, found in lists.items():
        yield {"metric": metric, "query_id": query, "neighbors": [[n.reference, n.distance] for n in found]}


class ReviewTable(TableGroup):
    """Which neighbours were looked at, and which of them are near-duplicates."""

    def add(self, reviews: Iterable[NeighborReview]) -> None:
        """Record reviews; the newest decision about a pair in a metric is the current one."""
        for review in reviews:
            self._put(schema.reviewed_neighbors, _review_rows(review))

    def add_new(self, reviews: Iterable[NeighborReview]) -> int:
        """Record reviews of pairs that were not reviewed in that metric yet."""
        return self._add_new(schema.reviewed_neighbors, (row for review in reviews for row in _review_rows(review)))

    def all(self, *, candidate_id: str | None = None) -> list[NeighborReview]:
        """Current decisions (about one candidate, if given), one record per candidate, metric, reviewer and time, in this order."""
        t = schema.reviewed_neighbors
        query = sa.select(t).order_by(t.c.candidate_id, t.c.metric, t.c.reviewer, t.c.time, t.c.reference)
        if candidate_id is not None:
            query = query.where(t.c.candidate_id == candidate_id)
        found: list[NeighborReview] = []
        for key, rows in groupby(self._rows(query), key=lambda r: (r.candidate_id, r.metric, r.reviewer, r.time)):
            members = list(rows)
            marked = tuple(row.reference for row in members if row.near_duplicate)
            found.append(NeighborReview(key[0], key[1], tuple(row.reference for row in members), marked, key[2], key[3]))
        return found

    def reviewed(self, metric: str) -> dict[str, set[str]]:
        """candidate -> references already reviewed in a metric."""
        t = schema.reviewed_neighbors
        result: dict[str, set[str]] = {}
        for row in self._rows(sa.select(t.c.candidate_id, t.c.reference).where(t.c.metric == metric)):
            result.setdefault(row.candidate_id, set()).add(row.reference)
        return result

    def by_candidate(self) -> Iterator[tuple[str, dict[str, set[str]]]]:
        """(candidate, metric -> references already reviewed), by candidate id."""
        t = schema.reviewed_neighbors
        rows = self._rows(sa.select(t.c.candidate_id, t.c.metric, t.c.reference).order_by(t.c.candidate_id, t.c.metric, t.c.reference))
        for candidate, mine in groupby(rows, key=lambda row: row.candidate_id):
            found: dict[str, set[str]] = {}
            for row in mine:
                found.setdefault(row.metric, set()).add(row.reference)
            yield candidate, found

    def candidates(self, metric: str) -> Iterator[str]:
        """The candidates with reviewed neighbours in a metric, by id."""
        t = schema.reviewed_neighbors
        query = sa.select(t.c.candidate_id).distinct().where(t.c.metric == metric).order_by(t.c.candidate_id)
        return (row.candidate_id for row in self._rows(query))

    def reviewed_of(self, candidate_ids: Iterable[str], metric: str) -> dict[str, set[str]]:
        """candidate -> references already reviewed in a metric, of these candidates."""
        t = schema.reviewed_neighbors
        found: dict[str, set[str]] = {}
        for row in self._by_ids(sa.select(t.c.candidate_id, t.c.reference).where(t.c.metric == metric), t.c.candidate_id, candidate_ids):
            found.setdefault(row.candidate_id, set()).add(row.reference)
        return found

    def marked(self, candidate_id: str) -> set[str]:
        """References that the newest review of some metric calls near-duplicates of a candidate."""
        t = schema.reviewed_neighbors
        query = sa.select(t.c.reference).where(t.c.candidate_id == candidate_id, t.c.near_duplicate.is_(True))
        return {row.reference for row in self._rows(query)}

    def remove(self, candidate_id: str, metric: str) -> tuple[set[str], set[str]]:
        """Forget what was reviewed for a candidate in a metric, so that it is asked again: (references, those marked)."""
        t = schema.reviewed_neighbors
        mine = (t.c.candidate_id == candidate_id, t.c.metric == metric)
        rows = list(self._rows(sa.select(t.c.reference, t.c.near_duplicate).where(*mine)))
        self._change(t, sa.delete(t).where(*mine))
        return {row.reference for row in rows}, {row.reference for row in rows if row.near_duplicate}

    def count(self) -> int:
        return self._count(schema.reviewed_neighbors)

    def reviewers(self) -> list[str]:
        """Names of those who reviewed neighbours."""
        column = schema.reviewed_neighbors.c.reviewer
        return [row.reviewer for row in self._rows(sa.select(column).distinct().order_by(column))]

    def put_thresholds(self, metric: str, thresholds: Mapping[str, float]) -> None:
        self.put_all_thresholds((candidate, metric, value) for candidate, value in thresholds.items())

    def put_all_thresholds(self, thresholds: Iterable[tuple[str, str, float]]) -> None:
        """Set (candidate, metric, review threshold) as they come."""
        self._put(schema.review_thresholds, ({"candidate_id": c, "metric": metric, "threshold": value} for c, metric, value in thresholds))

    def thresholds(self) -> dict[str, dict[str, float]]:
        """candidate -> metric -> review threshold as last derived."""
        result: dict[str, dict[str, float]] = {}
        for row in self._rows(sa.select(schema.review_thresholds)):
            result.setdefault(row.candidate_id, {})[row.metric] = row.threshold
        return result


def _review_rows(review: NeighborReview) -> list[dict[str, object]]:
    marked = set(review.near_duplicates)
    return [
        {
            "candidate_id": review.candidate_id,
            "metric": review.metric,
            "reference": reference,
            "near_duplicate": reference in marked,
            "reviewer": review.reviewer,
            "time": review.time,
        }
        for reference in dict.fromkeys((*review.references, *review.near_duplicates))
    ]


def _touching_query(dialect: str) -> sa.Select[Any]:
    image, t = given(dialect).alias("image"), schema.near_duplicate_pairs
    sides = (sa.select(t.c.first, t.c.second).select_from(image.join(t, side == image.c.value)) for side in (t.c.first, t.c.second))
    return sa.select(*sa.union(*sides).subquery().c)


class PairTable(TableGroup):
    """Near-duplicate pairs, the override list, and what became of each candidate."""

    def add(self, pairs: Iterable[tuple[str, str]], *, user: str, time: str) -> int:
        rows = ({"first": first, "second": second, "user": user, "time": time} for first, second in pairs)
        return self._add_new(schema.near_duplicate_pairs, rows)

    def remove(self, pairs: Iterable[tuple[str, str]]) -> None:
        t = schema.near_duplicate_pairs
        for first, second in pairs:
            self._change(t, sa.delete(t).where(t.c.first == first, t.c.second == second))

    def of(self, first: str) -> set[str]:
        """What a candidate is paired with as the first of the pair."""
        t = schema.near_duplicate_pairs
        return {row.second for row in self._rows(sa.select(t.c.second).where(t.c.first == first))}

    def all(self) -> list[tuple[str, str]]:
        t = schema.near_duplicate_pairs
        return [(row.first, row.second) for row in self._rows(sa.select(t).order_by(t.c.first, t.c.second))]

    def count(self) -> int:
        return self._count(schema.near_duplicate_pairs)

    def touching(self, image_ids: Iterable[str]) -> set[tuple[str, str]]:
        """The pairs with at least one of these images in them."""
        blocks = (fetch_packed(self._connection, _touching_query, {IDS: ids_text(block)}) for block in chunks(image_ids, _IDS_PER_QUERY))
        return {(first, second) for rows in blocks for first, second in rows}

    def add_overrides(self, candidate_ids: Iterable[str], *, user: str, time: str) -> int:
        rows = ({"candidate_id": c, "user": user, "time": time} for c in candidate_ids)
        return self._add_new(schema.resolution_overrides, rows)

    def remove_overrides(self, candidate_ids: Iterable[str]) -> None:
        """Take candidates off the override list."""
        t = schema.resolution_overrides
        for candidate in candidate_ids:
            self._change(t, sa.delete(t).where(t.c.candidate_id == candidate))

    def overrides(self) -> list[str]:
        t = schema.resolution_overrides
        return [row.candidate_id for row in self._rows(sa.select(t).order_by(t.c.candidate_id))]

    def overrides_among(self, candidate_ids: Iterable[str]) -> set[str]:
        """Those of these candidates that are on the override list."""
        t = schema.resolution_overrides
        return {row.candidate_id for row in self._by_ids(sa.select(t.c.candidate_id), t.c.candidate_id, candidate_ids)}

    def replace_resolutions(self, resolutions: Iterable[Resolution]) -> None:
        """Make these the current ones."""
        self._replace(schema.resolutions, (dataclasses.asdict(r) for r in resolutions))

    def put_resolutions(self, resolutions: Iterable[Resolution]) -> None:
        """Set what became of some candidates, leaving the others alone."""
        self._put(schema.resolutions, (dataclasses.asdict(r) for r in resolutions))

    def remove_resolutions(self, candidate_ids: Iterable[str]) -> None:
        """Forget candidates that are in no component any more."""
        t = schema.resolutions
        for block in chunks(candidate_ids, 400):
            self._change(t, sa.delete(t).where(t.c.candidate_id.in_(block)))

    def resolutions_of(self, candidate_ids: Iterable[str]) -> dict[str, Resolution]:
        """What became of those of these candidates that are in a component."""
        query = sa.select(schema.resolutions)
        found = self._by_ids(query, schema.resolutions.c.candidate_id, candidate_ids)
        return {row.candidate_id: Resolution(**row._mapping) for row in found}

    def resolutions(self) -> dict[str, Resolution]:
        query = sa.select(schema.resolutions).order_by(schema.resolutions.c.candidate_id)
        return {row.candidate_id: Resolution(**row._mapping) for row in self._rows(query)}
