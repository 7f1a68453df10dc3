"""Reading one large JSON file piece by piece.

The standard decoder turns a whole file into objects at once, which for the full neighbour lists means many gigabytes.
Here only the outer bracket is walked; every element is decoded by the standard library's C scanner, so the speed is
that of :func:`json.loads` and the memory that of the largest element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import IO, Any

__all__ = ["JsonStream"]

_SPACE = re.compile(r"[ \t\r\n]*")
_ENDS = frozenset(",]}: \t\r\n")
_CHUNK = 1 << 18
_MAX_VALUE = 1 << 28
_DECODER = json.JSONDecoder()


class JsonStream:
    """The elements of a top-level list, or the items of a top-level object, of a text stream.

    All methods raise ``ValueError`` on malformed JSON (like :mod:`json`), and yield what came before it. ``escapes`` says whether
    the keys and the value yielded last were written with escapes of characters (``\\u...``).
    """

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._buffer = ""
        self._at = 0
        self._chunk = _CHUNK
        self.escapes = False

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the top-level list."""
        self._expect("[")
        if not self._skip("]"):
            while True:
                self.escapes = False
                yield self._value()
                if self._separator("]"):
                    break
        self._end()

    def items(self, *, descend: Collection[str] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield ``((key,), value)`` of the top-level object.

        Keys in ``descend`` whose value is an object are not decoded as a whole: their items are yielded as
        ``((key, inner key), value)``.
        """
        for key in self._keys():
            if key in descend and self._peek() == "{":
                for inner in self._keys():
                    yield (key, inner), self._value()
                    self.escapes = False
            else:
                yield (key,), self._value()
            self.escapes = False
        self._end()

    def starts_with(self) -> str:
        """The first significant character, "" for an empty file."""
        return self._peek()

    def _keys(self) -> Iterator[str]:
        self._expect("{")
        if self._skip("}"):
            return
        while True:
            if self._peek() != '"':
                raise self._error("expected a property name in double quotes")
            key = self._value()
            self._expect(":")
            yield key
            if self._separator("}"):
                return

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._fill():
                    raise self._error(error.msg[:1].lower() + error.msg[1:]) from error
                continue
            # A number may be cut anywhere ("0." of "0.5"), so a value counts once something that ends it is in sight.
            if self._buffer[end : end + 1] in _ENDS or not self._fill():
                self.escapes = self.escapes or self._buffer.find("\\u", self._at, end) >= 0
                self._at = end
                self._chunk = _CHUNK
                return value

    def _fill(self) -> bool:
        """Read on, ever larger pieces while one value does not fit, so that a long value is not decoded over and over."""
        if len(self._buffer) - self._at > _MAX_VALUE:
            raise self._error(f"a single value is longer than {_MAX_VALUE} characters or never ends")
        more = self._text.read(self._chunk)
        if not more:
            return False
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        self._chunk *= 2
        return True

    def _peek(self) -> str:
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._fill():
                return ""

    def _skip(self, char: str) -> bool:
        if self._peek() == char:
            self._at += 1
            return True
        return False

    def _expect(self, char: str) -> None:
        if not self._skip(char):
            raise self._error(f"expected {char!r}")

    def _separator(self, closing: str) -> bool:
        if self._skip(closing):
            return True
        self._expect(",")
        return False

    def _end(self) -> None:
        if self._peek():
            raise self._error("there is something after the end")

    def _error(self, message: str) -> ValueError:
        here = self._buffer[self._at : self._at + 30]
        return ValueError(f"{message} before {here!r}" if here else f"{message} at the end of the file")
