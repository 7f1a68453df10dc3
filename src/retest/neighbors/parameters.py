"""Settings of the neighbour search: the section ``[neighbors]`` of study.toml."""

from __future__ import annotations

from dataclasses import dataclass, field

from retest.errors import ConfigError
from retest.settings import check_count, check_flag, check_number, plain_numbers

MAX_WINDOW = 181
"""Largest SSIM window: sums of 255² over its pixels stay below 2³¹."""

PIXEL_METRICS = ("l2", "dssim", "phash")
"""Metrics computed on pixels; every other name is a featuriser's."""


@dataclass(frozen=True, slots=True)
@plain_numbers
class NeighborParameters:
    """What to search for and how to cut the work (method, section 6).

    The block sizes change how the work is cut and stored, never a result.
    """

    metrics: tuple[str, ...] = field(
        default=("l2", "dssim"),
        metadata={"help": "distances to search by: l2, dssim, phash, fc7, or a name in featurisers"},
    )
    featurisers: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "metric names and their featurisers: fc7, sscd@FILE, torchvision:NAME, timm:NAME (each with @WEIGHTS if need be), "
            "FILE.onnx or module:name"
        },
    )
    k: int = field(default=30, metadata={"help": "neighbours per candidate and metric"})
    ssim_window: int = field(default=35, metadata={"help": "side of the uniform SSIM window in pixels; odd"})
    similar_classes: int = field(
        default=5, metadata={"help": "for dssim: most similar classes whose training images are compared besides the class's own"}
    )
    mirrored: bool = field(default=False, metadata={"help": "also search for the mirror image of every candidate"})
    dssim_threshold: float | None = field(
        default=None, metadata={"help": "keep only dssim neighbours up to this distance; faster, and exact for those"}
    )
    dssim_prerank: int | None = field(
        default=None, metadata={"help": "compare exactly only this many pre-ranked references per candidate; faster, unproven"}
    )
    query_block: int = field(default=1024, metadata={"help": "candidates per work item"})
    reference_block: int = field(default=16384, metadata={"help": "reference images per work item"})

    def __post_init__(self) -> None:
        self._check_metrics()
        if not all(name and isinstance(text, str) and text for name, text in self.featurisers.items()):
            raise ConfigError(f"{self.featurisers!r} names no featurisers", item="featurisers", remedy='Write { NAME = "FEATURISER" }.')
        clash = sorted(set(self.featurisers) & set(PIXEL_METRICS))
        if clash:
            raise ConfigError(f"{clash[0]!r} is the name of a pixel metric", item="featurisers", remedy="Choose another name.")
        for name, least in (("k", 1), ("ssim_window", 3), ("similar_classes", 0), ("query_block", 1), ("reference_block", 1)):
            check_count(name, getattr(self, name), low=least, remedy=f"Use at least {least}.")
        check_flag("mirrored", self.mirrored)
        if self.ssim_window % 2 == 0 or self.ssim_window > MAX_WINDOW:
            raise ConfigError(
                f"the window {self.ssim_window} is not an odd number up to {MAX_WINDOW}", item="ssim_window", remedy="Published: 35."
            )
        if self.dssim_threshold is not None:
            check_number("dssim_threshold", self.dssim_threshold, high=1.0, remedy="Correct it, or leave it out.")
        if self.dssim_prerank is not None:
            check_count("dssim_prerank", self.dssim_prerank, low=self.k, remedy="Use at least k.")
        if self.dssim_threshold is not None and self.dssim_prerank is not None:
            raise ConfigError("it excludes dssim_threshold", item="dssim_prerank", remedy="Set only one of the two.")

    def _check_metrics(self) -> None:
        if not self.metrics or not all(isinstance(name, str) and name for name in self.metrics):
            raise ConfigError(f"{self.metrics!r} names no metric", item="metrics", remedy="Name at least one, such as l2.")
        if len(set(self.metrics)) < len(self.metrics):
            raise ConfigError(f"{self.metrics!r} names a metric twice", item="metrics", remedy="Name each metric once.")
