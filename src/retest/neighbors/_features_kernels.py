"""Compiled loops of the feature metric; features.py derives the bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._best import insert
from retest.neighbors._jit import helper, kernel
from retest.neighbors._simd import any_below, any_up_to, load, minimum, multiply_add, splat, store

_LANES = 8
_STEP = 4 * _LANES


@helper
def _squared_distance(a: Any, b: Any, lanes: Any) -> Any:
    """In float64, as 32 sums of every 32nd term, added in a fixed order: equal on every machine."""
    one, two, three, four = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    whole = a.size // _STEP * _STEP
    for at in range(0, whole, _STEP):
        difference = load(a, at) - load(b, at)
        one = multiply_add(difference, difference, one)
        difference = load(a, at + _LANES) - load(b, at + _LANES)
        two = multiply_add(difference, difference, two)
        difference = load(a, at + 2 * _LANES) - load(b, at + 2 * _LANES)
        three = multiply_add(difference, difference, three)
        difference = load(a, at + 3 * _LANES) - load(b, at + 3 * _LANES)
        four = multiply_add(difference, difference, four)
    store(lanes, 0, (one + two) + (three + four))
    total = 0.0
    for lane in range(_LANES):
        total += lanes[lane]
    for at in range(whole, a.size):
        rest = np.float64(a[at]) - np.float64(b[at])
        total += rest * rest
    return total


@helper
def _least(most: Any, bounds: Any, scale: Any, row: Any, at: Any) -> Any:
    """Eight lanes with the smallest of ``(most + bounds) - scale * row`` over the 32 places from ``at`` on."""
    found = (most + load(bounds, at)) - scale * load(row, at)
    for part in range(at + _LANES, at + _STEP, _LANES):
        found = minimum(found, (most + load(bounds, part)) - scale * load(row, part))
    return found


@kernel
def search_rows(
    products: NDArray[np.float32],
    queries: NDArray[np.float32],
    references: NDArray[np.float32],
    places: NDArray[np.int64],
    norms_a: NDArray[np.float64],
    norms_b: NDArray[np.float64],
    setup: NDArray[np.float64],
    best: NDArray[np.float64],
    best_places: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> int:
    """Bring the k best of every query up to date with one block of references; the number of distances computed.

    Args:
        products: float32 (q, n), scaled inner products.
        queries: float32 (q, d).
        references: float32 (r, d), all of them.
        places: int64 (n,), places of the block's references, ascending, above all places searched before.
        norms_a: float64 (q,), squared lengths.
        norms_b: float64 (n,), squared lengths of the block's references.
        setup: what a product counts, the relative and the absolute slack of the bounds.
        best: float64 (q, k), distances found so far, ascending, filled up to ``counts``.
        best_places: int64 (q, k), their places.
        counts: int64 (q,).
    """
    n, k = products.shape[1], best.shape[1]
    scale, absolute = 2.0 * setup[0], setup[2]
    above, below = norms_b * (1.0 + setup[1]), norms_b * (1.0 - setup[1])
    upper, upper_places, lanes = np.empty(k, np.float64), np.empty(k, np.int64), np.empty(_LANES, np.float64)
    lowest = np.empty(n // _STEP * _LANES, np.float64)
    computed = 0
    for i in range(products.shape[0]):
        row = products[i]
        most, least = norms_a[i] * (1.0 + setup[1]) + absolute, norms_a[i] * (1.0 - setup[1]) - absolute
        count = counts[i]
        for at in range(count):
            upper[at] = best[i, at]
            upper_places[at] = best_places[i, at]
        limit = upper[k - 1] if count == k else np.inf
        for start in range(0, n, _STEP):
            if start + _STEP <= n:
                store(lowest, start // _STEP * _LANES, _least(splat(least), below, splat(scale), row, start))
                if not any_below(_least(splat(most), above, splat(scale), row, start), splat(limit)):
                    continue
            for j in range(start, min(start + _STEP, n)):
                bound = (most + above[j]) - scale * np.float64(row[j])
                if bound < limit:
                    count = insert(upper, upper_places, count, bound, places[j])
                    if count == k:
                        limit = upper[k - 1]
        for start in range(0, n, _STEP):
            if start + _STEP <= n and not any_up_to(load(lowest, start // _STEP * _LANES), splat(limit)):
                continue
            for j in range(start, min(start + _STEP, n)):
                if (least + below[j]) - scale * np.float64(row[j]) <= limit:
                    computed += 1
                    distance = _squared_distance(queries[i], references[places[j]], lanes)
                    counts[i] = insert(best[i], best_places[i], counts[i], distance, places[j])
    return computed


@kernel
def squared_norms(vectors: NDArray[np.float32], places: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Squared lengths of the vectors at ``places`` in float64, of which the largest finite float32 is far from the limit."""
    lanes, nothing = np.empty(_LANES, np.float64), np.zeros(vectors.shape[1], np.float32)
    for i in range(out.size):
        out[i] = _squared_distance(vectors[places[i]], nothing, lanes)
