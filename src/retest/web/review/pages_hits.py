"""HIT inspection: the list of HITs with its filters, and a HIT as it was labelled."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from starlette.responses import Response

from retest.labeling import AssignmentQuality
from retest.stages import review_hits as stage
from retest.stages.review import Role
from retest.stages.review_hits import AnswerRow, HitFilter, HitRow, HitView
from retest.web.review.models import Answer, ImageItem
from retest.web.review.visit import Endpoint, Page, Query, Visit

__all__ = ["ENDPOINTS", "PAGES", "AnswerItem", "bring_up_to_date"]

REASONS = ("the page showed the wrong class", "broken images", "spam answers", "wrong controls", "a rehearsal")


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


_Share = Annotated[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None, BeforeValidator(_empty_is_none)]
_Seconds = Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(_empty_is_none)]
_Choice = Literal["any", "yes", "no"]


class HitsFilter(Query):
    """Which HITs, in which order; empty texts ask for all."""

    wnid: str = Field("", description="only HITs of this class")
    worker: str = Field("", description="only HITs that this annotator answered (the keyed hash)")
    state: Literal["any", "planned", "open", "complete"] = Field("any", description="open: published, and answers are missing")
    excluded: _Choice = "any"
    flagged: _Choice = Field("any", description="whether some answer has a flag")
    min_controls: _Share = Field(None, description="least share of controls answered rightly")
    max_controls: _Share = Field(None, description="greatest share of controls answered rightly")
    min_seconds: _Seconds = Field(None, description="least median duration")
    max_seconds: _Seconds = Field(None, description="greatest median duration")
    min_agreement: _Share = Field(None, description="least mean agreement with the other answers")
    max_agreement: _Share = Field(None, description="greatest mean agreement with the other answers")
    sort: Literal["added", "answers", "controls", "seconds", "agreement"] = "added"
    descending: bool = False

    def filter(self) -> HitFilter:
        """The filter of the stage."""
        values = {name: value for name in HitsFilter.model_fields if name not in ("sort", "descending") for value in [getattr(self, name)]}
        return HitFilter(**values | {"wnid": self.wnid or None, "worker": self.worker or None})


class HitsQuery(HitsFilter):
    """A filter, and which page."""

    after: str = Field("", description="uuid of the last HIT of the page before")
    limit: int = Field(100, ge=1, le=1000, description="most HITs of a page")


class HitQuery(HitsFilter):
    """One HIT, and the list that it is looked at in."""

    uuid: str = Field(description="uuid of the HIT, or its id on the crowd")
    order: Literal["shown", "selected"] = Field("shown", description="images as they were shown, or most selected first")


class HitItem(Answer):
    """A HIT with its figures; null where there is nothing to compute them from. Decide with kind exclude_hit about ``uuid``."""

    uuid: str
    wnid: str
    class_name: str
    state: str
    time: str
    images: int
    wanted: int
    valid: int
    rejected: int
    controls: float | None
    agreement: float | None
    median_duration_s: float | None
    flagged: int
    excluded: str | None
    version: int

    @classmethod
    def of(cls, row: HitRow) -> HitItem:
        own: dict[str, Any] = {"time": row.time, "class_name": row.class_name, "excluded": row.excluded, "version": row.version}
        return cls(**own, **{name: getattr(row.figures, name) for name in cls.model_fields if name not in own})


class HitsAnswer(Answer):
    """A page of HITs; ``next`` is the ``after`` of the next one; ``current`` is false while the figures are being worked out."""

    hits: list[HitItem]
    total: int
    next: str | None
    current: bool


class AnswerItem(Answer):
    """An answer, judged; figures are null for rejected ones. ``flags`` are codes of reasons to look."""

    id: str
    hit: str
    wnid: str
    worker: str
    status: str
    submit_time: str | None
    duration_s: float | None
    selected: int | None
    positive: float | None
    negative: float | None
    agreement: float | None
    flags: list[str]

    @classmethod
    def of(cls, row: AnswerRow, worker: str) -> AnswerItem:
        return cls(
            id=row.id,
            hit=row.hit_uuid,
            wnid=row.wnid,
            worker=worker,
            status=row.status,
            submit_time=row.submit_time,
            **_figures(row.quality),
        )


class ShownItem(Answer):
    """An image of a HIT: ``role`` is label, positive or negative, ``selected_by`` are annotators of valid answers."""

    image: ImageItem
    role: str
    selected_by: list[str]


class HitAnswer(Answer):
    """A HIT as it was labelled; ``wanted`` answers were asked for, ``valid`` came and count.

    ``before`` and ``after`` are its neighbours in the list; ``current`` is false while the list's figures are being worked out.
    """

    uuid: str
    wnid: str
    class_name: str
    gloss: str
    valid: int
    wanted: int
    excluded: str | None
    version: int
    before: str | None
    after: str | None
    current: bool
    images: list[ShownItem]
    answers: list[AnswerItem]


def bring_up_to_date(visit: Visit, current: bool) -> None:
    """Have the figures worked out in the background where they lag."""
    if not current:
        counting, memo = visit.desk.counting, visit.desk.memo
        counting.start(lambda stop: stage.refresh_figures(visit.study, memo, stop=lambda: counting.ending), name="hit figures")


def _figures(quality: AssignmentQuality | None) -> dict[str, Any]:
    if quality is None:
        return {"duration_s": None, "selected": None, "positive": None, "negative": None, "agreement": None, "flags": []}
    return {
        "duration_s": quality.duration_s,
        "selected": quality.selected,
        "positive": quality.controls.positive,
        "negative": quality.controls.negative,
        "agreement": quality.agreement,
        "flags": [code for code, _ in quality.flags],
    }


def _found(visit: Visit, query: HitsQuery) -> stage.HitPage:
    found = stage.list_hits(
        visit.study,
        visit.desk.memo,
        query.filter(),
        sort=query.sort,
        descending=query.descending,
        after=query.after or None,
        limit=query.limit,
    )
    bring_up_to_date(visit, found.current)
    return found


def _view(visit: Visit, query: HitQuery) -> HitView:
    found = stage.hit_view(visit.study, visit.desk.memo, query.uuid, wanted=query.filter(), sort=query.sort, descending=query.descending)
    bring_up_to_date(visit, found.current)
    return found


_COLUMNS = (("answers", "Answers"), ("controls", "Controls right"), ("agreement", "Agreement"), ("seconds", "Median time"))


def _list_page(visit: Visit, query: HitsQuery) -> Response:
    def sorting(name: str) -> str:
        return query.address("/hits", sort=name, descending=query.sort == name and not query.descending, after=None)

    found = _found(visit, query)
    return visit.render(
        "hits.html",
        query=query,
        found=found,
        columns=[(name, title, sorting(name)) for name, title in _COLUMNS],
        by_added=sorting("added"),
        hit_address=partial(query.address, "/hit", of=HitQuery),
        asked=query.filter() != HitFilter(),
        reasons=REASONS,
        following=None if found.next is None else query.address("/hits", after=found.next),
        first=query.address("/hits", after=None) if query.after else None,
    )


def _hit_page(visit: Visit, query: HitQuery) -> Response:
    view = _view(visit, query)
    images = list(enumerate(view.images, start=1))
    if query.order == "selected":
        images.sort(key=lambda pair: -len(pair[1].selected_by))
    numbers = {answer.assignment.worker: number for number, answer in enumerate(view.inspection.answers, start=1)}
    return visit.render(
        "hit.html",
        query=query,
        view=view,
        images=images,
        numbers=numbers,
        address=partial(query.address, "/hit"),
        list_address=query.address("/hits", of=HitsQuery),
        reasons=REASONS,
    )


def _list(visit: Visit, query: HitsQuery, body: None) -> HitsAnswer:
    found = _found(visit, query)
    return HitsAnswer(hits=[HitItem.of(row) for row in found.rows], total=found.total, next=found.next, current=found.current)


def _hit(visit: Visit, query: HitQuery, body: None) -> HitAnswer:
    view = _view(visit, query)
    hit = view.inspection.hit
    answers = []
    for one in view.inspection.answers:
        a = one.assignment
        answers.append(AnswerItem.of(AnswerRow(a.id, a.hit_uuid, hit.wnid, str(a.status), a.submit_time, one.quality), a.worker))
    images = [ShownItem(image=ImageItem.of(one.view), role=one.role, selected_by=list(one.selected_by)) for one in view.images]
    return HitAnswer(
        uuid=hit.uuid,
        wnid=hit.wnid,
        class_name=view.info.name,
        gloss=view.info.gloss,
        valid=view.inspection.valid,
        wanted=view.wanted,
        excluded=view.inspection.excluded,
        version=view.version,
        before=view.before,
        after=view.after,
        current=view.current,
        images=images,
        answers=answers,
    )


PAGES = (
    Page(path="/hits", handler=_list_page, query=HitsQuery, role=Role.REVIEWER, nav="HITs"),
    Page(path="/hit", handler=_hit_page, query=HitQuery, within="/hits", role=Role.REVIEWER),
)
ENDPOINTS = (
    Endpoint(
        path="/hits",
        handler=_list,
        query=HitsQuery,
        answer=HitsAnswer,
        role=Role.REVIEWER,
        summary="HITs with the figures of their answers, filtered and sorted",
    ),
    Endpoint(
        path="/hit",
        handler=_hit,
        query=HitQuery,
        answer=HitAnswer,
        role=Role.REVIEWER,
        summary="A HIT as it was labelled: its images, and who selected what",
    ),
)
