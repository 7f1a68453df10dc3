"""Responses: HITs, assignments and pages of them as the JSON protocol shows them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from retest.crowd.taskserver.limits import refused
from retest.crowd.taskserver.records import LeaseStatus, TaskAssignment, TaskHit

__all__ = ["assignment_document", "hit_document", "hits_page", "next_token", "page_bounds"]

Response = dict[str, Any]

_PAGE_SIZE = 10


def page_bounds(request: Mapping[str, Any]) -> tuple[int, int]:
    """(number after which the page starts, its size)."""
    token = request.get("NextToken")
    if token is None:
        return 0, request.get("MaxResults", _PAGE_SIZE)
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode("ascii")
    except (binascii.Error, UnicodeError):
        text = ""
    if not (text.startswith("after:") and text[6:].isdigit() and len(text) <= 24):
        raise refused("NextToken is not one that this server gave", "InvalidParameterValue")
    return int(text[6:]), request.get("MaxResults", _PAGE_SIZE)


def next_token(found: Sequence[TaskHit] | Sequence[TaskAssignment], limit: int) -> Response:
    """One more than a page was read: then there is a next one."""
    if len(found) <= limit:
        return {}
    return {"NextToken": base64.urlsafe_b64encode(f"after:{found[limit - 1].number}".encode()).decode()}


def hits_page(found: Sequence[TaskHit], limit: int, now: float) -> Response:
    """A page of HITs; ``found`` holds one more than the page where there is a next one."""
    page = [hit_document(hit, now) for hit in found[:limit]]
    return {"NumResults": len(page), "HITs": page, **next_token(found, limit)}


def hit_document(hit: TaskHit, now: float) -> Response:
    """A HIT at this time, as GetHIT shows it."""
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


def assignment_document(assignment: TaskAssignment) -> Response:
    """An answered assignment, as GetAssignment shows it."""
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
