"""Settings of sampling, with the published values as defaults (method, sections 7 and 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retest.errors import ConfigError
from retest.records import LARGEST_INTEGER
from retest.settings import check_choice, check_count, check_flag, check_number, plain_numbers

PUBLISHED_REVIEW_TARGETS: dict[str, float] = {"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4}
"""How far neighbours must have been reviewed: squared pixel distance, dssim, squared fc7 distance."""


@dataclass(frozen=True, kw_only=True)
@plain_numbers
class SamplingParameters:
    """What makes a candidate usable and how many images a class gets. Each strategy reads the fields that it needs.

    Frequencies and thresholds are selection frequencies from 0 to 1.

    Raises:
        ConfigError: a field has the wrong type or is out of range.
    """

    per_class: int = field(default=10, metadata={"help": "images per class"})
    seed: int = field(default=0, metadata={"help": "seed of the one random generator of the call"})
    threshold: float = field(default=0.7, metadata={"help": "least selection frequency of the threshold strategy"})
    class_thresholds: dict[str, float] = field(
        default_factory=dict, metadata={"help": "threshold of single classes (wnid -> selection frequency) in place of `threshold`"}
    )
    min_num_annotations: int = field(default=10, metadata={"help": "least number of valid assignments of an image for its class"})
    min_num_annotations_val: int = field(
        default=10, metadata={"help": "least number of valid assignments of an original image that counts in the target histogram"}
    )
    histogram_edges: tuple[float, ...] = field(
        default=(0.2, 0.4, 0.6, 0.8), metadata={"help": "inner edges of the selection-frequency bins; a bin holds its lower edge"}
    )
    min_num_val_images_per_wnid: int = field(
        default=20, metadata={"help": "least number of labelled original images from which a class's histogram may be taken"}
    )
    allow_upward_sampling: bool = field(
        default=False, metadata={"help": "fill a short bin from the nearest higher bin that has images left"}
    )
    near_duplicate_review_targets: dict[str, float] = field(
        default_factory=lambda: dict(PUBLISHED_REVIEW_TARGETS),
        metadata={
            "help": "distance per metric that a candidate's review threshold must exceed; empty: no review is asked for",
            "derived_from": "review.targets",
        },
    )

    def __post_init__(self) -> None:
        check_count("per_class", self.per_class, low=1)
        check_count("seed", self.seed, low=-LARGEST_INTEGER, high=LARGEST_INTEGER, remedy="Choose any such number and keep it")
        check_number("threshold", self.threshold, high=1.0)
        for name in ("min_num_annotations", "min_num_annotations_val", "min_num_val_images_per_wnid"):
            check_count(name, getattr(self, name), low=0)
        object.__setattr__(self, "class_thresholds", _check_table("class_thresholds", self.class_thresholds, high=1.0))
        targets = _check_table("near_duplicate_review_targets", self.near_duplicate_review_targets)
        object.__setattr__(self, "near_duplicate_review_targets", targets)
        object.__setattr__(self, "histogram_edges", _check_edges("histogram_edges", self.histogram_edges))
        check_flag("allow_upward_sampling", self.allow_upward_sampling)


RULES = ("largest_remainder", "ceiling")
SHORTFALL_POLICIES = ("fail", "upward", "redistribute")
ORDERS = ("count", "name")
TIE_BREAKS = ("higher", "lower")
SHARED_STRATA = ("per_class", "one_class")


@dataclass(frozen=True, kw_only=True)
@plain_numbers
class StratifiedParameters:
    """How a class's images are shared out over strata, e.g. CIFAR-10.1's keywords (method, section 8).

    The strata of a class stand in an ascending ``order``: by reference count, then name, or by name alone. ``higher`` and
    ``upward`` mean later in that order.

    Raises:
        ConfigError: a field has the wrong type, an unknown choice, or is out of range.
    """

    rule: str = field(
        default="largest_remainder",
        metadata={
            "help": "largest_remainder: exactly per_class images in the reference's proportions; ceiling: ceil(count / divisor) each"
        },
    )
    top_strata: int | None = field(default=None, metadata={"help": "use only this many most frequent strata of a class; None: all"})
    divisor: float = field(default=30.0, metadata={"help": "rule ceiling: reference images per new image"})
    min_quota: float = field(default=0.5, metadata={"help": "rule ceiling: a stratum with count / divisor below this gets nothing"})
    order: str = field(default="count", metadata={"help": "ascending order of a class's strata: count (then name) or name"})
    tie_break: str = field(
        default="higher", metadata={"help": "which of two strata of equal remainder gets the place: higher or lower in the order"}
    )
    shortfall: str = field(
        default="fail",
        metadata={
            "help": "when a stratum has too few usable images: fail, upward (nearest higher stratum) or redistribute (in proportion)"
        },
    )
    shared_strata: str = field(
        default="per_class",
        metadata={
            "help": "a stratum name of several classes: per_class (one stratum in each) or one_class (one, where it is most frequent)"
        },
    )
    threshold: float | None = field(default=None, metadata={"help": "least selection frequency, if one is asked for"})

    def __post_init__(self) -> None:
        for name, choices in (
            ("rule", RULES),
            ("order", ORDERS),
            ("tie_break", TIE_BREAKS),
            ("shortfall", SHORTFALL_POLICIES),
            ("shared_strata", SHARED_STRATA),
        ):
            check_choice(name, getattr(self, name), choices)
        if self.top_strata is not None:
            check_count("top_strata", self.top_strata, low=1)
        check_number("divisor", self.divisor, ends=False, remedy="CIFAR-10.1 used 30")
        check_number("min_quota", self.min_quota)
        if self.threshold is not None:
            check_number("threshold", self.threshold, high=1.0)


def _check_table(name: str, table: Mapping[str, float], *, high: float = math.inf) -> dict[str, float]:
    """A copy of a table name -> number with float values; each from 0 to ``high``."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"must be a table of name = number, not {table!r}", item=name, remedy="Correct the setting")
    for key, value in table.items():
        check_number(name, value, high=high, what=f"the value of {key}")
    return {key: float(value) for key, value in table.items()}


def _check_edges(name: str, edges: Sequence[float]) -> tuple[float, ...]:
    """The edges as a tuple; refuse any that are not strictly ascending numbers between 0 and 1."""
    if not isinstance(edges, list | tuple):
        raise ConfigError(f"must be a list of numbers, not {edges!r}", item=name, remedy="For example 0.2, 0.4, 0.6, 0.8")
    for edge in edges:
        check_number(name, edge, high=1.0, what="an edge")
    ascending = all(low < high for low, high in zip((0.0, *edges), (*edges, 1.0), strict=True))
    if not ascending:
        raise ConfigError(f"must be strictly ascending between 0 and 1, not {edges!r}", item=name, remedy="For example 0.2, 0.4, 0.6, 0.8")
    return tuple(edges)


CIFAR101_V4 = StratifiedParameters(rule="ceiling", top_strata=25, divisor=30.0, min_quota=0.5, shared_strata="one_class")
"""CIFAR-10.1 v4: the 25 most frequent keywords of a class, ceil(n / 30) images each, none where n / 30 < 0.5; a keyword of
several classes is one stratum."""

CIFAR101_V6 = StratifiedParameters(rule="largest_remainder", top_strata=50)
"""CIFAR-10.1 v6: exactly ``per_class`` (200) images over the 50 most frequent keywords, starting from v4."""
