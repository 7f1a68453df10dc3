"""Records with pictures: sample images, near-duplicates on either side of the decision, and what became of planted copies."""

from __future__ import annotations

from dataclasses import dataclass, field

from retest.report._checks import require
from retest.report.imagedata import data_uri, sniff_image


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
