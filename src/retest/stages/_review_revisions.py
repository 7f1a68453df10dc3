"""The review of a revision's classes, as a decision: kind ``class_review``, item ``revision/wnid``, both flags as the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from retest.errors import InputError, NotFoundError
from retest.records import ClassReview
from retest.stages._common import Stamp
from retest.stages._ledger import CLASS_REVIEW, class_item, class_state
from retest.stages._review_core import Role, State, register
from retest.store import Tables
from retest.study import Study


class ClassReviewKind:
    """What a reviewer found of a class of a revision; the same table and history that ``retest revision review`` uses."""

    name, label, role = CLASS_REVIEW, "class of a revision", Role.REVIEWER

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        found: dict[str, State] = {}
        for revision, wnids in _by_revision(items).items():
            known = tables.revisions.reviews(revision, wnids)
            for wnid in wnids:
                found[class_item(revision, wnid)] = class_state(known.get(wnid))
        return found

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        for revision, wnids in _by_revision(wishes).items():
            known = tables.revisions.classes_among(revision, wnids)
            for wnid in wnids:
                item = class_item(revision, wnid)
                if wnid not in known:
                    raise NotFoundError("the revision has no such class", item=item, remedy="Write REVISION/WNID")
                _check_flags(item, wishes[item])

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        rows = []
        for item, wish in states.items():
            revision, _, wnid = item.partition("/")
            rows.append(ClassReview(revision, wnid, reviewed=wish["reviewed"], problematic=wish["problematic"]))
        tables.revisions.put_reviews(rows)

    def images(self, item: str) -> tuple[str, ...]:
        return ()


def _by_revision(items: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in items:
        revision, _, wnid = item.partition("/")
        found.setdefault(revision, []).append(wnid)
    return found


def _check_flags(item: str, wish: State) -> None:
    flags = wish if isinstance(wish, dict) else {}
    if set(flags) != {"reviewed", "problematic"} or not all(isinstance(flag, bool) for flag in flags.values()):
        raise InputError("is no review of a class", item=item, remedy="Give reviewed and problematic, both true or false")


register(ClassReviewKind())
