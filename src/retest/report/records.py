"""Everything that a report shows, as plain frozen records: info first, plot second.

A stage fills a :class:`StudyReport` from the store and from :mod:`retest.analysis`; the page, the tables and the figures
are drawn from nothing else. Every part that a study does not have is None and simply absent from the page; an empty tuple
says that the part was looked for and there was nothing. Texts are plain text: whatever looks like markup is shown, not run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from retest.analysis import AccuracyRow, LinearFit, Metric, Scale
from retest.report._checks import finite, require, require_bins, require_edges
from retest.report.imagedata import data_uri, sniff_image


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
class FrequencyHistogram:
    """Histogram of the selection frequencies of one set of images: ``counts[i]`` images in ``edges[i] <= f < edges[i+1]``.

    The last bin holds its upper edge too (method, section 7).
    """

    dataset: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        require_edges(self.edges, f"histogram of {self.dataset!r}")
        require_bins(self.counts, self.edges, f"histogram of {self.dataset!r}", "counts")

    @property
    def total(self) -> int:
        """Number of images in all bins."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class TargetComparison:
    """What a frequency-matched set should hold per bin (summed over classes) and what it holds (method, section 7, b)."""

    dataset: str
    reference: str
    edges: tuple[float, ...]
    target: tuple[int, ...]
    achieved: tuple[int, ...]

    def __post_init__(self) -> None:
        item = f"target of {self.dataset!r}"
        require_edges(self.edges, item)
        require_bins(self.target, self.edges, item, "target")
        require_bins(self.achieved, self.edges, item, "achieved")


@dataclass(frozen=True, slots=True)
class ReportImage:
    """An image to embed: ``data`` are the bytes of a JPEG or PNG file, ``alt`` says what it shows (by default the id).

    Raises:
        ImageError: the bytes are not those of a JPEG or PNG image, whatever the file was called.
    """

    id: str
    data: bytes = field(repr=False)
    alt: str = ""
    media_type: str = field(init=False)
    width: int = field(init=False)
    height: int = field(init=False)

    def __post_init__(self) -> None:
        kind = sniff_image(self.data, item=self.id)
        object.__setattr__(self, "media_type", kind.media_type)
        object.__setattr__(self, "width", kind.width)
        object.__setattr__(self, "height", kind.height)

    @property
    def uri(self) -> str:
        """The image as a ``data:`` address."""
        return data_uri(self.data, self.media_type)


@dataclass(frozen=True, slots=True)
class SampleImage:
    """One example image of a class in a set. ``credit`` and ``link`` (http or https) name whom the photo is from."""

    dataset: str
    class_name: str
    image: ReportImage
    selection_frequency: float | None = None
    credit: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class MetricDistance:
    """Distance of a pair in one metric; ``threshold`` is the target up to which neighbours were reviewed."""

    metric: str
    distance: float
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class DuplicateExample:
    """A candidate beside a neighbour, with what was decided about the pair and why."""

    candidate: ReportImage
    neighbor: ReportImage
    distances: tuple[MetricDistance, ...]
    near_duplicate: bool
    decision: str = ""
    reason: str = ""

    @property
    def verdict(self) -> str:
        """The decision in words."""
        return self.decision or ("near-duplicate" if self.near_duplicate else "not a near-duplicate")


@dataclass(frozen=True, slots=True)
class PlantedKind:
    """Copies of one kind that were planted into the candidate pool, and how many of them were found."""

    kind: str
    planted: int
    found: int
    explanation: str = ""

    def __post_init__(self) -> None:
        require(
            0 <= self.found <= self.planted,
            f"planted {self.kind!r}",
            f"{self.found} found of {self.planted}",
            "Give 0 <= found <= planted.",
        )

    @property
    def recall(self) -> float | None:
        """Share of the planted copies that was found; None when none was planted."""
        return self.found / self.planted if self.planted else None


@dataclass(frozen=True, slots=True)
class PlantedCheck:
    """Does the near-duplicate search find what was planted? ``marked`` candidates were marked, ``correct`` of them rightly."""

    kinds: tuple[PlantedKind, ...]
    marked: int
    correct: int
    explanation: str = ""

    def __post_init__(self) -> None:
        require(
            0 <= self.correct <= self.marked,
            "planted copies",
            f"{self.correct} correct of {self.marked} marked",
            "Give 0 <= correct <= marked.",
        )

    @property
    def planted(self) -> int:
        """Number of planted copies of all kinds."""
        return sum(kind.planted for kind in self.kinds)

    @property
    def found(self) -> int:
        """Number of planted copies of all kinds that were found."""
        return sum(kind.found for kind in self.kinds)

    @property
    def recall(self) -> float | None:
        """Share of all planted copies that was found; None when none was planted."""
        return self.found / self.planted if self.planted else None

    @property
    def precision(self) -> float | None:
        """Share of the marked candidates that is rightly marked; None when none was marked."""
        return self.correct / self.marked if self.marked else None


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """How a set of images is called on the page, and what it is. ``name`` is the one in rows, histograms and samples."""

    name: str
    label: str = ""
    description: str = ""
    n_images: int | None = None


@dataclass(frozen=True, slots=True)
class ScatterPoint:
    """Accuracy of one model on the original (x) and on a new set (y), with interval ends where known; fractions."""

    model: str
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None

    def __post_init__(self) -> None:
        for low, value, high in ((self.x_low, self.x, self.x_high), (self.y_low, self.y, self.y_high)):
            ok = 0 <= (value if low is None else low) <= value <= (value if high is None else high) <= 1
            require(ok, f"model {self.model!r}", f"accuracy {value} with interval [{low}, {high}]", "Give fractions, low <= value <= high.")

    @property
    def drop(self) -> float:
        """Original minus new accuracy, a fraction."""
        return self.x - self.y


@dataclass(frozen=True, slots=True)
class Band:
    """A band about a fit: between ``low`` and ``high`` at each ``x``, all fractions (not percent); ``meaning`` names it."""

    x: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    meaning: str

    def __post_init__(self) -> None:
        n = len(self.x)
        require(
            n >= 2 and len(self.low) == n == len(self.high),
            "band",
            "needs low and high at two or more x",
            "Give three tuples of equal length.",
        )
        require(finite((*self.x, *self.low, *self.high)), "band", "holds a value that is not finite", "Leave such points out.")


@dataclass(frozen=True, slots=True)
class Scatter:
    """Accuracy of models on a new set against the original, with the fit over them where there is one.

    ``scale`` is that of both axes; a ``fit`` must be of the same scale (linear: percent) and is then a straight line.
    """

    original: str
    new: str
    points: tuple[ScatterPoint, ...]
    metric: Metric = "top1"
    scale: Scale = "linear"
    fit: LinearFit | None = None
    band: Band | None = None
    note: str = ""

    def __post_init__(self) -> None:
        item = f"scatter {self.original} -> {self.new}"
        require(bool(self.points), item, "has no point", "Leave the scatter out where no model has both sets.")
        if self.fit is not None:
            given = (self.fit.scale, self.fit.metric, self.fit.original, self.fit.new)
            wanted = (self.scale, self.metric, self.original, self.new)
            require(
                given == wanted, item, f"the fit is of {given}, not of {wanted}", "Give the fit of these two sets on the scale of the axes."
            )


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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an extra table. ``kind``: text, a whole number, a number, or a fraction shown in percent."""

    name: str
    kind: Literal["text", "count", "number", "percent"] = "text"
    explanation: str = ""


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
