"""Everything that a report shows, as plain frozen records: info first, plot second.

A stage fills a :class:`StudyReport` from the store and from :mod:`retest.analysis`; the page, the tables and the figures
are drawn from nothing else. Every part that a study does not have is None and simply absent from the page; an empty tuple
says that the part was looked for and there was nothing. Texts are plain text: whatever looks like markup is shown, not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from retest.analysis import AccuracyRow
from retest.report._checks import require
from retest.report.figure_records import FrequencyHistogram, Scatter, TargetComparison
from retest.report.image_records import DuplicateExample, PlantedCheck, SampleImage


class Section(StrEnum):
    """A part of the report that a notice can concern."""

    ACCURACY = "accuracy"
    STAGES = "stages"
    FREQUENCIES = "frequencies"
    SAMPLES = "samples"
    DUPLICATES = "duplicates"
    METHODS = "methods"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a list of facts."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that every reader has to know, for instance that the answers come from a simulated crowd.

    ``text`` is shown at the top of the page; ``label`` (a few words; by default the text) beside everything in the
    ``sections`` concerned, in their figures and in the numbers behind these. No sections: all of them.
    """

    text: str
    label: str = ""
    sections: tuple[Section, ...] = ()

    def concerns(self, section: Section) -> bool:
        """Whether results in this section depend on what the notice says."""
        return not self.sections or section in self.sections

    @property
    def short(self) -> str:
        """The label, or the text where there is none."""
        return self.label or self.text


@dataclass(frozen=True, slots=True)
class StageSize:
    """How much a stage of the study holds. Bars compare stages of equal ``unit`` only."""

    name: str
    count: int
    explanation: str = ""
    unit: str = "images"

    def __post_init__(self) -> None:
        require(self.count >= 0, f"stage {self.name!r}", f"count is {self.count}", "Give a count of at least 0.")


@dataclass(frozen=True, slots=True)
class ExclusionCount:
    """How many candidates were left out for one reason."""

    reason: str
    count: int
    explanation: str = ""

    def __post_init__(self) -> None:
        require(self.count >= 0, f"exclusion reason {self.reason!r}", f"count is {self.count}", "Give a count of at least 0.")


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """How a set of images is called on the page, and what it is. ``name`` is the one in rows, histograms and samples."""

    name: str
    label: str = ""
    description: str = ""
    n_images: int | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting that was used, and what it means."""

    name: str
    value: str
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class MethodPart:
    """What was done in one step, in words, with the parameters used."""

    title: str
    text: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionFacts:
    """How a test set of the study was made."""

    name: str
    sampling_function: str
    n_images: int
    n_classes: int
    is_valid: bool
    seed: int
    parameters: tuple[Parameter, ...] = ()
    starting_from: str | None = None
    user: str = ""
    time: str = ""
    note: str = ""


ColumnKind = Literal["text", "count", "number", "percent", "points", "coefficient", "p"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an extra table.

    ``kind``: text, a whole number, a number of unknown size, a fraction shown in percent, percentage points, a coefficient (three
    decimals) or a p-value.
    """

    name: str
    kind: ColumnKind = "text"
    explanation: str = ""

    def __post_init__(self) -> None:
        kinds = get_args(ColumnKind)
        require(self.kind in kinds, f"column {self.name!r}", f"kind is {self.kind!r}", f"Choose among {', '.join(kinds)}.")


@dataclass(frozen=True, slots=True)
class ExtraTable:
    """Any further table, shown at the end of a section; cells are text, numbers or None (not applicable)."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    section: Section = Section.ACCURACY
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            require(len(row) == len(self.columns), f"table {self.title!r}", f"a row has {len(row)} cells", f"Give {len(self.columns)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """All that the report of a study shows. Parts that are None are absent.

    ``original`` names the data set that is replicated, as in the rows. ``datasets`` gives the sets their order, labels and
    descriptions; sets that it does not list follow under their own name. ``confidence`` is the coverage of the intervals
    in ``accuracy``.
    """

    title: str
    subtitle: str = ""
    benchmark: str = ""
    original: str | None = None
    datasets: tuple[DatasetFacts, ...] = ()
    facts: tuple[Fact, ...] = ()
    notices: tuple[Notice, ...] = ()
    warnings: tuple[Notice, ...] = ()
    stages: tuple[StageSize, ...] | None = None
    exclusions: tuple[ExclusionCount, ...] | None = None
    frequencies: tuple[FrequencyHistogram, ...] | None = None
    target: TargetComparison | None = None
    samples: tuple[SampleImage, ...] | None = None
    duplicates: tuple[DuplicateExample, ...] | None = None
    planted: PlantedCheck | None = None
    accuracy: tuple[AccuracyRow, ...] | None = None
    confidence: float = 0.95
    scatters: tuple[Scatter, ...] | None = None
    extra_tables: tuple[ExtraTable, ...] = ()
    methods: tuple[MethodPart, ...] | None = None
    revisions: tuple[RevisionFacts, ...] | None = None
    software: tuple[Fact, ...] | None = None

    def __post_init__(self) -> None:
        require(bool(self.title.strip()), "title", "is empty", "Name the study.")
        names = [facts.name for facts in self.datasets]
        require(len(set(names)) == len(names), "datasets", "a name comes twice", "Describe each set once.")
        if self.accuracy is not None:
            pairs = [(row.dataset, row.model) for row in self.accuracy]
            require(len(set(pairs)) == len(pairs), "accuracy", "a pair of data set and model comes twice", "Give each once.")
        bins = {histogram.edges for histogram in self.frequencies or ()}
        require(len(bins) <= 1, "frequencies", "histograms have different bins", "Count all sets in the same bins.")

    @property
    def ordered_scatters(self) -> tuple[Scatter, ...]:
        """The scatters in the order of their new sets."""
        place = {facts.name: i for i, facts in enumerate(self.datasets)}
        return tuple(sorted(self.scatters or (), key=lambda scatter: place.get(scatter.new, len(place))))
