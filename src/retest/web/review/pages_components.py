"""Components of near-duplicates: the list, and one with who stays and why."""

from __future__ import annotations

from math import cos, pi, sin

from pydantic import Field
from starlette.responses import Response

from retest.stages import review_components as stage
from retest.web.review.models import Answer, ImageItem
from retest.web.review.visit import Endpoint, Page, Query, Visit

__all__ = ["ENDPOINTS", "PAGES"]


class ComponentQuery(Query):
    """The component of an image."""

    image: str = Field(description="id of any member")


class ComponentsQuery(Query):
    """A page of components."""

    after: str = Field("", description="next of the page before")
    limit: int = Field(100, ge=1, le=500, description="most components of a page")


class MemberItem(Answer):
    """A member of a component with what became of it."""

    image: ImageItem
    near_duplicate: bool | None
    reason: str
    overridden: bool
    version: int


class ComponentAnswer(Answer):
    """A component: its members (at most 500), the decided pairs, and images that are joined because they show the same photo."""

    name: str
    size: int
    members: list[MemberItem]
    pairs: list[tuple[str, str]]
    same_photo: list[tuple[str, str]]


class ComponentRow(Answer):
    """A component in the list."""

    name: str
    candidates: int
    near_duplicates: int


class ComponentsAnswer(Answer):
    """Components by name; ``next`` is the ``after`` of the next page, null at the end."""

    components: list[ComponentRow]
    next: str | None


def _component_page(visit: Visit, query: ComponentQuery) -> Response:
    found = stage.component(visit.study, query.image)
    return visit.render("component.html", component=found, layout=_layout(found))


def _layout(found: stage.ComponentView) -> dict[str, tuple[float, float]]:
    """Where members stand in the drawing, in a circle of radius 1."""
    count = len(found.members)
    angles = {member.image.id: 2 * pi * place / count - pi / 2 for place, member in enumerate(found.members)}
    return {image: (round(cos(angle), 4), round(sin(angle), 4)) for image, angle in angles.items()}


def _component(visit: Visit, query: ComponentQuery, body: None) -> ComponentAnswer:
    found = stage.component(visit.study, query.image)
    return ComponentAnswer(
        name=found.name,
        size=found.size,
        members=[
            MemberItem(
                image=ImageItem.of(one.image),
                near_duplicate=one.near_duplicate,
                reason=one.reason,
                overridden=one.overridden,
                version=one.version,
            )
            for one in found.members
        ],
        pairs=list(found.pairs),
        same_photo=list(found.same_photo),
    )


def _components_page(visit: Visit, query: ComponentsQuery) -> Response:
    deriving = stage.unresolved_pairs(visit.study)
    if deriving:
        visit.desk.counting.start(lambda stop: stage.resolve_all(visit.study), name="resolution")
    found = stage.list_components(visit.study, after=query.after, limit=query.limit)
    return visit.render("components.html", page=found, query=query, deriving=deriving)


def _components(visit: Visit, query: ComponentsQuery, body: None) -> ComponentsAnswer:
    found = stage.list_components(visit.study, after=query.after, limit=query.limit)
    rows = [ComponentRow(name=name, candidates=candidates, near_duplicates=near) for name, candidates, near in found.rows]
    return ComponentsAnswer(components=rows, next=found.next)


PAGES = (
    Page(path="/components", handler=_components_page, query=ComponentsQuery, within="/pairs"),
    Page(path="/component", handler=_component_page, query=ComponentQuery, within="/pairs"),
)
ENDPOINTS = (
    Endpoint(path="/components", handler=_components, query=ComponentsQuery, answer=ComponentsAnswer, summary="Components by name"),
    Endpoint(
        path="/components/component",
        handler=_component,
        query=ComponentQuery,
        answer=ComponentAnswer,
        summary="A component: who is in it, who stays and why",
    ),
)
