"""Accuracy of every model on every set with intervals: one row per model, one marker per set."""

from __future__ import annotations

from markupsafe import Markup

from retest.report import svg
from retest.report.chart import Chart, LegendEntry, Panel, mark, marker
from retest.report.numbers import Numbers
from retest.report.pivot import AccuracyCell, AccuracyLine, AccuracyTable
from retest.report.styles import SetStyles
from retest.report.svg import Axis
from retest.report.wording import METRIC_NAMES, interval, percent, plural, signed

_WIDTH, _RIGHT, _TOP, _BOTTOM = 400.0, 12.0, 8.0, 42.0
_NAMES_AT_MOST = 130.0
_LANE, _ROW_GAP = 8.0, 9.0


def accuracy_chart(table: AccuracyTable, *, styles: SetStyles) -> Chart:
    """Dots with intervals, models from best to worst.

    Args:
        table: at least one model and set.
        styles: labels and markers of the sets.
    """
    lane = _LANE * len(table.datasets) + _ROW_GAP
    left = min(_NAMES_AT_MOST, max(svg.text_width(line.model, 11.5) for line in table.lines)) + 10
    cells = [cell for line in table.lines for cell in line.cells if cell is not None]
    low, high = min(cell.low for cell in cells), max(cell.high for cell in cells)
    pad = max(0.01, 0.03 * (high - low))
    x = Axis(max(-0.002, low - pad), min(1.002, high + pad), left, _WIDTH - _RIGHT, "linear")
    bottom = _TOP + lane * len(table.lines)
    parts = [_grid(x, bottom)]
    for i, line in enumerate(table.lines):
        parts.append(_row(table, line, x, _TOP + i * lane, lane, styles, first=i == 0))
    metric = METRIC_NAMES[table.metric]
    parts.append(svg.element("text", f"{metric} accuracy, %", x=_WIDTH - _RIGHT, y=bottom + 35, text_anchor="end"))
    described = (
        f"Dot plot of the {metric} accuracy of {plural(len(table.lines), 'model')} on {plural(len(table.datasets), 'set')}, best first."
    )
    panel = Panel("Accuracy by model", described, _WIDTH, bottom + _BOTTOM, svg.join(parts))
    compared = () if table.original is None else ("drop", "drop_low", "drop_high", "rank_change")
    rows = tuple(
        (table.metric, dataset, line.model, cell.n, cell.value, cell.low, cell.high, cell.rank, *(getattr(cell, name) for name in compared))
        for line in table.lines
        for dataset, cell in zip(table.datasets, line.cells, strict=True)
        if cell is not None
    )
    header = ("metric", "dataset", "model", "n", "accuracy", "low", "high", "rank", *compared)
    legend = tuple(LegendEntry(styles.marker(name, 0), styles.label(name)) for name in table.datasets)
    caption = "Markers: accuracy of a model on a set. Lines: confidence intervals."
    return Chart("accuracy-by-model", f"{metric.capitalize()} accuracy by model", caption, (panel,), Numbers(header, rows), 1, legend)


def _grid(x: Axis, bottom: float) -> Markup:
    parts = []
    ticks = x.ticks(48.0)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 0.1
    for value in ticks:
        parts.append(svg.polyline([(x(value), _TOP), (x(value), bottom)], class_="grid"))
        parts.append(svg.element("text", svg.tick_label(100 * value, 100 * step), x=x(value), y=bottom + 17, text_anchor="middle"))
    return svg.join(parts)


def _row(
    table: AccuracyTable,
    line: AccuracyLine,
    x: Axis,
    top: float,
    height: float,
    styles: SetStyles,
    *,
    first: bool,
) -> Markup:
    parts = [
        svg.element("rect", x=0.0, y=top, width=_WIDTH, height=height, class_="hit"),
        svg.element(
            "text", svg.shortened(line.model, _NAMES_AT_MOST, 11.5), x=x.start - 8, y=top + height / 2 + 4, text_anchor="end", class_="name"
        ),
    ]
    tip = [line.model]
    for i, (dataset, cell) in enumerate(zip(table.datasets, line.cells, strict=True)):
        if cell is not None:
            color = styles.marker(dataset, 0)
            y = top + _ROW_GAP / 2 + _LANE * (i + 0.5)
            parts.append(svg.polyline([(x(cell.low), y), (x(cell.high), y)], class_=f"ci s{color}"))
            parts.append(marker(color, x(cell.value), y, 3.6))
            tip.append(f"{styles.label(dataset)}: {_words(cell)}")
    parts.append(svg.polyline([(0, top + height), (x.end, top + height)], class_="grid"))
    return mark(*parts, tip="\n".join(tip), first=first, model=line.model)


def _words(cell: AccuracyCell) -> str:
    words = f"{percent(cell.value)} % {interval(cell.low, cell.high)}"
    if cell.drop is None or cell.drop_low is None or cell.drop_high is None:
        return words
    return f"{words}, {signed(-100 * cell.drop)} points [{signed(-100 * cell.drop_high)}, {signed(-100 * cell.drop_low)}]"
