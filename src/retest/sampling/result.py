"""What a sampling strategy returns: the images in order, and for every class what it got, lacks, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retest.records import Revision


@dataclass(frozen=True, slots=True)
class StratumReport:
    """One bin or stratum of a class: places, images that fill them (of which ``upward`` from higher strata), usable images."""

    name: str
    target: int
    selected: int
    upward: int
    usable: int


@dataclass(frozen=True, slots=True)
class ClassReport:
    """What one class got.

    ``target`` images were asked for and ``selected`` found: ``carried`` from the previous revision and ``drawn``; ``upward``
    of them stand in for images of lower bins. Of ``candidates`` in the class ``usable`` could be used; ``unusable`` counts
    the others by their first reason (``outside_strata``: usable, but of no stratum that has places). ``problems`` are
    further sentences for which the result is not valid.
    """

    wnid: str
    target: int
    selected: int
    carried: int
    drawn: int
    upward: int
    candidates: int
    usable: int
    unusable: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    strata: tuple[StratumReport, ...] = ()

    @property
    def missing(self) -> int:
        """How many images the class is short of its target."""
        return max(0, self.target - self.selected)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing and no problem was found."""
        return self.missing == 0 and not self.problems

    def __str__(self) -> str:
        why = ", ".join(f"{count} {reason}" for reason, count in self.unusable.items()) or "none unusable"
        lacks = f"{self.missing} of {self.target} missing; " if self.missing else ""
        short = "".join(f"; {s.name}: {s.selected} of {s.target}" for s in self.strata if s.selected < s.target)
        problems = "".join(f"; {problem}" for problem in self.problems)
        return f"{self.wnid}: {lacks}{self.usable} of {self.candidates} candidates usable ({why}){short}{problems}"


@dataclass(frozen=True, slots=True)
class DroppedImage:
    """An image of the previous revision that is not in the new one.

    ``reason`` is one of :class:`~retest.sampling.Reason`, ``unknown`` (no such candidate of the class) or ``not_selected``
    (usable, but others were taken).
    """

    id: str
    wnid: str
    reason: str


@dataclass(frozen=True, slots=True)
class SampleResult:
    """A sampled test set: a pure function of the inputs and the seed.

    ``images`` are pairs (image id, wnid) in order; ``parameters`` what the function used, under the published names and
    as plain JSON values; ``classes`` one report per class in sorted order.
    """

    sampling_function: str
    images: tuple[tuple[str, str], ...]
    is_valid: bool
    seed: int
    parameters: Mapping[str, Any]
    classes: tuple[ClassReport, ...]
    starting_from: str | None = None
    dropped: tuple[DroppedImage, ...] = ()

    @property
    def shortfalls(self) -> tuple[ClassReport, ...]:
        """The classes for which the result is not valid."""
        return tuple(report for report in self.classes if not report.is_complete)

    @property
    def unusable(self) -> dict[str, int]:
        """Unusable candidates of all classes, counted by their first reason."""
        total: Counter[str] = Counter()
        for report in self.classes:
            total.update(report.unusable)
        return dict(total)

    def to_revision(self, name: str, *, user: str = "", time: str = "") -> Revision:
        """The immutable record of this test set. ``time`` and ``user`` are stamped by the caller (ISO-8601, UTC)."""
        return Revision(
            name=name,
            sampling_function=self.sampling_function,
            images=self.images,
            is_valid=self.is_valid,
            seed=self.seed,
            parameters=self.parameters,
            starting_from=self.starting_from,
            user=user,
            time=time,
        )
