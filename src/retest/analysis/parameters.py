"""Settings that the accuracy tables, comparisons and fits of one analysis share."""

from __future__ import annotations

from dataclasses import dataclass, field

from retest.analysis.intervals import INTERVAL_METHODS
from retest.settings import check_choice, check_count, check_number, plain_numbers


@dataclass(frozen=True, slots=True)
@plain_numbers
class AnalysisParameters:
    """How accuracies, comparisons and fits are computed; the values are passed to the functions' arguments."""

    confidence: float = field(default=0.95, metadata={"help": "coverage of all intervals"})
    interval: str = field(default="clopper-pearson", metadata={"help": "interval of an accuracy: clopper-pearson or wilson"})
    bootstrap: int = field(default=100_000, metadata={"help": "draws of models for the intervals of a fit"})
    pair_bootstrap: int = field(default=1_000, metadata={"help": "draws of images for the interval of each pair of models"})
    seed: int = field(default=0, metadata={"help": "seed of all draws"})

    def __post_init__(self) -> None:
        check_number("confidence", self.confidence, high=1.0, ends=False, remedy="Give a fraction such as 0.95")
        check_choice("interval", self.interval, INTERVAL_METHODS)
        check_count("bootstrap", self.bootstrap, low=100)
        check_count("pair_bootstrap", self.pair_bootstrap, low=100)
        check_count("seed", self.seed)
