from __future__ import annotations

import base64
import csv
import dataclasses
import io
import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
import report_fixture
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.report import (
    FrequencyHistogram,
    ScatterPoint,
    SetStyles,
    StudyReport,
    TargetComparison,
    accuracy_table,
    render_html,
    scatter_from_rows,
    set_styles,
)
from retest.report.accuracy_chart import accuracy_chart
from retest.report.chart import LegendEntry, legend_row, marker
from retest.report.figure_records import Scatter
from retest.report.frequency_chart import histogram_chart, target_chart
from retest.report.labels import Rect, place_labels
from retest.report.numbers import Numbers
from retest.report.scatter_chart import scatter_chart, shared_domain
from retest.report.svg import Axis, coordinate, element, nice_ticks, shortened, text_width, tick_label, wrapped

NS = "{http://www.w3.org/2000/svg}"
STYLES = SetStyles({"digits-val": "Original"}, {"digits-val": 0, "threshold0.7": 1, "matched-frequency": 2, "top-images": 3})


def parsed(panel):
    """The elements of a panel as a reader of the file would see them."""
    return ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{panel.body}</svg>')


def classed(root, name):
    return [node for node in root.iter() if name in node.get("class", "").split()]


def path_points(node):
    return [tuple(map(float, pair.split())) for pair in re.findall(r"-?[\d.]+ -?[\d.]+", node.get("d"))]


def ticks(root, axis):
    """(pixel, label) of the tick labels along an axis of a scatter."""
    texts = [node for node in root.iter(f"{NS}text") if re.fullmatch(r"[\d.]+", node.text or "") and "name" not in node.get("class", "")]
    if axis == "x":
        return [(float(n.get("x")), float(n.text)) for n in texts if n.get("text-anchor") == "middle"]
    return [(float(n.get("y")) - 4, float(n.text)) for n in texts if n.get("text-anchor") == "end"]


def reader(marks):
    """From pixels to values by two printed ticks, as a person with a ruler would do it."""
    (p0, v0), *_, (p1, v1) = marks
    return lambda pixel: v0 + (pixel - p0) / (p1 - p0) * (v1 - v0)


@pytest.fixture(scope="module")
def scatters():
    rows = report_fixture.rows()
    return [
        scatter_from_rows(rows, original="digits-val", new=new, fit=report_fixture.fit(rows, new))
        for new in ("threshold0.7", "matched-frequency")
    ]


def test_points_lines_and_bands_lie_where_the_axes_say(scatters):
    chart = scatter_chart(scatters, styles=STYLES)
    for panel, scatter in zip(chart.panels, scatters, strict=True):
        root = parsed(panel)
        x, y = reader(ticks(root, "x")), reader(ticks(root, "y"))
        by_model = {p.model: p for p in scatter.points}
        found = classed(root, "mark")
        assert {node.get("data-model") for node in found} == set(by_model)
        for node in found:
            point = by_model[node.get("data-model")]
            across, upwards = classed(node, "ci")
            (x0, y0), (x1, _) = path_points(across)
            (_, y_low), (x2, y_high) = path_points(upwards)
            assert x(x0) == pytest.approx(100 * point.x_low, abs=0.05)
            assert x(x1) == pytest.approx(100 * point.x_high, abs=0.05)
            assert y(y_low) == pytest.approx(100 * point.y_low, abs=0.05)
            assert y(y_high) == pytest.approx(100 * point.y_high, abs=0.05)
            assert x(x2) == pytest.approx(100 * point.x, abs=0.05)
            assert y(y0) == pytest.approx(100 * point.y, abs=0.05)
        (line,) = classed(root, "fit")
        for px, py in path_points(line):
            assert y(py) == pytest.approx(scatter.fit.slope * x(px) + scatter.fit.intercept, abs=0.1)
        (identity,) = classed(root, "identity")
        for px, py in path_points(identity):
            assert y(py) == pytest.approx(x(px), abs=0.1)
        (band,) = classed(root, "band")
        outline = [(x(px), y(py)) for px, py in path_points(band)]
        for value, low, high in list(zip(scatter.band.x, scatter.band.low, scatter.band.high, strict=True))[::20]:
            heights = [py for px, py in outline if px == pytest.approx(100 * value, abs=0.02)]
            assert min(heights) == pytest.approx(100 * low, abs=0.1)
            assert max(heights) == pytest.approx(100 * high, abs=0.1)


def test_panels_share_their_axes(scatters):
    chart = scatter_chart(scatters, styles=STYLES)
    first, second = (parsed(panel) for panel in chart.panels)
    assert ticks(first, "x") == ticks(second, "x")
    assert ticks(first, "y") == ticks(second, "y")


