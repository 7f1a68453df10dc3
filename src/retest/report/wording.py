"""How figures and foreign texts are written, the same in tables, on the page and in figures."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence

from retest.analysis import Metric, Scale

METRIC_NAMES: Mapping[Metric, str] = {"top1": "top-1", "top5": "top-5"}
SCALE_NAMES: Mapping[Scale, str] = {"linear": "percent", "probit": "probit", "logit": "logit"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_KEPT_CONTROLS = frozenset("\n\t")
# Control characters can drive a terminal and are not allowed in XML, lone surrogates cannot be encoded, and format
# characters include the overrides that show text in another order than it is in.
_BAD_CATEGORIES = frozenset({"Cc", "Cs"})
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff")


def clean(text: str) -> str:
    """Foreign text with everything replaced that is no character to read: controls, lone surrogates, order overrides."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_REPLACEMENT if _is_bad(char) else char for char in text)


def clean_line(text: str) -> str:
    """The same on one line: line breaks and tabs become blanks."""
    return clean(" ".join(text.split("\n")).replace("\t", " "))


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent without the sign: ``0.9779`` -> ``97.8``; never ``-0.0``."""
    text = f"{100.0 * fraction:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def interval(low: float, high: float) -> str:
    """Interval ends (fractions) in percent: ``[96.1, 98.9]``."""
    return f"[{percent(low)}, {percent(high)}]"


def signed(value: float, digits: int = 1, *, minus: str = "\N{MINUS SIGN}") -> str:
    """A number with its sign, except for zero: ``+2.1``, ``−3.1``, ``0.0``."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0.0:
        return text
    return (minus if value < 0 else "+") + text


def decimal(value: float, digits: int) -> str:
    """A number with a typographic minus sign: ``−20.26``."""
    text = f"{abs(value):.{digits}f}"
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text) != 0.0 else text


def p_value(value: float) -> str:
    """A p-value to three decimals: ``0.032``, ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float) -> str:
    """A distance or another quantity of unknown size, four significant digits: ``12,040``, ``0.2205``, ``1.18e+08``, ``−3.5``."""
    if not math.isfinite(value):
        return str(value)
    if value < 0:
        return f"\N{MINUS SIGN}{number(-value)}"
    if value == int(value) and value < 1e6:
        return f"{int(value):,}"
    if 1e3 <= value < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def count(value: int) -> str:
    """A whole number with thousands separators."""
    return f"{value:,}"


def plural(n: int, one: str, many: str = "") -> str:
    """``1 model``, ``10 models``, ``2 classes``."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _is_bad(char: str) -> bool:
    return (unicodedata.category(char) in _BAD_CATEGORIES and char not in _KEPT_CONTROLS) or char in _BIDI
