"""What requests must look like: the shapes of the operations served, as in Amazon's published service model.

The tests compare every shape here with botocore's model; serving needs no botocore.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from retest.crowd.taskserver.errors import ProtocolError

__all__ = ["OPERATIONS", "Shape", "check_request"]


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape: ``kind`` is string, integer, boolean, timestamp, list or structure.

    ``low`` and ``high`` bound a string's length or a number's value.
    """

    kind: str
    low: int | None = None
    high: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    item: Shape | None = None
    members: Mapping[str, Shape] = field(default_factory=dict)
    required: frozenset[str] = frozenset()


def _structure(*required: str, **members: Shape) -> Shape:
    return Shape("structure", members=members, required=frozenset(required))


def _list(item: Shape) -> Shape:
    return Shape("list", item=item)


_STRING, _INTEGER, _BOOLEAN, _TIMESTAMP = Shape("string"), Shape("integer"), Shape("boolean"), Shape("timestamp")
_ID = Shape("string", low=1, high=64, pattern=r"^[A-Z0-9]+$")
_MONEY = Shape("string", pattern=r"^[0-9]+(\.)?[0-9]{0,2}$")
_COUNTRY = Shape("string", low=2, high=2)
_TOKEN = Shape("string", low=1, high=64)
_PAGE = {"NextToken": Shape("string", low=1, high=255), "MaxResults": Shape("integer", low=1, high=100)}
_COMPARATOR = Shape(
    "string",
    enum=(
        "LessThan",
        "LessThanOrEqualTo",
        "GreaterThan",
        "GreaterThanOrEqualTo",
        "EqualTo",
        "NotEqualTo",
        "Exists",
        "DoesNotExist",
        "In",
        "NotIn",
    ),
)
_QUALIFICATION = _structure(
    "QualificationTypeId",
    "Comparator",
    QualificationTypeId=_STRING,
    Comparator=_COMPARATOR,
    IntegerValues=_list(_INTEGER),
    LocaleValues=_list(_structure("Country", Country=_COUNTRY, Subdivision=_COUNTRY)),
    RequiredToPreview=_BOOLEAN,
    ActionsGuarded=Shape("string", enum=("Accept", "PreviewAndAccept", "DiscoverPreviewAndAccept")),
)
_MAP_ENTRY = _structure(Key=_STRING, Values=_list(_STRING))
_POLICY = _structure(
    "PolicyName",
    PolicyName=_STRING,
    Parameters=_list(_structure(Key=_STRING, Values=_list(_STRING), MapEntries=_list(_MAP_ENTRY))),
)
_TYPE = {
    "AutoApprovalDelayInSeconds": _INTEGER,
    "AssignmentDurationInSeconds": _INTEGER,
    "Reward": _MONEY,
    "Title": _STRING,
    "Keywords": _STRING,
    "Description": _STRING,
    "QualificationRequirements": _list(_QUALIFICATION),
}
_TYPE_REQUIRED = ("AssignmentDurationInSeconds", "Reward", "Title", "Description")
_CONTENT = {
    "MaxAssignments": _INTEGER,
    "LifetimeInSeconds": _INTEGER,
    "Question": _STRING,
    "RequesterAnnotation": _STRING,
    "UniqueRequestToken": _TOKEN,
    "AssignmentReviewPolicy": _POLICY,
    "HITReviewPolicy": _POLICY,
    "HITLayoutId": _ID,
    "HITLayoutParameters": _list(_structure("Name", "Value", Name=_STRING, Value=_STRING)),
}
_ANSWER_STATUS = Shape("string", enum=("Submitted", "Approved", "Rejected"))
_REVIEWABLE_STATUS = Shape("string", enum=("Reviewable", "Reviewing"))

