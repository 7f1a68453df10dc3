"""A figure of the page: panels drawn as SVG, with the numbers behind them.

The same panels are shown inline, where the page's style sheet colours them, and composed into one file of their own, which
carries literal colours, its title and the notices that concern it, so that it stays honest when it leaves the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from retest.report import svg, theme
from retest.report.numbers import Numbers, text_uri

_MARGIN: Final = 16.0
_GAP: Final = 20.0
_MARKERS: Final = ("circle", "square", "triangle", "diamond", "down", "hexagon")


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of ``width`` x ``height`` pixels. ``title`` and ``description`` are for those who cannot see it."""

    title: str
    description: str
    width: float
    height: float
    body: Markup
    interactive: bool = True

    def inline(self) -> Markup:
        """The drawing as an element of the page; it scales with its place."""
        return svg.element(
            "svg",
            svg.element("title", self.title),
            svg.element("desc", self.description),
            self.body,
            class_="chart small" if self.width <= 300 else "chart",
            viewBox=f"0 0 {svg.coordinate(self.width)} {svg.coordinate(self.height)}",
            width=self.width,
            height=self.height,
            role="group" if self.interactive else "img",
            aria_label=f"{self.title}. {self.description}",
        )


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """What a colour and marker stand for."""

    series: int
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: ``slug`` names its files; the notes of its ``numbers`` are the notices that concern it.

    ``columns`` is how many panels stand side by side in the file and at most on the page.
    """

    slug: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    numbers: Numbers
    columns: int = 3
    legend: tuple[LegendEntry, ...] = ()

    @property
    def svg_uri(self) -> str:
        """The figure's own file as a ``data:`` address."""
        return text_uri(self.standalone(), "image/svg+xml")

    def standalone(self) -> str:
        """The figure as an SVG file of its own: light colours, title, notices."""
        body, width, height = self._composed()
        root = svg.element(
            "svg",
            svg.element("title", self.title),
            svg.raw_style(theme.chart_css(theme.LIGHT)),
            svg.element("rect", width=width, height=height, fill=theme.LIGHT["paper"]),
            body,
            xmlns="http://www.w3.org/2000/svg",
            class_="chart",
            viewBox=f"0 0 {svg.coordinate(width)} {svg.coordinate(height)}",
            width=width,
            height=height,
            role="img",
            aria_label=self.title,
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}\n'

    def _composed(self) -> tuple[Markup, float, float]:
        columns = max(1, min(self.columns, len(self.panels)))
        cell = max(panel.width for panel in self.panels)
        width = 2 * _MARGIN + columns * cell + (columns - 1) * _GAP
        inner = width - 2 * _MARGIN
        parts, y = _lines(svg.wrapped(self.title, inner, 15), "big", _MARGIN + 14, 20)
        if self.legend:
            entries, y = legend_row(self.legend, _MARGIN, y + 4, inner)
            parts.append(entries)
        for start in range(0, len(self.panels), columns):
            row = self.panels[start : start + columns]
            y += 8
            for i, panel in enumerate(row):
                x = _MARGIN + i * (cell + _GAP)
                parts.append(svg.element("g", panel.body, transform=f"translate({svg.coordinate(x)} {svg.coordinate(y)})"))
            y += max(panel.height for panel in row)
        notes, y = _lines([line for note in self.numbers.notes for line in svg.wrapped(note, inner, 11)], "note", y + 14, 15)
        return svg.join([*parts, *notes]), width, y + 4


def legend_row(entries: Sequence[LegendEntry], left: float, top: float, width: float) -> tuple[Markup, float]:
    """Markers with their labels from left to right, broken into lines; and the y below them."""
    parts: list[Markup] = []
    x, y = left, top
    for entry in entries:
        label = svg.shortened(entry.label, width - 24)
        needed = 18 + svg.text_width(label) + 14
        if x > left and x + needed > left + width:
            x, y = left, y + 20
        parts += [marker(entry.series, x + 6, y + 6, 4.5), svg.element("text", label, x=x + 16, y=y + 10)]
        x += needed
    return svg.join(parts), y + 20


def marker(series: int, x: float, y: float, r: float, **attributes: object) -> Markup:
    """The marker of a series about a point: colour and shape both tell it apart."""
    kind = _MARKERS[series % len(_MARKERS)]
    classes = f"dot s{series % theme.SERIES}"
    if kind == "circle":
        return svg.element("circle", cx=x, cy=y, r=r, class_=classes, **attributes)
    corners = {
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "triangle": [(0, -1.15), (1.08, 0.8), (-1.08, 0.8)],
        "diamond": [(0, -1.25), (1.1, 0), (0, 1.25), (-1.1, 0)],
        "down": [(0, 1.15), (1.08, -0.8), (-1.08, -0.8)],
        "hexagon": [(0.55, -0.95), (1.1, 0), (0.55, 0.95), (-0.55, 0.95), (-1.1, 0), (-0.55, -0.95)],
    }[kind]
    path = " L".join(f"{svg.coordinate(x + dx * r)} {svg.coordinate(y + dy * r)}" for dx, dy in corners)
    return svg.element("path", d=f"M{path}Z", class_=classes, **attributes)


def mark(*children: Markup, tip: str, first: bool, model: str | None = None) -> Markup:
    """A part of a figure that says what it is when pointed at or focused. The ``tip``'s first line is its name.

    Only the first of a panel is a tab stop; the arrow keys lead on from there.
    """
    return svg.element(
        "g",
        svg.element("title", tip),
        *children,
        class_="mark",
        role="img",
        tabindex=0 if first else -1,
        aria_label=tip.replace("\n", "; "),
        data_tip=tip,
        data_model=model,
    )


def heading(panel_width: float, title: str, *lines: str) -> Markup:
    """Title of a panel and the lines below it, cut to its width."""
    parts = [svg.element("text", svg.shortened(title, panel_width - 4, 13), x=2.0, y=14.0, class_="head")]
    parts += [svg.element("text", svg.shortened(line, panel_width - 4), x=2.0, y=31.0 + 16 * i) for i, line in enumerate(lines)]
    return svg.join(parts)


def _lines(lines: Sequence[str], class_: str, y: float, step: float) -> tuple[list[Markup], float]:
    parts = [svg.element("text", line, x=_MARGIN, y=y + i * step, class_=class_) for i, line in enumerate(lines)]
    return parts, y + len(lines) * step - 4
