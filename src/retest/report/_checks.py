"""Checks of records when they are made: the errors name the record, what is wrong and the remedy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from retest.errors import UsageError


def finite(values: Sequence[float]) -> bool:
    """Whether no value is infinite or not a number."""
    return all(math.isfinite(value) for value in values)


def require_edges(edges: tuple[float, ...], item: str) -> None:
    """Refuse edges of bins that do not ascend."""
    ascending = all(a < b for a, b in itertools.pairwise(edges))
    require(len(edges) >= 2 and finite(edges) and ascending, item, f"edges are {edges}", "Give two or more ascending edges.")


def require_bins(counts: tuple[int, ...], edges: tuple[float, ...], item: str, name: str) -> None:
    """Refuse counts that do not fit the bins."""
    problem = f"{name} has {len(counts)} entries for {len(edges) - 1} bins"
    require(len(counts) == len(edges) - 1, item, problem, "Give one count per bin.")
    require(all(count >= 0 for count in counts), item, f"{name} holds a negative count", "Give counts of at least 0.")


def require(ok: bool, item: str, problem: str, remedy: str) -> None:
    """Raise the error of a record that cannot be, unless it can."""
    if not ok:
        raise UsageError(problem, item=item, remedy=remedy)
