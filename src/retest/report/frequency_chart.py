"""Figures of selection frequencies: histograms side by side, and target against achieved of a matched set."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from retest.report import svg
from retest.report.chart import Chart, Panel, heading, mark
from retest.report.figure_records import FrequencyHistogram, TargetComparison
from retest.report.numbers import Numbers
from retest.report.styles import SetStyles
from retest.report.svg import Axis
from retest.report.wording import count, percent, plural

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT = 300.0, 220.0, 34.0, 42.0, 40.0, 6.0
_WIDE, _WIDE_HEIGHT = 400.0, 250.0


def histogram_chart(histograms: Sequence[FrequencyHistogram], *, styles: SetStyles, original: str | None = None) -> Chart:
    """Histograms of all sets on equal axes, in shares of each set's images; the original's outline over the others.

    Args:
        histograms: at least one; all with equal edges.
        styles: labels and markers of the sets.
        original: name of the set whose outline is drawn over the others.
    """
    top = max((share for histogram in histograms for share in _shares(histogram)), default=0.0) or 1.0
    reference = next((histogram for histogram in histograms if histogram.dataset == original), None)
    panels = tuple(_histogram_panel(h, top, styles.label(h.dataset), styles.marker(h.dataset, 0), reference) for h in histograms)
    rows = tuple(
        (h.dataset, low, high, n, share)
        for h in histograms
        for low, high, n, share in zip(h.edges, h.edges[1:], h.counts, _shares(h), strict=False)
    )
    caption = "Share of each set's images by selection frequency: the share of annotators who selected the image for its class."
    if reference is not None and len(histograms) > 1:
        caption += f" Outline: {styles.label(reference.dataset)}."
    header = ("dataset", "frequency_from", "frequency_to", "images", "share")
    return Chart(
        "selection-frequencies",
        "Selection frequencies",
        caption,
        panels,
        Numbers(header, rows),
        math.ceil(len(panels) / math.ceil(len(panels) / 4)),
    )


def target_chart(target: TargetComparison, *, styles: SetStyles) -> Chart:
    """What a frequency-matched set should hold per bin, and what it holds.

    Args:
        target: the record.
        styles: labels and markers of the sets.
    """
    name, reference = styles.label(target.dataset), styles.label(target.reference)
    color = styles.marker(target.dataset)
    top = max(*target.target, *target.achieved, 1)
    x, y, frame = _frame(target.edges, top * 1.08, _WIDE, _WIDE_HEIGHT, share=False)
    parts = [heading(_WIDE, name, "images per bin"), frame]
    for i, (low, high) in enumerate(zip(target.edges, target.edges[1:], strict=False)):
        wanted, got = target.target[i], target.achieved[i]
        tip = f"{_bin(low, high, last=i == len(target.target) - 1)}\n{name}: {plural(got, 'image')}\ntarget: {count(wanted)}"
        line = svg.polyline([(x(low) + 2, y(wanted)), (x(high) - 2, y(wanted))], class_="outline s0")
        parts.append(mark(_bar(x, y, low, high, got, color), line, tip=tip, first=i == 0))
    parts.append(_axis_name(_WIDE, _WIDE_HEIGHT))
    missing = sum(max(0, wanted - got) for wanted, got in zip(target.target, target.achieved, strict=True))
    described = (
        f"{plural(sum(target.achieved), 'image')} for a target of {count(sum(target.target))}; {count(missing)} short of it in their bin."
    )
    panel = Panel(f"Target and achieved, {name}", described, _WIDE, _WIDE_HEIGHT, svg.join(parts))
    rows = tuple(
        (target.dataset, low, high, wanted, got)
        for low, high, wanted, got in zip(target.edges, target.edges[1:], target.target, target.achieved, strict=False)
    )
    caption = f"Bars: images in {name}. Lines: the target, proportional to {reference} class by class and summed. {described}"
    header = ("dataset", "frequency_from", "frequency_to", "target", "achieved")
    return Chart("frequency-target", f"Target and achieved selection frequencies of {name}", caption, (panel,), Numbers(header, rows), 1)


def _histogram_panel(histogram: FrequencyHistogram, top: float, label: str, color: int, reference: FrequencyHistogram | None) -> Panel:
    x, y, frame = _frame(histogram.edges, top * 1.05, _WIDTH, _HEIGHT, share=True)
    parts = [heading(_WIDTH, label, f"% of {plural(histogram.total, 'image')}"), frame]
    last = len(histogram.counts) - 1
    for i, (low, high, n, share) in enumerate(
        zip(histogram.edges, histogram.edges[1:], histogram.counts, _shares(histogram), strict=False)
    ):
        tip = f"{_bin(low, high, last=i == last)}\n{label}: {plural(n, 'image')} ({percent(share)} %)"
        parts.append(mark(_bar(x, y, low, high, share, color), tip=tip, first=i == 0))
    if reference is not None and reference is not histogram:
        parts.append(_outline(x, y, reference))
    parts.append(_axis_name(_WIDTH, _HEIGHT))
    mean = sum(n * (a + b) / 2 for n, a, b in zip(histogram.counts, histogram.edges, histogram.edges[1:], strict=False))
    centre = f", mean about {mean / histogram.total:.2f}" if histogram.total else ""
    described = f"Histogram of the selection frequencies of {plural(histogram.total, 'image')}{centre}."
    return Panel(label, described, _WIDTH, _HEIGHT, svg.join(parts))


def _frame(edges: Sequence[float], top: float, width: float, height: float, *, share: bool) -> tuple[Axis, Axis, Markup]:
    x = Axis(edges[0], edges[-1], _LEFT, width - _RIGHT)
    y = Axis(0.0, top, height - _BOTTOM, _TOP)
    parts: list[Markup] = []
    y_ticks = y.ticks(36.0)
    step = y_ticks[1] - y_ticks[0] if len(y_ticks) > 1 else 1.0
    for value in y_ticks:
        if not share and value != int(value):
            continue
        text = svg.tick_label(100 * value, 100 * step) if share else count(int(value))
        parts.append(svg.polyline([(x.start, y(value)), (x.end, y(value))], class_="grid" if value else "axis"))
        parts.append(svg.element("text", text, x=x.start - 6, y=y(value) + 4, text_anchor="end"))
    x_ticks = x.ticks(40.0)
    x_step = x_ticks[1] - x_ticks[0] if len(x_ticks) > 1 else 1.0
    for value in x_ticks:
        parts.append(svg.element("text", svg.tick_label(value, x_step), x=x(value), y=y.start + 16, text_anchor="middle"))
    return x, y, svg.join(parts)


def _bar(x: Axis, y: Axis, low: float, high: float, value: float, color: int) -> Markup:
    left, right, top = x(low) + 0.75, x(high) - 0.75, y(value)
    full = svg.element("rect", x=left, y=y.end, width=right - left, height=y.start - y.end, class_="hit")
    return svg.join([full, svg.element("rect", x=left, y=top, width=right - left, height=y.start - top, class_=f"bar s{color}")])


def _outline(x: Axis, y: Axis, histogram: FrequencyHistogram) -> Markup:
    points = [(x(histogram.edges[0]), y.start)]
    for low, high, share in zip(histogram.edges, histogram.edges[1:], _shares(histogram), strict=False):
        points += [(x(low), y(share)), (x(high), y(share))]
    return svg.polyline([*points, (x(histogram.edges[-1]), y.start)], class_="outline s0", fill="none", pointer_events="none")


def _axis_name(width: float, height: float) -> Markup:
    return svg.element("text", "selection frequency", x=width - _RIGHT, y=height - 6, text_anchor="end")


def _bin(low: float, high: float, *, last: bool) -> str:
    return f"frequency {low:.3g} to {high:.3g}" if last else f"frequency {low:.3g} to below {high:.3g}"


def _shares(histogram: FrequencyHistogram) -> list[float]:
    return [n / histogram.total if histogram.total else 0.0 for n in histogram.counts]
