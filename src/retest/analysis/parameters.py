"""Settings that the accuracy tables, comparisons and fits of one analysis share."""

from __future__ import annotations

from dataclasses import dataclass, field

from retest.analysis._checks import check_field
from retest.analysis.intervals import INTERVAL_METHODS


@dataclass(frozen=True, slots=True)
class AnalysisParameters:
    """How accuracies, comparisons and fits are computed; the values are passed to the functions' arguments."""

    confidence: float = field(default=0.95, metadata={"help": "coverage of all intervals"})
    interval: str = field(default="clopper-pearson", metadata={"help": "interval of an accuracy: clopper-pearson or wilson"})
    bootstrap: int = field(default=100_000, metadata={"help": "draws of models for the intervals of a fit"})
    pair_bootstrap: int = field(default=1_000, metadata={"help": "draws of images for the interval of each pair of models"})
    seed: int = field(default=0, metadata={"help": "seed of all draws"})

    def __post_init__(self) -> None:
        check_field(0 < self.confidence < 1, "confidence", self.confidence, "Give a fraction such as 0.95.")
        check_field(self.interval in INTERVAL_METHODS, "interval", self.interval, f"Choose one of: {', '.join(INTERVAL_METHODS)}.")
        check_field(self.bootstrap >= 100, "bootstrap", self.bootstrap, "Give at least 100.")
        check_field(self.pair_bootstrap >= 100, "pair_bootstrap", self.pair_bootstrap, "Give at least 100.")
        check_field(self.seed >= 0, "seed", self.seed, "Give 0 or more.")
