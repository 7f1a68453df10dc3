"""A small memory of derived values, each kept as long as nothing it depends on has changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Memo:
    """Values by name, shared by threads; the least recently used ones go first.

    Args:
        most: how many values are kept.
    """

    def __init__(self, *, most: int = 256) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Hashable, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of a name for a key (such as generations of tables); computed when the key is another than last time.

        Two threads may compute the same value at once: that costs time, and waiting for one another would cost as much.
        """
        with self._lock:
            found = self._values.get(name)
            if found is not None and found[0] == key:
                self._values.move_to_end(name)
                return cast("T", found[1])
        value = compute()
        with self._lock:
            self._values[name] = (key, value)
            self._values.move_to_end(name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value


def generations_key(generations: dict[str, int]) -> Hashable:
    """Generations of tables as a key."""
    return tuple(sorted(generations.items()))
