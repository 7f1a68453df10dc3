from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from collections import Counter
from enum import Enum
from html.parser import HTMLParser

import pytest
import report_fixture

from retest.report import Column, Notice, Section, StudyReport, render_html
from retest.report.html import web_link

VOID = {"meta", "img", "input", "link", "br", "hr", "wbr"}


class Page(HTMLParser):
    """A strict reader: every element closed in order, every attribute once."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.nodes, self.stack, self.texts, self.raw = [], [], [], {}
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, attrs)
        self.nodes.append((tag, dict(attrs), tuple(self.stack)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack
        assert self.stack[-1] == tag, (tag, self.stack)
        self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] in ("script", "style"):
            self.raw.setdefault(self.stack[-1], []).append(data)
        else:
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs, _ in self.nodes if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def read(page):
    return Page(page)


def test_equal_records_give_equal_bytes(report, page):
    again = report_fixture.full_report()
    assert again == report
    assert again is not report
    assert render_html(again) == page


def test_the_page_is_one_file_that_loads_nothing(read):
    for tag, attrs, _ in read.nodes:
        assert tag not in ("link", "iframe", "object", "embed", "base", "audio", "video", "use", "image", "foreignobject")
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on") or name == "srcset"]
        assert "src" not in attrs or attrs["src"].startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        if "href" in attrs:
            assert tag == "a"
            assert attrs["href"].startswith(("#", "data:text/csv;charset=utf-8;base64,", "data:image/svg+xml;charset=utf-8;base64,"))
            assert attrs["href"].startswith("#") or "download" in attrs
    for rules in read.raw["style"]:
        assert "url(" not in rules
        assert "@import" not in rules


def test_the_policy_allows_only_the_page_s_own_style_and_script(read):
    (policy,) = [attrs["content"] for attrs in read.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (text,) = read.raw[tag]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_structure_is_accessible(read):
    ids = [attrs["id"] for _, attrs, _ in read.nodes if "id" in attrs]
    assert [name for name, n in Counter(ids).items() if n > 1] == []
    for _, attrs, _ in read.nodes:
        for target in attrs.get("aria-labelledby", "").split():
            assert target in ids
    for attrs in read.all("a"):
        if attrs["href"].startswith("#"):
            assert attrs["href"][1:] in ids
    assert all(attrs.get("alt") for attrs in read.all("img"))
    assert all(attrs.get("scope") in ("row", "col", "colgroup") for attrs in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table"))
    levels = [int(tag[1]) for tag, _, _ in read.nodes if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for tag, attrs, stack in read.nodes:
        if tag == "svg" and "figure" in stack and "svg" not in stack and "aria-hidden" not in attrs:
            assert attrs["aria-label"]
            assert attrs["role"] in ("group", "img")


def test_all_parts_of_a_full_report_are_there(read, report):
    for expected in (
        report.title,
        report.subtitle,
        "Replication of scikit-learn digits",
        "Candidates collected",
        "the same photo as an original or another candidate",
        "Target and achieved selection frequencies of MatchedFrequency",
        "candidate cand-",
        "shifted by one pixel; the component holds an original image",
        "Planted copies found",
        "96.2 %",
        "Precision 97.5 %: 77 of 79 candidates marked as near-duplicate are marked rightly.",
        "Accuracy by selection frequency",
        "Fits from original to new accuracy",
        "Top-5 accuracy, percent",
        "longest side, in pixels, of the variant that annotators see",
        "sample_wnid_histogram",
        "Software",
    ):
        assert expected in read.text, expected
    assert len(read.all("img")) == len(report.samples) + 2 * len(report.duplicates)


def test_every_accuracy_stands_in_the_table(page, report):
    for row in report.accuracy:
        assert f'>{100 * row.top1:.1f} <span class="sub interval">[{100 * row.top1_low:.1f}, {100 * row.top1_high:.1f}]</span>' in page


def test_figures_and_tables_are_numbered_through(read):
    for name in ("Figure", "Table"):
        found = [int(n) for n in re.findall(rf"\b{name} (\d+)", read.text)]
        assert found == list(range(1, max(found) + 1))


def test_notices_stand_wherever_they_matter(page):
    sections = dict(re.findall(r'<section id="([a-z]+)".*?>(.*?)(?=<section|</main>)', page, re.DOTALL))
    for name in ("accuracy", "stages", "frequencies", "samples"):
        assert "Answers: SIMULATED crowd" in sections[name], name
    assert "Answers: SIMULATED crowd" not in sections["methods"]
    assert "Decisions: SIMULATED reviewer" in sections["duplicates"]
    assert "Naive matching: expected bias +0.8 points" in sections["frequencies"]
    head = page[: page.index("<main")]
    assert "Answers come from the SIMULATED crowd: no human looked at these images." in head
    for name, content in sections.items():
        for uri in re.findall(r'href="data:(?:text/csv|image/svg\+xml);charset=utf-8;base64,([^"]+)"', content):
            text = base64.b64decode(uri).decode()
            assert ("SIMULATED crowd" in text) == (name in ("accuracy", "stages", "frequencies", "samples"))


OPTIONAL = (
    "stages",
    "exclusions",
    "frequencies",
    "target",
    "samples",
    "duplicates",
    "planted",
    "accuracy",
    "scatters",
    "methods",
    "revisions",
    "software",
)
TRACES = {
    "stages": "Size of every stage",
    "exclusions": "Candidates left out, by reason",
    "frequencies": "% of 540 images",
    "target": "Target and achieved",
    "samples": 'class="gallery"',
    "duplicates": 'class="pair-images"',
    "planted": "Planted copies found",
    "accuracy": "Top-1 accuracy, percent",
    "scatters": 'id="scatter"',
    "methods": "Parameters: Images",
    "revisions": "<h3>Revisions</h3>",
    "software": "<h3>Software</h3>",
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_part_that_is_none_is_absent_and_the_others_stay(report, name):
    text = render_html(dataclasses.replace(report, **{name: None}))
    Page(text)
    assert {part for part, trace in TRACES.items() if trace in text} == set(TRACES) - {name}


@pytest.mark.parametrize("name", OPTIONAL)
def test_every_part_can_stand_alone(report, name):
    text = render_html(StudyReport(title="Alone", original=report.original, **{name: getattr(report, name)}))
    read = Page(text)
    assert [part for part, trace in TRACES.items() if trace in text] == [name]
    assert len([1 for tag, attrs, _ in read.nodes if tag == "section" and "id" in attrs]) == 1


def test_an_empty_report_is_a_page():
    read = Page(render_html(StudyReport(title="Nothing yet")))
    assert "Nothing yet" in read.text
    assert not read.all("section")
    assert not read.all("nav")


def test_looked_for_and_not_found_is_said():
    text = Page(render_html(StudyReport(title="t", exclusions=(), duplicates=()))).text
    assert "No candidate was left out." in text
    assert "No near-duplicate was found." in text


def test_accuracy_without_an_original_has_no_drops():
    text = render_html(StudyReport(title="t", accuracy=tuple(report_fixture.rows())))
    assert "Top-1 accuracy, percent" in text
    assert 'class="tiles"' not in text
    assert ">drop<" not in text


HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;{{7*7}}{% raw %}]]><!--</style></svg></title>\u202e\x00\x1b[31m"
KEPT = {"metric", "scale", "kind", "section", "sections", "media_type"}


def poisoned(value, *, marker):
    """The same records with hostile text in every string (names stay equal where they were equal)."""
    if isinstance(value, Enum) or (not isinstance(value, (str, tuple)) and not dataclasses.is_dataclass(value)):
        return value
    if isinstance(value, str):
        return value and f"{value}{marker}"
    if isinstance(value, tuple):
        return tuple(poisoned(entry, marker=marker) for entry in value)
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return type(value)(**{name: entry if name in KEPT else poisoned(entry, marker=marker) for name, entry in fields.items()})


def test_hostile_texts_everywhere_are_inert(report):
    report = dataclasses.replace(
        report, samples=tuple(dataclasses.replace(s, credit="by", link="https://example.org/") for s in report.samples)
    )
    text = render_html(poisoned(report, marker=HOSTILE))
    read = Page(text)
    clean = Page(render_html(report))
    assert len(read.all("script")) == 1
    assert len(read.all("style")) == 1
    assert len(read.all("img")) == len(clean.all("img"))
    free = ("wbr", "text")  # longer names are broken, and fewer of them fit beside points
    assert Counter(tag for tag, _, _ in read.nodes if tag not in free) == Counter(tag for tag, _, _ in clean.nodes if tag not in free)
    assert read.raw == clean.raw
    assert not [attrs for _, attrs, _ in read.nodes for name in attrs if name.startswith("on")]
    assert "<script>alert('x')</script>" in "".join(read.texts)
    assert "{{7*7}}" in "".join(read.texts)
    assert not set(text) & {"\x00", "\x1b", "\u202e"}
    for uri in re.findall(r'href="data:image/svg\+xml;charset=utf-8;base64,([^"]+)"', text):
        svg = base64.b64decode(uri).decode()
        assert "<script" not in svg
        assert "<img" not in svg


def test_file_names_that_are_not_unicode_do_not_stop_the_page():
    text = render_html(
        StudyReport(title="caf\udce9", notices=(Notice("n\ud800"),), accuracy=tuple(report_fixture.rows(models=("a\udcff", "b", "c"))))
    )
    text.encode("utf-8")


@pytest.mark.parametrize(
    "address",
    [
        *("javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "data:text/html,x", "vbscript:x", "//host/x"),
        *("file:///etc/passwd", "http:", "https://", "http:///x", "", "http://[bad"),
    ],
)
def test_only_web_addresses_become_links(report, address):
    assert web_link(address) is None
    sample = dataclasses.replace(report.samples[0], credit="a photographer", link=address)
    text = render_html(StudyReport(title="t", samples=(sample,)))
    assert "a photographer" in text
    assert not [a for a in Page(text).all("a") if not a["href"].startswith("#")]


def test_web_addresses_are_links_that_say_nothing_of_the_reader(report):
    sample = dataclasses.replace(report.samples[0], credit="A. Photographer, CC BY 4.0", link="https://example.org/photo?a=1&b=\"2'")
    read = Page(render_html(StudyReport(title="t", samples=(sample,))))
    (link,) = [a for a in read.all("a") if not a["href"].startswith("#")]
    assert link["href"] == "https://example.org/photo?a=1&b=\"2'"
    assert link["rel"] == "noopener noreferrer nofollow"
    assert "A. Photographer, CC BY 4.0" in read.text


def test_warnings_without_sections_stand_in_the_summary_only(report):
    text = render_html(dataclasses.replace(report, warnings=(Notice("beware of this", "short form"),)))
    assert "1 warning" in text
    assert text.count("beware of this") == 1
    assert "short form" not in text


def test_numbers_that_are_too_many_to_look_up_are_left_to_the_csv(report):
    scatter = report.scatters[0]
    points = tuple(dataclasses.replace(scatter.points[0], model=f"m{i}") for i in range(501))
    for n, folded in ((500, 1), (501, 0)):
        text = render_html(StudyReport(title="t", scatters=(dataclasses.replace(scatter, points=points[:n], fit=None, band=None),)))
        assert text.count("<details>") == folded
        assert 'download="scatter.csv"' in text


def test_values_that_are_no_numbers_do_not_stop_the_page(report):
    table = dataclasses.replace(report.extra_tables[0], rows=(("x", 1, float("nan"), float("inf")),), section=Section.METHODS)
    assert "nan" in Page(render_html(dataclasses.replace(report, extra_tables=(table,)))).text


def test_figures_of_further_tables_have_the_decimals_of_their_kind(report):
    kinds = ("text", "points", "points", "coefficient", "p", "percent")
    columns = tuple(Column(f"{kind} {i}", kind) for i, kind in enumerate(kinds))
    table = dataclasses.replace(report.extra_tables[0], columns=columns, rows=(("x", 3.3333, -4.0, 1.11, 0.0, 0.19333),))
    text = Page(render_html(dataclasses.replace(report, extra_tables=(table,)))).text
    assert re.search(r"x\s+3\.3\s+−4\.0\s+1\.110\s+< 0\.001\s+19\.3 %", text)


def test_top_5_that_is_always_right_is_a_sentence(report):
    """As in a benchmark of five classes."""
    rows = tuple(dataclasses.replace(row, top5=1.0, top5_low=0.98, top5_high=1.0, top5_rank=1) for row in report.accuracy)
    sentence = "Top-5 accuracy is 100 % of every model on every set."
    for accuracy, said in ((rows, True), ((*rows[1:], dataclasses.replace(rows[0], top5=0.99)), False)):
        text = Page(render_html(dataclasses.replace(report, accuracy=accuracy))).text
        assert (sentence in text, "Top-5 accuracy, percent" in text) == (said, not said)
