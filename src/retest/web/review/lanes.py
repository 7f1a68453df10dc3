"""The threads that answer requests: few, so that those who ask at the same moment come one after the other and not all late.

The interpreter computes in one thread at a time. Of twenty pages that are begun at once each ends when nearly all do; begun in turn, the
first ends twenty times as early and the last no later. Pictures and decisions have threads of their own: a picture is quick and shall
not wait behind pages, and a decision waits for the disk, and for its turn to write, without computing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Lane", "Lanes"]

P = ParamSpec("P")
T = TypeVar("T")

LOOKING, DECIDING, PICTURES = 3, 4, 2


class Lane:
    """Threads that do what they are asked for in the order in which they are asked.

    Args:
        name: of the threads.
        number: how many there are.
    """

    def __init__(self, name: str, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=f"retest-{name}")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function that one of the threads calls."""
        return await asyncio.wrap_future(self._pool.submit(function, *args, **kwargs))

    def close(self) -> None:
        """Take nothing more, and forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Lanes:
    """The lanes of a server: ``looking`` for pages and what they load, ``deciding`` for changes, ``pictures`` for images."""

    def __init__(self) -> None:
        self.looking, self.deciding, self.pictures = Lane("look", LOOKING), Lane("decide", DECIDING), Lane("picture", PICTURES)

    def close(self) -> None:
        """Close all of them."""
        for lane in (self.looking, self.deciding, self.pictures):
            lane.close()
