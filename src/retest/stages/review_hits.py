"""Stage: HITs and annotators for reviewers: listed, filtered, judged; one HIT with who selected what; one annotator over time.

The figures are those of ``retest label quality``: every HIT's answers are judged by :func:`retest.labeling.judge_answers`, annotators by
:func:`retest.labeling.judge_workers` over their answers to HITs that are not excluded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from retest.errors import NotFoundError
from retest.labeling import ControlAccuracy, WorkerQuality, judge_workers
from retest.records import AssignmentStatus, ClassInfo
from retest.stages._inspect import HitInspection, inspect_hit
from retest.stages._review_hit_figures import (
    HIT_SORTS,
    STATES,
    AnswerRow,
    Figures,
    HitFigures,
    HitFilter,
    check_choices,
    current_figures,
    fitting,
    ordered,
    places,
    refresh_figures,
)
from retest.stages._review_hits import EXCLUDE_HIT
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_memo import Memo, generations_key
from retest.store import Tables
from retest.study import Study

__all__ = [
    "EXCLUDE_HIT",
    "HIT_SORTS",
    "STATES",
    "WORKER_SORTS",
    "AnswerRow",
    "Everybody",
    "HitFigures",
    "HitFilter",
    "HitPage",
    "HitRow",
    "HitView",
    "ShownImage",
    "WorkerPage",
    "WorkerRow",
    "WorkerView",
    "hit_view",
    "list_hits",
    "list_workers",
    "refresh_figures",
    "worker_view",
]

WORKER_SORTS = ("worker", "answers", "positive", "negative", "agreement", "rate", "seconds", "flagged")


@dataclass(frozen=True, slots=True)
class HitRow:
    """A HIT in the list. ``excluded`` is the reason, ``version`` the number of the latest decision about that."""

    figures: HitFigures
    class_name: str
    excluded: str | None
    version: int


@dataclass(frozen=True, slots=True)
class HitPage:
    """A page of HITs; ``total`` fit in all; ``next`` is the uuid to go on after (None: the end). ``current``: the figures are of now."""

    rows: tuple[HitRow, ...]
    total: int
    next: str | None
    current: bool


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image of a HIT: ``role`` is label, positive or negative; ``selected_by`` are annotators of valid answers."""

    view: ImageView
    role: str
    selected_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HitView:
    """A HIT as it was labelled. ``before`` and ``after`` are its neighbours in the list, ``place`` its place there (None: not in it)."""

    inspection: HitInspection
    info: ClassInfo
    wanted: int
    images: tuple[ShownImage, ...]
    version: int
    before: str | None
    after: str | None
    place: int | None
    total: int
    current: bool


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """An annotator: the judgement over all valid answers that count, and how many were rejected."""

    quality: WorkerQuality
    rejected: int

    @property
    def rate(self) -> float | None:
        """Share of all images shown that they selected."""
        return self.quality.selected / self.quality.images if self.quality.images else None


@dataclass(frozen=True, slots=True)
class Everybody:
    """What is usual: medians over annotators."""

    workers: int
    positive: float | None
    negative: float | None
    agreement: float | None
    rate: float | None
    median_duration_s: float | None


@dataclass(frozen=True, slots=True)
class WorkerPage:
    """A page of annotators; ``total`` fit in all; ``next`` is the name to go on after (None: the end)."""

    rows: tuple[WorkerRow, ...]
    total: int
    next: str | None
    everybody: Everybody
    current: bool


@dataclass(frozen=True, slots=True)
class WorkerView:
    """An annotator. ``answers`` is a page of them, newest first; ``next`` goes on behind it. ``latest`` are at most 120, oldest first."""

    row: WorkerRow
    everybody: Everybody
    answers: tuple[AnswerRow, ...]
    names: Mapping[str, str]
    total: int
    next: str | None
    latest: tuple[AnswerRow, ...]
    first_time: str | None
    last_time: str | None
    current: bool


# Lists


