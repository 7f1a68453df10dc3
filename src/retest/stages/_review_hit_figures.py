"""HITs and answers judged for the review pages, kept in memory, filtered and ordered.

Nothing here holds images: a few hundred bytes per answer. Up to ``NOW`` answers the figures are brought up to date when somebody asks;
above that :func:`refresh_figures` does it in the background, and the older ones are shown meanwhile.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from retest.errors import UsageError
from retest.labeling import AssignmentQuality, ControlAccuracy, judge_answers
from retest.records import Assignment, AssignmentStatus
from retest.stages._review_memo import Memo
from retest.store import Tables
from retest.store.review_hits import NumberedHit
from retest.study import Study

STATES = ("any", "planned", "open", "complete")
YES_NO = ("any", "yes", "no")
HIT_SORTS = ("added", "answers", "controls", "seconds", "agreement")
NOW = 20_000
_BLOCK = 100  # HITs at a time: their figures come from another process in one piece
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HitFigures:
    """A HIT without its images. ``no`` orders HITs as they were added; ``valid`` answers count unless it is excluded.

    ``controls`` is the share of controls answered rightly over all valid answers, ``agreement`` the mean share of the other answers that
    agree, ``median_duration_s`` the median of the durations; each None where there is nothing to compute it from. ``flagged`` answers
    have a flag of :class:`retest.labeling.AssignmentQuality`.
    """

    no: int
    uuid: str
    wnid: str
    images: int
    wanted: int
    submitted: bool
    time: str
    hit_id: str | None
    valid: int
    rejected: int
    controls: float | None
    agreement: float | None
    median_duration_s: float | None
    flagged: int

    @property
    def state(self) -> str:
        """``planned`` until it is published, ``open`` until all answers asked for are there, then ``complete``."""
        return "planned" if not self.submitted else "open" if self.valid < self.wanted else "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class HitFilter:
    """Which HITs; None and "any" ask for all. Bounds are included; a HIT without the figure fails every demand on it.

    ``worker`` keeps HITs that this annotator answered; controls and agreement are shares from 0 to 1, seconds are medians of durations.
    """

    wnid: str | None = None
    worker: str | None = None
    state: str = "any"
    excluded: str = "any"
    flagged: str = "any"
    min_controls: float | None = None
    max_controls: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    min_agreement: float | None = None
    max_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer. ``quality`` is None for rejected ones; ``excluded`` is the reason where its HIT is left out."""

    id: str
    hit_uuid: str
    wnid: str
    status: str
    submit_time: str | None
    quality: AssignmentQuality | None
    excluded: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """All HITs and answers as of one state of the tables."""

    key: tuple[int, int] | None = None
    """Generations of the HITs and of the answers."""
    hits: Mapping[str, HitFigures] = field(default_factory=dict)
    of_worker: Mapping[str, tuple[AnswerRow, ...]] = field(default_factory=dict)


class _Shelf:
    """The latest figures, shared by threads."""

    def __init__(self) -> None:
        self.figures = Figures()


# Figures


