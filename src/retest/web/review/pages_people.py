"""Who may review: for admins."""

from __future__ import annotations

from pydantic import Field
from starlette.responses import RedirectResponse, Response

from retest.errors import UsageError
from retest.stages import review_people
from retest.stages.review import Role
from retest.web.review.visit import PREFIX, Page, Query, Visit

__all__ = ["PAGES"]


class PersonForm(Query):
    """A name, and a role for a new token."""

    name: str = Field(max_length=200)
    role: Role = Role.REVIEWER


class NameForm(Query):
    """A name."""

    name: str = Field(max_length=200)


def _people(visit: Visit, query: Query) -> Response:
    return visit.render("people.html", people=review_people.people(visit.study), given=None, problem="")


def _add(visit: Visit, form: PersonForm) -> Response:
    given, problem = None, ""
    try:
        given = review_people.give_token(visit.study, form.name, form.role, stamp=visit.stamp)
    except UsageError as error:
        problem = str(error)
    people = review_people.people(visit.study)
    return visit.render("people.html", people=people, given=given, problem=problem, status=422 if problem else 200)


def _revoke(visit: Visit, form: NameForm) -> Response:
    review_people.revoke(visit.study, form.name, stamp=visit.stamp)
    return RedirectResponse(f"{PREFIX}/people", 303)


PAGES = (
    Page(path="/people", handler=_people, role=Role.ADMIN, nav="People"),
    Page(path="/people", handler=_add, query=PersonForm, role=Role.ADMIN, method="POST"),
    Page(path="/people/revoke", handler=_revoke, query=NameForm, role=Role.ADMIN, method="POST"),
)