def test_probit_axes_put_the_fit_on_a_straight_line():
    rows = report_fixture.rows()
    fit = report_fixture.fit(rows, "matched-frequency", scale="probit")
    scatter = scatter_from_rows(rows, original="digits-val", new="matched-frequency", fit=fit)
    (panel,) = scatter_chart([scatter], styles=STYLES).panels
    root = parsed(panel)
    (identity,) = classed(root, "identity")
    (x0, y0), (x1, y1) = path_points(identity)
    (fx0, fy0), (fx1, fy1) = path_points(classed(root, "fit")[0])
    # Slopes in pixels relate like slopes in probit units, because both axes are linear in them.
    assert ((fy1 - fy0) / (fx1 - fx0)) / ((y1 - y0) / (x1 - x0)) == pytest.approx(fit.slope, rel=0.01)
    assert "probit scale" in panel.body


def test_accuracies_of_0_and_1_can_be_drawn_on_any_scale():
    points = (ScatterPoint("worst", 0.0, 0.0, 0.0, 0.1, 0.0, 0.1), ScatterPoint("best", 1.0, 1.0, 0.9, 1.0, 0.9, 1.0))
    for scale in ("linear", "probit", "logit"):
        (panel,) = scatter_chart([Scatter("val", "new", points, scale=scale)], styles=SetStyles()).panels
        assert "nan" not in panel.body
        assert len(classed(parsed(panel), "mark")) == 2


def test_a_single_point_and_equal_points_can_be_drawn():
    for points in ((ScatterPoint("a", 0.5, 0.5),), (ScatterPoint("a", 0.9, 0.2), ScatterPoint("b", 0.9, 0.2))):
        (panel,) = scatter_chart([Scatter("val", "new", points)], styles=SetStyles()).panels
        assert len(classed(parsed(panel), "dot")) == len(points)
        assert not classed(parsed(panel), "ci")


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_the_domain_holds_all_points_and_some_of_the_identity(pairs):
    scatter = Scatter("val", "new", tuple(ScatterPoint(f"m{i}", x, y) for i, (x, y) in enumerate(pairs)))
    domain = shared_domain([scatter])
    for x, y in pairs:
        assert domain.x[0] < x < domain.x[1]
        assert domain.y[0] < y < domain.y[1]
    assert max(domain.x[0], domain.y[0]) < min(domain.x[1], domain.y[1])
    assert 150 < domain.height < 420


def test_models_outside_the_fit_are_marked():
    rows = report_fixture.rows()
    fit = report_fixture.fit(rows, "top-images", exclude=["knn_3"])
    scatter = scatter_from_rows(rows, original="digits-val", new="top-images", fit=fit)
    chart = scatter_chart([scatter], styles=STYLES)
    assert "Pale points are models left out of the fit." in chart.caption
    for node in classed(parsed(chart.panels[0]), "mark"):
        left_out = node.get("data-model") == "knn_3"
        assert (classed(node, "dot")[0].get("fill-opacity") is not None) == left_out
        assert ("not in the fit" in node.get("data-tip")) == left_out
    in_fit = {line["model"]: line["in_fit"] for line in csv.DictReader(io.StringIO(chart.numbers.csv))}
    assert in_fit["knn_3"] == "False"
    assert set(in_fit.values()) == {"True", "False"}


def test_crowds_of_points_are_drawn_small_and_without_intervals():
    points = tuple(ScatterPoint(f"m{i}", 0.4 + i / 1000, 0.3 + i / 1000, 0.3, 0.9, 0.2, 0.9) for i in range(201))
    chart = scatter_chart([Scatter("val", "new", points)], styles=SetStyles())
    root = parsed(chart.panels[0])
    assert len(classed(root, "crowd")) == 1
    assert len(classed(root, "dot")) == 201
    assert not classed(root, "ci")
    assert "Crosses" not in chart.caption
    assert chart.numbers.rows[0][5] == 0.3
    assert not classed(parsed(scatter_chart([Scatter("val", "new", points[:200])], styles=SetStyles()).panels[0]), "crowd")


def test_tips_name_model_sets_and_change(scatters):
    panel = scatter_chart(scatters, styles=STYLES).panels[1]
    point = scatters[1].points[0]
    tip = next(node.get("data-tip") for node in classed(parsed(panel), "mark") if node.get("data-model") == point.model)
    assert tip.splitlines() == [
        point.model,
        f"Original: {100 * point.x:.1f} % [{100 * point.x_low:.1f}, {100 * point.x_high:.1f}]",
        f"matched-frequency: {100 * point.y:.1f} % [{100 * point.y_low:.1f}, {100 * point.y_high:.1f}]",
        f"change: −{100 * (point.x - point.y):.1f} points",
    ]


def test_one_tab_stop_per_panel(scatters):
    for panel in scatter_chart(scatters, styles=STYLES).panels:
        stops = [node.get("tabindex") for node in classed(parsed(panel), "mark")]
        assert stops == ["0"] + ["-1"] * (len(stops) - 1)


