"""Checks of settings: what the fields of parameter dataclasses may hold. Each error names the setting, its value and the remedy.

``study.toml`` is read strictly, but a dataclass made in a notebook takes anything, and what slips through would show much
later, as an error of a library or as a wrong figure.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any, TypeVar

from retest.errors import ConfigError

__all__ = ["check_choice", "check_count", "check_flag", "check_number", "plain_numbers"]

T = TypeVar("T")

_REMEDY = "Correct the setting"


def plain_numbers(kind: type[T]) -> type[T]:
    """For parameter dataclasses, below ``@dataclass``: numbers of numpy and the like are held as plain ones, before they are checked.

    A count of a data frame is no ``int``, but means one; JSON, hashes and provenance know only the plain one. What ``operator.index``
    takes becomes an int, other real numbers a float, also within tuples, lists and mappings; true and false stay what they are.
    """
    check = vars(kind).get("__post_init__")

    def made_plain(self: Any) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            plain = _plain(value)
            if plain is not value:
                object.__setattr__(self, name, plain)
        if check is not None:
            check(self)

    kind.__post_init__ = made_plain  # type: ignore[attr-defined]
    return kind


def _plain(value: Any) -> Any:
    """The same object where there is nothing to do."""
    if value is None or type(value) in (int, float, bool, str):
        return value
    if type(value) in (tuple, list):
        plain = [_plain(one) for one in value]
        return value if all(new is old for new, old in zip(plain, value, strict=True)) else type(value)(plain)
    if isinstance(value, Mapping):
        table = {key: _plain(one) for key, one in value.items()}
        return value if all(table[key] is one for key, one in value.items()) else table
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        return float(value) if isinstance(value, Real) else value
    except (TypeError, OverflowError):  # numpy's durations count as numbers, and a fraction may be beyond floats: the check says so
        return value


def check_count(name: str, value: object, *, low: int = 0, high: int | None = None, remedy: str = _REMEDY) -> None:
    """Refuse anything but a whole number from ``low`` to ``high`` (without one: of at least ``low``).

    Raises:
        ConfigError: it is something else; true and false are no numbers.
    """
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if not is_count or value < low or (high is not None and value > high):  # type: ignore[operator]
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"must be a whole number {bounds}, not {value!r}", item=name, remedy=remedy)


def check_number(
    name: str,
    value: object,
    *,
    low: float = 0.0,
    high: float = math.inf,
    ends: bool = True,
    what: str = "the value",
    remedy: str = _REMEDY,
) -> None:
    """Refuse anything but a number from ``low`` to ``high``.

    Args:
        name: of the setting.
        value: what it holds.
        low: least value.
        high: largest value.
        ends: whether ``low`` and ``high`` themselves will do.
        what: what the number is, for settings that hold several.
        remedy: what to do about it.

    Raises:
        ConfigError: it is something else; true and false are no numbers.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (low <= value <= high if ends else low < value < high):  # type: ignore[operator]
        number = "finite number" if value == math.inf else "number"
        problem = f"{what} must be a {number} {_range(low, high, ends=ends)}, not {value!r}"
        raise ConfigError(problem, item=name, remedy=remedy)


def _range(low: float, high: float, *, ends: bool) -> str:
    if not math.isfinite(high):
        return f"of at least {low:g}" if ends else f"above {low:g}"
    return f"from {low:g} to {high:g}" if ends else f"between {low:g} and {high:g}, ends excluded"


def check_choice(name: str, value: object, choices: Collection[str], *, remedy: str = _REMEDY) -> None:
    """Refuse anything but one of ``choices``.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"must be one of {', '.join(choices)}, not {value!r}", item=name, remedy=remedy)


def check_flag(name: str, value: object) -> None:
    """Refuse anything but True or False.

    Raises:
        ConfigError: it is something else ("no" would count as true).
    """
    if not isinstance(value, bool):
        raise ConfigError(f"must be true or false, not {value!r}", item=name, remedy=_REMEDY)
