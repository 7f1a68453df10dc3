"""Strategies for documents that somebody else wrote: valid ones with something in them replaced, removed or cut."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = (
    "", "\0", "\ud800", "a" * 3000, "../../etc/passwd", "file:///etc/passwd", "<script>", "🐟é\u202e", "NaN", "-1", "1e400", "9" * 400,
    "2012-99-99 99:99:99", "2012-01-31 09:00:00", "http://[::1", "http://x:99999999/", "javascript:alert(1)",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1 << 31, 1 << 63, 1 << 64, -(1 << 70), 1e308, -0.0, float("inf"), float("-inf"), float("nan"), True)


def leaves() -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.sampled_from(ODD_TEXTS), st.sampled_from(ODD_NUMBERS), st.text(max_size=8), st.integers(), st.floats())


def values() -> st.SearchStrategy[Any]:
    """Any JSON value, with the odd ones often; ``NaN`` and infinite numbers too, since Python's writers make them."""
    return st.recursive(
        leaves(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _places(inner, (*path, index))
    return found


@st.composite
def altered(draw: st.DrawFn, document: Any) -> Any:
    """A valid document with one to three places replaced, removed or repeated."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(changed)))
        if not place:
            changed = draw(values())
            continue
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "repeat"]))
        if action == "replace":
            holder[place[-1]] = draw(values())
        elif action == "remove":
            del holder[place[-1]]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[place[-1]]))
        else:
            holder[draw(st.sampled_from(ODD_TEXTS))] = holder[place[-1]]
    return changed


def as_bytes(document: Any) -> bytes:
    """JSON as some writer may put it: lone surrogates stay escaped, NaN is written as NaN."""
    return json.dumps(document).encode()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with parts cut off, overwritten, or put in, or quite other bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    start = draw(st.integers(0, len(data)))
    length = draw(st.integers(0, 40))
    middle = draw(st.one_of(st.binary(max_size=40), st.just(b""), st.sampled_from([b"\0" * 16, b"\xff" * 16, b"{" * 2000, b"[" * 20_000])))
    return data[:start] + middle + data[start + length :]


def documents(valid: Any) -> st.SearchStrategy[bytes]:
    """Mostly altered JSON, sometimes damaged bytes of it."""
    return st.one_of(altered(valid).map(as_bytes), altered(valid).map(as_bytes), damaged(as_bytes(valid)))
