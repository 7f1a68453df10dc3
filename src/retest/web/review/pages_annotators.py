"""Annotator inspection: the list of annotators, and one annotator's answers over time. Names are keyed hashes, never raw worker ids."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from retest.stages import review_hits as stage
from retest.stages.review import Role
from retest.stages.review_hits import AnswerRow, WorkerRow
from retest.web.review.models import Answer
from retest.web.review.pages_hits import AnswerItem, bring_up_to_date
from retest.web.review.visit import Endpoint, Page, Query, Visit

__all__ = ["ENDPOINTS", "PAGES"]


class AnnotatorsQuery(Query):
    """Which annotators, in which order."""

    q: str = Field("", max_length=200, description="part of the name (a keyed hash)")
    flagged: Literal["any", "yes", "no"] = Field("any", description="whether there is a reason to look")
    sort: Literal["worker", "answers", "positive", "negative", "agreement", "rate", "seconds", "flagged"] = "worker"
    descending: bool = False
    after: str = Field("", description="name of the last annotator of the page before")
    limit: int = Field(100, ge=1, le=1000, description="most annotators of a page")


class AnnotatorQuery(Query):
    """One annotator, and which page of the answers."""

    worker: str = Field(description="name of the annotator: the keyed hash")
    after: str = Field("", description="id of the last answer of the page before")
    limit: int = Field(100, ge=1, le=1000, description="most answers of a page")


class AnnotatorItem(Answer):
    """An annotator, judged over the valid answers to HITs that are not excluded; null where there is nothing to judge by."""

    worker: str
    answers: int
    rejected: int
    positive: float | None
    negative: float | None
    agreement: float | None
    rate: float | None
    median_duration_s: float | None
    flagged_answers: int
    flags: list[str]

    @classmethod
    def of(cls, row: WorkerRow) -> AnnotatorItem:
        quality = row.quality
        return cls(
            worker=quality.worker,
            answers=quality.assignments,
            rejected=row.rejected,
            positive=quality.controls.positive,
            negative=quality.controls.negative,
            agreement=quality.agreement,
            rate=row.rate,
            median_duration_s=quality.median_duration_s,
            flagged_answers=quality.flagged_assignments,
            flags=[code for code, _ in quality.flags],
        )


class AnnotatorsAnswer(Answer):
    """A page of annotators; ``next`` is the ``after`` of the next one; ``current`` is false while the figures are being worked out."""

    annotators: list[AnnotatorItem]
    total: int
    next: str | None
    current: bool


class AnnotatorAnswer(Answer):
    """An annotator with a page of the answers, the newest first; ``current`` is false while the figures are being worked out."""

    annotator: AnnotatorItem
    answers: list[AnswerItem]
    total: int
    next: str | None
    current: bool


def _found(visit: Visit, query: AnnotatorsQuery) -> stage.WorkerPage:
    found = stage.list_workers(
        visit.study,
        visit.desk.memo,
        flagged=query.flagged,
        search=query.q,
        sort=query.sort,
        descending=query.descending,
        after=query.after or None,
        limit=query.limit,
    )
    bring_up_to_date(visit, found.current)
    return found


def _view(visit: Visit, query: AnnotatorQuery) -> stage.WorkerView:
    found = stage.worker_view(visit.study, visit.desk.memo, query.worker, after=query.after or None, limit=query.limit)
    bring_up_to_date(visit, found.current)
    return found


_COLUMNS = (
    ("answers", "Answers"),
    ("positive", "Positive controls"),
    ("negative", "Negative controls"),
    ("agreement", "Agreement"),
    ("rate", "Selected"),
    ("seconds", "Median time"),
    ("flagged", "Flagged"),
)


def _list_page(visit: Visit, query: AnnotatorsQuery) -> Response:
    def sorting(name: str) -> str:
        return query.address("/annotators", sort=name, descending=query.sort == name and not query.descending, after=None)

    found = _found(visit, query)
    return visit.render(
        "annotators.html",
        query=query,
        found=found,
        columns=[(name, title, sorting(name)) for name, title in _COLUMNS],
        by_name=sorting("worker"),
        following=None if found.next is None else query.address("/annotators", after=found.next),
        first=query.address("/annotators", after=None) if query.after else None,
    )


def _annotator_page(visit: Visit, query: AnnotatorQuery) -> Response:
    found = _view(visit, query)
    return visit.render(
        "annotator.html",
        query=query,
        view=found,
        bars=_bars(found.latest),
        following=None if found.next is None else query.address("/annotator", after=found.next),
        first=query.address("/annotator", after=None) if query.after else None,
    )


_CHART_WIDTH, _CHART_HEIGHT, _WIDEST_BAR = 720.0, 80.0, 16.0


def _bars(answers: tuple[AnswerRow, ...]) -> list[dict[str, Any]]:
    """A bar per answer, as high as its agreement with the others; ``flagged`` ones are marked."""
    step = min(_WIDEST_BAR, _CHART_WIDTH / max(1, len(answers)))
    bars = []
    for number, answer in enumerate(answers):
        agreement = answer.quality.agreement if answer.quality else None
        bars.append(
            {
                "x": round(number * step, 2),
                "width": round(max(1.0, step - 1), 2),
                "height": round(_CHART_HEIGHT * (agreement or 0), 2),
                "y": round(_CHART_HEIGHT * (1 - (agreement or 0)), 2),
                "agreement": agreement,
                "flagged": bool(answer.quality and answer.quality.flags),
                "time": (answer.submit_time or "")[:16].replace("T", " "),
            }
        )
    return bars


def _list(visit: Visit, query: AnnotatorsQuery, body: None) -> AnnotatorsAnswer:
    found = _found(visit, query)
    rows = [AnnotatorItem.of(row) for row in found.rows]
    return AnnotatorsAnswer(annotators=rows, total=found.total, next=found.next, current=found.current)


def _annotator(visit: Visit, query: AnnotatorQuery, body: None) -> AnnotatorAnswer:
    found = _view(visit, query)
    answers = [AnswerItem.of(one, query.worker) for one in found.answers]
    return AnnotatorAnswer(
        annotator=AnnotatorItem.of(found.row), answers=answers, total=found.total, next=found.next, current=found.current
    )


PAGES = (
    Page(path="/annotators", handler=_list_page, query=AnnotatorsQuery, role=Role.REVIEWER, nav="Annotators"),
    Page(path="/annotator", handler=_annotator_page, query=AnnotatorQuery, within="/annotators", role=Role.REVIEWER),
)
ENDPOINTS = (
    Endpoint(
        path="/annotators",
        handler=_list,
        query=AnnotatorsQuery,
        answer=AnnotatorsAnswer,
        role=Role.REVIEWER,
        summary="Annotators with the figures of their answers",
    ),
    Endpoint(
        path="/annotator",
        handler=_annotator,
        query=AnnotatorQuery,
        answer=AnnotatorAnswer,
        role=Role.REVIEWER,
        summary="An annotator and a page of the answers",
    ),
)
