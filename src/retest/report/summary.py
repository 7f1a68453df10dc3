"""The summary at the top of a report: a few plain sentences, generated from the figures and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retest.analysis import LinearFit
from retest.report.figure_records import sharing_axes
from retest.report.pivot import AccuracyCell, AccuracyTable, accuracy_table
from retest.report.records import StudyReport
from retest.report.styles import SetStyles, set_styles
from retest.report.wording import METRIC_NAMES, count, decimal, listed, plural


@dataclass(frozen=True, slots=True)
class SetChange:
    """How accuracy on a new set compares with the original, over the models that both have; changes in points.

    ``change`` = mean of (new - original), ``lowest`` and ``highest`` those of single models. ``separate`` counts the models
    for which the interval of the difference excludes 0. ``largest_rank_change`` is the
    largest absolute one, ``same_best`` whether one model is best on both.
    """

    dataset: str
    n_models: int
    change: float
    lowest: float
    highest: float
    separate: int
    largest_rank_change: int
    same_best: bool


def set_changes(table: AccuracyTable) -> tuple[SetChange, ...]:
    """Comparison of every new set with the original; empty without an original."""
    if table.original is None:
        return ()
    original = table.column(table.original)
    changes = []
    for name in table.new_sets:
        pairs = [(a, b) for a, b in zip(original, table.column(name), strict=True) if a is not None and b is not None]
        if pairs:
            changes.append(_change(name, pairs))
    return tuple(changes)


def summary_sentences(report: StudyReport) -> tuple[str, ...]:
    """What the study found, in sentences, most important first; only of what the report holds."""
    styles = set_styles(report)
    sentences: list[str] = []
    if report.accuracy and report.original is not None:
        order = [facts.name for facts in report.datasets]
        table = accuracy_table(report.accuracy, original=report.original, datasets=order, confidence=report.confidence)
        changes = set_changes(table)
        base = styles.label(report.original)
        sentences += [_change_sentence(change, base, styles, len(table.lines), first=i == 0) for i, change in enumerate(changes)]
        sentences += _rank_sentences(changes, styles)
    sentences += _fit_sentences(report, styles)
    sentences += _planted_sentences(report)
    return tuple(sentences)


def _change(name: str, pairs: list[tuple[AccuracyCell, AccuracyCell]]) -> SetChange:
    points = [100.0 * (b.value - a.value) for a, b in pairs]
    best_a, best_b = (max(cell.value for cell in column) for column in zip(*pairs, strict=True))
    return SetChange(
        dataset=name,
        n_models=len(pairs),
        change=sum(points) / len(points),
        lowest=min(points),
        highest=max(points),
        separate=sum(not (b.drop_low or 0.0) <= 0.0 <= (b.drop_high or 0.0) for _, b in pairs),
        largest_rank_change=max(abs(b.rank_change or 0) for _, b in pairs),
        same_best=any(a.value == best_a and b.value == best_b for a, b in pairs),
    )


def _change_sentence(change: SetChange, base: str, styles: SetStyles, n_all: int, *, first: bool) -> str:
    label = styles.label(change.dataset)
    what = f"accuracy on {label} is {_than(change.change)} on {base}"
    subject = f"{what[0].upper()}{what[1:]}"
    if first or change.n_models != n_all:
        subject = f"Across {plural(change.n_models, 'model')}, {METRIC_NAMES['top1']} {what}"
    if change.n_models == 1:
        return f"{subject}."
    return f"{subject} (mean); {_beyond_chance(change)}."


def _beyond_chance(change: SetChange) -> str:
    models = "no model" if change.separate == 0 else f"{count(change.separate)} of {count(change.n_models)} models"
    if change.separate == change.n_models:
        models = f"all {count(change.n_models)} models"
    return f"the difference exceeds what the choice of images explains for {models}"


def _than(change: float) -> str:
    size = f"{abs(change):.1f}"
    if size == "0.0":
        return "the same as"
    return f"{size} {'point' if size == '1.0' else 'points'} {'higher' if change > 0 else 'lower'} than"


def _rank_sentences(changes: tuple[SetChange, ...], styles: SetStyles) -> list[str]:
    compared = [change for change in changes if change.n_models > 1]
    if not compared:
        return []
    largest = max(change.largest_rank_change for change in compared)
    same = [styles.label(change.dataset) for change in compared if change.same_best]
    if largest == 0:
        return ["The order of the models is the same on every set."]
    where = "on every new set" if len(same) == len(compared) else f"on {listed(same)}" if same else "on none of the new sets"
    return [f"No model moves by more than {plural(largest, 'rank')}; the best model on the original is also the best {where}."]


def _fit_sentences(report: StudyReport, styles: SetStyles) -> list[str]:
    """What a better model on the original is worth on each new set: one sentence per metric (and scale, where none is in percent)."""
    fitted = [scatter for scatter in report.ordered_scatters if scatter.fit is not None]
    plain = [scatter for scatter in fitted if scatter.scale == "linear"]
    groups = sharing_axes(plain or fitted)
    return [_fit_sentence([scatter.fit for scatter in group if scatter.fit is not None], styles) for group in groups]


def _fit_sentence(fits: Sequence[LinearFit], styles: SetStyles) -> str:
    first = fits[0]
    unit = "point" if first.scale == "linear" else f"{first.scale} unit"
    slopes = [f"{decimal(f.slope, 2)} on {styles.label(f.new)} [{decimal(f.slope_low, 2)}, {decimal(f.slope_high, 2)}]" for f in fits]
    metric = "" if first.metric == "top1" else f" ({METRIC_NAMES[first.metric]})"
    sentence = (
        f"A model that is one {unit} better on {styles.label(first.original)}{metric} is, by the fitted line, better by {listed(slopes)}."
    )
    if any(f.slope_low > 1.0 and sum(f.y) < sum(f.x) for f in fits):
        sentence += " A slope above 1 means that better models lose less."
    return sentence


def _planted_sentences(report: StudyReport) -> list[str]:
    check = report.planted
    if check is None or check.recall is None:
        return []
    found = f"The near-duplicate search found {count(check.found)} of {count(check.planted)} planted copies"
    if check.precision is None:
        return [f"{found}."]
    return [f"{found}; of the {plural(check.marked, 'candidate')} it marked, {count(check.correct)} are marked rightly."]
