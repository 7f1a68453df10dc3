"""Stage: components of near-duplicates for reviewers (method, section 6): who is in one, who stays and why."""

from __future__ import annotations

from dataclasses import dataclass

from retest.errors import NotFoundError
from retest.stages._duplicates import refresh_resolution, was_resolved
from retest.stages._ledger import OVERRIDE
from retest.stages._review_checks import check_limit
from retest.stages._review_derived import component_members
from retest.stages._review_images import ImageView, view_images
from retest.study import Study

__all__ = [
    "OVERRIDE",
    "ComponentPage",
    "ComponentView",
    "Member",
    "component",
    "list_components",
    "resolve_all",
    "unresolved_pairs",
]

MOST_MEMBERS = 500


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a component. ``near_duplicate`` and ``reason`` are its resolution (None and "" for original images)."""

    image: ImageView
    near_duplicate: bool | None
    reason: str
    overridden: bool
    version: int


@dataclass(frozen=True, slots=True)
class ComponentView:
    """Images that are near-duplicates of one another. ``pairs`` are the decided ones; ``same_photo`` joins without a decision."""

    name: str
    members: tuple[Member, ...]
    pairs: tuple[tuple[str, str], ...]
    same_photo: tuple[tuple[str, str], ...]
    size: int


@dataclass(frozen=True, slots=True)
class ComponentPage:
    """Components by name: (name, candidates, near-duplicates among them)."""

    rows: tuple[tuple[str, int, int], ...]
    next: str | None


def unresolved_pairs(study: Study) -> int:
    """How many pairs are decided while no resolution was ever derived, as right after an import; 0 once one was."""
    with study.database.read() as tables:
        return 0 if was_resolved(tables) else tables.pairs.count()


def resolve_all(study: Study) -> None:
    """Derive the resolution of all components, as ``retest duplicates resolve`` does."""
    with study.database.write() as tables:
        refresh_resolution(study, tables)


def list_components(study: Study, *, after: str = "", limit: int = 100) -> ComponentPage:
    """Components as last resolved, by name.

    Raises:
        UsageError: the limit is not 1 to 500.
    """
    check_limit(limit, MOST_MEMBERS)
    with study.database.read() as tables:
        rows = tables.pair_queue.components(after=after, limit=limit + 1)
    return ComponentPage(tuple(rows[:limit]), rows[limit - 1][0] if len(rows) > limit else None)


def component(study: Study, image_id: str) -> ComponentView:
    """The component of an image: who is in it by which pairs, who stays and why.

    Raises:
        NotFoundError: the image is in no component.
    """
    with study.database.read() as tables:
        members = component_members(tables, [image_id])
        if len(members) < 2:
            raise NotFoundError("is in no component of near-duplicates", item=image_id, remedy="See the list of components")
        shown = sorted(members)[:MOST_MEMBERS]
        views = view_images(study, tables, shown)
        resolutions = tables.pairs.resolutions_of(shown)
        listed = tables.pairs.overrides_among(shown)
        latest = tables.decisions.latest(OVERRIDE, shown)
        pairs = sorted({(first, second) if first < second else (second, first) for first, second in tables.pairs.touching(shown)})
        photos = tables.candidates.photos(shown)
    return ComponentView(
        name=min(members),
        members=tuple(
            Member(
                views[image],
                resolutions[image].near_duplicate if image in resolutions else None,
                resolutions[image].reason if image in resolutions else "",
                image in listed,
                latest[image].no if image in latest else 0,
            )
            for image in shown
        ),
        pairs=tuple(pair for pair in pairs if pair[0] != pair[1]),
        same_photo=_same_photos(photos),
        size=len(members),
    )


def _same_photos(photos: dict[str, tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    first: dict[tuple[str, str], str] = {}
    found = []
    for image in sorted(photos):
        if photos[image][1]:
            other = first.setdefault(photos[image], image)
            if other != image:
                found.append((other, image))
    return tuple(found)
