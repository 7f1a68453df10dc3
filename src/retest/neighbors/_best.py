"""The k best found so far, in order: shared by the kernels that keep them."""

from __future__ import annotations

from typing import Any

from retest.neighbors._jit import helper


@helper
def insert(keys: Any, places: Any, count: Any, key: Any, place: Any) -> Any:
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
