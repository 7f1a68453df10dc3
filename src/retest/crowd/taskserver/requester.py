"""The requesters' side of the labelling server: Mechanical Turk's operations as functions of plain dictionaries.

Requests and responses are those of the JSON protocol (API version 2017-01-17), times in seconds since 1970. Rules,
limits and messages follow Amazon's documentation; where Amazon forgets, this server does not: request tokens are kept
for ever by default, answers to deleted HITs stay readable, HITs are not deleted by age.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from retest.crowd.taskserver.desk import new_entity_id, settle, settle_if_due
from retest.crowd.taskserver.documents import assignment_document, hit_document, hits_page, next_token, page_bounds
from retest.crowd.taskserver.limits import check_limits, check_question, check_range, does_not_exist, refused
from retest.crowd.taskserver.records import ANSWERED, HitStatus, HitType, LeaseStatus, TaskAssignment, TaskHit, TaskRepository, TaskSession
from retest.crowd.taskserver.shapes import check_request

__all__ = ["RequesterApi"]

Request = Mapping[str, Any]
Response = dict[str, Any]

_OVERRIDE_S = 30 * 86_400
_DEFAULT_APPROVAL_S = 2_592_000
_FEE_LIMIT = 10
"""HITs created with fewer assignments cannot be extended to this many or more."""


class RequesterApi:
    """Answers requesters.

    Args:
        repository: the server's state.
        now: the clock, seconds since 1970.
        new_id: makes ids of HITs and HIT types.
        balance_cents: what GetAccountBalance tells; the default is the sandbox's 10,000 USD. Nothing is ever paid.
        token_memory_s: how long a UniqueRequestToken is remembered; None for ever, 86400 as Amazon does.
        ignore_qualifications: accept QualificationRequirements although nobody here checks them; otherwise they are refused.
    """

    def __init__(
        self,
        repository: TaskRepository,
        *,
        now: Callable[[], float],
        new_id: Callable[[], str] = new_entity_id,
        balance_cents: int = 1_000_000,
        token_memory_s: float | None = None,
        ignore_qualifications: bool = False,
    ) -> None:
        self._repository, self._now, self._new_id = repository, now, new_id
        self._balance_cents, self._token_memory_s, self._ignore_qualifications = balance_cents, token_memory_s, ignore_qualifications
        self._operations: dict[str, Callable[[Request], Response]] = {
            "CreateHITType": self._create_hit_type,
            "CreateHITWithHITType": self._create_hit_with_hit_type,
            "CreateHIT": self._create_hit,
            "GetHIT": self._get_hit,
            "ListHITs": self._list_hits,
            "ListReviewableHITs": self._list_reviewable_hits,
            "ListAssignmentsForHIT": self._list_assignments_for_hit,
            "GetAssignment": self._get_assignment,
            "ApproveAssignment": self._approve_assignment,
            "RejectAssignment": self._reject_assignment,
            "UpdateExpirationForHIT": self._update_expiration_for_hit,
            "CreateAdditionalAssignmentsForHIT": self._create_additional_assignments_for_hit,
            "DeleteHIT": self._delete_hit,
            "GetAccountBalance": self._get_account_balance,
        }

    def handle(self, operation: str, request: Request) -> Response:
        """Carry out one operation.

        Raises:
            ProtocolError: if the request is refused; its :meth:`~ProtocolError.body` is what goes over the wire.
            StoreError: if the repository fails.
        """
        check_request(operation, request)
        given = {name: value for name, value in request.items() if value is not None}
        check_limits(given)
        return self._operations[operation](given)

    # Creating

    def _create_hit_type(self, request: Request) -> Response:
        wanted = self._hit_type(request)
        with self._repository.writing(durable=True) as session:
            return {"HITTypeId": _stored_type(session, wanted).id}

    def _create_hit_with_hit_type(self, request: Request) -> Response:
        def find(session: TaskSession) -> HitType:
            found = session.hit_type(request["HITTypeId"])
            if found is None:
                raise does_not_exist("HITType", request["HITTypeId"])
            return found

        return self._create(request, find)

    def _create_hit(self, request: Request) -> Response:
        wanted = self._hit_type(request)
        return self._create(request, lambda session: _stored_type(session, wanted))

    def _hit_type(self, request: Request) -> HitType:
        qualifications = request.get("QualificationRequirements", [])
        if qualifications and not self._ignore_qualifications:
            raise refused("QualificationRequirements cannot be checked by this server; invite annotators instead", "InvalidParameterValue")
        if len(qualifications) > 10:
            raise refused("a HIT has at most 10 QualificationRequirements", "InvalidParameterValue")
        return HitType(
            id=self._new_id(),
            title=request["Title"],
            description=request["Description"],
            keywords=request.get("Keywords", ""),
            reward=f"{Decimal(request['Reward']):.2f}",
            auto_approval_s=request.get("AutoApprovalDelayInSeconds", _DEFAULT_APPROVAL_S),
            duration_s=request["AssignmentDurationInSeconds"],
            qualifications=json.dumps(qualifications, sort_keys=True),
        )

    def _create(self, request: Request, hit_type: Callable[[TaskSession], HitType]) -> Response:
        check_question(request)
        now = self._now()
        with self._repository.writing(durable=True) as session:
            self._check_token(session, "CreateHIT", request, now)
            hit = TaskHit(
                id=self._new_id(),
                hit_type=hit_type(session),
                question=request["Question"],
                max_assignments=request.get("MaxAssignments", 1),
                created_at=now,
                expires_at=now + request["LifetimeInSeconds"],
                annotation=request.get("RequesterAnnotation"),
            )
            session.add_hit(hit)
            if "UniqueRequestToken" in request:
                session.keep_token("CreateHIT", request["UniqueRequestToken"], hit.id, now)
        return {"HIT": hit_document(hit, now)}

    def _check_token(self, session: TaskSession, scope: str, request: Request, now: float) -> None:
        token = request.get("UniqueRequestToken")
        kept = None if token is None else session.token(scope, token)
        if kept is None or (self._token_memory_s is not None and now >= kept[1] + self._token_memory_s):
            return
        if scope == "CreateHIT":
            raise refused(f"The HIT with ID {kept[0]} already exists for this UniqueRequestToken", "HitAlreadyExists")
        raise refused(f'The idempotency token "{token}" has already been processed', "DuplicateRequest")

    # Looking

    def _get_hit(self, request: Request) -> Response:
        now = self._settled()
        with self._repository.reading() as session:
            return {"HIT": hit_document(_known(session, request["HITId"]), now)}

    def _list_hits(self, request: Request) -> Response:
        now = self._settled()
        after, limit = page_bounds(request)
        with self._repository.reading() as session:
            return hits_page(session.hits(after=after, limit=limit + 1), limit, now)

    def _list_reviewable_hits(self, request: Request) -> Response:
        now = self._settled()
        after, limit = page_bounds(request)
        if request.get("Status") == HitStatus.REVIEWING:  # never entered here
            return hits_page([], limit, now)
        with self._repository.reading() as session:
            found = session.hits(after=after, limit=limit + 1, reviewable_at=now, hit_type_id=request.get("HITTypeId"))
        return hits_page(found, limit, now)

    def _list_assignments_for_hit(self, request: Request) -> Response:
        self._settled()
        after, limit = page_bounds(request)
        statuses = [LeaseStatus(name) for name in request.get("AssignmentStatuses", [])] or ANSWERED
        with self._repository.reading() as session:
            _known(session, request["HITId"])
            found = session.answers(request["HITId"], statuses=statuses, after=after, limit=limit + 1)
        page = [assignment_document(assignment) for assignment in found[:limit]]
        return {"NumResults": len(page), "Assignments": page, **next_token(found, limit)}

    def _get_assignment(self, request: Request) -> Response:
        now = self._settled()
        with self._repository.reading() as session:
            assignment = _answered(session, request["AssignmentId"], ANSWERED)
            hit = _known(session, assignment.hit_id)
        return {"Assignment": assignment_document(assignment), "HIT": hit_document(hit, now)}

    def _get_account_balance(self, request: Request) -> Response:
        return {"AvailableBalance": f"{Decimal(self._balance_cents) / 100:.2f}"}

    # Deciding

    def _approve_assignment(self, request: Request) -> Response:
        now = self._now()
        allowed = [LeaseStatus.SUBMITTED, *([LeaseStatus.REJECTED] if request.get("OverrideRejection") else [])]
        with self._repository.writing(durable=True) as session:
            settle(session, now)
            present = _answered(session, request["AssignmentId"], allowed)
            if present.status is LeaseStatus.REJECTED:
                if _known(session, present.hit_id).disposed:
                    raise refused("The HIT of this assignment has been deleted", "InvalidAssignmentState")
                if present.submitted_at is not None and now - present.submitted_at > _OVERRIDE_S:
                    raise refused("A rejection can be overridden within 30 days of submission", "InvalidAssignmentState")
            feedback = request.get("RequesterFeedback", present.feedback)
            session.change_assignment(replace(present, status=LeaseStatus.APPROVED, decided_at=now, feedback=feedback))
        return {}

    def _reject_assignment(self, request: Request) -> Response:
        feedback = request["RequesterFeedback"]
        if not feedback.strip():
            raise refused("RequesterFeedback must not be empty", "InvalidParameterValue")
        now = self._now()
        with self._repository.writing(durable=True) as session:
            settle(session, now)
            present = _answered(session, request["AssignmentId"], [LeaseStatus.SUBMITTED])
            session.change_assignment(replace(present, status=LeaseStatus.REJECTED, decided_at=now, feedback=feedback))
        return {}

    # The life of a HIT

    def _update_expiration_for_hit(self, request: Request) -> Response:
        with self._repository.writing(durable=True) as session:
            hit = _known(session, request["HITId"])
            _check_not_disposed(hit)
            session.change_hit(hit.id, expires_at=float(request["ExpireAt"]))
        return {}

    def _create_additional_assignments_for_hit(self, request: Request) -> Response:
        now = self._now()
        with self._repository.writing(durable=True) as session:
            hit = _known(session, request["HITId"])
            self._check_token(session, "CreateAdditionalAssignmentsForHIT", request, now)
            _check_not_disposed(hit)
            total = hit.max_assignments + request["NumberOfAdditionalAssignments"]
            if hit.max_assignments < _FEE_LIMIT <= total:
                raise refused(
                    f"A HIT created with fewer than {_FEE_LIMIT} assignments cannot be extended to {_FEE_LIMIT} or more",
                    "InvalidMaximumAssignmentsIncrease",
                )
            check_range("MaxAssignments", total)
            session.change_hit(hit.id, max_assignments=total)
            if "UniqueRequestToken" in request:
                session.keep_token("CreateAdditionalAssignmentsForHIT", request["UniqueRequestToken"], hit.id, now)
        return {}

    def _delete_hit(self, request: Request) -> Response:
        now = self._now()
        with self._repository.writing(durable=True) as session:
            settle(session, now)
            hit = _known(session, request["HITId"])
            status = hit.status(now)
            if status is not HitStatus.REVIEWABLE or hit.submitted:
                undecided = f" with {hit.submitted} undecided assignments" if hit.submitted else ""
                raise refused(
                    f"This HIT is currently in the state '{status}'{undecided}. This operation can be called with a status of:"
                    " Reviewable, with all assignments approved or rejected",
                    "InvalidHITState",
                )
            session.change_hit(hit.id, disposed=True)
        return {}

    def _settled(self) -> float:
        now = self._now()
        settle_if_due(self._repository, now)
        return now


def _stored_type(session: TaskSession, wanted: HitType) -> HitType:
    found = session.same_hit_type(wanted)
    if found is None:
        session.add_hit_type(wanted)
    return found or wanted


def _known(session: TaskSession, hit_id: str) -> TaskHit:
    hit = session.hit(hit_id)
    if hit is None:
        raise does_not_exist("HIT", hit_id)
    return hit


def _answered(session: TaskSession, assignment_id: str, allowed: Sequence[LeaseStatus]) -> TaskAssignment:
    assignment = session.assignment(assignment_id)
    if assignment is None:
        raise does_not_exist("Assignment", assignment_id)
    if assignment.status not in allowed:
        raise refused(
            f"Assignment {assignment_id} is {assignment.status}. This operation can be called with a status of: {','.join(allowed)}",
            "InvalidAssignmentState",
        )
    return assignment


def _check_not_disposed(hit: TaskHit) -> None:
    if hit.disposed:
        raise refused(f"Hit {hit.id} has been deleted", "InvalidHITState")