def test_histograms_draw_shares():
    histograms = [FrequencyHistogram("digits-val", (0.0, 0.5, 1.0), (10, 30)), FrequencyHistogram("new", (0.0, 0.5, 1.0), (0, 5))]
    chart = histogram_chart(histograms, styles=STYLES, original="digits-val")
    heights = [[float(bar.get("height")) for bar in classed(parsed(panel), "bar")] for panel in chart.panels]
    assert heights[0][1] / heights[0][0] == pytest.approx(3, abs=0.02)
    assert heights[1][1] / heights[0][1] == pytest.approx(1 / 0.75, abs=0.02)
    assert heights[1][0] == 0
    assert [len(classed(parsed(panel), "outline")) for panel in chart.panels] == [0, 1]
    read = list(csv.DictReader(io.StringIO(chart.numbers.csv)))
    assert [(line["dataset"], line["images"], float(line["share"])) for line in read] == [
        ("digits-val", "10", 0.25),
        ("digits-val", "30", 0.75),
        ("new", "0", 0.0),
        ("new", "5", 1.0),
    ]


def test_an_empty_histogram_can_be_drawn():
    chart = histogram_chart([FrequencyHistogram("new", (0.0, 1.0), (0,))], styles=STYLES)
    assert "0 images" in chart.panels[0].body


def test_target_lines_stand_where_bars_of_that_size_would_end():
    target = TargetComparison("matched-frequency", "digits-val", (0.0, 0.4, 0.8, 1.0), (10, 20, 30), (12, 20, 28))
    chart = target_chart(target, styles=STYLES)
    root = parsed(chart.panels[0])
    per_image = [float(bar.get("height")) / n for bar, n in zip(classed(root, "bar"), target.achieved, strict=True)]
    assert max(per_image) == pytest.approx(min(per_image), rel=0.01)
    base = float(classed(root, "bar")[0].get("y")) + float(classed(root, "bar")[0].get("height"))
    for line, wanted in zip(classed(root, "outline"), target.target, strict=True):
        assert (base - path_points(line)[0][1]) / per_image[0] == pytest.approx(wanted, abs=0.1)
    assert "60 images for a target of 60; 2 short of it in their bin." in chart.caption


def test_accuracy_dots_follow_their_intervals(report):
    table = accuracy_table(report.accuracy, original="digits-val")
    chart = accuracy_chart(table, styles=STYLES)
    root = parsed(chart.panels[0])
    x = reader(ticks(root, "x"))
    for node, line in zip(classed(root, "mark"), table.lines, strict=True):
        assert node.get("data-model") == line.model
        for interval, cell in zip(classed(node, "ci"), line.cells, strict=True):
            ends = [x(px) for px, _ in path_points(interval)]
            assert ends == pytest.approx([100 * cell.low, 100 * cell.high], abs=0.1)
    assert len(list(csv.DictReader(io.StringIO(chart.numbers.csv)))) == 40


def test_a_file_of_its_own_is_well_formed_and_carries_title_notices_and_colours(scatters):
    chart = scatter_chart(scatters, styles=STYLES)
    chart = dataclasses.replace(chart, numbers=dataclasses.replace(chart.numbers, notes=("Answers: SIMULATED crowd",)))
    text = chart.standalone()
    root = ET.fromstring(text.encode())
    texts = " ".join(node.text or "" for node in root.iter(f"{NS}text"))
    assert "Top-1 accuracy on the new sets against Original" in texts
    assert "Answers: SIMULATED crowd" in texts
    assert "var(" not in text
    assert "#0072b2" in text
    assert not re.search(r'(?:href|src)="', text)
    width, height = float(root.get("width")), float(root.get("height"))
    bottom = max(float(node.get("y")) for node in classed(root, "note"))
    assert bottom < height
    assert width > sum(panel.width for panel in chart.panels)
    assert base64.b64decode(chart.svg_uri.split("base64,")[1]).decode() == text


def test_numbers_carry_the_notices():
    numbers = Numbers(("a", "b"), ((1, None), (0.1, "x,y")), ("SIMULATED crowd", "naive matching"))
    assert numbers.csv == 'a,b,notice\n1,,SIMULATED crowd; naive matching\n0.1,"x,y",SIMULATED crowd; naive matching\n'
    assert base64.b64decode(numbers.csv_uri.removeprefix("data:text/csv;charset=utf-8;base64,")).decode() == numbers.csv


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_are_round_few_and_inside(low, span, most):
    high = low + span
    found = nice_ticks(low, high, most)
    assert len(found) <= most + 1
    if span > 1e-3 and abs(low) < 1e3:
        assert len(found) >= 1
        assert all(low - span * 1e-6 <= value <= high + span * 1e-6 for value in found)
        steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
        for step in steps:
            assert min(steps) == pytest.approx(step, rel=1e-6)
            leading = step / 10 ** math.floor(math.log10(step) + 1e-9)
            assert min(abs(leading - nice) for nice in (1, 2, 5, 10)) < 1e-3


