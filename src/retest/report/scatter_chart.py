"""The scatter original -> new: one panel per new set, all on the same axes, with the line of equal accuracy at 45 degrees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from retest.analysis import Scale, from_scale
from retest.report import svg
from retest.report.chart import Chart, Panel, heading, mark, marker
from retest.report.figure_records import Scatter, ScatterPoint
from retest.report.labels import Rect, place_labels
from retest.report.numbers import Numbers
from retest.report.styles import SetStyles
from retest.report.svg import Axis, position
from retest.report.wording import METRIC_NAMES, decimal, interval, percent, plural, signed

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 380.0, 42.0, 12.0, 62.0, 46.0
_PLOT = _WIDTH - _LEFT - _RIGHT
_LOWEST, _SQUARE, _TALLEST = 0.75 * _PLOT, 0.95 * _PLOT, 1.2 * _PLOT
_PAD = 0.04
_MANY = 200  # points: above, they are drawn small and pale, without intervals, so that their density shows
_HEADER = (
    *("metric", "original", "new", "model", "original_accuracy", "original_low", "original_high"),
    *("new_accuracy", "new_low", "new_high", "drop", "in_fit"),
)


@dataclass(frozen=True, slots=True)
class Domain:
    """What the axes of a scatter show, as fractions, and the height of the plot."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: float


def scatter_chart(scatters: Sequence[Scatter], *, styles: SetStyles, slug: str = "scatter", confidence: float = 0.95) -> Chart:
    """One figure of scatters that share original, metric and scale.

    Args:
        scatters: one per new set, at least one.
        styles: labels and markers of the sets.
        slug: name of the figure's files.
        confidence: coverage of the points' intervals, for the caption.
    """
    domain = shared_domain(scatters)
    first = scatters[0]
    base = styles.label(first.original)
    panels = tuple(_panel(scatter, domain, styles, styles.marker(scatter.new)) for scatter in scatters)
    rows = tuple(row for scatter in scatters for row in _rows(scatter))
    new = styles.label(first.new) if len(scatters) == 1 else "the new sets"
    title = f"{METRIC_NAMES[first.metric].capitalize()} accuracy on {new} against {base}"
    if first.scale != "linear":
        title += f", {first.scale} scale"
    return Chart(slug, title, _caption(scatters, confidence), panels, Numbers(_HEADER, rows), min(3, len(panels)))


def shared_domain(scatters: Sequence[Scatter]) -> Domain:
    """Axes that hold all points with their intervals and a part of the line of equal accuracy.

    A point of accuracy is equally long on both axes unless that would make the plot far from square.
    """
    scale = scatters[0].scale
    points = [point for scatter in scatters for point in scatter.points]
    xs = [position(v, scale) for p in points for v in (p.x, p.x_low, p.x_high) if v is not None]
    ys = [position(v, scale) for p in points for v in (p.y, p.y_low, p.y_high) if v is not None]
    smallest = 2 * (position(0.505, scale) - position(0.495, scale))
    x = _padded(min(xs), max(xs), smallest)
    y = _padded(min(*ys, sum(x) / 2), max(*ys, sum(x) / 2), smallest)
    height = _PLOT * (y[1] - y[0]) / (x[1] - x[0])
    return Domain(_fractions(x, scale), _fractions(y, scale), height if _LOWEST <= height <= _TALLEST else _SQUARE)


def _padded(low: float, high: float, smallest: float) -> tuple[float, float]:
    pad = max(_PAD * (high - low), (smallest - (high - low)) / 2)
    return low - pad, high + pad


def _fractions(ends: tuple[float, float], scale: Scale) -> tuple[float, float]:
    if scale == "linear":
        return ends
    low, high = from_scale(ends, scale).tolist()
    return low, high


def _panel(scatter: Scatter, domain: Domain, styles: SetStyles, series: int) -> Panel:
    bottom = _TOP + domain.height
    x = Axis(*domain.x, _LEFT, _LEFT + _PLOT, scatter.scale)
    y = Axis(*domain.y, bottom, _TOP, scatter.scale)
    base, name = styles.label(scatter.original), styles.label(scatter.new)
    metric = METRIC_NAMES[scatter.metric]
    dots = [Rect.about(x(point.x), y(point.y), _radius(scatter) + 1) for point in scatter.points]
    identity_label, covered = _identity_label(x, y, dots)
    clipped = svg.element(
        "svg",
        *_band(scatter, x, y, series),
        _identity(x, y),
        *_fit(scatter, x, y, series),
        x=_LEFT,
        y=_TOP,
        width=_PLOT,
        height=domain.height,
        viewBox=f"{svg.coordinate(_LEFT)} {svg.coordinate(_TOP)} {svg.coordinate(_PLOT)} {svg.coordinate(domain.height)}",
    )
    parts = [
        heading(
            _WIDTH, name, _fit_words(scatter), f"{metric} accuracy, %" + ("" if scatter.scale == "linear" else f" ({scatter.scale} scale)")
        ),
        _frame(x, y),
        clipped,
        identity_label,
        _marks(scatter, x, y, styles),
        *_names(scatter, x, y, [*dots, *covered]),
        svg.element("text", svg.shortened(f"{metric} accuracy on {base}, %", _PLOT), x=_LEFT + _PLOT, y=bottom + 36, text_anchor="end"),
    ]
    return Panel(f"{name} against {base}", _description(scatter, base, name), _WIDTH, bottom + _BOTTOM, svg.join(parts))


