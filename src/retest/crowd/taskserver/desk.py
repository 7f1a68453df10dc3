"""The annotators' side of the labelling server: leases, drafts and submissions.

Rules: a HIT has ``max_assignments`` places; accepting takes one for the HIT type's duration; an assignment that is not
submitted in time is abandoned and its place free again. Nobody gets a HIT twice: there is one assignment per (HIT,
annotator) for ever. An annotator who comes back late to an abandoned one may go on while a place is free. An answer is
submitted once; repeats of the submission change nothing.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from retest.crowd.answers import write_answers
from retest.crowd.taskserver.errors import TaskRefusedError
from retest.crowd.taskserver.records import ANSWERED, LeaseStatus, TaskAssignment, TaskHit, TaskRepository, TaskSession
from retest.errors import UsageError

__all__ = ["Lease", "TaskDesk", "new_entity_id", "settle"]

MAX_ANSWER_BYTES = 65_536
_WORKER_ID = re.compile(r"A[A-Z0-9]{1,63}")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

Fields = Sequence[tuple[str, str]]
"""Form fields in order."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A place taken by an annotator, until ``deadline`` (seconds since 1970).

    ``assignment_id`` is a secret between annotator and server: who knows it may save and submit.
    """

    assignment_id: str
    hit_id: str
    worker_id: str = field(repr=False)
    accepted_at: float
    deadline: float


def new_entity_id() -> str:
    """30 random capitals and digits (155 bits), as Mechanical Turk's own ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(30))


class TaskDesk:
    """What annotators do. All methods may be called from any thread or process over the same repository.

    Args:
        repository: the server's state.
        now: the clock, seconds since 1970.
        new_id: makes ids of assignments; they must not be guessable.
    """

    def __init__(self, repository: TaskRepository, *, now: Callable[[], float], new_id: Callable[[], str] = new_entity_id) -> None:
        self._repository, self._now, self._new_id = repository, now, new_id

    def preview(self, hit_id: str) -> TaskHit:
        """Return a HIT for looking only; takes no place.

        Raises:
            TaskRefusedError: (unknown) if there is no such HIT.
        """
        with self._repository.reading() as session:
            return _known(session, hit_id)

    def accept(self, hit_id: str, worker_id: str) -> Lease:
        """Take a place at a HIT; the annotator's own running lease is returned again.

        Raises:
            UsageError: if ``worker_id`` is not of Mechanical Turk's form (``A`` and capitals or digits, at most 64).
            TaskRefusedError: (unknown, answered, returned, expired, full) if there is no place for this annotator.
        """
        _check_worker(worker_id)
        now = self._now()
        with self._repository.writing() as session:
            settle(session, now)
            return self._accept(session, _known(session, hit_id), worker_id, now)

    def accept_any(self, worker_id: str) -> Lease | None:
        """The annotator's running lease, else a place at the oldest HIT they never accepted; None if there is none.

        Raises:
            UsageError: if ``worker_id`` is not of Mechanical Turk's form.
        """
        _check_worker(worker_id)
        now = self._now()
        with self._repository.writing() as session:
            settle(session, now)
            running = session.at_work(worker_id)
            if running is not None:
                return _lease(running)
            hit = session.free_hit(worker_id, now)
            return None if hit is None else self._accept(session, hit, worker_id, now)

    def assignment(self, assignment_id: str) -> TaskAssignment:
        """Return an assignment as it stands.

        Raises:
            TaskRefusedError: (unknown) if there is no such assignment.
        """
        now = self._now()
        settle_if_due(self._repository, now)
        with self._repository.reading() as session:
            return _known_assignment(session, assignment_id)

    def save(self, assignment_id: str, fields: Fields) -> None:
        """Keep what the annotator has entered so far; the last call wins.

        Raises:
            TaskRefusedError: (unknown, answered, returned, too_large) if there is nothing to save for. Saving is allowed after
                the deadline: the annotator may still get a place again.
        """
        text = json.dumps([list(pair) for pair in fields if pair[0] != "assignmentId"])
        _check_size(text, assignment_id)
        with self._repository.writing() as session:
            _check_open(_known_assignment(session, assignment_id))
            session.keep_draft(assignment_id, text)

    def draft(self, assignment_id: str) -> list[tuple[str, str]]:
        """Return what was saved last, in order; empty if nothing was.

        Raises:
            TaskRefusedError: (unknown) if there is no such assignment.
        """
        with self._repository.reading() as session:
            _known_assignment(session, assignment_id)
            text = session.draft(assignment_id)
        return [] if text is None else [(name, value) for name, value in json.loads(text)]

    def submit(self, assignment_id: str, fields: Fields) -> TaskAssignment:
        """Hand the answer in, once: a repeat returns the first submission, whatever it carries.

        Raises:
            TaskRefusedError: (unknown, returned, lease_over, too_large) if the answer cannot be taken; lease_over only when all
                places are held by others.
        """
        answer = write_answers((name, value) for name, value in fields if name != "assignmentId")
        _check_size(answer, assignment_id)
        now = self._now()
        with self._repository.writing(durable=True) as session:
            # Not settled first: a lease past its deadline that nobody has cleared away still holds its place.
            present = _known_assignment(session, assignment_id)
            if present.status in ANSWERED:
                return present
            _check_open(present)
            hit = _known(session, present.hit_id)
            if present.status is LeaseStatus.ABANDONED and (hit.disposed or hit.taken >= hit.max_assignments):
                raise TaskRefusedError(
                    "The time for this task is over and others have answered it",
                    reason="lease_over",
                    remedy="Please take another task; nothing is held against you",
                )
            submitted = replace(
                present,
                status=LeaseStatus.SUBMITTED,
                submitted_at=now,
                auto_approve_at=now + hit.hit_type.auto_approval_s,
                answer=answer,
            )
            session.keep_draft(assignment_id, None)
            return session.change_assignment(submitted)

    def give_back(self, assignment_id: str) -> None:
        """Give the task back unanswered; its place is free again. Repeats change nothing.

        Raises:
            TaskRefusedError: (unknown, answered) if there is nothing to give back.
        """
        with self._repository.writing() as session:
            present = _known_assignment(session, assignment_id)
            if present.status is LeaseStatus.RETURNED:
                return
            _check_open(present)
            session.keep_draft(assignment_id, None)
            session.change_assignment(replace(present, status=LeaseStatus.RETURNED))

    def _accept(self, session: TaskSession, hit: TaskHit, worker_id: str, now: float) -> Lease:
        present = session.assignment_of(hit.id, worker_id)
        if present is not None and present.status is LeaseStatus.ACCEPTED:
            return _lease(present)
        if present is not None:
            _check_open(present)
        if hit.disposed or now >= hit.expires_at:
            raise TaskRefusedError("This task is closed", reason="expired", remedy="Please take another task")
        if not hit.available(now):
            raise TaskRefusedError("All places of this task are taken", reason="full", remedy="Please take another task, or try later")
        deadline = now + hit.hit_type.duration_s
        if present is not None:
            return _lease(session.change_assignment(replace(present, status=LeaseStatus.ACCEPTED, deadline=deadline)))
        fresh = TaskAssignment(self._new_id(), hit.id, worker_id, LeaseStatus.ACCEPTED, accepted_at=now, deadline=deadline)
        session.add_assignment(fresh)
        return _lease(fresh)


