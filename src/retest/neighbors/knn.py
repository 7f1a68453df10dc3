"""The result of a neighbour search, and how partial results become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors._checks import check_count
from retest.records import Neighbor


@dataclass(frozen=True, slots=True, eq=False)
class Knn:
    """The nearest references of every query, each row ascending by (distance, index).

    Attributes:
        indices: int64 (q, k), positions in the references; -1 where a query has fewer than k neighbours.
        distances: float64 (q, k); squared for l2 and feature metrics, inf where ``indices`` is -1.
        worst_prerank: only from ``nearest_dssim(prerank=N)``: int64 (q,), the largest place (1 = best) that any of the k
            results had in the unproven pre-ranking. Far below N is a good sign; near N calls for a larger N.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    worst_prerank: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape:
            raise UsageError(
                f"indices {self.indices.shape} and distances {self.distances.shape} are not two equal (q, k) arrays",
                item="Knn",
                remedy="Give a distance for every index.",
            )
        if self.indices.dtype != np.int64 or self.distances.dtype != np.float64:
            raise UsageError(
                f"indices are {self.indices.dtype} and distances {self.distances.dtype}",
                item="Knn",
                remedy="Use int64 and float64.",
            )

    def __len__(self) -> int:
        return int(self.indices.shape[0])

    @property
    def k(self) -> int:
        """Number of neighbours asked for."""
        return int(self.indices.shape[1])

    def neighbors(self, query: int, reference_ids: Sequence[str]) -> tuple[Neighbor, ...]:
        """The neighbours of one query by name, nearest first, padding left out."""
        found = zip(self.indices[query].tolist(), self.distances[query].tolist(), strict=True)
        return tuple(Neighbor(reference_ids[index], distance) for index, distance in found if index >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The neighbours of some queries among some references: the result of one work item.

    Attributes:
        knn: rows belong to ``queries``, its indices count within ``references``.
        queries: int64, the place of each row among all queries.
        references: int64, the place of each of the item's references among all references.
    """

    knn: Knn
    queries: NDArray[np.int64]
    references: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.queries.shape != (len(self.knn),):
            raise UsageError(f"{len(self.knn)} rows but {self.queries.shape} query places", item="Part", remedy="Give one place per row.")
        if self.knn.indices.size and int(self.knn.indices.max()) >= len(self.references):
            raise UsageError(
                f"index {int(self.knn.indices.max())} is outside the {len(self.references)} references of the part",
                item="Part",
                remedy="Give the place of every reference that was searched.",
            )


def empty(queries: int, k: int) -> Knn:
    """A result in which no query has a neighbour yet."""
    return Knn(np.full((queries, k), -1, np.int64), np.full((queries, k), np.inf, np.float64))


def from_matrix(distances: NDArray[np.float64], indices: NDArray[np.int64], *, k: int) -> Knn:
    """The k smallest of each row of ``distances`` (q, n); ``indices`` (n,) or (q, n) names the columns.

    Rows are ordered by (distance, index). Infinite distances and the index -1 mean "not a neighbour".
    """
    count = distances.shape[0]
    places = np.broadcast_to(indices, distances.shape)
    result = empty(count, k)
    for row in range(count):
        found = np.flatnonzero((places[row] >= 0) & np.isfinite(distances[row]))
        if found.size > 4 * k:
            values = distances[row, found]
            found = found[values <= np.partition(values, k - 1)[k - 1]]
        order = found[np.lexsort((places[row, found], distances[row, found]))[:k]]
        result.indices[row, : order.size] = places[row, order]
        result.distances[row, : order.size] = distances[row, order]
    return result


def joined(best: Knn, distances: NDArray[np.float64], positions: NDArray[np.int64]) -> Knn:
    """``best`` brought up to date with the distances (q, n) to further references at ``positions`` (n,)."""
    indices = np.hstack([best.indices, np.broadcast_to(positions, distances.shape)])
    return from_matrix(np.hstack([best.distances, distances]), indices, k=best.k)


def merge(parts: Sequence[Part], *, queries: int, k: int) -> Knn:
    """Join partial results into the k nearest references of each of ``queries`` queries.

    The order of ``parts`` does not matter. A reference that is found in several parts (for example by the query and by
    its mirror image) counts once, with its smallest distance. The result equals one search over everything, provided
    that every part was searched with at least ``k`` neighbours (or holds all its references).

    Raises:
        UsageError: ``k`` is less than 1, ``queries`` negative, a part names a query outside 0..queries-1, or a part is too short.
    """
    check_count("k", k)
    check_count("queries", queries, least=0)
    rows: list[list[NDArray[np.int64]]] = [[] for _ in range(queries)]
    values: list[list[NDArray[np.float64]]] = [[] for _ in range(queries)]
    for part in parts:
        _check_part(part, queries, k)
        known = part.knn.indices >= 0
        places = np.where(known, part.references[part.knn.indices] if len(part.references) else -1, -1)
        for row, query in enumerate(part.queries.tolist()):
            rows[query].append(places[row, known[row]])
            values[query].append(part.knn.distances[row, known[row]])
    result = empty(queries, k)
    for query in range(queries):
        if rows[query]:
            _merge_row(np.concatenate(rows[query]), np.concatenate(values[query]), result, query)
    return result


def _check_part(part: Part, queries: int, k: int) -> None:
    if part.queries.size and not (int(part.queries.min()) >= 0 and int(part.queries.max()) < queries):
        remedy = "Say how many queries there are in all, and give places among them."
        raise UsageError(f"a part names a query outside 0..{queries - 1}", item="merge", remedy=remedy)
    if part.knn.k < min(k, len(part.references)):
        raise UsageError(
            f"a part holds {part.knn.k} neighbours per query, {k} are asked for",
            item="merge",
            remedy="Search every part with at least the k of the merged result.",
        )


def _merge_row(places: NDArray[np.int64], distances: NDArray[np.float64], result: Knn, query: int) -> None:
    order = np.lexsort((distances, places))
    places, distances = places[order], distances[order]
    first = np.ones(places.size, np.bool_)
    first[1:] = places[1:] != places[:-1]
    places, distances = places[first], distances[first]
    best = np.lexsort((places, distances))[: result.k]
    result.indices[query, : best.size] = places[best]
    result.distances[query, : best.size] = distances[best]