def _frame(x: Axis, y: Axis) -> Markup:
    parts: list[Markup] = []
    x_ticks, y_ticks = x.ticks(), y.ticks(38.0)
    for value in x_ticks:
        parts.append(svg.polyline([(x(value), y.start), (x(value), y.end)], class_="grid"))
        parts.append(svg.element("text", _percent_tick(value, x_ticks), x=x(value), y=y.start + 17, text_anchor="middle"))
    for value in y_ticks:
        parts.append(svg.polyline([(x.start, y(value)), (x.end, y(value))], class_="grid"))
        parts.append(svg.element("text", _percent_tick(value, y_ticks), x=x.start - 7, y=y(value) + 4, text_anchor="end"))
    parts.append(svg.polyline([(x.start, y.start), (x.end, y.start)], class_="axis"))
    return svg.join(parts)


def _percent_tick(value: float, ticks: Sequence[float]) -> str:
    step = min((abs(b - a) for a, b in itertools.pairwise(ticks)), default=0.1)
    return svg.tick_label(100 * value, 100 * step) if step >= 0.01 else f"{100 * value:.4g}"


def _identity(x: Axis, y: Axis) -> Markup:
    low, high = _shared_range(x, y)
    return svg.polyline([(x(low), y(low)), (x(high), y(high))], class_="identity") if low < high else Markup("")


def _identity_label(x: Axis, y: Axis, dots: Sequence[Rect]) -> tuple[Markup, list[Rect]]:
    """The name of the dashed line along its upper end, above or below it, where it covers no point; and what it covers."""
    low, high = _shared_range(x, y)
    dx, dy = x(high) - x(low), y(high) - y(low)
    length, text = math.hypot(dx, dy), "equal accuracy"
    width = svg.text_width(text)
    if low >= high or length < 1.5 * width:
        return Markup(""), []
    ux, uy = dx / length, dy / length
    for side in (-10.0, 10.0):  # from the line to the middle of the text, upwards first
        middles = [(x(high) - ux * along - uy * side, y(high) - uy * along + ux * side) for along in _steps(14.0, 14.0 + width)]
        covered = [Rect.about(*middle, 7.0) for middle in middles]
        if not any(rect.overlaps(dot) for rect in covered for dot in dots):
            at = f"{svg.coordinate(x(high) - 14 * ux)} {svg.coordinate(y(high) - 14 * uy)}"
            turn = f"translate({at}) rotate({svg.coordinate(math.degrees(math.atan2(dy, dx)))})"
            return svg.element("text", text, x=0.0, y=side + 4, text_anchor="end", transform=turn), covered
    return Markup(""), []


def _steps(start: float, end: float) -> list[float]:
    return [start + (end - start) * i / 8 for i in range(9)]


def _shared_range(x: Axis, y: Axis) -> tuple[float, float]:
    return max(x.low, y.low, 0.0), min(x.high, y.high, 1.0)


def _band(scatter: Scatter, x: Axis, y: Axis, series: int) -> list[Markup]:
    if scatter.band is None:
        return []
    band = scatter.band
    upper = [(x(v), y(high)) for v, high in zip(band.x, band.high, strict=True)]
    lower = [(x(v), y(low)) for v, low in zip(band.x, band.low, strict=True)]
    return [svg.polyline([*upper, *reversed(lower)], class_=f"band s{series}")]


def _fit(scatter: Scatter, x: Axis, y: Axis, series: int) -> list[Markup]:
    if scatter.fit is None:
        return []
    ends = [min(point.x for point in scatter.points), max(point.x for point in scatter.points)]
    heights = scatter.fit.predict(ends).tolist()
    return [svg.polyline([(x(a), y(b)) for a, b in zip(ends, heights, strict=True)], class_=f"fit s{series}")]


def _marks(scatter: Scatter, x: Axis, y: Axis, styles: SetStyles) -> Markup:
    pale = left_out(scatter)
    marks = [_mark(scatter, point, x, y, styles, pale=point.model in pale, first=i == 0) for i, point in enumerate(_left_to_right(scatter))]
    return svg.element("g", *marks, class_="crowd") if len(marks) > _MANY else svg.join(marks)


