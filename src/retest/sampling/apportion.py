"""Sharing out whole places in given proportions: the largest-remainder (Hamilton) method."""

from __future__ import annotations

import math
from collections.abc import Sequence

from retest.errors import InputError


def largest_remainder(counts: Sequence[int], places: int, *, priority: Sequence[int] | None = None) -> list[int]:
    """Share ``places`` out in proportion to ``counts``; the result sums to ``places`` unless all counts are 0.

    With n = sum(counts) the quota of an entry is ``q = (count * places) / n`` in double arithmetic, the product first,
    then one division. Every entry gets ``floor(q)``; the places that remain go one each to the entries of the largest
    ``q - floor(q)``, compared as computed doubles: mathematically equal remainders may differ in the last bit, and that
    decides (method, section 7). Only bit-equal remainders are ties.

    Args:
        counts: whole numbers of at least 0.
        places: how many to share out.
        priority: indices of ``counts``, the entry that wins a tie first; by default the last entry first.

    Raises:
        InputError: a count or ``places`` is negative or not finite, or ``priority`` is not a permutation of the indices.
    """
    if not 0 <= places < math.inf or not all(0 <= count < math.inf for count in counts):
        raise InputError(f"counts and places must not be negative or infinite: {list(counts)}, {places}", remedy="Correct the counts")
    order = list(priority) if priority is not None else list(reversed(range(len(counts))))
    if sorted(order) != list(range(len(counts))):
        raise InputError(f"the tie-break order {order} does not name each of {len(counts)} entries once", remedy="Correct the order")
    total = sum(counts)
    if total == 0:
        return [0] * len(counts)
    quotas = [(count * places) / total for count in counts]
    shares = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(order, key=lambda index: quotas[index] - shares[index], reverse=True)
    for index in by_remainder[: places - sum(shares)]:
        shares[index] += 1
    return shares