def refresh_figures(study: Study, memo: Memo, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Bring all figures up to date, however long that takes; whether they are as the tables were when it began.

    Args:
        study: an open study.
        memo: where the figures are kept; many are worked out aside (:meth:`Memo.aside`), block by block.
        stop: asked between blocks; True ends the work.
    """
    shelf = _shelf(memo)
    with study.database.read() as tables:
        key = _key(tables)
        if shelf.figures.key == key:
            return True
        hits, of_worker, last = _begin(tables, shelf.figures, key)
    while block := memo.aside(study, _judge_block, last):
        if stop():
            return False
        last = block.last
        _add(block, hits, of_worker)
    # Blocks may hold what came after the key was read: the next time that is read again.
    shelf.figures = _finished(key, hits, of_worker)
    return True


def current_figures(tables: Tables, memo: Memo) -> tuple[Figures, bool]:
    """The figures, and whether they are of now; brought up to date first where that is quick."""
    shelf, key = _shelf(memo), _key(tables)
    quick = shelf.figures.key is not None and shelf.figures.key[1] == key[1]
    if shelf.figures.key != key and (quick or tables.assignments.count() <= NOW):
        hits, of_worker, last = _begin(tables, shelf.figures, key)
        while block := _judge(tables, last):
            last = block.last
            _add(block, hits, of_worker)
        shelf.figures = _finished(key, hits, of_worker)
    return shelf.figures, shelf.figures.key == key


def _shelf(memo: Memo) -> _Shelf:
    return memo.get("hit figures", None, _Shelf)


def _key(tables: Tables) -> tuple[int, int]:
    generations = tables.generations.of("hits", "assignments")
    return generations["hits"], generations["assignments"]


@dataclass(frozen=True, slots=True)
class _Block:
    """HITs that follow one another, and the answers to them with the annotator of each; ``last`` is the number of the last HIT."""

    last: int
    hits: tuple[HitFigures, ...]
    answers: tuple[tuple[str, AnswerRow], ...]


def _begin(tables: Tables, old: Figures, key: tuple[int, int]) -> tuple[dict[str, HitFigures], dict[str, list[AnswerRow]], int]:
    """What stays of old figures, and behind which HIT to go on.

    HITs and answers never change but for their states, so without new answers only new HITs are judged.
    """
    if old.key is None or old.key[1] != key[1]:
        return {}, {}, 0
    hits = _renewed(tables, old)
    return hits, {worker: list(rows) for worker, rows in old.of_worker.items()}, max((one.no for one in hits.values()), default=0)


def _add(block: _Block, hits: dict[str, HitFigures], of_worker: dict[str, list[AnswerRow]]) -> None:
    hits.update((one.uuid, one) for one in block.hits)
    for worker, row in block.answers:
        of_worker.setdefault(worker, []).append(row)


def _finished(key: tuple[int, int], hits: dict[str, HitFigures], of_worker: dict[str, list[AnswerRow]]) -> Figures:
    return Figures(key, hits, {worker: tuple(rows) for worker, rows in of_worker.items()})


def _judge_block(study: Study, after: int) -> _Block | None:
    with study.database.read() as tables:
        return _judge(tables, after)


def _renewed(tables: Tables, old: Figures) -> dict[str, HitFigures]:
    found = {}
    for uuid, submitted, time, hit_id in tables.review_hits.states():
        one = old.hits.get(uuid)
        if one is not None:
            same = (one.submitted, one.time, one.hit_id) == (submitted, time, hit_id)
            found[uuid] = one if same else replace(one, submitted=submitted, time=time, hit_id=hit_id)
    return found


def _judge(tables: Tables, after: int) -> _Block | None:
    """The next HITs judged with their answers; None at the end."""
    numbered = tables.review_hits.page(after=after, limit=_BLOCK)
    if not numbered:
        return None
    answers: dict[str, list[Assignment]] = {}
    for answer in tables.assignments.of_hits(one.hit.uuid for one in numbered):
        answers.setdefault(answer.hit_uuid, []).append(answer)
    judged = judge_answers((one.hit for one in numbered), (a for of_one in answers.values() for a in of_one))
    qualities = {one.assignment_id: one for one in judged.assignments}
    rows = tuple(
        (a.worker, AnswerRow(a.id, a.hit_uuid, one.hit.wnid, str(a.status), a.submit_time, qualities.get(a.id)))
        for one in numbered
        for a in answers.get(one.hit.uuid, [])
    )
    hits = tuple(_figures_of(one, answers.get(one.hit.uuid, []), qualities) for one in numbered)
    return _Block(numbered[-1].no, hits, rows)


def _figures_of(numbered: NumberedHit, answers: Iterable[Assignment], qualities: Mapping[str, AssignmentQuality]) -> HitFigures:
    hit = numbered.hit
    listed = list(answers)
    valid = [qualities[one.id] for one in listed if one.id in qualities]
    agreeing = [one.agreement for one in valid if one.agreement is not None]
    durations = [one.duration_s for one in valid if one.duration_s is not None]
    return HitFigures(
        no=numbered.no,
        uuid=hit.uuid,
        wnid=hit.wnid,
        images=len(hit.images_all),
        wanted=numbered.wanted,
        submitted=hit.submitted,
        time=hit.time,
        hit_id=hit.hit_id,
        valid=len(valid),
        rejected=sum(one.status is AssignmentStatus.REJECTED for one in listed),
        controls=_share(sum((one.controls for one in valid), ControlAccuracy())),
        agreement=statistics.fmean(agreeing) if agreeing else None,
        median_duration_s=statistics.median(durations) if durations else None,
        flagged=sum(bool(one.flags) for one in valid),
    )


def _share(controls: ControlAccuracy) -> float | None:
    shown = controls.positive_shown + controls.negative_shown
    return (controls.positive_correct + controls.negative_correct) / shown if shown else None


_HIT_VALUES: dict[str, Callable[[HitFigures], Any]] = {
    "added": lambda one: one.no,
    "answers": lambda one: one.valid,
    "controls": lambda one: one.controls,
    "seconds": lambda one: one.median_duration_s,
    "agreement": lambda one: one.agreement,
}


def check_choices(wanted: HitFilter, sort: str, sorts: tuple[str, ...], limit: int) -> None:
    for name, value, known in (
        ("sort", sort, sorts),
        ("state", wanted.state, STATES),
        ("excluded", wanted.excluded, YES_NO),
        ("flagged", wanted.flagged, YES_NO),
    ):
        if value not in known:
            raise UsageError(f"{value!r} is not known", item=name, remedy=f"Use one of: {', '.join(known)}")
    if not 1 <= limit <= 1000:
        raise UsageError(f"must be 1 to 1000, is {limit}", item="limit", remedy="Ask for the next page with after")


def ordered(items: Iterable[T], value: Callable[[T], Any], tie: Callable[[T], Any], descending: bool) -> list[T]:
    listed = sorted(items, key=tie)
    known = sorted((one for one in listed if value(one) is not None), key=value, reverse=descending)
    return known + [one for one in listed if value(one) is None]


def _order(figures: Figures, memo: Memo, sort: str, descending: bool) -> list[HitFigures]:
    value = _HIT_VALUES[sort]
    return memo.get(("HITs", sort, descending), figures.key, lambda: ordered(figures.hits.values(), value, lambda one: one.no, descending))


def places(figures: Figures, memo: Memo, sort: str, descending: bool) -> dict[str, int]:
    in_order = _order(figures, memo, sort, descending)
    return memo.get(("places of HITs", sort, descending), figures.key, lambda: {one.uuid: number for number, one in enumerate(in_order)})


def fitting(figures: Figures, excluded: Mapping[str, str], memo: Memo, wanted: HitFilter, sort: str, descending: bool) -> list[HitFigures]:
    tests: list[Callable[[HitFigures], bool]] = []
    if wanted.wnid:
        tests.append(lambda one: one.wnid == wanted.wnid)
    if wanted.worker:
        answered = {row.hit_uuid for row in figures.of_worker.get(wanted.worker, ())}
        tests.append(lambda one: one.uuid in answered)
    if wanted.state != "any":
        tests.append(lambda one: one.state == wanted.state)
    if wanted.excluded != "any":
        tests.append(lambda one: (one.uuid in excluded) == (wanted.excluded == "yes"))
    if wanted.flagged != "any":
        tests.append(lambda one: bool(one.flagged) == (wanted.flagged == "yes"))
    for value, low, high in (
        (_HIT_VALUES["controls"], wanted.min_controls, wanted.max_controls),
        (_HIT_VALUES["seconds"], wanted.min_seconds, wanted.max_seconds),
        (_HIT_VALUES["agreement"], wanted.min_agreement, wanted.max_agreement),
    ):
        if low is not None or high is not None:
            tests.append(_within(value, low, high))
    in_order = _order(figures, memo, sort, descending)
    return [one for one in in_order if all(test(one) for test in tests)] if tests else in_order


def _within(value: Callable[[HitFigures], Any], low: float | None, high: float | None) -> Callable[[HitFigures], bool]:
    def test(one: HitFigures) -> bool:
        found = value(one)
        return found is not None and (low is None or found >= low) and (high is None or found <= high)

    return test
