"""Revision review: the revisions, one of them with its facts and classes, a class beside original images, the difference of two."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Literal

from pydantic import Field
from starlette.responses import Response

from retest.stages import review
from retest.stages import review_revisions as stage
from retest.stages.review import Role
from retest.web.review.models import Answer, Body, DecidedAnswer, DecidedItem, ImageItem
from retest.web.review.visit import Endpoint, Page, Query, Visit

__all__ = ["ENDPOINTS", "PAGES"]


class RevisionQuery(Query):
    """Which classes of a revision."""

    name: str = Field(description="name of the revision")
    only: Literal["all", "open", "bad"] = Field("all", description="open: not reviewed; bad: problematic, or with a warning")
    part: int = Field(1, ge=1, le=100, description="which share of the work")
    parts: int = Field(1, ge=1, le=100, description="among how many reviewers the work is split")
    after: str = Field("", description="next of the page before")
    limit: int = Field(100, ge=1, le=1000, description="most classes of a page")


class ClassQuery(Query):
    """One class of a revision."""

    name: str = Field(description="name of the revision")
    wnid: str = Field(description="class")
    only: Literal["all", "open", "bad"] = Field("all", description="which classes come before and after")
    part: int = Field(1, ge=1, le=100, description="which share of the work")
    parts: int = Field(1, ge=1, le=100, description="among how many reviewers the work is split")
    originals: int = Field(10, ge=0, le=200, description="how many original images")


class DiffQuery(Query):
    """Two revisions."""

    old: str = Field(description="name of the earlier revision")
    new: str = Field(description="name of the later revision")


class NameQuery(Query):
    """A revision."""

    name: str = Field(description="name of the revision")


class CarryBody(Body):
    """From which revision to which."""

    old: str = Field(max_length=200)
    new: str = Field(max_length=200)


class RevisionClass(Answer):
    """A class of a revision."""

    wnid: str
    name: str
    images: int
    reviewed: bool
    problematic: bool
    warnings: int


class RevisionClassesAnswer(Answer):
    """Classes of a revision; ``next`` is the ``after`` of the next page, null at the end. ``current``: the warnings are of the present."""

    classes: list[RevisionClass]
    total: int
    reviewed: int
    next: str | None
    current: bool


class RevisionClassAnswer(Answer):
    """A class of a revision. Decide with kind class_review about ``item``."""

    item: str
    row: RevisionClass
    images: list[ImageItem]
    originals: list[ImageItem]
    warnings: list[str]
    version: int
    before: str | None
    after: str | None


class FactsAnswer(Answer):
    """A revision in figures; ``warnings`` counts what is wrong with it per check, ``current`` says whether that is of the present."""

    name: str
    sampling_function: str
    images: int
    is_valid: bool
    classes: int
    smallest_class: int
    largest_class: int
    min_frequency: float | None
    mean_frequency: float | None
    fewest_assignments: int
    reviewed: int
    problematic: int
    warnings: dict[str, int]
    current: bool


class ChangedClass(Answer):
    """Images of a class that only one of two revisions has."""

    wnid: str
    added: list[str]
    removed: list[str]


class DiffAnswer(Answer):
    """What changed from one revision to another."""

    old: str
    new: str
    kept: int
    added: int
    removed: int
    same_order: bool
    classes: list[ChangedClass]


def _classes(visit: Visit, query: RevisionQuery) -> stage.ClassPage:
    return stage.list_classes(
        visit.study,
        visit.desk.memo,
        query.name,
        only=query.only,
        part=query.part,
        parts=query.parts,
        after=query.after,
        limit=query.limit,
    )


def _view(visit: Visit, query: ClassQuery) -> stage.ClassView:
    return stage.class_view(
        visit.study,
        visit.desk.memo,
        query.name,
        query.wnid,
        only=query.only,
        part=query.part,
        parts=query.parts,
        originals=query.originals,
    )


def _revisions_page(visit: Visit, query: Query) -> Response:
    return visit.render("revisions.html", revisions=stage.list_revisions(visit.study))


def _revision_page(visit: Visit, query: RevisionQuery) -> Response:
    found = stage.facts(visit.study, visit.desk.memo, query.name)
    others = [one.name for one in stage.list_revisions(visit.study) if one.name != query.name]
    address, class_address = partial(query.address, "/revision"), partial(query.address, "/revision/class", of=ClassQuery)
    page = _classes(visit, query)
    return visit.render("revision.html", facts=found, page=page, query=query, others=others, address=address, class_address=class_address)


def _class_page(visit: Visit, query: ClassQuery) -> Response:
    return visit.render(
        "revision_class.html",
        view=_view(visit, query),
        query=query,
        item=stage.class_item(query.name, query.wnid),
        address=partial(query.address, "/revision/class"),
        revision_address=query.address("/revision", of=RevisionQuery),
    )


def _diff_page(visit: Visit, query: DiffQuery) -> Response:
    return visit.render("revision_diff.html", diff=stage.difference(visit.study, visit.desk.memo, query.old, query.new))


def _classes_api(visit: Visit, query: RevisionQuery, body: None) -> RevisionClassesAnswer:
    found = _classes(visit, query)
    rows = [RevisionClass(**asdict(row)) for row in found.rows]
    return RevisionClassesAnswer(classes=rows, total=found.total, reviewed=found.reviewed, next=found.next, current=found.current)


def _class_api(visit: Visit, query: ClassQuery, body: None) -> RevisionClassAnswer:
    found = _view(visit, query)
    return RevisionClassAnswer(
        item=stage.class_item(query.name, query.wnid),
        row=RevisionClass(**asdict(found.row)),
        images=[ImageItem.of(one) for one in found.images],
        originals=[ImageItem.of(one) for one in found.originals],
        warnings=list(found.warnings),
        version=found.version,
        before=found.before,
        after=found.after,
    )


def _facts_api(visit: Visit, query: NameQuery, body: None) -> FactsAnswer:
    found = stage.facts(visit.study, visit.desk.memo, query.name)
    summary = found.summary
    return FactsAnswer(
        name=summary.name,
        sampling_function=summary.sampling_function,
        images=summary.num_images,
        is_valid=summary.is_valid,
        classes=found.classes,
        smallest_class=found.smallest_class,
        largest_class=found.largest_class,
        min_frequency=found.min_frequency,
        mean_frequency=found.mean_frequency,
        fewest_assignments=found.fewest_assignments,
        reviewed=found.reviewed,
        problematic=found.problematic,
        warnings=found.counts,
        current=found.current,
    )


def _diff_api(visit: Visit, query: DiffQuery, body: None) -> DiffAnswer:
    found = stage.difference(visit.study, visit.desk.memo, query.old, query.new)
    classes = [ChangedClass(wnid=one.wnid, added=list(one.added), removed=list(one.removed)) for one in found.classes]
    return DiffAnswer(
        old=found.old,
        new=found.new,
        kept=found.num_kept,
        added=found.num_added,
        removed=found.num_removed,
        same_order=found.same_order,
        classes=classes,
    )


def _carry_over(visit: Visit, query: Query, body: CarryBody) -> DecidedAnswer:
    changes = stage.carried_over(visit.study, body.old, body.new)
    decided: list[review.Decided] = []
    for start in range(0, len(changes), review.MAX_CHANGES):
        decided += review.decide(visit.study, changes[start : start + review.MAX_CHANGES], stamp=visit.stamp)
    return DecidedAnswer(decided=[DecidedItem.of(one) for one in decided])


PAGES = (
    Page(path="/revisions", handler=_revisions_page, nav="Revisions"),
    Page(path="/revision", handler=_revision_page, query=RevisionQuery, within="/revisions"),
    Page(path="/revision/class", handler=_class_page, query=ClassQuery, within="/revisions"),
    Page(path="/revision/diff", handler=_diff_page, query=DiffQuery, within="/revisions"),
)
ENDPOINTS = (
    Endpoint(
        path="/revision/classes", handler=_classes_api, query=RevisionQuery, answer=RevisionClassesAnswer, summary="Classes of a revision"
    ),
    Endpoint(
        path="/revision/class",
        handler=_class_api,
        query=ClassQuery,
        answer=RevisionClassAnswer,
        summary="A class of a revision beside original images",
    ),
    Endpoint(
        path="/revision/facts", handler=_facts_api, query=NameQuery, answer=FactsAnswer, summary="A revision in figures, with its checks"
    ),
    Endpoint(path="/revision/diff", handler=_diff_api, query=DiffQuery, answer=DiffAnswer, summary="What changed between two revisions"),
    Endpoint(
        method="POST",
        path="/revision/carry-over",
        handler=_carry_over,
        body=CarryBody,
        answer=DecidedAnswer,
        role=Role.REVIEWER,
        decides=True,
        summary="Carry the reviews of one revision over to another",
    ),
)