def _mark(scatter: Scatter, point: ScatterPoint, x: Axis, y: Axis, styles: SetStyles, *, pale: bool, first: bool) -> Markup:
    at_x, at_y = x(point.x), y(point.y)
    series = styles.marker(scatter.new)
    parts: list[Markup] = []
    if point.x_low is not None and point.x_high is not None and len(scatter.points) <= _MANY:
        parts.append(svg.polyline([(x(point.x_low), at_y), (x(point.x_high), at_y)], class_=f"ci s{series}"))
    if point.y_low is not None and point.y_high is not None and len(scatter.points) <= _MANY:
        parts.append(svg.polyline([(at_x, y(point.y_low)), (at_x, y(point.y_high))], class_=f"ci s{series}"))
    parts.append(marker(series, at_x, at_y, _radius(scatter), **({"fill_opacity": 0.25} if pale else {})))
    return mark(*parts, tip=point_tip(scatter, point, styles, pale=pale), first=first, model=point.model)


def _radius(scatter: Scatter) -> float:
    return 4.5 if len(scatter.points) <= 60 else 3.5 if len(scatter.points) <= _MANY else 2.5


def point_tip(scatter: Scatter, point: ScatterPoint, styles: SetStyles, *, pale: bool) -> str:
    """What a point says when pointed at: model, both accuracies, change."""
    lines = [
        point.model,
        f"{styles.label(scatter.original)}: {_value(point.x, point.x_low, point.x_high)}",
        f"{styles.label(scatter.new)}: {_value(point.y, point.y_low, point.y_high)}",
        f"change: {signed(-100 * point.drop)} points",
    ]
    if pale:
        lines.append("not in the fit")
    return "\n".join(lines)


def _value(value: float, low: float | None, high: float | None) -> str:
    return f"{percent(value)} %" if low is None or high is None else f"{percent(value)} % {interval(low, high)}"


def _names(scatter: Scatter, x: Axis, y: Axis, taken: Sequence[Rect]) -> list[Markup]:
    """Names beside the points that a reader looks for: best, worst, farthest from the line; more while there is room."""
    by_x = _left_to_right(scatter)
    residual = dict(zip(scatter.fit.models, scatter.fit.residuals, strict=True)) if scatter.fit else {}
    far = sorted(by_x, key=lambda point: (-abs(residual.get(point.model, 0.0)), point.model))
    wanted = list(dict.fromkeys([by_x[-1], by_x[0], *(far if len(by_x) <= 12 else far[:4])]))
    frame = Rect(_LEFT, _TOP, _LEFT + _PLOT, y.start)
    texts = [(svg.shortened(point.model, 150, 11.5), x(point.x), y(point.y)) for point in wanted]
    placed = place_labels(texts, taken=taken, frame=frame, distance=_radius(scatter) + 4)
    return [svg.element("text", label.text, x=label.x, y=label.y, class_="name halo", aria_hidden="true") for label in placed]


def _left_to_right(scatter: Scatter) -> list[ScatterPoint]:
    return sorted(scatter.points, key=lambda point: (point.x, point.y, point.model))


def left_out(scatter: Scatter) -> frozenset[str]:
    """Models of a scatter that are not in its fit; none where there is no fit."""
    return frozenset(point.model for point in scatter.points).difference(scatter.fit.models) if scatter.fit else frozenset()


def _fit_words(scatter: Scatter) -> str:
    fit = scatter.fit
    if fit is None:
        return plural(len(scatter.points), "model")
    ends = f"[{decimal(fit.slope_low, 2)}, {decimal(fit.slope_high, 2)}]"
    return f"slope {decimal(fit.slope, 2)} {ends}, R² {decimal(fit.r2, 2)}, {plural(fit.n_models, 'model')}"


def _description(scatter: Scatter, base: str, name: str) -> str:
    mean = sum(-100 * point.drop for point in scatter.points) / len(scatter.points)
    return (
        f"Scatter plot of {plural(len(scatter.points), 'model')}: accuracy on {base} from left to right, on {name} upwards; "
        f"on average {signed(mean)} points on {name}; {_fit_words(scatter)}."
    )


def _caption(scatters: Sequence[Scatter], confidence: float) -> str:
    parts = ["Each point is a model."]
    if any(point.x_low is not None and len(scatter.points) <= _MANY for scatter in scatters for point in scatter.points):
        parts.append(f"Crosses are {100 * confidence:g} % confidence intervals.")
    parts.append("On the dashed line a model is as accurate on the new set as on the original.")
    meanings = list(dict.fromkeys(scatter.band.meaning for scatter in scatters if scatter.band))
    if any(scatter.fit for scatter in scatters):
        parts.append(f"Solid line: least-squares fit{f', with its {meanings[0]}' if meanings else ''}.")
    if any(left_out(scatter) for scatter in scatters):
        parts.append("Pale points are models left out of the fit.")
    parts += dict.fromkeys(scatter.note for scatter in scatters if scatter.note)
    return " ".join(parts)


def _rows(scatter: Scatter) -> list[tuple[object, ...]]:
    pale = left_out(scatter)
    return [
        (
            *(scatter.metric, scatter.original, scatter.new, point.model),
            *(point.x, point.x_low, point.x_high, point.y, point.y_low, point.y_high, point.drop),
            None if scatter.fit is None else point.model not in pale,
        )
        for point in scatter.points
    ]
