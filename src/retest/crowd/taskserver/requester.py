"""The requesters' side of the labelling server: Mechanical Turk's operations as functions of plain dictionaries.

Requests and responses are those of the JSON protocol (API version 2017-01-17), times in seconds since 1970. Rules,
limits and messages follow Amazon's documentation; where Amazon forgets, this server does not: request tokens are kept
for ever by default, answers to deleted HITs stay readable, HITs are not deleted by age.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from retest.crowd._xml import XmlError, parse_xml
from retest.crowd.page import MAX_QUESTION_BYTES
from retest.crowd.taskserver.desk import new_entity_id, settle, settle_if_due
from retest.crowd.taskserver.errors import ProtocolError
from retest.crowd.taskserver.records import ANSWERED, HitStatus, HitType, LeaseStatus, TaskAssignment, TaskHit, TaskRepository, TaskSession
from retest.crowd.taskserver.shapes import check_request

__all__ = ["RequesterApi"]

Request = Mapping[str, Any]
Response = dict[str, Any]

_YEAR_S = 31_536_000
_RANGES = {
    "AssignmentDurationInSeconds": (30, _YEAR_S),
    "LifetimeInSeconds": (30, _YEAR_S),
    "AutoApprovalDelayInSeconds": (0, 2_592_000),
    "MaxAssignments": (1, 1_000_000_000),
    "NumberOfAdditionalAssignments": (1, 1_000_000_000),
}
_LENGTHS = {"Title": 128, "Description": 2000, "Keywords": 1000, "RequesterAnnotation": 255, "RequesterFeedback": 1024}
_UNSUPPORTED = ("HITLayoutId", "HITLayoutParameters", "AssignmentReviewPolicy", "HITReviewPolicy")
_OVERRIDE_S = 30 * 86_400
_DEFAULT_APPROVAL_S = 2_592_000
_PAGE_SIZE = 10
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
        _check_limits(given)
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
                raise _does_not_exist("HITType", request["HITTypeId"])
            return found

        return self._create(request, find)

    def _create_hit(self, request: Request) -> Response:
        wanted = self._hit_type(request)
        return self._create(request, lambda session: _stored_type(session, wanted))

    def _hit_type(self, request: Request) -> HitType:
        qualifications = request.get("QualificationRequirements", [])
        if qualifications and not self._ignore_qualifications:
            raise _refused("QualificationRequirements cannot be checked by this server; invite annotators instead", "InvalidParameterValue")
        if len(qualifications) > 10:
            raise _refused("a HIT has at most 10 QualificationRequirements", "InvalidParameterValue")
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
        _check_question(request)
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
        return {"HIT": _hit_document(hit, now)}

    def _check_token(self, session: TaskSession, scope: str, request: Request, now: float) -> None:
        token = request.get("UniqueRequestToken")
        kept = None if token is None else session.token(scope, token)
        if kept is None or (self._token_memory_s is not None and now >= kept[1] + self._token_memory_s):
            return
        if scope == "CreateHIT":
            raise _refused(f"The HIT with ID {kept[0]} already exists for this UniqueRequestToken", "HitAlreadyExists")
        raise _refused(f'The idempotency token "{token}" has already been processed', "DuplicateRequest")

    # Looking

    def _get_hit(self, request: Request) -> Response:
        now = self._settled()
        with self._repository.reading() as session:
            return {"HIT": _hit_document(_known(session, request["HITId"]), now)}

    def _list_hits(self, request: Request) -> Response:
        now = self._settled()
        after, limit = _page(request)
        with self._repository.reading() as session:
            return _hits_page(session.hits(after=after, limit=limit + 1), limit, now)

    def _list_reviewable_hits(self, request: Request) -> Response:
        now = self._settled()
        after, limit = _page(request)
        if request.get("Status") == HitStatus.REVIEWING:  # never entered here
            return _hits_page([], limit, now)
        with self._repository.reading() as session:
            found = session.hits(after=after, limit=limit + 1, reviewable_at=now, hit_type_id=request.get("HITTypeId"))
        return _hits_page(found, limit, now)

    def _list_assignments_for_hit(self, request: Request) -> Response:
        self._settled()
        after, limit = _page(request)
        statuses = [LeaseStatus(name) for name in request.get("AssignmentStatuses", [])] or ANSWERED
        with self._repository.reading() as session:
            _known(session, request["HITId"])
            found = session.answers(request["HITId"], statuses=statuses, after=after, limit=limit + 1)
        page = [_assignment_document(assignment) for assignment in found[:limit]]
        return {"NumResults": len(page), "Assignments": page, **_next(found, limit)}

    def _get_assignment(self, request: Request) -> Response:
        now = self._settled()
        with self._repository.reading() as session:
            assignment = _answered(session, request["AssignmentId"], ANSWERED)
            hit = _known(session, assignment.hit_id)
        return {"Assignment": _assignment_document(assignment), "HIT": _hit_document(hit, now)}

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
                    raise _refused("The HIT of this assignment has been deleted", "InvalidAssignmentState")
                if present.submitted_at is not None and now - present.submitted_at > _OVERRIDE_S:
                    raise _refused("A rejection can be overridden within 30 days of submission", "InvalidAssignmentState")
            feedback = request.get("RequesterFeedback", present.feedback)
            session.change_assignment(replace(present, status=LeaseStatus.APPROVED, decided_at=now, feedback=feedback))
        return {}

    def _reject_assignment(self, request: Request) -> Response:
        feedback = request["RequesterFeedback"]
        if not feedback.strip():
            raise _refused("RequesterFeedback must not be empty", "InvalidParameterValue")
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
                raise _refused(
                    f"A HIT created with fewer than {_FEE_LIMIT} assignments cannot be extended to {_FEE_LIMIT} or more",
                    "InvalidMaximumAssignmentsIncrease",
                )
            _check_range("MaxAssignments", total)
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
                raise _refused(
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
        raise _does_not_exist("HIT", hit_id)
    return hit


def _answered(session: TaskSession, assignment_id: str, allowed: Sequence[LeaseStatus]) -> TaskAssignment:
    assignment = session.assignment(assignment_id)
    if assignment is None:
        raise _does_not_exist("Assignment", assignment_id)
    if assignment.status not in allowed:
        raise _refused(
            f"Assignment {assignment_id} is {assignment.status}. This operation can be called with a status of: {','.join(allowed)}",
            "InvalidAssignmentState",
        )
    return assignment


def _check_not_disposed(hit: TaskHit) -> None:
    if hit.disposed:
        raise _refused(f"Hit {hit.id} has been deleted", "InvalidHITState")


def _check_limits(request: Request) -> None:
    for name in _RANGES:
        if name in request:
            _check_range(name, request[name])
    for name, limit in _LENGTHS.items():
        if len(request.get(name, "")) > limit:
            raise _refused(f"{name} has {len(request[name])} characters, at most {limit} are allowed", "StringLengthConstraintFailure")
    for name in _UNSUPPORTED:
        if name in request:
            raise _refused(f"{name} is not supported by this server", "InvalidParameterValue")


def _check_range(name: str, value: int) -> None:
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise ProtocolError(f"{name} is {value}. Valid values range from {low} to {high}", code="AWS.ParameterOutOfRange")


def _check_question(request: Request) -> None:
    question = request.get("Question", "")
    if not question:
        raise ProtocolError("Either a Question parameter or a HITLayoutId parameter must be provided", code="AWS.MissingParameters")
    size = len(question.encode(errors="surrogatepass"))
    if size > MAX_QUESTION_BYTES:
        raise _refused(f"Question has {size} bytes, at most {MAX_QUESTION_BYTES} are allowed", "StringLengthConstraintFailure")
    try:
        kind = parse_xml(question).tag
    except XmlError as error:
        raise _refused(f"Question cannot be read ({error})", "XMLParseError") from None
    if kind not in ("HTMLQuestion", "ExternalQuestion"):
        raise _refused(f"a Question of kind {kind} is not supported by this server", "InvalidParameterValue")


def _page(request: Request) -> tuple[int, int]:
    """(number after which the page starts, its size)."""
    token = request.get("NextToken")
    if token is None:
        return 0, request.get("MaxResults", _PAGE_SIZE)
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode("ascii")
    except (binascii.Error, UnicodeError):
        text = ""
    if not (text.startswith("after:") and text[6:].isdigit() and len(text) < 30):
        raise _refused("NextToken is not one that this server gave", "InvalidParameterValue")
    return int(text[6:]), request.get("MaxResults", _PAGE_SIZE)


def _next(found: Sequence[TaskHit] | Sequence[TaskAssignment], limit: int) -> Response:
    """One more than a page was read: then there is a next one."""
    if len(found) <= limit:
        return {}
    return {"NextToken": base64.urlsafe_b64encode(f"after:{found[limit - 1].number}".encode()).decode()}


def _hits_page(found: Sequence[TaskHit], limit: int, now: float) -> Response:
    page = [_hit_document(hit, now) for hit in found[:limit]]
    return {"NumResults": len(page), "HITs": page, **_next(found, limit)}


def _hit_document(hit: TaskHit, now: float) -> Response:
    kind = hit.hit_type
    document = {
        "HITId": hit.id,
        "HITTypeId": kind.id,
        "HITGroupId": kind.id,
        "CreationTime": hit.created_at,
        "Title": kind.title,
        "Description": kind.description,
        "Question": hit.question,
        "Keywords": kind.keywords,
        "HITStatus": hit.status(now).value,
        "MaxAssignments": hit.max_assignments,
        "Reward": kind.reward,
        "AutoApprovalDelayInSeconds": kind.auto_approval_s,
        "Expiration": hit.expires_at,
        "AssignmentDurationInSeconds": kind.duration_s,
        "QualificationRequirements": json.loads(kind.qualifications),
        "HITReviewStatus": "NotReviewed",
        "NumberOfAssignmentsPending": hit.pending,
        "NumberOfAssignmentsAvailable": hit.available(now),
        "NumberOfAssignmentsCompleted": hit.decided,
    }
    return document if hit.annotation is None else {**document, "RequesterAnnotation": hit.annotation}


def _assignment_document(assignment: TaskAssignment) -> Response:
    document: Response = {
        "AssignmentId": assignment.id,
        "WorkerId": assignment.worker_id,
        "HITId": assignment.hit_id,
        "AssignmentStatus": assignment.status.value,
        "AutoApprovalTime": assignment.auto_approve_at,
        "AcceptTime": assignment.accepted_at,
        "SubmitTime": assignment.submitted_at,
        "Deadline": assignment.deadline,
        "Answer": assignment.answer,
    }
    if assignment.status is not LeaseStatus.SUBMITTED:
        document["ApprovalTime" if assignment.status is LeaseStatus.APPROVED else "RejectionTime"] = assignment.decided_at
    return {**document, "RequesterFeedback": assignment.feedback} if assignment.feedback else document


def _refused(problem: str, code: str) -> ProtocolError:
    return ProtocolError(problem, code=f"AWS.MechanicalTurk.{code}")


def _does_not_exist(kind: str, name: str) -> ProtocolError:
    return _refused(f"{kind} {name} does not exist", f"{kind}DoesNotExist")
