"""The figures for papers, drawn by matplotlib: SVG with text as outlines, PDF with embedded fonts, PNG.

Matplotlib is imported when a figure is drawn, its style is set for that figure alone, and nothing keeps state: equal records
give equal bytes. Names are written as they are; ``$`` in them starts no formula.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from retest.analysis import Scale, from_scale
from retest.errors import UsageError
from retest.report import theme
from retest.report.figure_records import FrequencyHistogram, Scatter, TargetComparison
from retest.report.pivot import AccuracyTable
from retest.report.scatter_chart import left_out, shared_domain
from retest.report.styles import SetStyles
from retest.report.svg import PERCENT_TICKS, position
from retest.report.wording import METRIC_NAMES, clean_line, count, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Drawable = Scatter | Sequence[Scatter] | Sequence[FrequencyHistogram] | TargetComparison | AccuracyTable

_MARKERS = ("o", "s", "^", "D", "v", "h")
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.edgecolor": theme.LIGHT["strong"],
    "grid.color": theme.LIGHT["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": theme.LIGHT["soft"],
    "ytick.color": theme.LIGHT["soft"],
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "retest",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
}
_PANEL_INCHES = 2.4


def figure_svg(record: Drawable, *, styles: SetStyles | None = None, notes: Sequence[str] = ()) -> str:
    """A figure as SVG with text as outlines; see :func:`figure_png`."""
    return _render(record, "svg", styles, notes, dpi=72).decode("utf-8")


def figure_pdf(record: Drawable, *, styles: SetStyles | None = None, notes: Sequence[str] = ()) -> bytes:
    """A figure as PDF with embedded fonts; see :func:`figure_png`."""
    return _render(record, "pdf", styles, notes, dpi=72)


def figure_png(record: Drawable, *, styles: SetStyles | None = None, notes: Sequence[str] = (), dpi: int = 200) -> bytes:
    """A figure for a paper as PNG.

    Args:
        record: a scatter or several on shared axes, histograms of selection frequencies, target and achieved of a matched set,
            or an accuracy table (dots with intervals).
        styles: labels and markers of the sets; by default their names and the order in which they come.
        notes: notices that must stand with the figure ("Answers come from the simulated crowd").
        dpi: dots per inch.

    Raises:
        UsageError: there is nothing to draw, or ``dpi`` is not between 10 and 1200.
    """
    if not 10 <= dpi <= 1200:
        raise UsageError(f"is {dpi}, not between 10 and 1200", item="dpi", remedy="Give dots per inch, for instance 300.")
    return _render(record, "png", styles, notes, dpi=dpi)


def _render(record: Drawable, kind: Literal["svg", "pdf", "png"], styles: SetStyles | None, notes: Sequence[str], *, dpi: int) -> bytes:
    draw = _drawing(record, styles)
    # No clock and no version in the file: equal records give equal bytes.
    metadata: dict[str, None] = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }[kind]
    out = io.BytesIO()
    with _matplotlib_style():
        figure = draw()
        if notes:
            figure.supxlabel("\n".join(clean_line(note) for note in notes), x=0.01, ha="left", fontsize=7.0, color=theme.LIGHT["alert"])
        figure.savefig(out, format=kind, dpi=dpi, metadata=metadata)
    return out.getvalue()


@contextmanager
def _matplotlib_style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _drawing(record: Drawable, styles: SetStyles | None) -> Callable[[], Figure]:
    if isinstance(record, Scatter):
        record = (record,)
    if isinstance(record, AccuracyTable):
        if record.lines:
            return partial(_draw_accuracy, record, styles or _numbered(record.original, record.datasets))
    elif isinstance(record, TargetComparison):
        return partial(_draw_target, record, styles or _numbered(record.reference, (record.dataset,)))
    elif record:
        scatters = [entry for entry in record if isinstance(entry, Scatter)]
        histograms = [entry for entry in record if isinstance(entry, FrequencyHistogram)]
        if len(scatters) == len(record):
            return partial(_draw_scatters, scatters, styles or _numbered(scatters[0].original, [s.new for s in scatters]))
        if len(histograms) == len(record):
            return partial(_draw_histograms, histograms, styles or _numbered(histograms[0].dataset, [h.dataset for h in histograms]))
    raise UsageError("is nothing that can be drawn", item="record", remedy="Give one or more scatters, histograms, a target or a table.")


def _numbered(original: str | None, names: Sequence[str]) -> SetStyles:
    others = [name for name in dict.fromkeys(names) if name != original]
    series = {name: 1 + i % (theme.SERIES - 1) for i, name in enumerate(others)}
    return SetStyles({}, series if original is None else series | {original: 0})


def _new_figure(columns: int, rows: int, width: float, height: float, *, share: bool) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    return figure, list(axes.flat)


def _draw_scatters(scatters: Sequence[Scatter], styles: SetStyles) -> Figure:
    columns = min(3, len(scatters))
    rows = math.ceil(len(scatters) / columns)
    domain = shared_domain(scatters)
    figure, axes = _new_figure(columns, rows, _PANEL_INCHES + 0.15, _PANEL_INCHES + 0.3, share=False)
    scale = scatters[0].scale
    for panel, scatter in zip(axes, scatters, strict=False):
        _scatter_panel(panel, scatter, styles)
        for axis, ends in ((panel.xaxis, domain.x), (panel.yaxis, domain.y)):
            _percent_axis(axis, ends, scale)
        panel.set_xlim(*(position(value, scale) for value in domain.x))
        panel.set_ylim(*(position(value, scale) for value in domain.y))
    for panel in axes[len(scatters) :]:
        panel.set_axis_off()
    return figure


def _scatter_panel(panel: Axes, scatter: Scatter, styles: SetStyles) -> None:
    series = styles.marker(scatter.new)
    color = _color(series)
    scale = scatter.scale
    ends = [position(value, scale) for value in (0.0, 1.0)]
    panel.plot(ends, ends, color=theme.LIGHT["soft"], linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    if scatter.band is not None:
        x, low, high = ([position(v, scale) for v in values] for values in (scatter.band.x, scatter.band.low, scatter.band.high))
        panel.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0, zorder=1)
    if scatter.fit is not None:
        span = [min(point.x for point in scatter.points), max(point.x for point in scatter.points)]
        panel.plot(
            [position(v, scale) for v in span],
            [position(v, scale) for v in scatter.fit.predict(span)],
            color=color,
            linewidth=1.2,
            zorder=2,
        )
    _points(panel, scatter, series)
    metric = METRIC_NAMES[scatter.metric]
    panel.set_title(clean_line(styles.label(scatter.new)))
    panel.set_xlabel(clean_line(f"{metric} accuracy on {styles.label(scatter.original)}, %"))
    panel.set_ylabel(f"{metric} accuracy, %")


def _points(panel: Axes, scatter: Scatter, series: int) -> None:
    scale, color, pale = scatter.scale, _color(series), left_out(scatter)
    at = {point.model: (position(point.x, scale), position(point.y, scale)) for point in scatter.points}
    across = [(at[p.model][1], *_ends(p.x_low, p.x_high, scale)) for p in scatter.points if p.x_low is not None]
    upwards = [(at[p.model][0], *_ends(p.y_low, p.y_high, scale)) for p in scatter.points if p.y_low is not None]
    for draw, lines in ((panel.hlines, across), (panel.vlines, upwards)):
        if lines:
            draw(*zip(*lines, strict=True), color=color, linewidth=0.6, alpha=0.5, zorder=2)
    many = len(at) > 200
    look: dict[str, Any] = {"linestyle": "none", "marker": _marker(series), "color": color, "markeredgecolor": "white"}
    size: dict[str, Any] = {"markersize": 2.2, "markeredgewidth": 0.0} if many else {"markersize": 4.0, "markeredgewidth": 0.5}
    for chosen, alpha in ((at.keys() - pale, 0.45 if many else 1.0), (at.keys() & pale, 0.3)):
        places = [place for model, place in at.items() if model in chosen]
        if places:
            panel.plot(*zip(*places, strict=True), **look, **size, alpha=alpha, zorder=3)


def _ends(low: float | None, high: float | None, scale: Scale) -> tuple[float, float]:
    return position(0.0 if low is None else low, scale), position(1.0 if high is None else high, scale)


def _percent_axis(axis: Any, ends: tuple[float, float], scale: Scale) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    def shown(value: float, _: int) -> str:
        return f"{100 * float(from_scale(value if scale != 'linear' else 100 * value, scale)):.4g}"

    within = [position(p / 100, scale) for p in PERCENT_TICKS if ends[0] <= p / 100 <= ends[1]]
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if scale == "linear" or len(within) < 3 else FixedLocator(within, nbins=6))
    axis.set_major_formatter(FuncFormatter(shown))


def _draw_histograms(histograms: Sequence[FrequencyHistogram], styles: SetStyles) -> Figure:
    columns = min(3, len(histograms))
    figure, axes = _new_figure(columns, math.ceil(len(histograms) / columns), _PANEL_INCHES, 1.7, share=True)
    for panel, histogram in zip(axes, histograms, strict=False):
        shares = [100 * n / histogram.total if histogram.total else 0.0 for n in histogram.counts]
        widths = [b - a for a, b in zip(histogram.edges, histogram.edges[1:], strict=False)]
        color = _color(styles.marker(histogram.dataset))
        panel.bar(histogram.edges[:-1], shares, width=widths, align="edge", color=color, edgecolor="white", linewidth=0.5)
        panel.set_title(clean_line(styles.label(histogram.dataset)))
        panel.set_ylabel(f"% of {plural(histogram.total, 'image')}")
        panel.set_xlabel("selection frequency")
        panel.tick_params(labelbottom=True)
        panel.grid(visible=False, axis="x")
    for panel in axes[len(histograms) :]:
        panel.set_axis_off()
    return figure


def _draw_target(target: TargetComparison, styles: SetStyles) -> Figure:
    figure, (panel,) = _new_figure(1, 1, 3.4, 2.3, share=False)
    pairs = list(zip(target.edges, target.edges[1:], strict=False))
    color = _color(styles.marker(target.dataset))
    widths = [high - low for low, high in pairs]
    panel.bar(
        target.edges[:-1], target.achieved, width=widths, align="edge", color=color, edgecolor="white", linewidth=0.5, label="achieved"
    )
    panel.hlines(
        target.target,
        *zip(*pairs, strict=True),
        color=theme.LIGHT["s0"],
        linewidth=1.4,
        label=f"target: {clean_line(styles.label(target.reference))}",
    )
    panel.set_title(clean_line(styles.label(target.dataset)))
    panel.set_xlabel("selection frequency")
    panel.set_ylabel("images per bin")
    panel.grid(visible=False, axis="x")
    panel.legend(loc="best")
    return figure


def _draw_accuracy(table: AccuracyTable, styles: SetStyles) -> Figure:
    lane = 0.09
    height = 0.8 + len(table.lines) * (lane * len(table.datasets) + 0.08)
    figure, (panel,) = _new_figure(1, 1, 4.6, height, share=False)
    for i, name in enumerate(table.datasets):
        series = styles.marker(name, 0)
        found = [(row, cell) for row, cell in enumerate(table.column(name)) if cell is not None]
        offset = (i - (len(table.datasets) - 1) / 2) / (len(table.datasets) + 1)
        y = [row + offset for row, _ in found]
        panel.hlines(
            y, [100 * cell.low for _, cell in found], [100 * cell.high for _, cell in found], color=_color(series), linewidth=0.8, alpha=0.6
        )
        panel.plot(
            [100 * cell.value for _, cell in found],
            y,
            linestyle="none",
            marker=_marker(series),
            color=_color(series),
            markersize=3.6,
            label=f"{clean_line(styles.label(name))} (n = {count(max(cell.n for _, cell in found))})",
        )
    panel.set_yticks(range(len(table.lines)), [clean_line(line.model) for line in table.lines])
    panel.set_ylim(len(table.lines) - 0.5, -0.5)
    panel.set_xlabel(f"{METRIC_NAMES[table.metric]} accuracy, %")
    panel.grid(visible=False, axis="y")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def _color(series: int) -> str:
    return theme.LIGHT[f"s{series % theme.SERIES}"]


def _marker(series: int) -> str:
    return _MARKERS[series % len(_MARKERS)]
