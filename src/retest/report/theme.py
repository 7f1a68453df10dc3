"""Colours of the page and its figures, for light and dark, in one place.

Series colours follow Okabe and Ito's colour-blind safe set (2008), darkened on white and lightened on black until each has a
contrast of at least 3:1 with its background (WCAG 2.2, 1.4.11); texts have at least 4.5:1 (1.4.3). Both are tested, and so is
that the series stay apart for the three kinds of colour blindness. Sets are told apart by marker as well as by colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SERIES: Final = 6
"""Number of distinct series: the original, then five new sets; further ones repeat."""

LIGHT: Final[Mapping[str, str]] = {
    "paper": "#ffffff",
    "raised": "#f5f6f8",
    "ink": "#16191d",
    "soft": "#565f6b",
    "line": "#d5d9df",
    "grid": "#e9ebef",
    "strong": "#7b8490",
    "link": "#0a5ca8",
    "alert": "#8f3d00",
    "alert-bg": "#fff3e2",
    "alert-line": "#c9741d",
    "good": "#1d6b45",
    "bad": "#a3271f",
    "s0": "#4c5561",
    "s1": "#0072b2",
    "s2": "#d55e00",
    "s3": "#00916a",
    "s4": "#c05c96",
    "s5": "#8a6d00",
}

DARK: Final[Mapping[str, str]] = {
    "paper": "#14171b",
    "raised": "#1d2126",
    "ink": "#e9ecf0",
    "soft": "#a4adb8",
    "line": "#363c44",
    "grid": "#272c33",
    "strong": "#7f8995",
    "link": "#7cbcf5",
    "alert": "#ffc78a",
    "alert-bg": "#33240f",
    "alert-line": "#b36a1e",
    "good": "#6fd3a0",
    "bad": "#ff9b90",
    "s0": "#b4bcc6",
    "s1": "#56b4e9",
    "s2": "#f28e3c",
    "s3": "#2bc79a",
    "s4": "#e391be",
    "s5": "#e0c341",
}

FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif'


def custom_properties(colours: Mapping[str, str]) -> str:
    """The colours as declarations of CSS custom properties: ``--paper:#ffffff;...``."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def chart_css(colours: Mapping[str, str] | None = None) -> str:
    """Style rules of the figures: with the page's custom properties, or with literal colours for a file of its own."""

    def colour(name: str) -> str:
        return f"var(--{name})" if colours is None else colours[name]

    series = "".join(f".chart .s{i}{{fill:{colour(f's{i}')};stroke:{colour(f's{i}')};color:{colour(f's{i}')}}}" for i in range(SERIES))
    return (
        f".chart text{{font-family:{FONT};font-size:12px;fill:{colour('soft')};stroke:none}}"
        f".chart .head{{font-size:13px;font-weight:600;fill:{colour('ink')}}}"
        f".chart .big{{font-size:15px;font-weight:600;fill:{colour('ink')}}}"
        f".chart .name{{font-size:11.5px;fill:{colour('ink')}}}"
        f".chart .note{{font-size:11px;fill:{colour('alert')};font-weight:600}}"
        f".chart .halo{{stroke:{colour('paper')};stroke-width:3px;stroke-linejoin:round;paint-order:stroke}}"
        f".chart .grid{{stroke:{colour('grid')};stroke-width:1;fill:none}}"
        f".chart .axis{{stroke:{colour('strong')};stroke-width:1;fill:none}}"
        f".chart .identity{{stroke:{colour('soft')};stroke-width:1.25;stroke-dasharray:5 4;fill:none}}"
        f".chart .link{{stroke:{colour('line')};stroke-width:1.5;fill:none}}"
        f"{series}"
        ".chart .fit{fill:none;stroke-width:1.75}"
        ".chart .band{stroke:none;fill-opacity:.13}"
        ".chart .ci{fill:none;stroke-width:1.25;stroke-opacity:.5}"
        f".chart .dot{{stroke:{colour('paper')};stroke-width:1.25}}"
        ".chart .crowd .dot{stroke:none;fill-opacity:.4}"
        ".chart .bar{stroke:none;fill-opacity:.85}"
        ".chart .outline{fill:none;stroke-width:1.75}"
        ".chart .hit{fill:transparent;stroke:none}"
    )
