"""Decisions of reviewers: one history, one way to write it, nothing lost when two people decide at once.

A *kind* says what can be decided about an item (exclude a candidate, pair two images) and where its current state lies; states are
plain JSON values, None where nothing is decided. :func:`decide` changes states, writes the history and brings derived tables along,
all in one transaction. The version of an item is the number of its latest decision, 0 when there is none. Whoever decides names the
version, and if they like the state, that they saw: if another decision came between, nothing is written and both sides are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from retest.errors import ConflictError, InputError, NotFoundError, UsageError
from retest.stages._common import Stamp
from retest.store import Decision, Tables
from retest.study import Study

State = Any
"""A JSON value; None: nothing is decided."""

MAX_CHANGES = 1000
"""Most changes that one call takes: a transaction stays short."""


class Role(StrEnum):
    """What somebody may do; each role may do what those before it may."""

    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what ``other`` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class _NotSaid:
    pass


NOT_SAID = _NotSaid()


@dataclass(frozen=True, slots=True)
class Change:
    """A wish: ``item`` of ``kind`` shall have the state ``after``.

    ``version`` is the number of the latest decision that the reviewer saw, 0 for none; ``before`` the state that they saw, where
    they say so: it also finds changes that a stage made, which are no decisions.
    """

    kind: str
    item: str
    after: State
    version: int
    before: State | _NotSaid = NOT_SAID


@dataclass(frozen=True, slots=True)
class Decided:
    """How an item stands now. ``no`` is the decision that was written, None where the state was as wished already."""

    kind: str
    item: str
    state: State
    version: int
    no: int | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A wish that met another decision: the wished state beside the current one, and who decided that when."""

    kind: str
    item: str
    wished: State
    state: State
    version: int
    user: str
    time: str


class DecisionConflictError(ConflictError):
    """Somebody else has decided meanwhile; nothing was written. ``conflicts`` holds both sides of each."""

    rest: tuple[int, ...] = ()
    """Decisions that were to be taken back and could be: those about items without a conflict."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        self.conflicts = tuple(conflicts)
        first = self.conflicts[0]
        super().__init__(
            f"{len(self.conflicts)} of the items changed meanwhile",
            item=first.item,
            remedy="Look at what was decided, then decide again",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (DecisionConflictError, (self.conflicts,))


class Kind(Protocol):
    """What can be decided about the items of one kind."""

    name: str
    """Name in the history; never changes."""

    label: str
    """The kind in words, for people."""

    role: Role
    """The least role that may decide."""

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        """item -> current state; items without one may be left out."""

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        """Raise :class:`InputError` for what is no state and :class:`NotFoundError` for what is no item."""

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        """Make these the current states."""

    def images(self, item: str) -> tuple[str, ...]:
        """The images that an item is about: near-duplicates and counts that depend on them are derived again.

        A kind that sets ``names_all_images = True`` promises that these (with what :class:`Reaching` adds) are all that ``write`` joins,
        parts or marks, and that it leaves resolutions and counts alone: then the counts are adjusted; otherwise the classes concerned are
        counted anew, which takes longer.
        """


@runtime_checkable
class Reaching(Protocol):
    """A kind whose decisions join, part or mark more images than their items name."""

    def reached(self, tables: Tables, states: Mapping[str, State]) -> set[str]:
        """The images besides those of ``Kind.images`` that these new states join, part or mark; asked before they are written."""


_KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Add a kind; the module that defines it calls this once."""
    _KINDS[kind.name] = kind


def kind_of(name: str) -> Kind:
    """A kind by name.

    Raises:
        UsageError: there is none.
    """
    if name not in _KINDS:
        raise UsageError("there is no such kind of decision", item=name, remedy=f"Kinds: {', '.join(sorted(_KINDS))}")
    return _KINDS[name]


def kinds() -> tuple[Kind, ...]:
    """All kinds, by name."""
    return tuple(_KINDS[name] for name in sorted(_KINDS))


Derive = Callable[[Study, Tables, set[str], bool], Callable[[], None]]
"""Looks at images before a decision about them is written; what it returns brings derived tables along afterwards.

The last argument says whether ``Kind.images`` names every image that ``Kind.write`` may join, part or mark.
"""


