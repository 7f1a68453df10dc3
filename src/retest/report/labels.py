"""Where to write names beside points so that nothing covers anything: greedy, in order of importance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retest.report.svg import text_width

_SIZE = 11.5
_HEIGHT = 13.0


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def about(cls, x: float, y: float, r: float) -> Rect:
        """The square of half side ``r`` about a point."""
        return cls(x - r, y - r, x + r, y + r)

    def overlaps(self, other: Rect) -> bool:
        """Whether the two share more than an edge."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def inside(self, other: Rect) -> bool:
        """Whether this one lies wholly in the other."""
        return self.left >= other.left and self.right <= other.right and self.top >= other.top and self.bottom <= other.bottom


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """A text and the left end of its baseline."""

    text: str
    x: float
    y: float
    rect: Rect


def place_labels(texts: Iterable[tuple[str, float, float]], *, taken: Sequence[Rect], frame: Rect, distance: float) -> list[PlacedLabel]:
    """Place texts beside their points (text, x, y), most important first; those without a free place are left out.

    Args:
        texts: what to write and the point that it belongs to.
        taken: what must not be covered, the points themselves among them.
        frame: where labels must lie.
        distance: from a point to its label, in pixels.
    """
    occupied = list(taken)
    placed: list[PlacedLabel] = []
    for text, x, y in texts:
        label = next(
            (c for c in _places(text, x, y, distance) if c.rect.inside(frame) and not any(c.rect.overlaps(o) for o in occupied)), None
        )
        if label is not None:
            placed.append(label)
            occupied.append(label.rect)
    return placed


def _places(text: str, x: float, y: float, distance: float) -> list[PlacedLabel]:
    width = text_width(text, _SIZE)
    lefts_and_middles = [
        (x + distance, y),
        (x - distance - width, y),
        (x - width / 2, y + distance + _HEIGHT / 2),
        (x - width / 2, y - distance - _HEIGHT / 2),
        (x + distance * 0.8, y + distance + 3),
        (x - distance * 0.8 - width, y - distance - 3),
    ]
    return [
        PlacedLabel(text, left, middle + 4, Rect(left, middle - _HEIGHT / 2, left + width, middle + _HEIGHT / 2))
        for left, middle in lefts_and_middles
    ]