def settle(session: TaskSession, now: float) -> None:
    """Let time do its work: leases past their deadline are abandoned, undecided answers approved when that is due."""
    for assignment in session.due(now):
        if assignment.status is LeaseStatus.ACCEPTED:
            session.change_assignment(replace(assignment, status=LeaseStatus.ABANDONED))
        else:
            session.change_assignment(replace(assignment, status=LeaseStatus.APPROVED, decided_at=assignment.auto_approve_at))


def settle_if_due(repository: TaskRepository, now: float) -> None:
    """As :func:`settle`, without taking the writers' lock when nothing is due."""
    with repository.reading() as session:
        due = bool(session.due(now))
    if due:
        with repository.writing() as session:
            settle(session, now)


def _known(session: TaskSession, hit_id: str) -> TaskHit:
    hit = session.hit(hit_id)
    if hit is None:
        raise TaskRefusedError("There is no such task", reason="unknown", item=hit_id, remedy="Please check the link")
    return hit


def _known_assignment(session: TaskSession, assignment_id: str) -> TaskAssignment:
    assignment = session.assignment(assignment_id)
    if assignment is None:
        raise TaskRefusedError("There is no such assignment", reason="unknown", remedy="Please open the task again from its link")
    return assignment


def _check_open(assignment: TaskAssignment) -> None:
    if assignment.status in ANSWERED:
        raise TaskRefusedError("You have already answered this task", reason="answered", remedy="Thank you; please take another task")
    if assignment.status is LeaseStatus.RETURNED:
        raise TaskRefusedError("You have returned this task", reason="returned", remedy="Please take another task")


def _check_worker(worker_id: str) -> None:
    if not _WORKER_ID.fullmatch(worker_id):
        raise UsageError(
            "a worker id is an A followed by up to 63 capitals or digits", item="worker_id", remedy="Derive one with protocol_worker_id()"
        )


def _check_size(text: str, assignment_id: str) -> None:
    if len(text.encode()) > MAX_ANSWER_BYTES:
        raise TaskRefusedError(
            f"The answer is larger than {MAX_ANSWER_BYTES} bytes", reason="too_large", item=assignment_id, remedy="Please shorten it"
        )


def _lease(assignment: TaskAssignment) -> Lease:
    return Lease(assignment.id, assignment.hit_id, assignment.worker_id, assignment.accepted_at, assignment.deadline)
