"""What the page shows, in which order: from a :class:`StudyReport` to plain records that the template only writes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from retest.report.accuracy_chart import accuracy_chart
from retest.report.chart import Chart
from retest.report.figure_records import sharing_axes
from retest.report.frequency_chart import histogram_chart, target_chart
from retest.report.image_records import DuplicateExample, SampleImage
from retest.report.page_tables import (
    PageTable,
    accuracy_page_table,
    exclusion_page_table,
    extra_page_table,
    fit_page_table,
    planted_page_table,
    stage_page_table,
)
from retest.report.pivot import AccuracyTable, accuracy_table
from retest.report.records import DatasetFacts, Fact, MethodPart, Notice, RevisionFacts, Section, StudyReport
from retest.report.scatter_chart import scatter_chart
from retest.report.styles import SetStyles, set_styles
from retest.report.summary import SetChange, set_changes, summary_sentences
from retest.report.tables import accuracy_numbers
from retest.report.wording import count, plural

_MOST_MODELS_IN_DOT_PLOT = 30
_TITLES: Mapping[Section, str] = {
    Section.ACCURACY: "Accuracy",
    Section.STAGES: "From candidates to test sets",
    Section.FREQUENCIES: "Selection frequencies",
    Section.SAMPLES: "Sample images",
    Section.DUPLICATES: "Near-duplicates",
    Section.METHODS: "Methods",
}


@dataclass(frozen=True, slots=True)
class SampleGrid:
    """Sample images by class (rows) and set (columns)."""

    datasets: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[SampleImage, ...], ...]], ...]


@dataclass(frozen=True, slots=True)
class MethodsBlock:
    """Texts with parameters, how each test set was made, software."""

    parts: tuple[MethodPart, ...]
    revisions: tuple[RevisionFacts, ...]
    software: tuple[Fact, ...]


Kind = Literal["chart", "table", "samples", "duplicates", "methods", "text"]
Content = Chart | PageTable | SampleGrid | tuple[DuplicateExample, ...] | MethodsBlock | str


@dataclass(frozen=True, slots=True)
class Block:
    """One thing in a section; ``number`` is "Figure 1" or "Table 2"."""

    kind: Kind
    content: Content
    number: str = ""


@dataclass(frozen=True, slots=True)
class PageSection:
    """A section of the page with the notices that its results depend on."""

    id: str
    title: str
    lead: str
    notices: tuple[Notice, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template writes out."""

    report: StudyReport
    styles: SetStyles
    tiles: tuple[SetChange, ...]
    sentences: tuple[str, ...]
    sections: tuple[PageSection, ...]

    @property
    def described(self) -> tuple[DatasetFacts, ...]:
        """The sets of which there is something to say."""
        return tuple(facts for facts in self.report.datasets if facts.description or facts.n_images is not None)


def build_page(report: StudyReport) -> Page:
    """Arrange a report: sections in reading order, figures and tables numbered through."""
    build = _Builder(report)
    drafts = [
        (Section.ACCURACY, build.accuracy_lead(), build.accuracy()),
        (Section.STAGES, "", build.stages()),
        (Section.FREQUENCIES, "", build.frequencies()),
        (Section.SAMPLES, build.samples_lead(), build.samples()),
        (Section.DUPLICATES, build.duplicates_lead(), build.duplicates()),
        (Section.METHODS, "", build.methods()),
    ]
    numbers = _Numbering()
    sections = []
    for section, lead, contents in drafts:
        contents = [*contents, *build.extras(section)]
        if contents:
            notices = tuple(notice for notice in report.notices if notice.concerns(section))
            notices += tuple(warning for warning in report.warnings if section in warning.sections)
            blocks = tuple(_block(content, numbers, notices) for content in contents)
            sections.append(PageSection(section.value, _TITLES[section], lead, notices, blocks))
    tiles = set_changes(build.table) if build.table is not None else ()
    return Page(report, build.styles, tiles, summary_sentences(report), tuple(sections))


class _Numbering:
    def __init__(self) -> None:
        self._counts = {name: itertools.count(1) for name in ("Figure", "Table")}

    def next(self, name: str) -> str:
        return f"{name} {next(self._counts[name])}"


def _block(content: Content, numbers: _Numbering, notices: tuple[Notice, ...]) -> Block:
    notes = tuple(notice.short for notice in notices)
    if isinstance(content, Chart):
        return Block("chart", replace(content, numbers=replace(content.numbers, notes=notes)), numbers.next("Figure"))
    if isinstance(content, PageTable):
        kept = None if content.numbers is None else replace(content.numbers, notes=notes)
        return Block("table", replace(content, numbers=kept), numbers.next("Table"))
    if isinstance(content, SampleGrid):
        return Block("samples", content)
    if isinstance(content, MethodsBlock):
        return Block("methods", content)
    return Block("text", content) if isinstance(content, str) else Block("duplicates", content)


