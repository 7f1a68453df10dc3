"""Compiled loops of the pruned pixel search. l2.py explains the search, _l2_codes.py the bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._best import insert
from retest.neighbors._jit import helper, kernel


class Coded(NamedTuple):
    """Images with their codes.

    Attributes:
        images: uint8 (m, h * w * 3), read-only.
        places: int64 (n,), where in ``images`` each coded image is.
        rough_norms: float32 (n,), squared lengths of the rough codes, less the slack of the matrix product.
        middle: int16 (n, numbers).
        fine: int16 (n, numbers).
    """

    images: NDArray[np.uint8]
    places: NDArray[np.int64]
    rough_norms: NDArray[np.float32]
    middle: NDArray[np.int16]
    fine: NDArray[np.int16]


class Setup(NamedTuple):
    """What the bounds need to know; see ``_l2_codes.Layout``. Strips are counted in numbers of the code."""

    rough_slack: float
    middle_step: float
    middle_slack: float
    middle_strip: int
    fine_step: float
    fine_slack: float
    fine_strip: int
    row_length: int
    row_norms: int
    pixel_strip: int


class State(NamedTuple):
    """A group of queries during the search of a block.

    Attributes:
        rough: float64 (g,), largest rough distance that may belong to a neighbour.
        numbers: int64 (g, 5): how many upper bounds are known, the squared distance beyond which a reference cannot be among
            the k nearest, what that means for middle and for fine codes, how many candidates there are.
        upper: int64 (g, 2, k): smallest upper bounds of squared distances, ascending; the places of their references.
        found: int64 (g, 2, n): candidates; lower bounds of their squared distances.
    """

    rough: NDArray[np.float64]
    numbers: NDArray[np.int64]
    upper: NDArray[np.int64]
    found: NDArray[np.int64]


_KNOWN, _LIMIT, _MIDDLE, _FINE, _SIZE = range(5)
_INFINITY = np.iinfo(np.int64).max
_LARGEST = np.finfo(np.float64).max  # a limit that everything passes but infinity, which marks a reference as done
_LARGEST_ROUND = 1024
_CACHED_REFERENCES = 16  # their codes and those of a group of queries fit into a cache of 1 MB
_SUM_LENGTH = 32768  # squares are at most 255**2, so that many of them fit into int32


@helper
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


@helper
def _code_distance(a: Any, b: Any) -> Any:
    """Squared distance of one strip of codes; _l2_codes.py shows that it fits into int32."""
    total = np.int32(0)
    for i in range(a.size):
        difference = np.int16(a[i] - b[i])
        total = np.int32(total + np.int32(np.int32(difference) * np.int32(difference)))
    return np.int64(total)


@helper
def _within(a: Any, b: Any, strip: Any, limit: Any) -> Any:
    """Squared code distance of two images, strip by strip, or -1 once it exceeds ``limit``."""
    total = np.int64(0)
    for start in range(0, a.size, strip):
        total += _code_distance(a[start : start + strip], b[start : start + strip])
        if total > limit:
            return np.int64(-1)
    return total


@helper
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


@helper
def _lower(code: Any, setup: Any) -> Any:
    """A lower bound of the squared pixel distance where the squared fine code distance is ``code``."""
    root = max(np.sqrt(np.float64(code)) * setup.fine_step - 2.0 * setup.fine_slack, 0.0)
    return np.int64(root * root * (1.0 - 1e-12))


@helper
def _upper(code: Any, a: Any, b: Any, setup: Any) -> Any:
    """An upper bound of it: as the lower one, with residuals that point apart."""
    for end in range(setup.row_length, a.size + 1, setup.row_length):
        left, right = a[end - setup.row_norms : end], b[end - setup.row_norms : end]
        part = np.int32(0)
        for x in range(left.size):
            part = np.int32(part + np.int32(np.int32(left[x]) * np.int32(right[x])))
        code += 4 * np.int64(part)
    root = np.sqrt(np.float64(code)) * setup.fine_step + 2.0 * setup.fine_slack
    return np.int64(root * root * (1.0 + 1e-12)) + 1


@helper
def _set_limits(state: Any, g: Any, setup: Any, rough_norm: Any) -> None:
    """Set what the codes of a neighbour can be at most, from the k-th smallest upper bound."""
    numbers, upper = state.numbers[g], state.upper[g, 0]
    if numbers[_KNOWN] < upper.size:
        state.rough[g], numbers[_LIMIT], numbers[_MIDDLE], numbers[_FINE] = _LARGEST, _INFINITY, _INFINITY, _INFINITY
        return
    numbers[_LIMIT] = upper[upper.size - 1]
    root = np.sqrt(np.float64(numbers[_LIMIT]))
    rough = root + 2.0 * setup.rough_slack
    middle = (root + 2.0 * setup.middle_slack) / setup.middle_step
    fine = (root + 2.0 * setup.fine_slack) / setup.fine_step
    state.rough[g] = rough * rough * (1.0 + 1e-12) + 1.0 - np.float64(rough_norm)
    numbers[_MIDDLE] = np.int64(middle * middle * (1.0 + 1e-12)) + 1
    numbers[_FINE] = np.int64(fine * fine * (1.0 + 1e-12)) + 1


@helper
def _consider(i: Any, g: Any, j: Any, a: Any, b: Any, setup: Any, state: Any, work: Any) -> None:
    """Make reference ``j`` a candidate of query ``i`` unless its codes rule it out."""
    numbers, found, upper = state.numbers[g], state.found[g], state.upper[g]
    work[0] += 1
    if _within(a.middle[i], b.middle[j], setup.middle_strip, numbers[_MIDDLE]) < 0:
        return
    work[1] += 1
    code = _within(a.fine[i], b.fine[j], setup.fine_strip, numbers[_FINE])
    if code < 0:
        return
    found[0, numbers[_SIZE]] = j
    found[1, numbers[_SIZE]] = _lower(code, setup)
    numbers[_SIZE] += 1
    bound = _upper(code, a.fine[i], b.fine[j], setup)
    numbers[_KNOWN] = insert(upper[0], upper[1], numbers[_KNOWN], bound, b.places[j])
    if bound < numbers[_LIMIT]:
        _set_limits(state, g, setup, a.rough_norms[i])


@helper
def _begin(i: Any, g: Any, products: Any, a: Any, b: Any, setup: Any, state: Any, start: Any, work: Any) -> None:
    """Set the first limit of a query, where none is known, from the references with the smallest rough distances."""
    state.numbers[g, _SIZE] = 0
    _set_limits(state, g, setup, a.rough_norms[i])
    if state.numbers[g, _KNOWN] == state.upper.shape[2]:
        return
    count = 0
    for j in range(products.size):
        key = np.int64(np.float64(b.rough_norms[j]) - 2.0 * np.float64(products[j]))
        if count < start.shape[1] or key < start[0, count - 1]:
            count = insert(start[0], start[1], count, key, j)
    for j in start[1]:
        _consider(i, g, j, a, b, setup, state, work)
        products[j] = -np.inf


@helper
def _next_pairs(state: Any, order: Any, most: Any, pairs: Any) -> Any:
    """Take up to ``most`` candidates of every query, lowest bound first, while the bound allows; the number taken."""
    total = 0
    for g in range(order.shape[0]):
        numbers, bounds, heap = state.numbers[g], state.found[g, 1], order[g]
        for _ in range(most):
            if numbers[_SIZE] == 0 or bounds[heap[0]] > numbers[_LIMIT]:
                numbers[_SIZE] = 0
                break
            pairs[total, 0] = g
            pairs[total, 1] = state.found[g, 0, heap[0]]
            total += 1
            numbers[_SIZE] -= 1
            heap[0] = heap[numbers[_SIZE]]
            _sift_down(bounds, heap, numbers[_SIZE], 0)
    return total


@helper
def _by_reference(pairs: Any, count: Any, head: Any, sequence: Any) -> None:
    """The order of the pairs by reference, so that each is read from memory once."""
    for j in range(head.size):
        head[j] = -1
    for p in range(count):
        pairs[p, 2] = head[pairs[p, 1]]
        head[pairs[p, 1]] = p
    at = 0
    for j in range(head.size):
        p = head[j]
        while p >= 0:
            sequence[at] = p
            at += 1
            p = pairs[p, 2]


@helper
def _exact(i: Any, j: Any, a: Any, b: Any, setup: Any, limit: Any, remaining: Any) -> Any:
    """Squared pixel distance, or -1 once it is sure to exceed ``limit``; ``remaining`` is room for the bounds of strips."""
    fine_a, fine_b, strip = a.fine[i], b.fine[j], setup.fine_strip
    code = np.int64(0)
    for s in range(remaining.size - 1, -1, -1):
        remaining[s] = _lower(code, setup)
        code += _code_distance(fine_a[s * strip : (s + 1) * strip], fine_b[s * strip : (s + 1) * strip])
    left, right, strip = a.images[a.places[i]], b.images[b.places[j]], setup.pixel_strip
    total = np.int64(0)
    for s in range(remaining.size):
        total += _squared_difference(left[s * strip : (s + 1) * strip], right[s * strip : (s + 1) * strip])
        if total + remaining[s] > limit:
            return np.int64(-1)
    return total


@kernel
def scan(
    first: int, last: int, products: NDArray[np.float32], a: Coded, b: Coded, setup: Setup, state: State, work: NDArray[np.int64]
) -> None:
    """Collect the candidates of the queries from ``first`` to ``last``, a few references at a time for all of them.

    Args:
        first: a query.
        last: the one behind the last.
        products: float32 (q, r), inner products of the rough codes; used up.
        a: the queries.
        b: the references; their places ascend and are above all places searched before.
        setup: steps, slacks and sizes.
        state: of the group; ``upper`` holds the distances found so far.
        work: int64 (4,), counts of pairs that reach the middle, fine and exact stage, and that were computed to the end.
    """
    n, k = products.shape[1], state.upper.shape[2]
    start = np.empty((2, min(n, k + 32)), np.int64)
    for i in range(first, last):
        _begin(i, i - first, products[i], a, b, setup, state, start, work)
    for from_j in range(0, n, _CACHED_REFERENCES):
        for i in range(first, last):
            limit, row = state.rough[i - first], products[i]
            for j in range(from_j, min(from_j + _CACHED_REFERENCES, n)):
                if np.float64(b.rough_norms[j]) - 2.0 * np.float64(row[j]) <= limit:
                    _consider(i, i - first, j, a, b, setup, state, work)
                    limit = state.rough[i - first]


@kernel
def compare(
    first: int,
    last: int,
    a: Coded,
    b: Coded,
    setup: Setup,
    state: State,
    best: NDArray[np.int64],
    best_places: NDArray[np.int64],
    counts: NDArray[np.int64],
    work: NDArray[np.int64],
) -> None:
    """Compare the candidates of a group pixel by pixel and bring the k best of its queries up to date.

    Args:
        first: a query.
        last: the one behind the last.
        a: the queries.
        b: the references; their places are above all places in ``best_places``.
        setup: steps, slacks and sizes.
        state: of the group, after ``scan``; its candidates are used up.
        best: int64 (q, k), squared distances found so far, ascending, filled up to ``counts``.
        best_places: int64 (q, k), their places.
        counts: int64 (q,).
        work: as in ``scan``.
    """
    n, k, group = state.found.shape[2], best.shape[1], last - first
    order = np.empty((group, n), np.int64)
    for g in range(group):
        for at in range(state.numbers[g, _SIZE]):
            order[g, at] = at
        for at in range(state.numbers[g, _SIZE] // 2 - 1, -1, -1):
            _sift_down(state.found[g, 1], order[g], state.numbers[g, _SIZE], at)
    most, largest = k, max(k, _LARGEST_ROUND)
    pairs, sequence, head = np.empty((group * largest, 3), np.int64), np.empty(group * largest, np.int64), np.empty(n, np.int64)
    remaining = np.empty((b.fine.shape[1] + setup.fine_strip - 1) // setup.fine_strip, np.int64)
    while True:
        count = _next_pairs(state, order, most, pairs)
        if count == 0:
            break
        most = min(2 * most, largest)
        _by_reference(pairs, count, head, sequence)
        work[2] += count
        for at in range(count):
            g, j = pairs[sequence[at], 0], pairs[sequence[at], 1]
            i = first + g
            distance = _exact(i, j, a, b, setup, state.numbers[g, _LIMIT], remaining)
            if distance >= 0:
                work[3] += 1
                counts[i] = insert(best[i], best_places[i], counts[i], distance, b.places[j])
                if counts[i] == k:
                    state.numbers[g, _LIMIT] = min(state.numbers[g, _LIMIT], best[i, k - 1])
