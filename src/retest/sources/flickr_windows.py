"""Walking a search whose service shows only the first 4,000 results of any one question: bisection by date. Pure.

The walk's state is a stack of windows still to read, the last one current, and the page within it; it is the cursor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from retest.errors import SourceError
from retest.sources.base import Query, decode_cursor, encode_cursor

__all__ = ["PAGE_SIZE", "RESULT_CAP", "SAFE_TOTAL", "Step", "WindowWalk"]

PAGE_SIZE: Final = 500
RESULT_CAP: Final = 4000
SAFE_TOTAL: Final = 3500
"""Totals are approximate: a window is cut when more than this many results are reported."""
_EARLIEST: Final = 0
_LATEST: Final = 2**31 - 1
Bound = int | None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with an answer: take the first ``use`` results; ``cursor`` leads on, None at the end; ``cut``: in halves."""

    use: int
    cursor: str | None
    repeated: int = 0
    notes: tuple[str, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class WindowWalk:
    """Where the walk stands. ``taken`` results have arrived in all, ``base`` of them before the current window."""

    windows: tuple[tuple[Bound, Bound], ...]
    page: int = 1
    taken: int = 0
    base: int = 0
    last: str = ""

    @classmethod
    def start(cls, low: Bound, high: Bound) -> WindowWalk:
        """Before the first page; bounds are inclusive seconds, None where open."""
        return cls(((low, high),))

    @classmethod
    def read(cls, cursor: str, *, query: Query) -> WindowWalk:
        """Continue from a cursor.

        Raises:
            SourceError: the text is no cursor of a walk.
        """
        kinds: dict[str, type | tuple[type, ...]] = {"windows": list, "page": int, "taken": int, "base": int, "last": str}
        state = decode_cursor(cursor, query=query, kinds=kinds)
        if not state["windows"] or not all(_is_window(window) for window in state["windows"]):
            raise SourceError("the cursor names no windows", item=query.key, remedy="Forget the state of this search and start it again.")
        return cls(tuple((low, high) for low, high in state["windows"]), state["page"], state["taken"], state["base"], state["last"])

    @property
    def window(self) -> tuple[Bound, Bound]:
        """The window that is being read."""
        return self.windows[-1]

    def text(self) -> str:
        """The walk as a cursor."""
        return encode_cursor(windows=self.windows, page=self.page, taken=self.taken, base=self.base, last=self.last)

    def after(self, *, ids: Sequence[str], total: int, pages: int, limit: int | None, descending: bool = False) -> Step:
        """Decide on the answer to the current question.

        A window is cut in two when it reports more than :data:`SAFE_TOTAL` results (before anything of it is used) or
        turns out to have more than the cap in spite of its report. Reported totals and numbers of pages are not
        trusted to be low enough: a full page is always followed by another question, below the cap.

        Args:
            ids: photo ids of the page, in order.
            total: results that the service reports for the window.
            pages: pages that it reports.
            limit: results to take in all, None for no limit.
            descending: later windows first.
        """
        more_wanted = None if limit is None else limit - self.base
        fits = more_wanted is not None and more_wanted <= SAFE_TOTAL
        halves = None if fits else self._halves()
        if self.page == 1 and total > SAFE_TOTAL and halves is not None:
            return Step(0, self._cut(halves, descending).text(), cut=True)
        digest = hashlib.sha256("\0".join(ids).encode()).hexdigest()[:12]
        if ids and digest == self.last:
            return Step(0, self._next_window(), repeated=len(ids), notes=("the service repeated a page instead of ending",))
        use = len(ids) if limit is None else min(len(ids), limit - self.taken)
        walk = replace(self, taken=self.taken + use, last=digest)
        if limit is not None and walk.taken >= limit:
            return Step(use, None)
        at_cap = self.page * PAGE_SIZE >= RESULT_CAP
        full = len(ids) >= PAGE_SIZE
        if not at_cap and (full or self.page < pages):
            return Step(use, replace(walk, page=self.page + 1).text())
        if at_cap and full and halves is not None:
            # What was read of this window comes again in its halves, and is recognised by its ids.
            return Step(
                use, replace(self, taken=self.base)._cut(halves, descending).text(), notes=("more results than reported",), cut=True
            )
        note = (f"one moment has more than {RESULT_CAP} results; the rest cannot be reached",) if at_cap and full else ()
        return Step(use, walk._next_window(), notes=note)

    def _halves(self) -> tuple[tuple[Bound, Bound], tuple[Bound, Bound]] | None:
        low = _EARLIEST if self.window[0] is None else self.window[0]
        high = _LATEST if self.window[1] is None else self.window[1]
        if low >= high:
            return None
        middle = (low + high) // 2
        return (self.window[0], middle), (middle + 1, self.window[1])

    def _cut(self, halves: tuple[tuple[Bound, Bound], tuple[Bound, Bound]], descending: bool) -> WindowWalk:
        first, second = halves[::-1] if descending else halves
        return replace(self, windows=(*self.windows[:-1], second, first), page=1, last="", base=self.taken)

    def _next_window(self) -> str | None:
        rest = self.windows[:-1]
        return replace(self, windows=rest, page=1, last="", base=self.taken).text() if rest else None


def _is_window(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(bound is None or type(bound) is int for bound in value)
