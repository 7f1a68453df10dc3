"""The tables of the page as records: what each cell shows, and by what it sorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retest.analysis import LinearFit
from retest.report.image_records import PlantedCheck
from retest.report.numbers import Numbers
from retest.report.pivot import AccuracyCell, AccuracyTable
from retest.report.records import ExclusionCount, ExtraTable, StageSize
from retest.report.styles import SetStyles
from retest.report.wording import METRIC_NAMES, SCALE_NAMES, count, decimal, interval, number, p_value, percent, plural, signed

Kind = Literal["text", "number"]


@dataclass(frozen=True, slots=True)
class PageColumn:
    """Heading of a column; ``explanation`` is shown when it is pointed at."""

    label: str
    kind: Kind = "text"
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Heading over ``span`` columns; ``series`` gives its marker."""

    label: str
    span: int
    series: int | None = None


@dataclass(frozen=True, slots=True)
class PageCell:
    """What a cell shows.

    ``sub`` follows in small type (``kind`` says of what: an interval, a change), ``value`` is what the column sorts by, ``bar``
    a share from 0 to 1.
    """

    text: str
    sub: str = ""
    value: float | None = None
    bar: float | None = None
    kind: Literal["", "interval", "change"] = ""


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table with caption; the first cell of a row is its heading. ``foot`` rows do not take part in sorting."""

    slug: str
    title: str
    columns: tuple[PageColumn, ...]
    rows: tuple[tuple[PageCell, ...], ...]
    groups: tuple[ColumnGroup, ...] = ()
    foot: tuple[tuple[PageCell, ...], ...] = ()
    note: str = ""
    numbers: Numbers | None = None
    models: tuple[str, ...] = ()
    """Model of each row, where rows are models: pointing at one highlights it in the figures."""
    sortable: bool = True


_EMPTY = PageCell("–")
_SHOWN: Mapping[str, Callable[[float], str]] = {
    "count": lambda value: count(int(value)),
    "number": number,
    "percent": lambda value: f"{percent(value)} %",
    "points": lambda value: decimal(value, 1),
    "coefficient": lambda value: decimal(value, 3),
    "p": p_value,
}


def accuracy_page_table(table: AccuracyTable, *, styles: SetStyles, numbers: Numbers, confidence: float = 0.95) -> PageTable:
    """Models x sets: accuracy with interval, drop, rank and rank change."""
    columns = [PageColumn("Model")]
    groups = [ColumnGroup("", 1)]
    accuracy = PageColumn(
        f"{METRIC_NAMES[table.metric]} [{100 * confidence:g} %]",
        "number",
        f"Accuracy in percent with {100 * confidence:g} % confidence interval",
    )
    rank = PageColumn("rank", "number", "Rank among the models that this set has, 1 = best; in small type the change against the original")
    drop = PageColumn("drop", "number", "Original minus new accuracy, in percentage points")
    for name in table.datasets:
        with_drop = table.original is not None and name != table.original
        columns += [accuracy, drop, rank] if with_drop else [accuracy, rank]
        groups.append(ColumnGroup(styles.label(name), 3 if with_drop else 2, styles.marker(name, 0)))
    rows = tuple((PageCell(line.model), *_accuracy_cells(table, line.cells)) for line in table.lines)
    foot = (_mean_row(table),) if table.original is not None and len(table.lines) > 1 and table.new_sets else ()
    return PageTable(
        slug=f"accuracy-{table.metric}",
        title=f"{METRIC_NAMES[table.metric].capitalize()} accuracy, percent",
        columns=tuple(columns),
        rows=rows,
        groups=tuple(groups),
        foot=foot,
        note=_accuracy_note(table, styles, confidence),
        numbers=numbers,
        models=tuple(line.model for line in table.lines),
    )


def fit_page_table(fits: Sequence[LinearFit], *, styles: SetStyles) -> PageTable:
    """Slope, intercept and R² of each fit."""
    columns = (
        PageColumn("New set"),
        PageColumn("scale", explanation="Scale of both accuracies; on the linear scale in percent"),
        PageColumn("slope", "number", "Change on the new set per unit on the original"),
        PageColumn("intercept", "number"),
        PageColumn("R²", "number", "Share of the variance between models that the line explains"),
        PageColumn("models", "number", "Number of models in the fit"),
    )
    rows = tuple(
        (
            PageCell(styles.label(fit.new)),
            PageCell(SCALE_NAMES[fit.scale]),
            PageCell(decimal(fit.slope, 3), _ends(fit.slope_low, fit.slope_high, 3), fit.slope, kind="interval"),
            PageCell(decimal(fit.intercept, 2), _ends(fit.intercept_low, fit.intercept_high, 2), fit.intercept, kind="interval"),
            PageCell(decimal(fit.r2, 4), value=fit.r2),
            PageCell(count(fit.n_models), value=fit.n_models),
        )
        for fit in fits
    )
    header = ("metric", "original", "new", "scale", "slope", "slope_low", "slope_high", "intercept", "intercept_low", "intercept_high")
    numbers = Numbers(
        (*header, "r2", "n_models", "confidence"),
        tuple(
            (
                *(fit.metric, fit.original, fit.new, fit.scale, fit.slope, fit.slope_low, fit.slope_high),
                *(fit.intercept, fit.intercept_low, fit.intercept_high, fit.r2, fit.n_models, fit.confidence),
            )
            for fit in fits
        ),
    )
    note = "Least squares over models: new accuracy = slope × original accuracy + intercept. Brackets: bootstrap over models."
    extra = dict.fromkeys(text for fit in fits for text in fit.notes)
    return PageTable(
        "fits", "Fits from original to new accuracy", columns, rows, note=" ".join([note, *_sentences(extra)]), numbers=numbers
    )


def stage_page_table(stages: Sequence[StageSize]) -> PageTable:
    """Sizes per stage, with bars that compare stages of one unit."""
    units = [stage.unit for stage in stages]
    largest = {unit: max(stage.count for stage in stages if stage.unit == unit) for unit in units if units.count(unit) > 1}
    columns = (PageColumn("Stage"), PageColumn("size", "number"))
    rows = tuple(
        (
            PageCell(stage.name, stage.explanation),
            PageCell(count(stage.count), stage.unit, stage.count, stage.count / largest[stage.unit] if largest.get(stage.unit) else None),
        )
        for stage in stages
    )
    numbers = Numbers(("stage", "count", "unit", "explanation"), tuple((s.name, s.count, s.unit, s.explanation) for s in stages))
    return PageTable(
        "stages",
        "Size of every stage",
        columns,
        rows,
        numbers=numbers,
        sortable=False,
        note="Bars compare stages that count the same thing.",
    )


def exclusion_page_table(exclusions: Sequence[ExclusionCount]) -> PageTable:
    """Candidates left out, by reason, most frequent first."""
    ordered = sorted(exclusions, key=lambda entry: (-entry.count, entry.reason))
    largest = max((entry.count for entry in ordered), default=0) or 1
    columns = (PageColumn("Reason"), PageColumn("candidates", "number"))
    rows = tuple(
        (PageCell(entry.reason, entry.explanation), PageCell(count(entry.count), value=entry.count, bar=entry.count / largest))
        for entry in ordered
    )
    numbers = Numbers(("reason", "count", "explanation"), tuple((e.reason, e.count, e.explanation) for e in ordered))
    return PageTable(
        "exclusions",
        "Candidates left out, by reason",
        columns,
        rows,
        numbers=numbers,
        note="Exclusions mark candidates; nothing is deleted.",
    )


def planted_page_table(check: PlantedCheck) -> PageTable:
    """Recall per kind of planted copy; overall recall and precision below."""
    columns = (
        PageColumn("Kind of copy"),
        PageColumn("planted", "number"),
        PageColumn("found", "number"),
        PageColumn("recall", "number", "Share of the planted copies that was found, in percent"),
    )
    rows = tuple(
        (
            PageCell(kind.kind, kind.explanation),
            PageCell(count(kind.planted), value=kind.planted),
            PageCell(count(kind.found), value=kind.found),
            _EMPTY if kind.recall is None else PageCell(f"{percent(kind.recall)} %", value=kind.recall),
        )
        for kind in check.kinds
    )
    total = "–" if check.recall is None else f"{percent(check.recall)} %"
    foot = ((PageCell("all kinds"), PageCell(count(check.planted)), PageCell(count(check.found)), PageCell(total)),)
    precision = ""
    if check.precision is not None:
        marked = plural(check.marked, "candidate")
        precision = (
            f"Precision {percent(check.precision)} %: {count(check.correct)} of {marked} marked as near-duplicate are marked rightly."
        )
    numbers = Numbers(
        ("kind", "planted", "found", "recall"),
        tuple((kind.kind, kind.planted, kind.found, kind.recall) for kind in check.kinds),
    )
    note = " ".join(text for text in (precision, check.explanation) if text)
    return PageTable("planted", "Planted copies found", columns, rows, foot=foot, note=note, numbers=numbers)


def extra_page_table(extra: ExtraTable, slug: str) -> PageTable:
    """A further table, its figures written by the kind of their column."""
    columns = tuple(PageColumn(c.name, "text" if c.kind == "text" else "number", c.explanation) for c in extra.columns)
    rows = tuple(tuple(_extra_cell(value, column.kind) for value, column in zip(row, extra.columns, strict=True)) for row in extra.rows)
    numbers = Numbers(tuple(column.name for column in extra.columns), extra.rows)
    return PageTable(slug, extra.title, columns, rows, note=extra.note, numbers=numbers)


def data_table(slug: str, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> PageTable:
    """The numbers behind a figure, for those who cannot see it or want to look something up."""
    numeric = [all(isinstance(row[i], (int, float)) or row[i] is None for row in rows) for i in range(len(header))]
    columns = tuple(PageColumn(name.replace("_", " "), "number" if known else "text") for name, known in zip(header, numeric, strict=True))
    return PageTable(slug, title, columns, tuple(tuple(_data_cell(value) for value in row) for row in rows))


def _accuracy_cells(table: AccuracyTable, cells: Sequence[AccuracyCell | None]) -> list[PageCell]:
    out: list[PageCell] = []
    for name, cell in zip(table.datasets, cells, strict=True):
        compared = table.original is not None and name != table.original
        if cell is None:
            out += [_EMPTY] * (3 if compared else 2)
            continue
        out.append(PageCell(percent(cell.value), interval(cell.low, cell.high), cell.value, kind="interval"))
        if compared:
            out.append(_EMPTY if cell.drop is None else PageCell(signed(100 * cell.drop).lstrip("+"), value=cell.drop))
        out.append(PageCell(str(cell.rank), _rank_words(cell.rank_change), cell.rank, kind="change" if compared else ""))
    return out


def _rank_words(change: int | None) -> str:
    if change is None:
        return ""
    return "=" if change == 0 else f"{'▲' if change > 0 else '▼'}{abs(change)}"


def _mean_row(table: AccuracyTable) -> tuple[PageCell, ...]:
    cells: list[PageCell] = [PageCell("mean of models")]
    for name in table.datasets:
        present = [cell for cell in table.column(name) if cell is not None]
        drops = [cell.drop for cell in present if cell.drop is not None]
        cells.append(PageCell(percent(sum(cell.value for cell in present) / len(present)), kind="interval"))
        if name != table.original:
            cells.append(PageCell(signed(100 * sum(drops) / len(drops)).lstrip("+")) if drops else _EMPTY)
        cells.append(PageCell(""))
    return tuple(cells)


def _accuracy_note(table: AccuracyTable, styles: SetStyles, confidence: float) -> str:
    sizes = []
    for name in table.datasets:
        ns = sorted({cell.n for cell in table.column(name) if cell is not None})
        sizes.append(f"{styles.label(name)} {count(ns[0])}" + (f" to {count(ns[-1])}" if len(ns) > 1 else ""))
    parts = [f"Images: {', '.join(sizes)}.", f"Brackets: {100 * confidence:g} % confidence intervals."]
    if table.original is not None and table.new_sets:
        parts.append("Drop: original minus new, in points. ▲ and ▼: places gained or lost against the original.")
        if any(None in table.column(name) for name in table.datasets):
            parts.append("Sets do not have the same models: drops, rank changes and their means are over those that the two sets share.")
    return " ".join(parts)


def _ends(low: float, high: float, digits: int) -> str:
    return f"[{decimal(low, digits)}, {decimal(high, digits)}]"


def _sentences(texts: Mapping[str, None]) -> list[str]:
    return [text[0].upper() + text[1:] + ("" if text.endswith(".") else ".") for text in texts if text]


def _extra_cell(value: str | int | float | None, kind: str) -> PageCell:
    if value is None:
        return _EMPTY
    if isinstance(value, str):
        return PageCell(value)
    return PageCell(_SHOWN[kind](value), value=float(value))


def _data_cell(value: object) -> PageCell:
    if value is None:
        return _EMPTY
    if isinstance(value, bool):
        return PageCell("yes" if value else "no", value=float(value))
    if isinstance(value, int):
        return PageCell(count(value), value=float(value))
    if isinstance(value, float):
        return PageCell(f"{value:.4f}".rstrip("0").rstrip("."), value=value)
    return PageCell(str(value))