class _Builder:
    """The contents of each section from the records; a section without contents is absent."""

    def __init__(self, report: StudyReport) -> None:
        self.report = report
        self.order = [facts.name for facts in report.datasets]
        self.table: AccuracyTable | None = None
        if report.accuracy:
            self.table = accuracy_table(report.accuracy, original=report.original, datasets=self.order, confidence=report.confidence)
        self.styles = set_styles(report)

    def accuracy_lead(self) -> str:
        if self.table is None or self.table.original is None or not self.table.new_sets:
            return ""
        return (
            "If the new test sets measured what the original does, every model would lie on the dashed line, up to chance. "
            "The distance below it is what the model loses on new images."
        )

    def accuracy(self) -> list[Content]:
        contents: list[Content] = []
        for i, group in enumerate(sharing_axes(self.report.ordered_scatters)):
            slug = "scatter" if i == 0 else f"scatter-{group[0].metric}-{group[0].scale}"
            contents.append(scatter_chart(group, styles=self.styles, slug=slug, confidence=self.report.confidence))
        if self.table is not None:
            contents += self._accuracy_tables(self.table)
        fits = [scatter.fit for scatter in self.report.ordered_scatters if scatter.fit is not None]
        if fits:
            contents.append(fit_page_table(fits, styles=self.styles))
        return contents

    def _accuracy_tables(self, top1: AccuracyTable) -> Iterator[Content]:
        report = self.report
        rows = report.accuracy or ()
        numbers = accuracy_numbers(rows, original=report.original)
        yield accuracy_page_table(top1, styles=self.styles, numbers=numbers, confidence=report.confidence)
        if len(top1.lines) <= _MOST_MODELS_IN_DOT_PLOT:
            yield accuracy_chart(top1, styles=self.styles)
        with_top5 = [row for row in rows if row.top5 is not None]
        if with_top5 and all(row.top5 == 1.0 for row in with_top5):  # as in a benchmark of five classes
            yield "Top-5 accuracy is 100 % of every model on every set."
        elif with_top5:
            base = report.original if any(row.dataset == report.original for row in with_top5) else None
            top5 = accuracy_table(with_top5, original=base, metric="top5", datasets=self.order, confidence=report.confidence)
            yield accuracy_page_table(top5, styles=self.styles, numbers=numbers, confidence=report.confidence)

    def stages(self) -> list[Content]:
        contents: list[Content] = []
        if self.report.stages:
            contents.append(stage_page_table(self.report.stages))
        if self.report.exclusions:
            contents.append(exclusion_page_table(self.report.exclusions))
        elif self.report.exclusions is not None:
            contents.append("No candidate was left out.")
        return contents

    def frequencies(self) -> list[Content]:
        contents: list[Content] = []
        if self.report.frequencies:
            contents.append(histogram_chart(self.report.frequencies, styles=self.styles, original=self.report.original))
        if self.report.target is not None:
            contents.append(target_chart(self.report.target, styles=self.styles))
        return contents

    def samples_lead(self) -> str:
        if any(sample.selection_frequency is not None for sample in self.report.samples or ()):
            return "The figure under an image is its selection frequency."
        return ""

    def samples(self) -> list[Content]:
        samples = self.report.samples
        if not samples:
            return []
        present = dict.fromkeys(sample.dataset for sample in samples)
        datasets = tuple(dict.fromkeys([*(name for name in self.order if name in present), *present]))
        classes = tuple(dict.fromkeys(sample.class_name for sample in samples))
        cells = {(c, d): tuple(s for s in samples if (s.class_name, s.dataset) == (c, d)) for c in classes for d in datasets}
        return [SampleGrid(datasets, tuple((c, tuple(cells[c, d] for d in datasets)) for c in classes))]

    def duplicates_lead(self) -> str:
        examples = self.report.duplicates
        if not examples:
            return ""
        marked = sum(example.near_duplicate for example in examples)
        return f"{plural(len(examples), 'pair')} of a candidate and a neighbour; {count(marked)} judged near-duplicates."

    def duplicates(self) -> list[Content]:
        contents: list[Content] = []
        if self.report.planted is not None:
            contents.append(planted_page_table(self.report.planted))
        if self.report.duplicates:
            contents.append(self.report.duplicates)
        elif self.report.duplicates is not None:
            contents.append("No near-duplicate was found.")
        return contents

    def methods(self) -> list[Content]:
        report = self.report
        block = MethodsBlock(report.methods or (), report.revisions or (), report.software or ())
        return [block] if block.parts or block.revisions or block.software else []

    def extras(self, section: Section) -> list[Content]:
        chosen = [extra for extra in self.report.extra_tables if extra.section is section]
        return [extra_page_table(extra, f"{section.value}-{i + 1}") for i, extra in enumerate(chosen)]
