"""Checks of arguments at the public boundary of the room: each error names parameter, value and remedy."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retest.errors import InputError, UsageError


def check_open_fraction(name: str, value: float) -> None:
    """Refuse a value that is not strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise UsageError(f"is {value}, not strictly between 0 and 1", item=name, remedy=f"Give {name} as a fraction, for instance 0.95.")


def check_fraction(name: str, value: float) -> None:
    """Refuse a value that is not between 0 and 1, ends included."""
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"is {value}, not between 0 and 1", item=name, remedy=f"Give {name} as a fraction, not in percent.")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Refuse a word that is not one of ``choices``."""
    if value not in choices:
        raise UsageError(f"{value!r} is unknown", item=name, remedy=f"Choose one of: {', '.join(choices)}.")


def check_whole(name: str, value: int, least: int) -> None:
    """Refuse anything but a whole number of at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"is {value!r}, no whole number", item=name, remedy=f"Give {name} of at least {least}.") from None
    if number < least:
        raise UsageError(f"is {value}, less than {least}", item=name, remedy=f"Give {name} of at least {least}.")


def as_counts(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Whole numbers of at least 0 as int64; anything else is refused."""
    array = np.asarray(values)
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0):
        raise UsageError("are not counts", item=name, remedy="Give whole numbers of at least 0.")
    return array.astype(np.int64)


def as_binary(name: str, values: ArrayLike, *, ndim: int = 1) -> NDArray[np.bool_]:
    """Values of a 0/1 array as bool; anything else is refused."""
    array = np.asarray(values)
    if array.ndim != ndim:
        raise InputError(f"has {array.ndim} dimensions, not {ndim}", item=name, remedy="Give one entry per image.")
    if array.dtype != np.bool_:
        if not np.isin(array, (0, 1)).all():
            raise InputError("holds values other than 0 and 1", item=name, remedy="Give 1 where the model is right, 0 where it is wrong.")
        array = array.astype(np.bool_)
    return array


def same_length(**arrays: Any) -> int:
    """Length that all the named arrays share."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"lengths differ: {listed}", remedy="Give arrays with one entry per image, in the same order.")
    return next(iter(lengths.values()))
