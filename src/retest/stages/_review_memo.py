"""A small memory of derived values, each kept as long as nothing it depends on has changed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from retest.stages._review_aside import Elsewhere
from retest.study import Study

T = TypeVar("T")
Later = Callable[[Hashable, Callable[[], object]], None]
"""Does named work beside the requests, some time soon."""

DEAR_S = 0.02
"""Processor seconds above which a value is not computed anew while somebody waits for it."""


@dataclass(frozen=True, slots=True)
class Recent(Generic[T]):
    """A value, and whether it is that of the present; if not, it is being computed anew."""

    value: T
    current: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    key: Hashable
    value: Any
    seconds: float


class Memo:
    """Values by name, shared by threads; the least recently used ones go first.

    Args:
        most: how many values are kept.
        later: runs work beside the requests; None computes everything at once.
        elsewhere: calls a function with the study in another process; None calls it here.
    """

    def __init__(self, *, most: int = 256, later: Later | None = None, elsewhere: Elsewhere | None = None) -> None:
        self._most, self._later, self._elsewhere = most, later, elsewhere
        self._aside_s = threading.local()
        self._values: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, threading.Lock] = {}

    def get(self, name: Hashable, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of a name for a key (such as generations of tables); computed when the key is another than last time.

        Of several threads that ask for the same at once, one computes and the others wait.
        """
        found = self._find(name)
        if found is None or found.key != key:
            with self._turn(name):
                found = self._find(name)
                if found is None or found.key != key:
                    return self._compute(name, lambda: (key, compute()))
        value: T = found.value
        return value

    def recent(self, name: Hashable, key: Hashable, load: Callable[[], tuple[Hashable, T]]) -> Recent[T]:
        """The value for a key; where computing it is dear, the one before it, while it is computed beside the requests.

        Args:
            name: what is kept.
            key: what it depends on, as of now.
            load: computes (key, value) in a transaction of its own, as some time may have passed by then.
        """
        found = self._find(name)
        if found is None:
            with self._turn(name):
                found = self._find(name)
                if found is None:
                    return Recent(self._compute(name, load), True)
        if found.key == key:
            return Recent(found.value, True)
        if self._later is None or found.seconds < DEAR_S:
            with self._turn(name):
                return Recent(self._compute(name, load), True)
        self._later(name, lambda: self._compute(name, load))
        return Recent(found.value, False)

    def aside(self, study: Study, function: Callable[..., T], *arguments: object) -> T:
        """``function(study, *arguments)``, in another process where there is one; for what takes long and has a small result."""
        if self._elsewhere is None:
            return function(study, *arguments)
        started = time.monotonic()
        found: T = self._elsewhere(function, *arguments)
        self._aside_s.spent = getattr(self._aside_s, "spent", 0.0) + time.monotonic() - started
        return found

    def _find(self, name: Hashable) -> _Entry | None:
        with self._lock:
            found = self._values.get(name)
            if found is not None:
                self._values.move_to_end(name)
            return found

    def _turn(self, name: Hashable) -> threading.Lock:
        with self._lock:
            if len(self._under_way) > 4 * self._most:
                self._under_way = {other: lock for other, lock in self._under_way.items() if lock.locked()}
            return self._under_way.setdefault(name, threading.Lock())

    def _compute(self, name: Hashable, load: Callable[[], tuple[Hashable, T]]) -> T:
        started = time.thread_time()  # of the processor: a machine that is busy with other things makes nothing dear
        self._aside_s.spent = 0.0
        key, value = load()
        entry = _Entry(key, value, time.thread_time() - started + self._aside_s.spent)
        with self._lock:
            self._values[name] = entry
            self._values.move_to_end(name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value


def generations_key(generations: dict[str, int]) -> Hashable:
    """Generations of tables as a key."""
    return tuple(sorted(generations.items()))
