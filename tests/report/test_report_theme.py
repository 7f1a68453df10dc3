from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from retest.report import theme

THEMES = {"light": theme.LIGHT, "dark": theme.DARK}
# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3),
}


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """WCAG 2.2 contrast ratio."""
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("name", THEMES)
def test_texts_have_enough_contrast(name):
    colours = THEMES[name]
    for text, grounds in {
        "ink": ("paper", "raised", "grid", "alert-bg"),
        "soft": ("paper", "raised"),
        "link": ("paper",),
        "alert": ("paper", "alert-bg"),
        "good": ("paper",),
        "bad": ("paper",),
        "paper": ("ink",),
    }.items():
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


@pytest.mark.parametrize("name", THEMES)
def test_series_and_lines_have_enough_contrast(name):
    colours = THEMES[name]
    for mark in [*(f"s{i}" for i in range(theme.SERIES)), "strong", "alert-line"]:
        assert contrast(colours[mark], colours["paper"]) >= 3.0, mark


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_the_first_four_series_stay_apart_for_the_colour_blind(name, blindness):
    seen = [lab(np.array(BLINDNESS[blindness]) @ linear(THEMES[name][f"s{i}"])) for i in range(4)]
    for a, b in itertools.combinations(range(4), 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 10, (a, b)


def test_both_themes_name_the_same_colours():
    assert set(theme.LIGHT) == set(theme.DARK)
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colours in THEMES.values() for colour in colours.values())


def test_figures_use_properties_on_the_page_and_colours_in_files():
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", theme.chart_css()))
    assert used <= set(theme.LIGHT)
    literal = theme.chart_css(theme.DARK)
    assert "var(" not in literal
    assert theme.DARK["s1"] in literal


def test_every_property_of_the_style_sheet_exists(page):
    css = page[page.index("<style>") : page.index("</style>")]
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", css)) <= {*theme.LIGHT, "font"}
