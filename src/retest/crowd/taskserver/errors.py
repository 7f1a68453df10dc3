"""Errors of the labelling server: to requesters in Mechanical Turk's words, to annotators in plain ones."""

from __future__ import annotations

from typing import Any

from retest.errors import CrowdError

__all__ = ["ProtocolError", "TaskRefusedError"]


class ProtocolError(CrowdError):
    """A request that the MTurk protocol answers with an error.

    Args:
        problem: the message sent.
        kind: the ``__type`` on the wire, such as RequestError.
        code: the TurkErrorCode, such as AWS.MechanicalTurk.HITDoesNotExist; empty where there is none.
        http_status: 400 for the caller's faults, 403 for wrong signatures, 500 for the server's.
    """

    def __init__(
        self,
        problem: str,
        *,
        kind: str = "RequestError",
        code: str = "",
        http_status: int = 400,
        item: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.kind, self.code, self.http_status = kind, code, http_status
        super().__init__(problem, item=item, remedy=remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.problem, self.kind, self.code, self.http_status, self.item, self.remedy))

    def body(self) -> dict[str, Any]:
        """The JSON document sent to the caller."""
        document = {"__type": self.kind, "Message": str(self), "message": str(self)}
        return {**document, "TurkErrorCode": self.code} if self.code else document


def _rebuild(problem: str, kind: str, code: str, http_status: int, item: str | None, remedy: str | None) -> ProtocolError:
    return ProtocolError(problem, kind=kind, code=code, http_status=http_status, item=item, remedy=remedy)


class TaskRefusedError(CrowdError):
    """An annotator cannot do this now.

    ``reason`` is a short code for pages: unknown, full, expired, answered, returned, lease_over or too_large.
    """

    def __init__(self, problem: str, *, reason: str, item: str | None = None, remedy: str | None = None) -> None:
        self.reason = reason
        super().__init__(problem, item=item, remedy=remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_refusal, (self.problem, self.reason, self.item, self.remedy))


def _rebuild_refusal(problem: str, reason: str, item: str | None, remedy: str | None) -> TaskRefusedError:
    return TaskRefusedError(problem, reason=reason, item=item, remedy=remedy)
