"""Small building blocks of the inline figures: elements, axes, text that fits.

Everything that comes from outside passes through :func:`element`, which escapes it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from retest.analysis import Scale, to_scale
from retest.report.wording import clean, clean_line

_NICE_STEPS = (1.0, 2.0, 5.0, 10.0)
PERCENT_TICKS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9, 99.95, 99.99)
"""Where a probit or logit axis has ticks, in percent."""
_EDGE = 1e-4
_WIDE = frozenset({"W", "F"})


def element(tag: str, *children: str | Markup, **attributes: object) -> Markup:
    """An XML element; children and attribute values are escaped unless they are Markup. ``class_`` stands for ``class``,
    other underscores for hyphens; attributes that are None are left out, numbers are rounded to a hundredth.
    """
    parts = [
        f' {name.removesuffix("_").replace("_", "-")}="{_attribute(value)}"' for name, value in attributes.items() if value is not None
    ]
    inner = Markup("").join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    opening = f"<{tag}{''.join(parts)}"
    return _markup(f"{opening}>{inner}</{tag}>" if children else f"{opening}/>")


def raw_style(css: str) -> Markup:
    """A ``style`` element with our own rules, which hold quotes that must not be escaped."""
    return _markup(f"<style>{css}</style>")


def join(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def coordinate(value: float) -> str:
    """A coordinate in pixels to a hundredth, without superfluous zeros: equal pictures are equal bytes."""
    if not math.isfinite(value):
        raise ArithmeticError(f"a coordinate is {value}")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def polyline(points: Sequence[tuple[float, float]], **attributes: object) -> Markup:
    """A path through points."""
    steps = " L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return element("path", d=f"M{steps}", **attributes)


def text_width(text: str, size: float = 12.0) -> float:
    """Estimated width in pixels in a sans-serif font; a little generous, because fonts differ between machines."""
    cells = sum(1.9 if unicodedata.east_asian_width(char) in _WIDE else 1.35 if char in "MWmw@%" else 1.0 for char in text)
    return cells * size * 0.57


def shortened(text: str, width: float, size: float = 12.0) -> str:
    """The text on one line, cut with an ellipsis where it is wider than ``width`` pixels."""
    text = clean_line(text)
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width: float, size: float = 12.0) -> list[str]:
    """The text broken at blanks into lines of at most ``width`` pixels; a longer word is cut."""
    lines: list[str] = []
    for word in clean_line(text).split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shortened(word, width, size))
    return lines


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps fractions (or plain values, scale None) to pixels: ``low`` falls on ``start``, ``high`` on ``end``."""

    low: float
    high: float
    start: float
    end: float
    scale: Scale | None = None

    def __call__(self, value: float) -> float:
        low, high = position(self.low, self.scale), position(self.high, self.scale)
        return self.start + (position(value, self.scale) - low) / (high - low) * (self.end - self.start)

    def ticks(self, spacing: float = 44.0) -> list[float]:
        """Round values inside the range, about ``spacing`` pixels or more apart."""
        fine = nice_ticks(self.low, self.high, max(2, int(abs(self.end - self.start) / spacing)))
        if self.scale in (None, "linear"):
            return fine
        candidates = [percent / 100 for percent in PERCENT_TICKS if self.low <= percent / 100 <= self.high]
        chosen: list[float] = []
        for value in candidates if len(candidates) >= 3 else fine:
            if not chosen or abs(self(value) - self(chosen[-1])) >= spacing * 0.6:
                chosen.append(value)
        return chosen


def position(value: float, scale: Scale | None) -> float:
    """Where a fraction lies on a scale; 0 and 1, which probit and logit put at infinity, are drawn at the edge."""
    if scale in (None, "linear"):
        return value
    return float(to_scale(min(max(value, _EDGE), 1 - _EDGE), scale))


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` + 1 multiples of 1, 2 or 5 times a power of ten between two values."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _NICE_STEPS if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(i * step, digits + 1) for i in range(first, last + 1)]


def tick_label(value: float, step: float) -> str:
    """A tick's label with just the decimals that its step needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:.{digits}f}"


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return coordinate(value)
    # A line break in an attribute would become a blank when the file is read as XML.
    return str(escape(clean(str(value)))).replace("\n", "&#10;")


def _markup(trusted: str) -> Markup:
    """The one place where text becomes markup: all its parts were escaped by :func:`element`."""
    return Markup(trusted)  # noqa: S704
