"""Stage: reviewers' decisions (method, sections 6 and 7): decide, take back, look at the history.

Nothing is ever overwritten unseen: see :mod:`retest.stages._review_core` for versions and conflicts. Taking a decision back is a new
decision that restores the state before; taking that one back restores the decision, so undo and redo are one function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from retest.errors import InputError, NotFoundError
from retest.stages import _review_hits, _review_marks, _review_pairs, _review_predictions, _review_revisions  # noqa: F401 register their kinds
from retest.stages._common import Stamp
from retest.stages._review_checks import check_limit
from retest.stages._review_core import (
    MAX_CHANGES,
    NOT_SAID,
    Change,
    Conflict,
    Decided,
    DecisionConflictError,
    Kind,
    Role,
    State,
    kind_of,
    kinds,
    reversal,
    write_changes,
)
from retest.stages._review_derived import derive
from retest.stages._review_marks import EXCLUSION, PAIR, PROBLEMATIC, pair_item, paired_images
from retest.store import Decision, DecisionFilter, Tables
from retest.study import Study

__all__ = [
    "EXCLUSION",
    "MAX_CHANGES",
    "NOT_SAID",
    "PAIR",
    "PROBLEMATIC",
    "Change",
    "Conflict",
    "Decided",
    "Decision",
    "DecisionConflictError",
    "DecisionFilter",
    "HistoryPage",
    "Kind",
    "Role",
    "State",
    "current",
    "decide",
    "decisions_of",
    "history",
    "history_choices",
    "kind_of",
    "kinds",
    "obstacles",
    "pair_item",
    "paired_images",
    "take_back",
]

_MOST_STEPS = 1000


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Decisions, the newest first; ``next`` is the ``before`` of the page that follows (None: the end)."""

    decisions: tuple[Decision, ...]
    next: int | None


def decide(study: Study, changes: Sequence[Change], *, stamp: Stamp) -> list[Decided]:
    """Write decisions, all of them or none; the results in the order of the changes.

    A change to the state that an item has already is no decision and never a conflict: a repeated request does no harm.

    Raises:
        DecisionConflictError: somebody else has decided about an item meanwhile.
        UsageError: no or too many changes, an unknown kind, an item given twice.
        InputError: not a state of the kind.
        NotFoundError: no such item.
    """
    with study.database.write() as tables:
        return write_changes(study, tables, changes, stamp=stamp, derive=derive)


def take_back(study: Study, numbers: Iterable[int], *, stamp: Stamp) -> list[Decided]:
    """Return the items of these decisions to their states before, by new decisions; called again with those, it restores them.

    What the same person decided about an item since, and took back, is in nobody's way: step after step can be undone and done again.

    Raises:
        DecisionConflictError: one of the items was decided about again since.
        NotFoundError: there is no decision of a number.
        InputError: a decision of a kind that was not made in the review pages.
    """
    with study.database.write() as tables:
        wanted = list(numbers)
        changes = [_own_since(tables, change, stamp.user) for change in reversal(tables.decisions.get(wanted), wanted)]
        return write_changes(study, tables, changes, stamp=stamp, derive=derive)


def _own_since(tables: Tables, change: Change, user: str) -> Change:
    """The change on top of the latest decision, where all since the one that was seen are the same person's; its state must be as seen."""
    latest = tables.decisions.latest(change.kind, [change.item]).get(change.item)
    if latest is None or latest.no == change.version:
        return change
    wanted = DecisionFilter(kind=change.kind, item=change.item)
    since = [one for one in tables.decisions.page(wanted, limit=_MOST_STEPS) if one.no > change.version]
    own = len(since) < _MOST_STEPS and all(one.user == user for one in since)
    return replace(change, version=latest.no) if own else change


def decisions_of(study: Study, numbers: Iterable[int]) -> Mapping[int, Decision]:
    """number -> decision, for those of these numbers that exist."""
    with study.database.read() as tables:
        return tables.decisions.get(numbers)


def current(study: Study, kind: str, items: Sequence[str]) -> list[Decided]:
    """How items stand, with their versions: what a reviewer must have seen to decide.

    Raises:
        UsageError: there is no such kind.
        InputError: not an item of the kind.
    """
    found = kind_of(kind)
    with study.database.read() as tables:
        states, latest = found.states(study, tables, items), tables.decisions.latest(kind, items)
    return [Decided(kind, item, states.get(item), latest[item].no if item in latest else 0, None) for item in items]


def history(study: Study, wanted: DecisionFilter, *, before: int | None = None, limit: int = 100) -> HistoryPage:
    """A page of the decisions that are wanted; ``before`` is the number of the last one of the page before.

    Raises:
        UsageError: ``limit`` is not from 1 to 1000.
    """
    check_limit(limit, 1000, remedy="Ask for the next page with before")
    with study.database.read() as tables:
        found = tables.decisions.page(wanted, before=before, limit=limit + 1)
    page = tuple(found[:limit])
    return HistoryPage(page, page[-1].no if len(found) > limit else None)


def history_choices(study: Study) -> tuple[list[str], list[str]]:
    """Everybody who decided something, and every kind of decision in the history."""
    with study.database.read() as tables:
        return tables.decisions.users(), tables.decisions.kinds()


def obstacles(study: Study, decisions: Iterable[Decision]) -> dict[int, str]:
    """number -> why :func:`take_back` would refuse a decision, in a few words, for those of these decisions that it would refuse."""
    listed = list(decisions)
    known = {kind.name: kind for kind in kinds()}
    found = {one.no: "not made in the review pages" for one in listed if one.kind not in known}
    with study.database.read() as tables:
        for name, kind in known.items():
            latest = tables.decisions.versions(name, dict.fromkeys(one.item for one in listed if one.kind == name))
            same = [one for one in listed if one.kind == name]
            found |= {one.no: "decided again since" for one in same if latest.get(one.item) != one.no}
            found |= _unfit(study, tables, kind, [one for one in same if latest.get(one.item) == one.no])
    return found


def _unfit(study: Study, tables: Tables, kind: Kind, decisions: Sequence[Decision]) -> dict[int, str]:
    """The same for the latest decisions of a kind: what was before is no state (older commands did not record it), or it is another now."""
    if not decisions:
        return {}
    try:
        kind.check(study, tables, {one.item: one.before for one in decisions})
        states = kind.states(study, tables, [one.item for one in decisions])
    except NotFoundError:
        reason = "its item is no longer there"
    except InputError:
        reason = "what was before is not on record"
    else:
        return {one.no: "changed since" for one in decisions if states.get(one.item) != one.after}
    if len(decisions) == 1:
        return {decisions[0].no: reason}
    return {no: why for one in decisions for no, why in _unfit(study, tables, kind, [one]).items()}
