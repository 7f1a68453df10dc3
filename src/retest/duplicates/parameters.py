"""Settings of near-duplicate review and resolution, with the published values as defaults (paper, appendix on near-duplicates)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from retest.errors import ConfigError
from retest.settings import check_count, check_flag, check_number, plain_numbers

PUBLISHED_TARGETS: dict[str, float] = {"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4}
"""Review targets of the ImageNetV2 study: squared pixel distance, dssim, squared fc7 distance."""


@dataclass(frozen=True, kw_only=True)
@plain_numbers
class ReviewParameters:
    """What a reviewer is shown and when a candidate counts as sufficiently reviewed.

    Raises:
        ConfigError: a field has the wrong type or is out of range.
    """

    targets: dict[str, float] = field(
        default_factory=lambda: dict(PUBLISHED_TARGETS),
        metadata={"help": "distance per metric up to which every neighbour must have been reviewed; any metric name"},
    )
    num_neighbors: int = field(default=30, metadata={"help": "how many of the nearest neighbours count"})
    excluded_count_as_reviewed: bool = field(
        default=False,
        metadata={"help": "skip excluded neighbours in the review threshold too (the published rule only hides them from reviewers)"},
    )

    def __post_init__(self) -> None:
        if not isinstance(self.targets, Mapping):
            raise ConfigError(f"must be a table of metric = distance, not {self.targets!r}", item="targets", remedy="Correct the setting")
        for metric, target in self.targets.items():
            if not metric:
                raise ConfigError("a metric needs a name", item="targets", remedy="Use names such as l2, dssim or fc7")
            check_number("targets", target, what=f"the target of {metric}")
        object.__setattr__(self, "targets", {metric: float(target) for metric, target in self.targets.items()})
        check_count("num_neighbors", self.num_neighbors, low=1, remedy="The published study used 30")
        check_flag("excluded_count_as_reviewed", self.excluded_count_as_reviewed)


@dataclass(frozen=True, kw_only=True)
@plain_numbers
class ResolutionParameters:
    """Which class of a component keeps its image (method, section 6, step 3). All are selection frequencies, 0 to 1.

    Raises:
        ConfigError: a field is not a number from 0 to 1, or the fallback lies above the first threshold.
    """

    class_threshold: float = field(default=0.7, metadata={"help": "a class of this score or more may keep an image of the component"})
    fallback_class_threshold: float = field(default=0.6, metadata={"help": "tried when no class reaches class_threshold"})
    good_threshold: float = field(
        default=0.7, metadata={"help": "candidates of this selection frequency or more are good; the class with the fewest keeps the image"}
    )

    def __post_init__(self) -> None:
        for name in ("class_threshold", "fallback_class_threshold", "good_threshold"):
            check_number(name, getattr(self, name), high=1.0)
        if self.fallback_class_threshold > self.class_threshold:
            raise ConfigError(
                f"{self.fallback_class_threshold} lies above class_threshold {self.class_threshold}, so it would never be used",
                item="fallback_class_threshold",
                remedy="Set it to class_threshold or less",
            )
