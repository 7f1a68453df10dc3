"""Compiled loops of the feature metric; features.py derives the bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._best import insert
from retest.neighbors._jit import helper, kernel
from retest.neighbors._simd import LANES, any_below, any_up_to, load, load_float64, minimum, multiply_add, splat, store

_STEP = 4 * LANES


@helper
def _squared_distance(a: Any, b: Any, lanes: Any) -> Any:
    """In float64, as 32 sums of every 32nd term, added in a fixed order: equal on every machine."""
    one, two, three, four = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    whole = a.size // _STEP * _STEP
    for at in range(0, whole, _STEP):
        difference = load(a, at) - load(b, at)
        one = multiply_add(difference, difference, one)
        difference = load(a, at + LANES) - load(b, at + LANES)
        two = multiply_add(difference, difference, two)
        difference = load(a, at + 2 * LANES) - load(b, at + 2 * LANES)
        three = multiply_add(difference, difference, three)
        difference = load(a, at + 3 * LANES) - load(b, at + 3 * LANES)
        four = multiply_add(difference, difference, four)
    store(lanes, 0, (one + two) + (three + four))
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    for at in range(whole, a.size):
        rest = np.float64(a[at]) - np.float64(b[at])
        total += rest * rest
    return total


class Queries(NamedTuple):
    """What is known of the queries of a piece: the first index of all arrays.

    Attributes:
        vectors: float32 (q, d).
        above: float64 (q,), see ``Block``.
        below: float64 (q,).
        scale_above: float64 (q,).
        scale_below: float64 (q,).
        best: float64 (q, k), distances found so far, ascending, filled up to ``counts``.
        best_places: int64 (q, k), their places.
        counts: int64 (q,).
    """

    vectors: NDArray[np.float32]
    above: NDArray[np.float64]
    below: NDArray[np.float64]
    scale_above: NDArray[np.float64]
    scale_below: NDArray[np.float64]
    best: NDArray[np.float64]
    best_places: NDArray[np.int64]
    counts: NDArray[np.int64]


class Block(NamedTuple):
    """What is known of the references of a block.

    The distance of i and j is at most ``(above[i] + above[j]) - scale_above[i] * (weights[j] * product)``, and at least the
    same of ``below``.

    Attributes:
        vectors: float32 (r, d), all references.
        places: int64 (n,), places of the block's references, ascending, above all places searched before.
        above: float64 (n,).
        below: float64 (n,).
        weights: float64 (n,).
    """

    vectors: NDArray[np.float32]
    places: NDArray[np.int64]
    above: NDArray[np.float64]
    below: NDArray[np.float64]
    weights: NDArray[np.float64]


@helper
def _least(most: Any, bounds: Any, scale: Any, weights: Any, row: Any, at: Any) -> Any:
    """Eight lanes with the smallest of ``(most + bounds) - scale * (weights * row)`` over the 32 places from ``at`` on."""
    found = (most + load(bounds, at)) - scale * (load(weights, at) * load_float64(row, at))
    for part in range(at + LANES, at + _STEP, LANES):
        found = minimum(found, (most + load(bounds, part)) - scale * (load(weights, part) * load_float64(row, part)))
    return found


@helper
def _search(products: Any, a: Any, b: Any) -> Any:
    """Bring the k best of every query up to date with one block of references; the number of distances computed."""
    n, k = b.places.size, a.best.shape[1]
    upper, upper_places, lanes = np.empty(k, np.float64), np.empty(k, np.int64), np.empty(LANES, np.float64)
    lowest = np.empty(n // _STEP * LANES, np.float64)
    computed = 0
    for i in range(a.above.size):
        row, most, least, scale_above, scale_below = products[i], a.above[i], a.below[i], a.scale_above[i], a.scale_below[i]
        count = a.counts[i]
        for at in range(count):
            upper[at] = a.best[i, at]
            upper_places[at] = a.best_places[i, at]
        limit = upper[k - 1] if count == k else np.inf
        for start in range(0, n, _STEP):
            if start + _STEP <= n:
                store(lowest, start // _STEP * LANES, _least(splat(least), b.below, splat(scale_below), b.weights, row, start))
                if not any_below(_least(splat(most), b.above, splat(scale_above), b.weights, row, start), splat(limit)):
                    continue
            for j in range(start, min(start + _STEP, n)):
                bound = (most + b.above[j]) - scale_above * (b.weights[j] * np.float64(row[j]))
                if bound < limit:
                    count = insert(upper, upper_places, count, bound, b.places[j])
                    if count == k:
                        limit = upper[k - 1]
        for start in range(0, n, _STEP):
            if start + _STEP <= n and not any_up_to(load(lowest, start // _STEP * LANES), splat(limit)):
                continue
            for j in range(start, min(start + _STEP, n)):
                if (least + b.below[j]) - scale_below * (b.weights[j] * np.float64(row[j])) <= limit:
                    computed += 1
                    distance = _squared_distance(a.vectors[i], b.vectors[b.places[j]], lanes)
                    a.counts[i] = insert(a.best[i], a.best_places[i], a.counts[i], distance, b.places[j])
    return computed


@kernel
def search_floats(products: NDArray[np.float32], a: Queries, b: Block) -> int:
    """Bring the k best of every query up to date, from inner products float32 (q, n); the number of distances computed."""
    return int(_search(products, a, b))


@kernel
def search_codes(products: NDArray[np.int32], a: Queries, b: Block) -> int:
    """The same from inner products of codes int32 (at least q, at least n)."""
    return int(_search(products, a, b))


@kernel
def squared_norms(vectors: NDArray[np.float32], places: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Squared lengths of the vectors at ``places`` in float64, of which the largest finite float32 is far from the limit."""
    lanes, nothing = np.empty(LANES, np.float64), np.zeros(vectors.shape[1], np.float32)
    for i in range(out.size):
        out[i] = _squared_distance(vectors[places[i]], nothing, lanes)
