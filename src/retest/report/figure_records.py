"""Records behind figures: histograms of selection frequencies, and accuracies of models on two test sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from retest.analysis import LinearFit, Metric, Scale
from retest.report._checks import finite, require, require_bins, require_edges


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


def sharing_axes(scatters: Iterable[Scatter]) -> list[tuple[Scatter, ...]]:
    """Scatters that can share axes: of one original, metric and scale; in order of appearance."""
    groups: dict[tuple[str, str, str], list[Scatter]] = {}
    for scatter in scatters:
        groups.setdefault((scatter.original, scatter.metric, scatter.scale), []).append(scatter)
    return [tuple(group) for group in groups.values()]