@pytest.mark.parametrize(
    ("value", "step", "text"), [(0.5, 0.1, "0.5"), (80, 20, "80"), (2.5, 0.5, "2.5"), (100.0, 5, "100"), (0.25, 0.05, "0.25")]
)
def test_tick_labels(value, step, text):
    assert tick_label(value, step) == text


@settings(deadline=None)
@given(scale=st.sampled_from([None, "linear", "probit", "logit"]), a=st.floats(0.01, 0.98), b=st.floats(0.01, 0.98))
def test_axes_are_monotone_and_keep_their_ends(scale, a, b):
    axis = Axis(0.005, 0.99, 40.0, 360.0, scale)
    assert axis(0.005) == pytest.approx(40)
    assert axis(0.99) == pytest.approx(360)
    if a < b - 1e-9:
        assert axis(a) < axis(b)
    found = axis.ticks()
    assert len(found) >= 3
    assert all(40 <= axis(value) <= 360 for value in found)


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (-0.001, "0"), (0.126, "0.13"), (12.5, "12.5"), (-3.0, "-3")])
def test_coordinates(value, text):
    assert coordinate(value) == text


def test_coordinates_must_be_finite():
    with pytest.raises(ArithmeticError, match="nan"):
        coordinate(float("nan"))


@settings(deadline=None)
@given(st.text(), st.text())
def test_elements_are_well_formed_xml_whatever_they_hold(text, value):
    made = element("text", text, data_tip=value, class_="a")
    read = ET.fromstring(str(made))
    assert len(list(read)) == 0
    assert set(read.attrib) == {"data-tip", "class"}
    if value.isprintable() and text.isprintable():
        assert (read.text or "") == text
        assert read.get("data-tip") == value


def test_line_breaks_in_attributes_survive():
    assert ET.fromstring(str(element("g", data_tip="a\nb"))).get("data-tip") == "a\nb"


@settings(deadline=None)
@given(st.text(max_size=60), st.floats(20, 300))
def test_shortened_and_wrapped_texts_fit(text, width):
    assert text_width(shortened(text, width)) <= width or shortened(text, width) == "…"
    for line in wrapped(text, width):
        assert text_width(line) <= width or line == "…"


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("abcdefgh_", min_size=1, max_size=20), st.floats(0, 400), st.floats(0, 300)), min_size=1, max_size=15))
def test_labels_cover_neither_points_nor_one_another(texts):
    frame = Rect(0, 0, 400, 300)
    dots = [Rect.about(x, y, 5) for _, x, y in texts]
    placed = place_labels(texts, taken=dots, frame=frame, distance=8)
    for i, label in enumerate(placed):
        assert label.rect.inside(frame)
        assert not any(label.rect.overlaps(dot) for dot in dots)
        assert not any(label.rect.overlaps(other.rect) for other in placed[:i])


def test_a_lone_label_is_placed_at_the_right():
    (label,) = place_labels([("resnet", 100.0, 100.0)], taken=[Rect.about(100, 100, 5)], frame=Rect(0, 0, 400, 300), distance=8)
    assert label.x == 108


def test_markers_differ_in_shape():
    shapes = {re.sub(r' class="[^"]*"', "", str(marker(i, 0.0, 0.0, 4.0))) for i in range(6)}
    assert len(shapes) == 6


def test_legends_break_into_lines():
    entries = [LegendEntry(i, f"a rather long label number {i}") for i in range(4)]
    _, wide = legend_row(entries, 0, 0, 2000)
    _, narrow = legend_row(entries, 0, 0, 250)
    assert wide == 20
    assert narrow == 80


def test_styles_give_the_original_series_0_and_tested_sets_the_first_colours(report):
    styles = set_styles(report)
    assert styles.series == {"digits-val": 0, "threshold0.7": 1, "matched-frequency": 2, "top-images": 3, "candidates": 5}
    assert styles.label("candidates") == "Candidates"
    assert styles.label("unknown") == "unknown"


def test_caption_of_crosses_names_the_coverage_of_the_reports_intervals(scatters):
    assert "Crosses are 95 % confidence intervals." in scatter_chart(scatters, styles=STYLES).caption
    assert "Crosses are 90 % confidence intervals." in scatter_chart(scatters, styles=STYLES, confidence=0.9).caption
    page = render_html(StudyReport(title="Narrow", scatters=tuple(scatters), confidence=0.9))
    assert "Crosses are 90 % confidence intervals." in page
