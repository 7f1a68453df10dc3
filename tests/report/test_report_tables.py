from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import report_fixture
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from retest.analysis import AccuracyRow, ModelPoint, PairedModels, clopper_pearson, compare_test_sets, fit_accuracies
from retest.errors import InputError, NotFoundError, UsageError
from retest.report import (
    ACCURACY_COLUMNS,
    StudyReport,
    accuracy_csv,
    accuracy_json_rows,
    accuracy_table,
    accuracy_text,
    fit_text,
    render_html,
    scatter_from_points,
    scatter_from_rows,
)


def row(dataset, model, k, n=100, rank=1, top5=None):
    low, high = (float(v[0]) for v in clopper_pearson([k], [n]))
    rest = (None, None, None, None) if top5 is None else (top5, top5 - 0.01, min(1.0, top5 + 0.01), rank)
    return AccuracyRow(dataset, model, n, k / n, low, high, rank, *rest)


ROWS = [
    row("val", "resnet", 900, 1000, 1),
    row("val", "alexnet", 600, 1000, 2),
    row("new", "alexnet", 48, 100, 1),
    row("new", "resnet", 47, 100, 2),
    row("new", "only-new", 20, 100, 3),
    row("easy", "resnet", 99, 100, 1),
]


def test_table_arranges_models_by_the_original():
    table = accuracy_table(ROWS, original="val")
    assert table.datasets == ("val", "new", "easy")
    assert table.new_sets == ("new", "easy")
    assert [line.model for line in table.lines] == ["resnet", "alexnet", "only-new"]
    resnet, alexnet, only_new = (line.cells for line in table.lines)
    assert resnet[0].drop is None
    assert resnet[0].rank_change is None
    assert resnet[1].drop == pytest.approx(0.43)
    assert resnet[1].rank_change == -1
    assert alexnet[1].rank_change == 1
    assert alexnet[2] is None
    assert resnet[2].drop == pytest.approx(-0.09)
    assert only_new[0] is None
    assert only_new[1].drop is None


def test_order_of_sets_can_be_given():
    assert accuracy_table(ROWS, original="val", datasets=["easy", "unknown"]).datasets == ("val", "easy", "new")
    assert accuracy_table(ROWS).datasets == ("val", "new", "easy")
    assert all(cell is None or cell.drop is None for line in accuracy_table(ROWS).lines for cell in line.cells)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_drops_and_rank_changes_are_those_of_the_comparison(data):
    models = [f"m{i}" for i in range(data.draw(st.integers(1, 6)))]
    rows = []
    for dataset in ("val", "new"):
        for model in models:
            if model == "m0" or data.draw(st.booleans()):
                rows.append(row(dataset, model, data.draw(st.integers(0, 50)), 50))
    table = accuracy_table(rows, original="val")
    expected = {r.model: r for r in compare_test_sets(rows, original="val", new="new").rows}
    given_rows = {(r.dataset, r.model): r for r in rows}
    for line in table.lines:
        original, new = line.cells
        for dataset, cell in (("val", original), ("new", new)):
            source = given_rows.get((dataset, line.model))
            assert (cell is None) == (source is None)
            if cell is not None:
                assert (cell.n, cell.value, cell.low, cell.high) == (source.n, source.top1, source.top1_low, source.top1_high)
        if line.model in expected:
            assert new.rank_change == expected[line.model].rank_change
            assert 100 * new.drop == pytest.approx(expected[line.model].drop_points)
            assert new.drop_low <= new.drop <= new.drop_high
        elif new is not None:
            assert new.drop is None
            assert new.rank_change is None
    values = [line.cells[0].value for line in table.lines if line.cells[0] is not None]
    assert values == sorted(values, reverse=True)


def test_table_of_top5_leaves_out_rows_without():
    rows = [row("val", "a", 5, 10, top5=0.9), row("new", "a", 4, 10, top5=0.8), row("new", "b", 4, 10)]
    table = accuracy_table(rows, original="val", metric="top5")
    assert [line.model for line in table.lines] == ["a"]
    assert table.lines[0].cells[1].drop == pytest.approx(0.1)


def test_table_errors():
    with pytest.raises(NotFoundError, match=r"orig: no accuracy for the original set\. Sets with accuracies: val, new, easy"):
        accuracy_table(ROWS, original="orig")
    with pytest.raises(InputError, match="resnet on val: comes twice"):
        accuracy_table([ROWS[0], ROWS[0]])


def test_json_rows_have_the_stable_names():
    rows = accuracy_json_rows([row("val", "resnet", 9, 10, top5=0.95)])
    assert list(rows[0]) == [
        *("dataset", "model", "n", "top1", "top1_low", "top1_high", "top1_rank", "top5", "top5_low", "top5_high", "top5_rank"),
    ]
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["top1"] == 0.9
    assert accuracy_json_rows(ROWS)[0]["top5"] is None


def test_csv_keeps_every_digit():
    read = list(csv.DictReader(io.StringIO(accuracy_csv(ROWS))))
    assert tuple(read[0]) == ACCURACY_COLUMNS
    for line, source in zip(read, ROWS, strict=True):
        assert float(line["top1_low"]) == source.top1_low
        assert line["top5"] == ""
        assert (line["dataset"], line["model"], int(line["n"])) == (source.dataset, source.model, source.n)


