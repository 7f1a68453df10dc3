from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
import report_fixture
from PIL import Image

from retest.errors import UsageError
from retest.report import FrequencyHistogram, SetStyles, accuracy_table, figure_pdf, figure_png, figure_svg, scatter_from_rows, theme


def drawables(report):
    return {
        "scatters": report.scatters,
        "scatter": report.scatters[0],
        "histograms": report.frequencies,
        "target": report.target,
        "accuracy": accuracy_table(report.accuracy, original="digits-val"),
    }


KINDS = ("scatters", "scatter", "histograms", "target", "accuracy")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_records_give_equal_files(report, kind):
    record = drawables(report)[kind]
    svg = figure_svg(record, notes=["SIMULATED crowd"])
    assert svg == figure_svg(record, notes=["SIMULATED crowd"])
    root = ET.fromstring(svg.encode())
    assert root.tag.endswith("svg")
    assert "<dc:date>" not in svg
    png = figure_png(record, dpi=60)
    assert png == figure_png(record, dpi=60)
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert picture.min() < 128 < picture.max()


def test_pdf_is_the_same_twice(report):
    assert figure_pdf(report.target).startswith(b"%PDF-")
    assert figure_pdf(report.target) == figure_pdf(report.target)


def test_notes_are_drawn(report):
    # Text becomes outlines; the note has its own colour.
    note = theme.LIGHT["alert"]
    assert note not in figure_svg(report.target)
    assert note in figure_svg(report.target, notes=["Answers come from the SIMULATED crowd"])


def test_styles_choose_the_colours(report):
    blue, green = theme.LIGHT["s1"], theme.LIGHT["s3"]
    assert blue in figure_svg(report.scatters[2])
    styled = figure_svg(report.scatters[2], styles=SetStyles({}, {"top-images": 3}))
    assert green in styled
    assert blue not in styled


@pytest.mark.parametrize("scale", ["probit", "logit"])
def test_other_scales(scale):
    rows = report_fixture.rows()
    fit = report_fixture.fit(rows, "matched-frequency", scale=scale)
    scatter = scatter_from_rows(rows, original="digits-val", new="matched-frequency", fit=fit)
    assert figure_svg(scatter) != figure_svg(scatter_from_rows(rows, original="digits-val", new="matched-frequency"))


def test_names_start_no_formula(report):
    name = r"$\frac{broken$ \n <b>&"
    scatter = dataclasses.replace(report.scatters[0], new=name, fit=None)
    ET.fromstring(figure_svg(scatter).encode())
    table = accuracy_table(report_fixture.rows(models=(name, "b", "c")), original="digits-val")
    ET.fromstring(figure_svg(table).encode())


def test_drawing_keeps_no_state(report):
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 33, "svg.hashsalt": "other", "axes.grid": False}):
        other = figure_svg(report.target)
    assert other == figure_svg(report.target)
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    code = (
        "import sys, retest.report as r\n"
        "assert 'matplotlib' not in sys.modules\n"
        "r.figure_svg((r.FrequencyHistogram('a', (0.0, 0.5, 1.0), (1, 2)),))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("record", [(), [FrequencyHistogram("a", (0.0, 1.0), (1,)), "x"], "text", accuracy_table([])])
def test_nothing_to_draw_is_refused(record):
    with pytest.raises(UsageError, match="record: is nothing that can be drawn"):
        figure_svg(record)


@pytest.mark.parametrize("dpi", [0, -5, 5000])
def test_resolution_out_of_range_is_refused(report, dpi):
    with pytest.raises(UsageError, match=rf"dpi: is {dpi}, not between 10 and 1200"):
        figure_png(report.target, dpi=dpi)
