"""How each set of images is called and marked, the same in every figure and table of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from retest.report.records import StudyReport
from retest.report.theme import SERIES


@dataclass(frozen=True, slots=True)
class SetStyles:
    """Labels and series (colour and marker) of sets by name; a set that is not listed is called by its name."""

    labels: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, int] = field(default_factory=dict)

    def label(self, name: str) -> str:
        """What to call a set."""
        return self.labels.get(name) or name

    def marker(self, name: str, default: int = 1) -> int:
        """Index of a set's series."""
        return self.series.get(name, default)


def set_styles(report: StudyReport) -> SetStyles:
    """Styles of all sets of a report: the original is series 0, test sets count up from 1, sets without accuracies down."""
    measured = [row.dataset for row in report.accuracy or ()] + [scatter.new for scatter in report.scatters or ()]
    shown = [histogram.dataset for histogram in report.frequencies or ()] + ([report.target.dataset] if report.target else [])
    order = [facts.name for facts in report.datasets]
    names = [name for name in dict.fromkeys([*order, *measured, *shown]) if name != report.original]
    tested = [name for name in names if name in measured] if measured else names
    others = [name for name in names if name not in tested]
    series = {name: 1 + i % (SERIES - 1) for i, name in enumerate(tested)}
    series |= {name: SERIES - 1 - i % (SERIES - 1) for i, name in enumerate(others)}
    if report.original is not None:
        series[report.original] = 0
    return SetStyles({facts.name: facts.label for facts in report.datasets if facts.label}, series)
