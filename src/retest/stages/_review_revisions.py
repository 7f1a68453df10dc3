"""The review of a revision's classes, as a decision: kind ``class_review``, item ``revision/wnid``, both flags as the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retest.errors import InputError, NotFoundError
from retest.records import ClassReview
from retest.stages._common import Stamp
from retest.stages._review_core import Role, State, register
from retest.store import Tables
from retest.study import Study

CLASS_REVIEW = "class_review"


def class_item(revision: str, wnid: str) -> str:
    """The item of a class of a revision."""
    return f"{revision}/{wnid}"


class ClassReviewKind:
    """What a reviewer found of a class of a revision; the same table and history that ``retest revision review`` uses."""

    name, label, role = CLASS_REVIEW, "class of a revision", Role.REVIEWER

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        known = {revision: tables.revisions.reviews(revision) for revision in {item.partition("/")[0] for item in items}}
        found: dict[str, State] = {}
        for item in items:
            revision, _, wnid = item.partition("/")
            flags = known[revision].get(wnid)
            found[item] = {"reviewed": bool(flags and flags.reviewed), "problematic": bool(flags and flags.problematic)}
        return found

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        classes: dict[str, set[str]] = {}
        for item, wish in wishes.items():
            revision, _, wnid = item.partition("/")
            if revision not in classes:
                classes[revision] = {found for _, found in tables.revisions.get(revision).images}
            if wnid not in classes[revision]:
                raise NotFoundError("the revision has no such class", item=item, remedy="Write REVISION/WNID")
            flags = wish if isinstance(wish, dict) else {}
            if set(flags) != {"reviewed", "problematic"} or not all(isinstance(flag, bool) for flag in flags.values()):
                raise InputError("is no review of a class", item=item, remedy="Give reviewed and problematic, both true or false")

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        rows = []
        for item, wish in states.items():
            revision, _, wnid = item.partition("/")
            rows.append(ClassReview(revision, wnid, reviewed=wish["reviewed"], problematic=wish["problematic"]))
        tables.revisions.put_reviews(rows)

    def images(self, item: str) -> tuple[str, ...]:
        return ()


register(ClassReviewKind())
