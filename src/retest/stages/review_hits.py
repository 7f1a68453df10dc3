"""Stage: HITs and annotators for reviewers: listed, filtered, judged; one HIT with who selected what; one annotator over time.

The figures are those of ``retest label quality``: every HIT's answers are judged by :func:`retest.labeling.judge_answers`, annotators by
:func:`retest.labeling.judge_workers` over their answers to HITs that are not excluded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from retest.errors import NotFoundError
from retest.records import ClassInfo
from retest.stages._inspect import HitInspection, inspect_hit
from retest.stages._ledger import EXCLUDE_HIT
from retest.stages._review_checks import check_choice, check_limit
from retest.stages._review_hit_figures import refresh_figures, settle
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_names import class_name, known_classes
from retest.store import Tables
from retest.store.hit_figures import HIT_SORTS, AnswerRow, HitFigures, HitFilter, WorkerRow
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

STATES = ("any", "planned", "open", "complete")
YES_NO = ("any", "yes", "no")
WORKER_SORTS = ("worker", "answers", "positive", "negative", "agreement", "rate", "seconds", "flagged")
_BARS = 120


@dataclass(frozen=True, slots=True)
class HitRow:
    """A HIT in the list. ``excluded`` is the reason, ``version`` the number of the latest decision about that."""

    figures: HitFigures
    time: str
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
    """A HIT as it was labelled; ``wanted`` answers were asked for.

    ``before`` and ``after`` are its neighbours in the list, ``place`` its place there (None: not in it); ``current``: these are of now.
    """

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
    """HITs in the order of ``sort``, equals in the order in which they were added (``descending``: the latest first).

    Those without a value come last.

    Raises:
        UsageError: an unknown sort or choice, or a limit that is not 1 to 1000.
        NotFoundError: ``after`` is no HIT.
    """
    _check_choices(wanted, sort, HIT_SORTS, limit)
    current = settle(study, memo, workers=False)
    with study.database.read() as tables:
        last = None if after is None else tables.hit_figures.find(after)
        if after is not None and last is None:
            raise NotFoundError("the study has no such HIT", item=after, remedy="Start again at the first page")
        found = tables.hit_figures.page(wanted, sort, descending=descending, after=last, limit=limit + 1)
        page = found[:limit]
        uuids = [one.uuid for one in page]
        infos = known_classes(tables, memo)
        times, excluded = tables.review_hits.times(uuids), tables.hits.excluded(uuids)
        versions = tables.decisions.versions(EXCLUDE_HIT, uuids)
        total = _total(tables, memo, wanted)
    rows = (HitRow(one, times[one.uuid], class_name(infos, one.wnid), excluded.get(one.uuid), versions.get(one.uuid, 0)) for one in page)
    return HitPage(tuple(rows), total, page[-1].uuid if len(found) > limit else None, current)


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
    _check_choices(HitFilter(flagged=flagged), sort, WORKER_SORTS, limit)
    current = settle(study, memo, workers=True)
    with study.database.read() as tables:
        rows, everybody = _workers(tables, memo)
    in_order = _ordered(rows.values(), _WORKER_VALUES[sort], descending)
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
    _check_choices(wanted, sort, HIT_SORTS, 1)
    current = settle(study, memo, workers=False)
    inspection = inspect_hit(study, uuid)
    hit = inspection.hit
    with study.database.read() as tables:
        views = view_images(study, tables, hit.images_all, wnid=hit.wnid)
        version = tables.decisions.versions(EXCLUDE_HIT, [hit.uuid]).get(hit.uuid, 0)
        info = known_classes(tables, memo).get(hit.wnid, ClassInfo(hit.wnid, -1))
        figures = tables.hit_figures.find(hit.uuid)
        asked_for = tables.hit_pages.lines_of([hit.uuid])[hit.uuid].assignments
        place, before, after = _place(tables, memo, figures, wanted, sort, descending)
        total = _total(tables, memo, wanted)
    return HitView(
        inspection=inspection,
        info=info,
        wanted=asked_for,
        images=tuple(ShownImage(views[one.image_id], one.role, one.selected_by) for one in inspection.images),
        version=version,
        before=before,
        after=after,
        place=place,
        total=total,
        current=current,
    )


def _place(
    tables: Tables, memo: Memo, figures: HitFigures | None, wanted: HitFilter, sort: str, descending: bool
) -> tuple[int | None, str | None, str | None]:
    """A HIT's place in a list, and the HITs before and after it there; None where it is not in the list."""
    if figures is None:
        return None, None, None
    name = ("place of a HIT", figures.uuid, wanted, sort, descending)
    place = memo.get(name, _figures_key(tables), lambda: tables.hit_figures.place(wanted, sort, descending=descending, of=figures))
    if place is None:
        return None, None, None
    page = partial(tables.hit_figures.page, wanted, sort, descending=descending, after=figures, limit=1)
    beside = (page(backward=True), page())
    before, after = (found[0].uuid if found else None for found in beside)
    return place, before, after


