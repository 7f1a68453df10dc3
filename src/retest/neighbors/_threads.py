"""Threads: several single-threaded pieces at once, results in the order of the pieces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_lock = threading.Lock()
_users = 0
_limits: Any = None


@cache
def _controller() -> Any:
    return ThreadpoolController()  # looks through the loaded libraries, which takes a millisecond


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep the matrix library from starting threads of its own: ``threads`` says how many there are.

    The limit is a property of the process, so concurrent searches share one and the last one out lifts it.
    """
    global _users, _limits
    with _lock:
        if _users == 0:
            _limits = _controller().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limits.restore_original_limits()
                _limits = None


def run(function: Callable[[Piece], Result], pieces: Sequence[Piece], *, threads: int) -> list[Result]:
    """``[function(piece) for piece in pieces]``, on ``threads`` threads; which thread runs a piece changes nothing."""
    with single_threaded_blas():
        if threads == 1 or len(pieces) < 2:
            return [function(piece) for piece in pieces]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, pieces))


def cut(count: int, size: int) -> list[slice]:
    """Cut ``range(count)`` into slices of at most ``size``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def cut_evenly(count: int, most: int) -> list[slice]:
    """Cut ``range(count)`` into as few slices of at most ``most`` as possible, all about equally long."""
    return cut(count, -(-count // max(1, -(-count // most)))) if count else []
