"""JSON operations on decisions: decide, take back, how items stand, the history."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from retest.errors import RetestError
from retest.stages import review
from retest.stages.review import MAX_CHANGES, NOT_SAID, Change, DecisionFilter, Role
from retest.web.review.models import Answer, Body, DecideBody, DecidedAnswer, DecidedItem, DecisionItem, TakeBackBody
from retest.web.review.visit import Endpoint, Query, RefusedError, Visit

__all__ = ["ENDPOINTS", "SOME_DATE"]

SOME_DATE = r"^\d{4}-\d{2}-\d{2}([T ][0-9:.+Z-]{0,32})?$"


class ItemsBody(Body):
    """Which items: those of one kind of decision."""

    kind: str = Field(max_length=100)
    items: list[Annotated[str, Field(max_length=2000)]] = Field(min_length=1, max_length=MAX_CHANGES)


class HistoryQuery(Query):
    """Which decisions, the newest first."""

    user: str | None = Field(None, description="who decided")
    kind: str | None = Field(None, description="kind of decision")
    item: str | None = Field(None, description="what was decided about")
    since: str | None = Field(None, pattern=SOME_DATE, description="ISO-8601 time from which on")
    until: str | None = Field(None, pattern=SOME_DATE, description="ISO-8601 time before which")
    before: int | None = Field(None, ge=1, lt=2**53, description="number of the last decision of the page before")
    limit: int = Field(100, ge=1, le=1000, description="most decisions of a page")


class HistoryAnswer(Answer):
    """A page of the history; ``next`` is the ``before`` of the next one, null at the end."""

    decisions: list[DecisionItem]
    next: int | None


class WhoAnswer(Answer):
    """Who is signed in, and what the server lets them do."""

    name: str
    role: str
    read_only: bool


def _decide(visit: Visit, query: Query, body: DecideBody) -> DecidedAnswer:
    for kind in {change.kind for change in body.changes}:
        _may_decide(visit, kind)
    changes = [Change(c.kind, c.item, c.after, c.version, c.before if "before" in c.model_fields_set else NOT_SAID) for c in body.changes]
    return _decided(review.decide(visit.study, changes, stamp=visit.stamp))


def _take_back(visit: Visit, query: Query, body: TakeBackBody) -> DecidedAnswer:
    wanted = review.decisions_of(visit.study, body.numbers)
    for decision in wanted.values():
        _may_decide(visit, decision.kind)
        if decision.user != visit.who.name and not visit.who.may(Role.REVIEWER):
            raise RefusedError(403, "You may take back your own decisions only", remedy=f"Ask {decision.user}, or a reviewer")
    try:
        return _decided(review.take_back(visit.study, body.numbers, stamp=visit.stamp))
    except review.DecisionConflictError as error:
        items = {(one.kind, one.item) for one in error.conflicts}
        error.rest = tuple(number for number, one in wanted.items() if (one.kind, one.item) not in items)
        raise


def _may_decide(visit: Visit, kind: str) -> None:
    try:
        role = review.kind_of(kind).role
    except RetestError:
        return  # the stage says what is wrong
    if not visit.who.may(role):
        raise RefusedError(403, "You may not do this", remedy=f"It needs the role {role}")


def _items(visit: Visit, query: Query, body: ItemsBody) -> DecidedAnswer:
    return _decided(review.current(visit.study, body.kind, body.items))


def _decided(decided: list[review.Decided]) -> DecidedAnswer:
    return DecidedAnswer(decided=[DecidedItem.of(one) for one in decided])


def _history(visit: Visit, query: HistoryQuery, body: None) -> HistoryAnswer:
    wanted = DecisionFilter(user=query.user, kind=query.kind, item=query.item, since=query.since, until=query.until)
    found = review.history(visit.study, wanted, before=query.before, limit=query.limit)
    return HistoryAnswer(decisions=[DecisionItem.of(decision) for decision in found.decisions], next=found.next)


def _who(visit: Visit, query: Query, body: BaseModel | None) -> WhoAnswer:
    return WhoAnswer(name=visit.who.name, role=str(visit.who.role), read_only=visit.desk.options.read_only)


ENDPOINTS = (
    Endpoint(path="/who", handler=_who, summary="Who is signed in", answer=WhoAnswer),
    Endpoint(
        method="POST", path="/items", handler=_items, summary="How items stand, with their versions", answer=DecidedAnswer, body=ItemsBody
    ),
    Endpoint(
        method="POST",
        path="/decisions",
        handler=_decide,
        summary="Decide: all changes, or none when one conflicts",
        answer=DecidedAnswer,
        body=DecideBody,
        decides=True,
    ),
    Endpoint(path="/decisions", handler=_history, summary="The history, the newest first", answer=HistoryAnswer, query=HistoryQuery),
    Endpoint(
        method="POST",
        path="/take-back",
        handler=_take_back,
        summary="Return the items of these decisions to their states before",
        answer=DecidedAnswer,
        body=TakeBackBody,
        decides=True,
    ),
)