def worker_view(study: Study, memo: Memo, worker: str, *, after: str | None = None, limit: int = 100) -> WorkerView:
    """One annotator by the keyed hash, with a page of answers, the newest first; ``after`` is the last answer of the page before.

    Raises:
        NotFoundError: no such annotator has answered, or ``after`` is none of the answers.
        UsageError: a limit that is not 1 to 1000.
    """
    _check_choices(HitFilter(), "worker", WORKER_SORTS, limit)
    current = settle(study, memo, workers=True)
    with study.database.read() as tables:
        rows, everybody = _workers(tables, memo)
        if worker not in rows:
            raise NotFoundError("no such annotator has answered", item=worker, remedy="See the list of annotators")
        found = tables.hit_figures.newest_answers(worker, after=after, limit=limit + 1)
        if found is None:
            raise NotFoundError("the annotator has no such answer", item=str(after), remedy="Start again at the first page")
        latest = tables.hit_figures.newest_answers(worker, limit=_BARS, judged=True) or []
        total, first, last = tables.hit_figures.times_of(worker)
        excluded = tables.hits.excluded({one.hit_uuid for one in found[:limit]})
        infos = known_classes(tables, memo)
    page = [replace(one, excluded=excluded.get(one.hit_uuid)) for one in found[:limit]]
    return WorkerView(
        row=rows[worker],
        everybody=everybody,
        answers=tuple(page),
        names={one.wnid: class_name(infos, one.wnid) for one in page},
        total=total,
        next=page[-1].id if len(found) > limit else None,
        latest=tuple(reversed(latest)),
        first_time=first,
        last_time=last,
        current=current,
    )


def _total(tables: Tables, memo: Memo, wanted: HitFilter) -> int:
    number: int = memo.get(("HITs that fit", wanted), _figures_key(tables), lambda: tables.hit_figures.count(wanted))
    return number


def _figures_key(tables: Tables) -> Hashable:
    return generations_key(tables.generations.of("hit_figures"))


def _workers(tables: Tables, memo: Memo) -> tuple[dict[str, WorkerRow], Everybody]:
    def read() -> tuple[dict[str, WorkerRow], Everybody]:
        rows = {row.quality.worker: row for row in tables.hit_figures.workers()}
        return rows, _usual(rows.values())

    return memo.get("annotators", generations_key(tables.generations.of("worker_figures")), read)


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


def _ordered(rows: Iterable[WorkerRow], value: Callable[[WorkerRow], Any], descending: bool) -> list[WorkerRow]:
    listed = sorted(rows, key=lambda row: row.quality.worker)
    known = sorted((one for one in listed if value(one) is not None), key=value, reverse=descending)
    return known + [one for one in listed if value(one) is None]


def _check_choices(wanted: HitFilter, sort: str, sorts: tuple[str, ...], limit: int) -> None:
    for name, value, known in (
        ("sort", sort, sorts),
        ("state", wanted.state, STATES),
        ("excluded", wanted.excluded, YES_NO),
        ("flagged", wanted.flagged, YES_NO),
    ):
        check_choice(name, value, known)
    check_limit(limit, 1000)


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
