"""The audit log: every decision, who, when, before and after; filtered, and taken back."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

from pydantic import Field
from starlette.responses import Response

from retest.stages import review
from retest.stages.review import Decision, DecisionFilter, Role
from retest.web.review.api_decisions import SOME_DATE
from retest.web.review.visit import Page, Query, Visit

__all__ = ["PAGES"]

_EMPTY_OR_DATE = rf"^$|{SOME_DATE}"


class AuditQuery(Query):
    """Which decisions; empty texts ask for all."""

    user: str = ""
    kind: str = ""
    item: str = ""
    since: str = Field("", pattern=_EMPTY_OR_DATE)
    until: str = Field("", pattern=_EMPTY_OR_DATE)
    before: int | None = Field(None, ge=1, lt=2**53)


def _audit(visit: Visit, query: AuditQuery) -> Response:
    wanted = DecisionFilter(**{name: getattr(query, name) or None for name in ("user", "kind", "item", "since", "until")})
    found = review.history(visit.study, wanted, before=query.before, limit=_LIMIT)
    obstacles = review.obstacles(visit.study, found.decisions)
    users, kinds = review.history_choices(visit.study)
    registered = {kind.name: kind for kind in review.kinds()}

    def may_take_back(decision: Decision) -> bool:
        own = decision.user == visit.who.name or visit.may(Role.REVIEWER)
        return decision.no not in obstacles and decision.kind in visit.decides and own

    address = cache(partial(query.address, "/audit"))
    return visit.render(
        "audit.html",
        query=query,
        found=found.decisions,
        users=users,
        kinds=kinds,
        labels={name: kind.label for name, kind in registered.items()},
        may_take_back=may_take_back,
        in_words=_in_words,
        address=address,
        obstacles=obstacles,
        following=None if found.next is None else address(before=found.next),
        first=None if query.before is None else address(before=None),
    )


_LIMIT = 100


def _in_words(state: Any) -> str:
    if state is None:
        return "–"
    if isinstance(state, bool):
        return "yes" if state else "no"
    if isinstance(state, dict) and all(isinstance(value, (str, int, bool)) for value in state.values()):
        return ", ".join(f"{name}: {_in_words(value)}" for name, value in state.items() if value != "") or "yes"
    return (state if isinstance(state, str) else json.dumps(state, ensure_ascii=False))[:300]


PAGES = (Page(path="/audit", handler=_audit, query=AuditQuery, nav="Audit log"),)
