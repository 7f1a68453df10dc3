"""Reading the CIFAR-10 "python" archive without unpickling.

Its batches are pickles, and loading a pickle runs whatever it says. Here the stream is only *disassembled* by
:func:`pickletools.genops` and interpreted by a machine that knows a handful of opcodes: it builds dicts, lists, tuples,
numbers, texts and bytes, and recognises one construct, numpy's array reconstruction, by its literal names. Nothing is
ever imported or called, so a hostile file can at worst be refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError

__all__ = ["read_plain_pickle"]

_MAX_STEPS: Final = 500_000
_MARK: Final = object()
_RECONSTRUCT: Final = frozenset({"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"})
_NDARRAY: Final = frozenset({"numpy ndarray"})
_DTYPE: Final = frozenset({"numpy dtype"})
_BYTES: Final = frozenset({"__builtin__ bytes", "builtins bytes"})
_ENCODE: Final = frozenset({"_codecs encode"})
_DTYPES: Final = frozenset({"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"})


@dataclass(slots=True)
class _Name:
    """A global that the pickle refers to: a text, never the object."""

    name: str


@dataclass(slots=True)
class _DType:
    code: str
    order: str = "|"


@dataclass(slots=True)
class _Array:
    value: NDArray[Any] | None = None


def read_plain_pickle(data: bytes, *, item: str) -> Any:
    """The object that a pickle of plain data describes (protocols 0 to 3): containers, numbers, texts, bytes, number arrays.

    Byte strings of Python 2 come back as ``str`` (Latin-1), arrays as read-only numpy arrays.

    Raises:
        InputError: the bytes are no pickle, or it holds anything but plain data.
    """
    machine = _Machine(item)
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if step > _MAX_STEPS:
                raise _refused("has too many parts", item)
            if opcode.name == "STOP":
                return _Plain(item)(machine.pop())
            machine.run(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise _refused(f"is not a pickle of plain data ({error})", item) from error
    raise _refused("ends in the middle", item)


def _refused(problem: str, item: str) -> InputError:
    return InputError(problem, item=item, remedy="Use the published CIFAR-10 archive (the binary version needs no pickle at all)")


class _Machine:
    """Stack and memo of a pickle, for the opcodes of plain data."""

    def __init__(self, item: str) -> None:
        self._item = item
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def run(self, name: str, argument: Any) -> None:
        if name in _IGNORED:
            return
        if name in _PUSHED:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        else:
            handler = _HANDLERS.get(name)
            if handler is None:
                raise _refused(f"uses the pickle instruction {name}, which plain data does not need", self._item)
            handler(self, argument)

    def marked(self) -> list[Any]:
        """Everything above the last mark."""
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def put(self, argument: Any) -> None:
        self._memo[len(self._memo) if argument is None else int(argument)] = self._stack[-1]

    def get(self, argument: Any) -> None:
        self._stack.append(self._memo[int(argument)])

    def global_(self, argument: Any) -> None:
        self._stack.append(_Name(str(argument)))

    def tuple_(self, count: int | None) -> None:
        values = self.marked() if count is None else [self.pop() for _ in range(count)][::-1]
        self._stack.append(tuple(values))

    def append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError("appends to something that is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise ValueError("sets items of something that is not a dict")
        target.update(zip(values[::2], values[1::2], strict=True))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        name = function.name if isinstance(function, _Name) else "something that is not a name"
        if not isinstance(arguments, tuple):
            raise ValueError("a call without arguments")
        if name in _BYTES and not arguments:  # how protocol 2 writes b""
            self._stack.append(b"")
        elif name in _RECONSTRUCT and isinstance(arguments[0], _Name) and arguments[0].name in _NDARRAY:
            self._stack.append(_Array())
        elif name in _DTYPE and arguments[0] in _DTYPES:
            self._stack.append(_DType(arguments[0]))
        elif name in _ENCODE and isinstance(arguments[0], str) and arguments[1:] in (("latin1",), ("latin-1",)):
            self._stack.append(arguments[0].encode("latin-1"))
        else:
            raise _refused(f"wants to call {name!r}, which plain data does not need", self._item)

    def build(self) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, _DType):
            target.order = state[1]
        elif isinstance(target, _Array):
            target.value = _filled(state, self._item)
        else:
            raise _refused("sets the state of an object, which plain data does not have", self._item)


def _filled(state: Any, item: str) -> NDArray[Any]:
    """The array of numpy's pickled state (version, shape, dtype, Fortran order, bytes)."""
    _, shape, dtype, fortran, body = state
    raw = body.encode("latin-1") if isinstance(body, str) else body
    if not isinstance(dtype, _DType) or dtype.order not in ("|", "<", ">", "=") or not isinstance(raw, bytes):
        raise _refused("holds an array that is not made of plain numbers", item)
    kind = np.dtype(f"{dtype.order}{dtype.code}")
    if any(type(length) is not int or length < 0 for length in shape):
        raise _refused(f"holds an array of shape {shape!r}", item)
    return np.frombuffer(raw, dtype=kind).reshape(shape, order="F" if fortran else "C")


class _Plain:
    """Replaces the machine's own objects by arrays and refuses what is left of names.

    Containers that occur in several places are copied at each, so the number of parts is limited.
    """

    def __init__(self, item: str) -> None:
        self._item = item
        self._left = _MAX_STEPS

    def __call__(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _refused("has too many parts", self._item)
        if isinstance(value, _Array) and value.value is not None:
            return value.value
        if isinstance(value, dict):
            return {self(key): self(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self(entry) for entry in value]
        if isinstance(value, tuple):
            return tuple(self(entry) for entry in value)
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return value
        raise _refused("holds a reference to code", self._item)


_IGNORED: Final = frozenset({"PROTO", "FRAME"})
_PUSHED: Final = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
)
_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_HANDLERS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_,
    "TUPLE": lambda machine, _: machine.tuple_(None),
    "TUPLE1": lambda machine, _: machine.tuple_(1),
    "TUPLE2": lambda machine, _: machine.tuple_(2),
    "TUPLE3": lambda machine, _: machine.tuple_(3),
    "LIST": lambda machine, _: machine._stack.append(machine.marked()),
    "DICT": lambda machine, _: machine._stack.append(_pairs(machine.marked())),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))