OPERATIONS: Mapping[str, Shape] = {
    "CreateHITType": _structure(*_TYPE_REQUIRED, **_TYPE),
    "CreateHITWithHITType": _structure("HITTypeId", "LifetimeInSeconds", HITTypeId=_ID, **_CONTENT),
    "CreateHIT": _structure(*_TYPE_REQUIRED, "LifetimeInSeconds", **_TYPE, **_CONTENT),
    "GetHIT": _structure("HITId", HITId=_ID),
    "ListHITs": _structure(**_PAGE),
    "ListReviewableHITs": _structure(HITTypeId=_ID, Status=_REVIEWABLE_STATUS, **_PAGE),
    "ListAssignmentsForHIT": _structure("HITId", HITId=_ID, AssignmentStatuses=_list(_ANSWER_STATUS), **_PAGE),
    "GetAssignment": _structure("AssignmentId", AssignmentId=_ID),
    "ApproveAssignment": _structure("AssignmentId", AssignmentId=_ID, RequesterFeedback=_STRING, OverrideRejection=_BOOLEAN),
    "RejectAssignment": _structure("AssignmentId", "RequesterFeedback", AssignmentId=_ID, RequesterFeedback=_STRING),
    "UpdateExpirationForHIT": _structure("HITId", "ExpireAt", HITId=_ID, ExpireAt=_TIMESTAMP),
    "CreateAdditionalAssignmentsForHIT": _structure(
        "HITId", "NumberOfAdditionalAssignments", HITId=_ID, NumberOfAdditionalAssignments=_INTEGER, UniqueRequestToken=_TOKEN
    ),
    "DeleteHIT": _structure("HITId", HITId=_ID),
    "GetAccountBalance": _structure(),
}
"""Requests by operation name."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "timestamp": (int, float),
    "list": (list,),
    "structure": (dict,),
}


def check_request(operation: str, request: Any) -> None:
    """Check a request's shape.

    Raises:
        ProtocolError: (ValidationException) naming every fault; (UnknownOperationException) for other operations.
    """
    if operation not in OPERATIONS:
        raise ProtocolError(f"the operation {operation!r} is not served", kind="UnknownOperationException", code="AWS.UnknownOperation")
    faults = list(_faults(OPERATIONS[operation], request, ""))
    if faults:
        count = f"{len(faults)} validation error{'s' * (len(faults) > 1)} detected"
        raise ProtocolError(f"{count}: {'; '.join(faults)}", kind="ValidationException", code="AWS.MechanicalTurk.ValidationError")


def _faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    name = path or "the request"
    fits = isinstance(value, _KINDS[shape.kind]) and (shape.kind == "boolean" or not isinstance(value, bool))
    if not fits:
        yield f"{name} must be of type {shape.kind}"
        return
    if shape.kind == "structure":
        yield from _structure_faults(shape, value, path)
    elif shape.kind == "list" and shape.item is not None:
        for index, entry in enumerate(value):
            yield from _faults(shape.item, entry, f"{path}[{index}]")
    else:
        yield from _scalar_faults(shape, value, name)


def _structure_faults(shape: Shape, value: dict[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    # JSON null stands for an absent member.
    present = {name: entry for name, entry in value.items() if entry is not None}
    for name in sorted(shape.required - set(present)):
        yield f"{prefix}{name} is required"
    for name, entry in present.items():
        if name in shape.members:
            yield from _faults(shape.members[name], entry, f"{prefix}{name}")
        else:
            yield f"{prefix}{name} is unknown"


def _scalar_faults(shape: Shape, value: Any, name: str) -> Iterator[str]:
    size = len(value) if shape.kind == "string" else value
    measure = f"the length of {name}" if shape.kind == "string" else name
    if shape.low is not None and size < shape.low:
        yield f"{measure} must be at least {shape.low}"
    if shape.high is not None and size > shape.high:
        yield f"{measure} must be at most {shape.high}"
    # fullmatch: "$" would let a final line end pass.
    if shape.pattern is not None and not re.fullmatch(shape.pattern.removeprefix("^").removesuffix("$"), value):
        yield f"{name} must match {shape.pattern}"
    if shape.enum and value not in shape.enum:
        yield f"{name} must be one of {', '.join(shape.enum)}"
    if shape.kind == "string" and any("\ud800" <= character <= "\udfff" for character in value):
        yield f"{name} is not Unicode text"
    if shape.kind == "timestamp" and not -62_135_596_800 <= value < 253_402_300_800:  # years 1 to 9999; also refuses NaN
        yield f"{name} is not a time"