def list_hits(
    study: Study,
    memo: Memo,
    wanted: HitFilter,
    *,
    sort: str = "added",
    descending: bool = False,
    after: str | None = None,
    limit: int = 100,
) -> HitPage:
    """HITs in the order of ``sort``, equals in the order in which they were added; those without a value come last.

    Raises:
        UsageError: an unknown sort or choice, or a limit that is not 1 to 1000.
        NotFoundError: ``after`` is no HIT.
    """
    check_choices(wanted, sort, HIT_SORTS, limit)
    with study.database.read() as tables:
        figures, current = current_figures(tables, memo)
        excluded = _excluded(tables, memo)
        fits = fitting(figures, excluded, memo, wanted, sort, descending)
        start = 0
        if after is not None:
            if after not in figures.hits:
                raise NotFoundError("the study has no such HIT", item=after, remedy="Start again at the first page")
            place = places(figures, memo, sort, descending)
            start = sum(place[one.uuid] <= place[after] for one in fits)
        page = fits[start : start + limit]
        names = _infos(tables, memo)
        latest = tables.decisions.latest(EXCLUDE_HIT, [one.uuid for one in page])
    rows = tuple(
        HitRow(one, _name(names, one.wnid), excluded.get(one.uuid), latest[one.uuid].no if one.uuid in latest else 0) for one in page
    )
    return HitPage(rows, len(fits), page[-1].uuid if start + limit < len(fits) else None, current)


def list_workers(
    study: Study,
    memo: Memo,
    *,
    flagged: str = "any",
    search: str = "",
    sort: str = "worker",
    descending: bool = False,
    after: str | None = None,
    limit: int = 100,
) -> WorkerPage:
    """Annotators in the order of ``sort``, equals by name; those without a value come last.

    ``search`` is a part of the name (the keyed hash; raw ids are not looked at).

    Raises:
        UsageError: an unknown sort or choice, or a limit that is not 1 to 1000.
        NotFoundError: ``after`` is no annotator.
    """
    check_choices(HitFilter(flagged=flagged), sort, WORKER_SORTS, limit)
    with study.database.read() as tables:
        figures, current = current_figures(tables, memo)
        rows, everybody = _workers(figures, _excluded(tables, memo), tables, memo)
    value = _WORKER_VALUES[sort]
    in_order = ordered(rows.values(), value, lambda row: row.quality.worker, descending)
    fits = [row for row in in_order if flagged == "any" or bool(row.quality.flags) == (flagged == "yes")]
    fits = [row for row in fits if search.lower() in row.quality.worker.lower()]
    start = 0
    if after is not None:
        if after not in rows:
            raise NotFoundError("no such annotator has answered", item=after, remedy="Start again at the first page")
        place = {row.quality.worker: number for number, row in enumerate(in_order)}
        start = sum(place[row.quality.worker] <= place[after] for row in fits)
    page = fits[start : start + limit]
    return WorkerPage(tuple(page), len(fits), page[-1].quality.worker if start + limit < len(fits) else None, everybody, current)


# One HIT, one annotator


def hit_view(
    study: Study, memo: Memo, uuid: str, *, wanted: HitFilter | None = None, sort: str = "added", descending: bool = False
) -> HitView:
    """One HIT, and its place in the list that the filter gives.

    Raises:
        NotFoundError: the study has no such HIT.
        UsageError: an unknown sort or choice.
    """
    wanted = wanted or HitFilter()
    check_choices(wanted, sort, HIT_SORTS, 1)
    inspection = inspect_hit(study, uuid)
    hit = inspection.hit
    with study.database.read() as tables:
        figures, current = current_figures(tables, memo)
        fits = fitting(figures, _excluded(tables, memo), memo, wanted, sort, descending)
        views = view_images(study, tables, hit.images_all, wnid=hit.wnid)
        latest = tables.decisions.latest(EXCLUDE_HIT, [hit.uuid]).get(hit.uuid)
        asked = next((one.wanted for one in (figures.hits.get(hit.uuid),) if one), len(inspection.answers))
        info = _infos(tables, memo).get(hit.wnid, ClassInfo(hit.wnid, -1))
    place = next((number for number, one in enumerate(fits) if one.uuid == hit.uuid), None)
    return HitView(
        inspection=inspection,
        info=info,
        wanted=asked,
        images=tuple(ShownImage(views[one.image_id], one.role, one.selected_by) for one in inspection.images),
        version=latest.no if latest else 0,
        before=fits[place - 1].uuid if place else None,
        after=fits[place + 1].uuid if place is not None and place + 1 < len(fits) else None,
        place=place,
        total=len(fits),
        current=current,
    )


