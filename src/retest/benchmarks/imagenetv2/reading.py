"""What every reader shares: open a file, decode it piece by piece, and turn every fault into a warning."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from retest.benchmarks.imagenetv2.jsonstream import JsonStream
from retest.benchmarks.imagenetv2.records import ReadWarning
from retest.benchmarks.imagenetv2.tree import Tree

__all__ = ["Source", "texts"]

T = TypeVar("T")

_NOT_STORABLE: Final = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Source:
    """A tree and where warnings go. ``wnids`` are the known classes (empty: unknown, nothing is checked against them), ``largest_cid``
    the largest of their class indices, which a part of the classes need not number without gaps.
    """

    tree: Tree
    sink: Callable[[ReadWarning], None]
    on_file: Callable[[str, int], None] | None = None
    wnids: frozenset[str] = frozenset()
    largest_cid: int | None = None

    def warn(self, kind: str, file: str, item: object, message: str) -> None:
        """Record one inconsistency."""
        self.sink(ReadWarning(kind, file, str(item), message))

    def check_class(self, wnid: str, file: str, item: object) -> None:
        """Warn when a class is not one of the benchmark's."""
        if self.wnids and wnid not in self.wnids:
            self.warn("unknown_class", file, item, f"class {wnid!r} is not in class_info.json")

    def elements(self, path: str) -> Iterator[tuple[int, Any]]:
        """Yield (position, element) of a file that holds a list; a malformed file is a warning, what came before it counts."""
        with _Guard(self, path), self._text(path) as text:
            stream = JsonStream(text)
            if stream.starts_with() != "[":
                self.warn("malformed_file", path, "", "the file should hold a JSON list")
                return
            for position, value in enumerate(stream.elements()):
                yield position, self._storable(path, position, value) if stream.escapes else value

    def items(self, path: str, *, descend: Collection[str] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield (keys, value) of a file that holds an object; repeated keys are warned of and the first one counts."""
        seen: set[tuple[str, ...]] = set()
        with _Guard(self, path), self._text(path) as text:
            stream = JsonStream(text)
            if stream.starts_with() != "{":
                self.warn("malformed_file", path, "", "the file should hold a JSON object")
                return
            for keys, value in stream.items(descend=descend):
                if stream.escapes:
                    keys, value = self._storable(path, "/".join(keys), (keys, value))
                if keys in seen:
                    self.warn("duplicate_key", path, "/".join(keys), "the key occurs twice; the first one counts")
                    continue
                seen.add(keys)
                yield keys, value

    def _storable(self, path: str, item: object, value: T) -> T:
        """``value``, where need be with a mark in place of characters that no database takes."""
        storable: T = _storable(value)
        if storable != value:
            self.warn(
                "unusable_text",
                path,
                _storable(item),
                "holds half of a surrogate pair, which is no text that can be stored; replaced by U+FFFD",
            )
        return storable

    def data(self, path: str) -> bytes | None:
        """The bytes of a file; None (and a warning) when it cannot be read."""
        with _Guard(self, path), self.tree.open(path) as file:
            data = file.read()
            self.done(path)
            return data
        return None

    def _text(self, path: str) -> _Reading:
        return _Reading(self, path)

    def done(self, path: str) -> None:
        """Report a file as read, or as left out."""
        if self.on_file is not None:
            self.on_file(path, self.tree.sizes[path])


class _Reading:
    """Opens a file as text for a with block, and reports it as done afterwards."""

    def __init__(self, source: Source, path: str) -> None:
        self._source, self._path = source, path

    def __enter__(self) -> io.TextIOWrapper:
        # A byte-order mark is no part of JSON, yet some editors write one.
        self._text = io.TextIOWrapper(self._source.tree.open(self._path), encoding="utf-8-sig")
        return self._text

    def __exit__(self, *exception: object) -> None:
        self._text.close()
        self._source.done(self._path)


class _Guard:
    """Turns what a damaged file raises into a warning and ends the file."""

    def __init__(self, source: Source, path: str) -> None:
        self._source, self._path = source, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            self._source.warn("unreadable_file", self._path, "", f"the file cannot be read ({error})")
            return True
        if isinstance(error, (ValueError, RecursionError)):
            message = "brackets are nested too deeply" if isinstance(error, RecursionError) else str(error)
            self._source.warn("malformed_file", self._path, "", f"the file is not valid JSON: {message}; what came before was read")
            return True
        return False


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list | tuple):
        return type(value)(map(_storable, value))
    if isinstance(value, dict):
        return {_storable(key): _storable(part) for key, part in value.items()}
    return value


def texts(value: object) -> tuple[str, ...] | None:
    """A list of strings as a tuple; None for anything else."""
    if isinstance(value, list) and {str}.issuperset(map(type, value)):
        return tuple(value)
    return None