def write_changes(study: Study, tables: Tables, changes: Sequence[Change], *, stamp: Stamp, derive: Derive) -> list[Decided]:
    """Write decisions into an open transaction: all of them, or none when one conflicts (an error rolls the transaction back).

    A change to the state that an item has already is no decision and never a conflict: a repeated request does no harm.

    Raises:
        DecisionConflictError: an item has another version, or another state, than the reviewer saw.
        UsageError: no or too many changes, an unknown kind, an item given twice.
        InputError: not a state of the kind.
        NotFoundError: no such item.
    """
    _check_changes(changes)
    results: dict[tuple[str, str], Decided] = {}
    conflicts: list[Conflict] = []
    pending: list[tuple[Kind, dict[str, State], dict[str, State]]] = []
    for name, group in groupby(sorted(changes, key=lambda change: change.kind), key=lambda change: change.kind):
        kind, wishes = kind_of(name), {change.item: change for change in group}
        kind.check(study, tables, {item: wish.after for item, wish in wishes.items()})
        states = kind.states(study, tables, list(wishes))
        latest = tables.decisions.latest(name, list(wishes))
        new: dict[str, State] = {}
        for item, wish in wishes.items():
            state, decision = states.get(item), latest.get(item)
            version = decision.no if decision else 0
            if state == wish.after:
                results[name, item] = Decided(name, item, state, version, None)
            elif version != wish.version or (not isinstance(wish.before, _NotSaid) and wish.before != state):
                conflicts.append(_conflict(wish, state, decision))
            else:
                new[item] = wish.after
        pending.append((kind, new, states))
    if conflicts:
        raise DecisionConflictError(conflicts)
    results |= _write(study, tables, pending, stamp, derive)
    return [results[change.kind, change.item] for change in changes]


def _check_changes(changes: Sequence[Change]) -> None:
    if not 0 < len(changes) <= MAX_CHANGES:
        raise UsageError(f"1 to {MAX_CHANGES} changes fit into one decision, not {len(changes)}", remedy="Decide in several steps")
    seen: set[tuple[str, str]] = set()
    for change in changes:
        kind_of(change.kind)
        if (change.kind, change.item) in seen:
            raise UsageError("the item is given twice", item=change.item, remedy="Give every item once")
        seen.add((change.kind, change.item))


def _conflict(wish: Change, state: State, decision: Decision | None) -> Conflict:
    version, user, time = (decision.no, decision.user, decision.time) if decision else (0, "", "")
    return Conflict(wish.kind, wish.item, wish.after, state, version, user, time)


def _write(
    study: Study, tables: Tables, pending: Sequence[tuple[Kind, dict[str, State], dict[str, State]]], stamp: Stamp, derive: Derive
) -> dict[tuple[str, str], Decided]:
    results: dict[tuple[str, str], Decided] = {}
    images = {image for kind, new, _ in pending for item in new for image in kind.images(item)}
    for kind, new, _ in pending:
        if new and isinstance(kind, Reaching):
            images |= kind.reached(tables, new)
    bring_along = derive(study, tables, images, all(getattr(kind, "names_all_images", False) for kind, new, _ in pending if new))
    for kind, new, states in pending:
        if not new:
            continue
        kind.write(study, tables, new, stamp)
        rows = [
            {"time": stamp.time, "user": stamp.user, "kind": kind.name, "item": item, "before": states.get(item), "after": after}
            for item, after in new.items()
        ]
        for (item, after), no in zip(new.items(), tables.decisions.append(rows), strict=True):
            results[kind.name, item] = Decided(kind.name, item, after, no, no)
    bring_along()
    return results


def reversal(decisions: Mapping[int, Decision], numbers: Iterable[int]) -> list[Change]:
    """The changes that take decisions back: each item returns to the state before, if that decision is still its latest.

    Of several decisions about one item the oldest gives the state and the newest the version, so that a chain is taken back as one.

    Raises:
        NotFoundError: there is no decision of a number.
        InputError: decisions of this kind cannot be taken back here.
    """
    found: dict[tuple[str, str], Change] = {}
    for number in sorted(set(numbers), reverse=True):
        decision = decisions.get(number)
        if decision is None:
            raise NotFoundError("there is no such decision", item=str(number), remedy="See the audit log")
        if decision.kind not in _KINDS:
            raise InputError(
                f"decisions of the kind {decision.kind} were not made in the review pages and cannot be taken back there",
                item=str(number),
                remedy="Decide anew with the command that made it",
            )
        newer = found.get((decision.kind, decision.item))
        seen = newer or Change(decision.kind, decision.item, None, decision.no, decision.after)
        found[decision.kind, decision.item] = Change(decision.kind, decision.item, decision.before, seen.version, seen.before)
    return list(found.values())