def worker_view(study: Study, memo: Memo, worker: str, *, after: str | None = None, limit: int = 100) -> WorkerView:
    """One annotator by the keyed hash, with a page of answers, the newest first; ``after`` is the last answer of the page before.

    Raises:
        NotFoundError: no such annotator has answered, or ``after`` is none of the answers.
        UsageError: a limit that is not 1 to 1000.
    """
    check_choices(HitFilter(), "worker", WORKER_SORTS, limit)
    with study.database.read() as tables:
        figures, current = current_figures(tables, memo)
        if worker not in figures.of_worker:
            raise NotFoundError("no such annotator has answered", item=worker, remedy="See the list of annotators")
        excluded = _excluded(tables, memo)
        rows, everybody = _workers(figures, excluded, tables, memo)
        names = _infos(tables, memo)
    newest = sorted(figures.of_worker[worker], key=lambda one: (one.submit_time or "", one.id), reverse=True)
    newest = [_with_exclusion(one, excluded) for one in newest]
    start = 0
    if after is not None:
        place = next((number for number, one in enumerate(newest) if one.id == after), None)
        if place is None:
            raise NotFoundError("the annotator has no such answer", item=after, remedy="Start again at the first page")
        start = place + 1
    page = newest[start : start + limit]
    times = [one.submit_time for one in newest if one.submit_time]
    return WorkerView(
        row=rows[worker],
        everybody=everybody,
        answers=tuple(page),
        names={one.wnid: _name(names, one.wnid) for one in page},
        total=len(newest),
        next=page[-1].id if start + limit < len(newest) else None,
        latest=tuple(reversed([one for one in newest if one.quality][:120])),
        first_time=times[-1] if times else None,
        last_time=times[0] if times else None,
        current=current,
    )


def _workers(figures: Figures, excluded: Mapping[str, str], tables: Tables, memo: Memo) -> tuple[dict[str, WorkerRow], Everybody]:
    def judge() -> tuple[dict[str, WorkerRow], Everybody]:
        rows = {worker: _worker(worker, figures.of_worker[worker], excluded) for worker in sorted(figures.of_worker)}
        return rows, _usual(rows.values())

    return memo.get("annotators", (figures.key, generations_key(tables.generations.of("hits"))), judge)


def _worker(worker: str, answers: Iterable[AnswerRow], excluded: Mapping[str, str]) -> WorkerRow:
    listed = list(answers)
    counting = [one.quality for one in listed if one.quality and one.hit_uuid not in excluded]
    judged = judge_workers(counting)
    quality = judged[0] if judged else WorkerQuality(worker, 0, ControlAccuracy(), 0, 0, None, None, 0, ())
    return WorkerRow(quality, sum(one.status == AssignmentStatus.REJECTED for one in listed))


def _usual(rows: Iterable[WorkerRow]) -> Everybody:
    counting = [row for row in rows if row.quality.assignments]

    def median(value: Callable[[WorkerRow], float | None]) -> float | None:
        values = [found for row in counting if (found := value(row)) is not None]
        return statistics.median(values) if values else None

    return Everybody(
        workers=len(counting),
        positive=median(lambda row: row.quality.controls.positive),
        negative=median(lambda row: row.quality.controls.negative),
        agreement=median(lambda row: row.quality.agreement),
        rate=median(lambda row: row.rate),
        median_duration_s=median(lambda row: row.quality.median_duration_s),
    )


def _excluded(tables: Tables, memo: Memo) -> Mapping[str, str]:
    return memo.get("excluded HITs", generations_key(tables.generations.of("hits")), tables.hits.excluded)


def _with_exclusion(answer: AnswerRow, excluded: Mapping[str, str]) -> AnswerRow:
    return replace(answer, excluded=excluded[answer.hit_uuid]) if answer.hit_uuid in excluded else answer


def _infos(tables: Tables, memo: Memo) -> Mapping[str, ClassInfo]:
    key = generations_key(tables.generations.of("classes"))
    return memo.get("class infos", key, lambda: {info.wnid: info for info in tables.classes.all()})


def _name(infos: Mapping[str, ClassInfo], wnid: str) -> str:
    return infos[wnid].name if wnid in infos else wnid


_WORKER_VALUES: dict[str, Callable[[WorkerRow], Any]] = {
    "worker": lambda row: row.quality.worker,
    "answers": lambda row: row.quality.assignments,
    "positive": lambda row: row.quality.controls.positive,
    "negative": lambda row: row.quality.controls.negative,
    "agreement": lambda row: row.quality.agreement,
    "rate": lambda row: row.rate,
    "seconds": lambda row: row.quality.median_duration_s,
    "flagged": lambda row: row.quality.flagged_assignments,
}
