"""Compiled loops of the pruned pixel search. l2.py explains the search, _l2_codes.py the bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._jit import kernel


class Coded(NamedTuple):
    """Images with their codes.

    Attributes:
        images: uint8 (m, h * w * 3), read-only.
        places: int64 (n,), where in ``images`` each coded image is.
        rough_norms: float32 (n,), squared lengths of the rough codes, less the slack of the matrix product.
        middle: int16 (n, rows of cells, numbers).
        fine: int16 (n, rows of cells, numbers); the residual norms stand last in each row.
    """

    images: NDArray[np.uint8]
    places: NDArray[np.int64]
    rough_norms: NDArray[np.float32]
    middle: NDArray[np.int16]
    fine: NDArray[np.int16]


class Setup(NamedTuple):
    """What the bounds need to know; see ``_l2_codes.Layout``."""

    rough_slack: float
    middle_step: float
    middle_slack: float
    middle_rows: int
    fine_step: float
    fine_slack: float
    fine_rows: int
    norms: int
    strip_pixels: int


class State(NamedTuple):
    """A group of queries during the scan of a block.

    Attributes:
        upper: int64 (g, k), smallest upper bounds of squared distances, ascending, filled up to ``counts``.
        upper_places: int64 (g, k), of which references.
        counts: int64 (g,).
        limits: int64 (g,), squared distance beyond which a reference cannot be among the k nearest.
        rough: float64 (g,), the limit for rough codes.
        middle: int64 (g,), for middle codes.
        fine: int64 (g,), for fine codes.
        sizes: int64 (g,), number of candidates.
        found: int64 (g, n), candidates.
        bounds: int64 (g, n), lower bounds of their squared distances.
    """

    upper: NDArray[np.int64]
    upper_places: NDArray[np.int64]
    counts: NDArray[np.int64]
    limits: NDArray[np.int64]
    rough: NDArray[np.float64]
    middle: NDArray[np.int64]
    fine: NDArray[np.int64]
    sizes: NDArray[np.int64]
    found: NDArray[np.int64]
    bounds: NDArray[np.int64]


_INFINITY = np.iinfo(np.int64).max
_LARGEST = np.finfo(np.float64).max  # a limit that everything passes but infinity, which marks a reference as done
_LARGEST_ROUND = 1024
_CACHED_REFERENCES = 16  # their codes and those of a group of queries fit into a cache of 1 MB
_SUM_LENGTH = 32768  # squares are at most 255**2, so that many of them fit into int32


@kernel
def _squared_difference(a: Any, b: Any) -> Any:
    total = np.int64(0)
    for start in range(0, a.size, _SUM_LENGTH):
        left, right = a[start : start + _SUM_LENGTH], b[start : start + _SUM_LENGTH]
        part = np.int32(0)
        for i in range(left.size):
            difference = np.int32(np.int32(left[i]) - np.int32(right[i]))
            part = np.int32(part + np.int32(difference * difference))
        total += part
    return total


@kernel
def _code_distance(a: Any, b: Any) -> Any:
    """Squared distance of one strip of codes; _l2_codes.py shows that it fits into int32."""
    total = np.int32(0)
    for i in range(a.size):
        difference = np.int16(a[i] - b[i])
        total = np.int32(total + np.int32(np.int32(difference) * np.int32(difference)))
    return np.int64(total)


@kernel
def _insert(keys: Any, places: Any, count: Any, key: Any, place: Any) -> Any:
    """Insert into arrays sorted by (key, place), dropping the largest when they are full; the new count."""
    at = count
    if count == keys.size:
        at -= 1
        if key > keys[at] or (key == keys[at] and place > places[at]):
            return count
    while at > 0 and (keys[at - 1] > key or (keys[at - 1] == key and places[at - 1] > place)):
        keys[at] = keys[at - 1]
        places[at] = places[at - 1]
        at -= 1
    keys[at] = key
    places[at] = place
    return min(count + 1, keys.size)


@kernel
def _sift_down(keys: Any, order: Any, size: Any, at: Any) -> None:
    item = order[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[order[child + 1]] < keys[order[child]]:
            child += 1
        if keys[order[child]] >= keys[item]:
            break
        order[at] = order[child]
        at = child
    order[at] = item


@kernel
def _start(products: Any, norms: Any, keys: Any, places: Any) -> None:
    """The references with the smallest rough distances, where a search begins."""
    count = 0
    for j in range(products.size):
        key = np.float64(norms[j]) - 2.0 * np.float64(products[j])
        if count < keys.size or key < keys[count - 1]:
            count = _insert(keys, places, count, key, j)


@kernel
def _set_limits(state: Any, g: Any, setup: Any, rough_norm: Any) -> None:
    """Beyond these, the rough, middle and fine codes prove that a pair is farther than the k-th smallest upper bound."""
    k = state.upper.shape[1]
    if state.counts[g] < k:
        state.limits[g], state.rough[g], state.middle[g], state.fine[g] = _INFINITY, _LARGEST, _INFINITY, _INFINITY
        return
    state.limits[g] = state.upper[g, k - 1]
    root = np.sqrt(np.float64(state.limits[g]))
    rough = root + 2.0 * setup.rough_slack
    middle = (root + 2.0 * setup.middle_slack) / setup.middle_step
    fine = (root + 2.0 * setup.fine_slack) / setup.fine_step
    state.rough[g] = rough * rough * (1.0 + 1e-12) + 1.0 - np.float64(rough_norm)
    state.middle[g] = np.int64(middle * middle * (1.0 + 1e-12)) + 1
    state.fine[g] = np.int64(fine * fine * (1.0 + 1e-12)) + 1


@kernel
def _lower(code: Any, setup: Any) -> Any:
    """A lower bound of the squared pixel distance where the squared fine code distance is ``code``."""
    root = max(np.sqrt(np.float64(code)) * setup.fine_step - 2.0 * setup.fine_slack, 0.0)
    return np.int64(root * root * (1.0 - 1e-12))


@kernel
def _upper(code: Any, a: Any, b: Any, setup: Any) -> Any:
    """An upper bound of it: as the lower one, with residuals that point apart."""
    first = a.shape[1] - setup.norms
    for y in range(a.shape[0]):
        left, right = a[y, first:], b[y, first:]
        part = np.int32(0)
        for x in range(left.size):
            part = np.int32(part + np.int32(np.int32(left[x]) * np.int32(right[x])))
        code += 4 * np.int64(part)
    root = np.sqrt(np.float64(code)) * setup.fine_step + 2.0 * setup.fine_slack
    return np.int64(root * root * (1.0 + 1e-12)) + 1


@kernel
def _within(a: Any, b: Any, rows: Any, limit: Any) -> Any:
    """Squared code distance of two images, strip by strip, or -1 once it exceeds ``limit``."""
    total = np.int64(0)
    length = rows * a.shape[1]
    left, right = a.reshape(a.size), b.reshape(b.size)
    for start in range(0, left.size, length):
        total += _code_distance(left[start : start + length], right[start : start + length])
        if total > limit:
            return np.int64(-1)
    return total


@kernel
def _remaining(a: Any, b: Any, setup: Any, out: Any) -> None:
    """Lower bounds of the squared pixel distance in the strips from each on; the last entry is 0."""
    length = setup.fine_rows * a.shape[1]
    left, right = a.reshape(a.size), b.reshape(b.size)
    total = np.int64(0)
    out[out.size - 1] = 0
    for s in range(out.size - 2, -1, -1):
        part = slice(s * length, (s + 1) * length)
        total += _code_distance(left[part], right[part])
        out[s] = _lower(total, setup)


@kernel
def _consider(i: Any, g: Any, j: Any, a: Any, b: Any, setup: Any, state: Any, work: Any) -> None:
    """Make reference ``j`` a candidate of query ``i`` unless its codes rule it out."""
    work[0] += 1
    if _within(a.middle[i], b.middle[j], setup.middle_rows, state.middle[g]) < 0:
        return
    work[1] += 1
    code = _within(a.fine[i], b.fine[j], setup.fine_rows, state.fine[g])
    if code < 0:
        return
    at = state.sizes[g]
    state.found[g, at] = j
    state.bounds[g, at] = _lower(code, setup)
    state.sizes[g] = at + 1
    upper = _upper(code, a.fine[i], b.fine[j], setup)
    state.counts[g] = _insert(state.upper[g], state.upper_places[g], state.counts[g], upper, b.places[j])
    if upper < state.limits[g]:
        _set_limits(state, g, setup, a.rough_norms[i])


@kernel
def _scan(first: Any, last: Any, products: Any, a: Any, b: Any, setup: Any, state: Any, start: Any, work: Any) -> None:
    """Collect the candidates of the queries from ``first`` to ``last``, a few references at a time for all of them.

    ``products`` is used up.
    """
    for i in range(first, last):
        g = i - first
        state.sizes[g] = 0
        _set_limits(state, g, setup, a.rough_norms[i])
        if state.counts[g] < state.upper.shape[1]:
            _start(products[i], b.rough_norms, start[0], start[1])
            for j in start[1]:
                _consider(i, g, j, a, b, setup, state, work)
                products[i, j] = -np.inf
    for from_j in range(0, products.shape[1], _CACHED_REFERENCES):
        to_j = min(from_j + _CACHED_REFERENCES, products.shape[1])
        for i in range(first, last):
            g = i - first
            for j in range(from_j, to_j):
                if np.float64(b.rough_norms[j]) - 2.0 * np.float64(products[i, j]) <= state.rough[g]:
                    _consider(i, g, j, a, b, setup, state, work)


@kernel
def _next_pairs(state: Any, order: Any, most: Any, pairs: Any) -> Any:
    """Take up to ``most`` candidates of every query, lowest bound first, while the bound allows; the number taken."""
    total = 0
    for g in range(order.shape[0]):
        bounds, heap = state.bounds[g], order[g]
        for _ in range(most):
            if state.sizes[g] == 0 or bounds[heap[0]] > state.limits[g]:
                state.sizes[g] = 0
                break
            pairs[total, 0] = g
            pairs[total, 1] = state.found[g, heap[0]]
            total += 1
            state.sizes[g] -= 1
            heap[0] = heap[state.sizes[g]]
            _sift_down(bounds, heap, state.sizes[g], 0)
    return total


@kernel
def _by_reference(pairs: Any, count: Any, head: Any, link: Any, sequence: Any) -> None:
    """The order of the pairs by reference, so that each is read from memory once."""
    head[:] = -1
    for p in range(count):
        link[p] = head[pairs[p, 1]]
        head[pairs[p, 1]] = p
    at = 0
    for j in range(head.size):
        p = head[j]
        while p >= 0:
            sequence[at] = p
            at += 1
            p = link[p]


@kernel
def _exact(i: Any, j: Any, a: Any, b: Any, setup: Any, limit: Any, remaining: Any) -> Any:
    """Squared pixel distance, or -1 once it is sure to exceed ``limit``."""
    _remaining(a.fine[i], b.fine[j], setup, remaining)
    left, right = a.images[a.places[i]], b.images[b.places[j]]
    total = np.int64(0)
    for s in range(remaining.size - 1):
        part = slice(s * setup.strip_pixels, (s + 1) * setup.strip_pixels)
        total += _squared_difference(left[part], right[part])
        if total + remaining[s + 1] > limit:
            return np.int64(-1)
    return total


@kernel
def search_rows(
    products: NDArray[np.float32],
    a: Coded,
    b: Coded,
    setup: Setup,
    group: int,
    best: NDArray[np.int64],
    best_places: NDArray[np.int64],
    counts: NDArray[np.int64],
    work: NDArray[np.int64],
) -> None:
    """Bring the k best of every query up to date with one block of references.

    Args:
        products: float32 (q, r), inner products of the rough codes; used up.
        a: the queries.
        b: the references; their places ascend and are above all places searched before.
        setup: steps, slacks and sizes.
        group: queries that are searched together.
        best: int64 (q, k), squared distances found so far, ascending, filled up to ``counts``.
        best_places: int64 (q, k), their places.
        counts: int64 (q,).
        work: int64 (4,), counts of pairs that reach the middle, fine and exact stage, and that were computed to the end.
    """
    n, k = products.shape[1], best.shape[1]
    largest = max(k, _LARGEST_ROUND)
    state = State(
        np.empty((group, k), np.int64),
        np.empty((group, k), np.int64),
        np.empty(group, np.int64),
        np.empty(group, np.int64),
        np.empty(group, np.float64),
        np.empty(group, np.int64),
        np.empty(group, np.int64),
        np.zeros(group, np.int64),
        np.empty((group, n), np.int64),
        np.empty((group, n), np.int64),
    )
    start = (np.empty(min(n, k + 32), np.float64), np.empty(min(n, k + 32), np.int64))
    order = np.empty((group, n), np.int64)
    pairs = np.empty((group * largest, 2), np.int64)
    link, sequence = np.empty(group * largest, np.int64), np.empty(group * largest, np.int64)
    remaining = np.empty((b.fine.shape[1] + setup.fine_rows - 1) // setup.fine_rows + 1, np.int64)
    head = np.empty(n, np.int64)
    for first in range(0, products.shape[0], group):
        last = min(first + group, products.shape[0])
        state.upper[: last - first] = best[first:last]
        state.upper_places[: last - first] = best_places[first:last]
        state.counts[: last - first] = counts[first:last]
        state.sizes[:] = 0
        _scan(first, last, products, a, b, setup, state, start, work)
        for g in range(group):
            for at in range(state.sizes[g]):
                order[g, at] = at
            for at in range(state.sizes[g] // 2 - 1, -1, -1):
                _sift_down(state.bounds[g], order[g], state.sizes[g], at)
        most = k
        while True:
            count = _next_pairs(state, order, most, pairs)
            if count == 0:
                break
            most = min(2 * most, largest)
            _by_reference(pairs, count, head, link, sequence)
            work[2] += count
            for p in sequence[:count]:
                g, j = pairs[p]
                i = first + g
                distance = _exact(i, j, a, b, setup, state.limits[g], remaining)
                if distance >= 0:
                    work[3] += 1
                    counts[i] = _insert(best[i], best_places[i], counts[i], distance, b.places[j])
                    if counts[i] == k:
                        state.limits[g] = min(state.limits[g], best[i, k - 1])