def test_csv_with_an_original_compares():
    read = {(r["dataset"], r["model"]): r for r in csv.DictReader(io.StringIO(accuracy_csv(ROWS, original="val")))}
    assert float(read["new", "resnet"]["top1_drop"]) == pytest.approx(0.43)
    assert read["new", "resnet"]["top1_rank_change"] == "-1"
    assert read["val", "resnet"]["top1_drop"] == ""
    assert read["new", "only-new"]["top1_drop"] == ""
    assert not any(name.startswith("top5_drop") for name in read["val", "resnet"])
    with_top5 = [row("val", "a", 5, 10, top5=0.9), row("new", "a", 4, 10, top5=0.8)]
    assert float(list(csv.DictReader(io.StringIO(accuracy_csv(with_top5, original="val"))))[1]["top5_drop"]) == pytest.approx(0.1)


def test_csv_quotes_names():
    name = 'a "quoted", name\nin two lines'
    assert next(csv.DictReader(io.StringIO(accuracy_csv([row("val", name, 1)]))))["model"] == name


def test_text_table():
    rows = [row("val", "resnet", 978, 1000), row("new", "resnet", 93, 100), row("val", "a", 1000, 1000), row("new", "a", 9, 100)]
    text = accuracy_text(rows, original="val", labels={"val": "Original"}, notes=["Answers come from the SIMULATED crowd."])
    assert text == (
        "Top-1 accuracy in percent with 95 % confidence intervals\n"
        "Answers come from the SIMULATED crowd.\n"
        "\n"
        "model        Original             new\n"
        "images       1,000                  100\n"
        "-----------  -------------------  ------------------\n"
        "a            100.0 [99.6, 100.0]    9.0 [4.2, 16.4]\n"
        "resnet        97.8 [96.7, 98.6]    93.0 [86.1, 97.1]\n"
        "mean change                       -47.9\n"
    )


@pytest.mark.parametrize("width", [20, 45, 60, 80, 100, 1000])
def test_text_table_loses_nothing_in_narrow_terminals(width):
    rows = report_fixture.rows()
    text = accuracy_text(rows, original="digits-val", width=width)
    for r in rows:
        assert f"{100 * r.top1:.1f} [{100 * r.top1_low:.1f}, {100 * r.top1_high:.1f}]" in text
    body = text.split("\n\n", 1)[1]
    if width >= 45:
        assert max(cell_len(line) for line in body.splitlines()) <= width
    blocks = len(body.strip().split("\n\n"))
    assert blocks == {20: 4, 45: 4, 60: 2, 80: 2, 100: 1, 1000: 1}[width]


@settings(deadline=None)
@given(names=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4, unique=True))
def test_text_table_is_aligned_and_inert_whatever_the_names(names):
    text = accuracy_text([row("val", name, 50) for name in names])
    lines = text.split("\n")[2:-1]
    assert len(lines) == len(names) + 3
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for line in lines for char in line)
    start = {cell_len(line[: line.rindex(" 50.0")]) for line in lines[3:]}
    assert len(start) == 1


def test_text_table_needs_rows():
    with pytest.raises(UsageError, match="no top-5 accuracy to show"):
        accuracy_text(ROWS, metric="top5")


def test_fit_text_shows_every_fit():
    rows = report_fixture.rows()
    fits = [report_fixture.fit(rows, "top-images"), report_fixture.fit(rows, "threshold0.7", scale="probit")]
    lines = fit_text(fits).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("digits-val -> top-images (top-1)")
    assert f"{fits[0].slope:.3f} [{fits[0].slope_low:.3f}, {fits[0].slope_high:.3f}]" in lines[2]
    assert " probit " in lines[3]
    assert len({len(line) for line in lines}) == 1


def test_scatter_holds_the_models_that_both_sets_have():
    scatter = scatter_from_rows(ROWS, original="val", new="new", note="see text")
    assert [(p.model, p.x, p.y) for p in scatter.points] == [("resnet", 0.9, 0.47), ("alexnet", 0.6, 0.48)]
    assert scatter.points[0].y_low == ROWS[3].top1_low
    assert (scatter.scale, scatter.fit, scatter.band, scatter.note) == ("linear", None, None, "see text")
    with pytest.raises(NotFoundError, match=r"nwe: no accuracy for this set\. Sets with accuracies: val, new, easy"):
        scatter_from_rows(ROWS, original="val", new="nwe")
    with pytest.raises(UsageError, match="has no point"):
        scatter_from_rows([row("val", "a", 1), row("new", "b", 1)], original="val", new="new")


def test_scatter_of_published_tables_has_no_intervals():
    points = tuple(ModelPoint(f"m{i}", 0.6 + 0.05 * i, 0.5 + 0.06 * i, img_size=224) for i in range(5))
    paired = PairedModels("val", "new", "top1", points)
    fit = fit_accuracies(points, original="val", new="new", bootstrap=100)
    scatter = scatter_from_points(paired, fit=fit)
    assert [(p.model, p.x, p.x_low, p.y_high) for p in scatter.points][1] == ("m1@224", 0.65, None, None)
    assert scatter.band is not None
    text = render_html(StudyReport(title="Tables alone", scatters=(scatter,)))
    assert "Crosses are" not in text
    assert "m4@224" in text
    with pytest.raises(UsageError, match="has no point"):
        scatter_from_points(PairedModels("val", "new", "top1", ()))


@pytest.mark.parametrize("scale", ["linear", "probit", "logit"])
def test_band_of_a_scatter_follows_its_line(scale):
    rows = report_fixture.rows()
    fit = report_fixture.fit(rows, "matched-frequency", scale=scale)
    scatter = scatter_from_rows(rows, original="digits-val", new="matched-frequency", fit=fit)
    band = scatter.band
    line = fit.predict(band.x)
    assert np.all(np.array(band.low) < line)
    assert np.all(line < np.array(band.high))
    assert (band.x[0], band.x[-1]) == (min(p.x for p in scatter.points), max(p.x for p in scatter.points))
    assert band.meaning == "95 % prediction band"
    assert scatter.scale == scale
