"""Amazon's documented limits on requests, beyond their shape, and the errors for what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retest.crowd._xml import XmlError, parse_xml
from retest.crowd.page import MAX_QUESTION_BYTES
from retest.crowd.taskserver.errors import ProtocolError

__all__ = ["check_limits", "check_question", "check_range", "does_not_exist", "refused"]

Request = Mapping[str, Any]

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


def check_limits(request: Request) -> None:
    """Raise :class:`ProtocolError` if a member is out of range, too long or not supported here."""
    for name in _RANGES:
        if name in request:
            check_range(name, request[name])
    for name, limit in _LENGTHS.items():
        if len(request.get(name, "")) > limit:
            raise refused(f"{name} has {len(request[name])} characters, at most {limit} are allowed", "StringLengthConstraintFailure")
    for name in _UNSUPPORTED:
        if name in request:
            raise refused(f"{name} is not supported by this server", "InvalidParameterValue")


def check_range(name: str, value: int) -> None:
    """Raise :class:`ProtocolError` (AWS.ParameterOutOfRange) if a number is outside of Amazon's limits for it."""
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise ProtocolError(f"{name} is {value}. Valid values range from {low} to {high}", code="AWS.ParameterOutOfRange")


def check_question(request: Request) -> None:
    """Raise :class:`ProtocolError` unless the Question is an HTMLQuestion or ExternalQuestion of at most 65,535 bytes."""
    question = request.get("Question", "")
    if not question:
        raise ProtocolError("Either a Question parameter or a HITLayoutId parameter must be provided", code="AWS.MissingParameters")
    size = len(question.encode(errors="surrogatepass"))
    if size > MAX_QUESTION_BYTES:
        raise refused(f"Question has {size} bytes, at most {MAX_QUESTION_BYTES} are allowed", "StringLengthConstraintFailure")
    try:
        kind = parse_xml(question).tag
    except XmlError as error:
        raise refused(f"Question cannot be read ({error})", "XMLParseError") from None
    if kind not in ("HTMLQuestion", "ExternalQuestion"):
        raise refused(f"a Question of kind {kind} is not supported by this server", "InvalidParameterValue")


def refused(problem: str, code: str) -> ProtocolError:
    """The error for a request that Mechanical Turk's rules refuse."""
    return ProtocolError(problem, code=f"AWS.MechanicalTurk.{code}")


def does_not_exist(kind: str, name: str) -> ProtocolError:
    """The error for an id that nothing has."""
    return refused(f"{kind} {name} does not exist", f"{kind}DoesNotExist")
