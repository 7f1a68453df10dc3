"""The page in a real browser: with its script, without it, on a phone; never with a network."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import report_fixture
from PIL import Image

from chromium_browser import NEEDS_CHROMIUM
from retest.report import render_html

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(page, encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def visit(browser):
    """Open an address without network; at the end, nothing may have been asked for and nothing said on the console."""
    contexts, problems, requests = [], [], []

    def open_page(address, **options):
        context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def first_column(tab, table):
    return tab.locator(f"{table} tbody th").all_inner_texts()


def test_columns_sort_by_their_numbers_and_back(visit, address, report):
    tab = visit(address)
    table = "#table-accuracy-top1"
    accuracy = {row.model: row.top1 for row in report.accuracy if row.dataset == "matched-frequency"}
    header = tab.locator(f"{table} thead tr:last-child th").nth(6)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    shown = [accuracy[name] for name in first_column(tab, table)]
    assert shown == sorted(accuracy.values(), reverse=True)
    assert shown != sorted(shown)
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert [accuracy[name] for name in first_column(tab, table)] == sorted(accuracy.values())
    assert tab.locator(f"{table} tfoot th").inner_text() == "mean of models"
    names = tab.locator(f"{table} thead tr:last-child th").first
    names.get_by_role("button").click()
    assert header.get_attribute("aria-sort") is None
    assert first_column(tab, table) == sorted(accuracy)


def test_a_note_appears_on_focus_and_the_model_lights_up_everywhere(visit, address, report):
    tab = visit(address)
    tip = tab.locator("#tip")
    assert tip.is_hidden()
    marks = tab.locator("#scatter svg.chart").first.locator(".mark")
    marks.first.focus()
    worst = min((row for row in report.accuracy if row.dataset == "digits-val"), key=lambda row: row.top1)
    assert tip.is_visible()
    assert tip.locator("strong").inner_text() == worst.model
    assert f"Original: {100 * worst.top1:.1f} % [{100 * worst.top1_low:.1f}, {100 * worst.top1_high:.1f}]" in tip.inner_text()
    lit = tab.locator("[data-model].on").evaluate_all("nodes => nodes.map(node => node.dataset.model)")
    assert set(lit) == {worst.model}
    assert len(lit) == 3 + 1 + 2  # three scatters, the dot plot, two tables
    assert tab.locator(".ring").count() == 3
    tab.keyboard.press("ArrowRight")
    second = tip.locator("strong").inner_text()
    assert second != worst.model
    tab.keyboard.press("ArrowLeft")
    assert tip.locator("strong").inner_text() == worst.model
    tab.keyboard.press("End")
    best = max((row for row in report.accuracy if row.dataset == "digits-val"), key=lambda row: row.top1)
    assert tip.locator("strong").inner_text() == best.model
    tab.keyboard.press("Escape")
    assert tip.is_hidden()
    assert tab.locator(".on, .ring, .dimmed").count() == 0


def test_the_nearest_point_answers_the_mouse(visit, address):
    tab = visit(address)
    panel = tab.locator("#scatter svg.chart").nth(1)
    panel.scroll_into_view_if_needed()
    mark = panel.locator(".mark").first
    box = mark.locator(".dot").bounding_box()
    tab.mouse.move(box["x"] - 12, box["y"] + 10)
    assert tab.locator("#tip strong").inner_text() == mark.get_attribute("data-model")
    tip = tab.locator("#tip").bounding_box()
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= 1280
    tab.mouse.move(5, 5)
    assert tab.locator("#tip").is_hidden()


def test_bars_answer_too(visit, address, report):
    tab = visit(address)
    bar = tab.locator("#selection-frequencies svg.chart").first.locator(".mark").last
    bar.hover(force=True)
    histogram = report.frequencies[0]
    assert f"{histogram.counts[-1]} images" in tab.locator("#tip").inner_text()
    assert "frequency 0.9 to 1" in tab.locator("#tip").inner_text()


def downloaded(tab, link):
    with tab.expect_download() as waiting:
        link.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_figures_and_numbers_can_be_saved(visit, address, report):
    tab = visit(address)
    tools = tab.locator("#scatter .tools")
    name, data = downloaded(tab, tools.get_by_role("link", name="CSV"))
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert name == "scatter.csv"
    assert len(rows) == sum(len(scatter.points) for scatter in report.scatters)
    assert rows[0]["notice"] == "Answers: SIMULATED crowd"
    name, data = downloaded(tab, tools.get_by_role("link", name="SVG"))
    assert name == "scatter.svg"
    assert data.startswith(b"<?xml")
    name, data = downloaded(tab, tools.get_by_role("button", name="PNG"))
    assert name == "scatter.png"
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    assert picture.width > 3000
    colours = {colour for _, colour in picture.resize((600, 300)).getcolors(maxcolors=200_000)}
    assert (255, 255, 255) in colours
    assert any(blue > 150 and red < 60 for red, _, blue in colours), "the first series is drawn in its colour"


def test_it_works_without_its_script(visit, address, report):
    tab = visit(address, java_script_enabled=False)
    assert tab.locator("h1").inner_text() == report.title
    assert tab.locator("button").count() == 0
    assert tab.locator("#table-accuracy-top1 tbody tr").count() == 10
    name, data = downloaded(tab, tab.locator("#selection-frequencies .tools").get_by_role("link", name="CSV"))
    assert name == "selection-frequencies.csv"
    assert data.startswith(b"dataset,frequency_from")
    assert tab.locator("#scatter .mark title").count() == 30


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(visit, address, width):
    tab = visit(address, viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    smallest = tab.evaluate(
        """Math.min(...[...document.querySelectorAll("main svg.chart:not(.key) text")].map(node => {
             const chart = node.closest("svg.chart");
             return parseFloat(getComputedStyle(node).fontSize) * chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
           }))"""
    )
    assert smallest >= 8.0


def test_the_colours_follow_the_reader_s_scheme(visit, address):
    grounds = [
        visit(address, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor") for scheme in ("light", "dark")
    ]
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def test_it_prints_light_and_without_controls(visit, address):
    tab = visit(address, color_scheme="dark")
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(22, 25, 29)"
    assert not any(box.is_visible() for box in tab.locator(".tools, nav, details:not(.revision)").all())
    assert tab.pdf(format="A4").startswith(b"%PDF")


def test_many_models_can_be_filtered(visit, tmp_path):
    models = tuple(f"resnet{i}" if i % 3 else f"vgg{i}" for i in range(18))
    rows = report_fixture.rows(models=models)
    file = tmp_path / "many.html"
    file.write_text(render_html(report_fixture.StudyReport(title="Many", original="digits-val", accuracy=tuple(rows))), encoding="utf-8")
    tab = visit(file.as_uri())
    tab.locator("#table-accuracy-top1").get_by_role("searchbox").fill("VGG")
    shown = tab.locator("#table-accuracy-top1 tbody tr:visible th").all_inner_texts()
    assert sorted(shown) == sorted(name for name in models if name.startswith("vgg"))
