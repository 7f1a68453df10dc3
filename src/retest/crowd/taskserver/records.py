"""What the labelling server keeps, and the seam to where it keeps it.

Times are seconds since 1970 (UTC) from the server's injected clock, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

__all__ = ["ANSWERED", "HOLDING", "HitStatus", "HitType", "LeaseStatus", "TaskAssignment", "TaskHit", "TaskRepository", "TaskSession"]


class LeaseStatus(StrEnum):
    """Life of an assignment: accepted, then given up, timed out or answered, then decided."""

    ACCEPTED = "Accepted"
    RETURNED = "Returned"
    ABANDONED = "Abandoned"
    SUBMITTED = "Submitted"
    APPROVED = "Approved"
    REJECTED = "Rejected"


ANSWERED = (LeaseStatus.SUBMITTED, LeaseStatus.APPROVED, LeaseStatus.REJECTED)
HOLDING = (LeaseStatus.ACCEPTED, *ANSWERED)
"""Statuses that hold one of the HIT's places."""


class HitStatus(StrEnum):
    """Mechanical Turk's states of a HIT; Reviewing is never entered here."""

    ASSIGNABLE = "Assignable"
    UNASSIGNABLE = "Unassignable"
    REVIEWABLE = "Reviewable"
    REVIEWING = "Reviewing"
    DISPOSED = "Disposed"


@dataclass(frozen=True, slots=True)
class HitType:
    """Properties that HITs share. ``qualifications`` is the JSON text of the requirements as given."""

    id: str
    title: str
    description: str
    keywords: str
    reward: str
    auto_approval_s: int
    duration_s: int
    qualifications: str = "[]"

    @property
    def properties(self) -> tuple[str | int, ...]:
        """All but the id: equal properties are one type."""
        return (self.title, self.description, self.keywords, self.reward, self.auto_approval_s, self.duration_s, self.qualifications)


@dataclass(frozen=True, slots=True)
class TaskHit:
    """A published HIT. ``number`` counts HITs as they were created; the counters count its assignments."""

    id: str
    hit_type: HitType
    question: str = field(repr=False)
    max_assignments: int
    created_at: float
    expires_at: float
    annotation: str | None = None
    disposed: bool = False
    number: int = 0
    pending: int = 0
    submitted: int = 0
    decided: int = 0

    @property
    def taken(self) -> int:
        """Places held by annotators at work or by answers."""
        return self.pending + self.submitted + self.decided

    def available(self, now: float) -> int:
        """Places that can be taken at this time."""
        return max(self.max_assignments - self.taken, 0) if now < self.expires_at and not self.disposed else 0

    def status(self, now: float) -> HitStatus:
        if self.disposed:
            return HitStatus.DISPOSED
        if self.available(now):
            return HitStatus.ASSIGNABLE
        return HitStatus.UNASSIGNABLE if self.pending else HitStatus.REVIEWABLE


@dataclass(frozen=True, slots=True)
class TaskAssignment:
    """One annotator's turn at one HIT. ``number`` counts submissions of the server, 0 before."""

    id: str
    hit_id: str
    worker_id: str = field(repr=False)
    status: LeaseStatus
    accepted_at: float
    deadline: float
    number: int = 0
    submitted_at: float | None = None
    auto_approve_at: float | None = None
    decided_at: float | None = None
    answer: str = field(default="", repr=False)
    feedback: str = ""


class TaskSession(Protocol):
    """What can be asked and changed inside one transaction. Nothing here knows the rules."""

    def hit_type(self, hit_type_id: str) -> HitType | None: ...

    def same_hit_type(self, hit_type: HitType) -> HitType | None:
        """The stored type with equal properties."""
        ...

    def add_hit_type(self, hit_type: HitType) -> None: ...

    def hit(self, hit_id: str) -> TaskHit | None: ...

    def add_hit(self, hit: TaskHit) -> None:
        """Store a new HIT; its ``number`` is given by the repository."""
        ...

    def change_hit(
        self, hit_id: str, *, max_assignments: int | None = None, expires_at: float | None = None, disposed: bool | None = None
    ) -> None: ...

    def hits(self, *, after: int, limit: int, reviewable_at: float | None = None, hit_type_id: str | None = None) -> Sequence[TaskHit]:
        """HITs that are not disposed with ``number > after``, by number; with ``reviewable_at`` only those Reviewable then."""
        ...

    def free_hit(self, worker_id: str, now: float) -> TaskHit | None:
        """The first HIT with a free place that this annotator never accepted."""
        ...

    def assignment(self, assignment_id: str) -> TaskAssignment | None: ...

    def assignment_of(self, hit_id: str, worker_id: str) -> TaskAssignment | None: ...

    def at_work(self, worker_id: str) -> TaskAssignment | None:
        """The annotator's oldest assignment with status Accepted."""
        ...

    def answers(self, hit_id: str, *, statuses: Sequence[LeaseStatus], after: int, limit: int) -> Sequence[TaskAssignment]:
        """Answered assignments with ``number > after``, by number, that is by submission."""
        ...

    def add_assignment(self, assignment: TaskAssignment) -> None: ...

    def change_assignment(self, assignment: TaskAssignment) -> TaskAssignment:
        """Replace by id; a first submission is given its ``number``. Returns what is stored."""
        ...

    def due(self, now: float) -> Sequence[TaskAssignment]:
        """Accepted ones past their deadline, and submitted ones past their automatic approval."""
        ...

    def draft(self, assignment_id: str) -> str | None: ...

    def keep_draft(self, assignment_id: str, fields: str | None) -> None:
        """Keep what an annotator has entered so far; None forgets it."""
        ...

    def token(self, scope: str, token: str) -> tuple[str, float] | None:
        """What a request token stands for, and since when."""
        ...

    def keep_token(self, scope: str, token: str, value: str, now: float) -> None: ...


class TaskRepository(Protocol):
    """Where the labelling server keeps its state.

    Transactions that write are serialised among all threads and processes; they are undone if the block raises.
    """

    def reading(self) -> AbstractContextManager[TaskSession]: ...

    def writing(self, *, durable: bool = False) -> AbstractContextManager[TaskSession]:
        """With ``durable``, the change also survives a power failure once the block has ended."""
        ...
