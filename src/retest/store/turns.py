"""Whose turn it is: a lock that threads get in the order in which they ask for it."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["Turns"]

_Gate = threading.Lock


class Turns:
    """A lock that is handed from thread to thread, first come, first served; ``threading.Lock`` lets whoever is running overtake.

    Raises:
        RuntimeError: a thread that has the lock asks for it again; it would wait for itself for ever.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._owner: int | None = None
        self._waiting: deque[tuple[int, threading.Lock]] = deque()

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._door:
            if self._owner is None:
                self._owner = me
                return
            if self._owner == me:
                raise RuntimeError("a transaction that writes was begun within another one of the same thread")
            gate = _Gate()
            gate.acquire()
            self._waiting.append((me, gate))
        try:
            gate.acquire()  # whoever hands the lock over opens it
        except BaseException:  # such as Ctrl+C: the lock must not be handed to one who is gone
            self._leave((me, gate))
            raise

    def __exit__(self, *_: object) -> None:
        with self._door:
            self._hand_over()

    def _hand_over(self) -> None:
        self._owner = None
        if self._waiting:
            self._owner, gate = self._waiting.popleft()
            gate.release()

    def _leave(self, mine: tuple[int, threading.Lock]) -> None:
        with self._door:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:
                self._hand_over()
