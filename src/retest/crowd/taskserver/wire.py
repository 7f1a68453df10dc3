"""The MTurk protocol over HTTP, free of any web framework: bytes in, bytes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from retest.crowd.taskserver.errors import ProtocolError
from retest.crowd.taskserver.requester import RequesterApi
from retest.crowd.taskserver.sigv4 import verify_signature
from retest.errors import StoreError, UsageError

__all__ = ["MAX_REQUEST_BYTES", "HttpReply", "RequesterEndpoint"]

MAX_REQUEST_BYTES = 1_048_576
"""Larger requests are refused; a Question escaped for JSON takes at most a few hundred kilobytes."""

_TARGET = "MTurkRequesterServiceV20170117."
_CONTENT_TYPE = "application/x-amz-json-1.1"
_MIN_SECRET_LENGTH = 16


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What to send back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RequesterEndpoint:
    """Serves :class:`RequesterApi` to unmodified AWS clients.

    Args:
        api: what carries out the operations.
        keys: access key id -> secret key. With keys every request must be signed by one; None serves anybody, which is
            right only where nobody but the study's owner can connect.
        now: the clock, seconds since 1970.
        on_failure: called with failures of the repository (to log them); the caller only learns to try again.

    Raises:
        UsageError: if ``keys`` is an empty mapping or holds an empty id or a secret shorter than 16 characters.
    """

    def __init__(
        self,
        api: RequesterApi,
        *,
        keys: Mapping[str, str] | None,
        now: Callable[[], float],
        on_failure: Callable[[StoreError], None] = lambda error: None,
    ) -> None:
        if keys is not None and not keys:
            raise UsageError(
                "no keys are given, so nobody could sign a request", item="keys", remedy="Pass None to serve unsigned requests"
            )
        for key_id, secret in (keys or {}).items():
            if not key_id or len(secret) < _MIN_SECRET_LENGTH:
                raise UsageError(
                    f"a secret key needs at least {_MIN_SECRET_LENGTH} characters",
                    item=f"key {key_id!r}",
                    remedy="Make one with secrets.token_urlsafe",
                )
        self._api, self._keys, self._now, self._on_failure = api, keys, now, on_failure

    def handle(self, *, method: str, path: str, query: str = "", headers: Mapping[str, str], body: bytes) -> HttpReply:
        """Answer one HTTP request; never raises for a request's faults.

        Args:
            method: HTTP method.
            path: as sent, percent-encoded.
            query: as sent, without "?".
            headers: names in any case.
            body: raw bytes.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            if self._keys is not None:
                verify_signature(method=method, path=path, query=query, headers=lower, body=body, keys=self._keys, now=self._now())
            operation, request = _read(method, lower, body)
            return _reply(200, self._api.handle(operation, request))
        except ProtocolError as error:
            return _reply(error.http_status, error.body())
        except StoreError as error:
            # Temporary for the caller, who may repeat the call; what exactly failed is not theirs to know.
            self._on_failure(error)
            fault = ProtocolError(
                "The service is temporarily unable to process the request", kind="ServiceFault", code="AWS.ServiceUnavailable"
            )
            return _reply(500, fault.body())


def _read(method: str, headers: Mapping[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
    if method != "POST":
        raise ProtocolError("operations are POST requests", kind="UnknownOperationException", http_status=405)
    if len(body) > MAX_REQUEST_BYTES:
        raise ProtocolError(f"the request is larger than {MAX_REQUEST_BYTES} bytes", kind="SerializationException", http_status=413)
    target = headers.get("x-amz-target", "")
    if not target.startswith(_TARGET):
        raise ProtocolError(f"X-Amz-Target must start with {_TARGET}", kind="UnknownOperationException")
    # Browsers cannot send this type to another site without asking: a page elsewhere cannot issue operations.
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _CONTENT_TYPE:
        raise ProtocolError(f"Content-Type must be {_CONTENT_TYPE}", kind="UnknownOperationException", http_status=415)
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ProtocolError("the body is not JSON", kind="SerializationException") from None
    if not isinstance(request, dict):
        raise ProtocolError("the body is not a JSON object", kind="SerializationException")
    return target.removeprefix(_TARGET), request


def _reply(status: int, document: Mapping[str, Any]) -> HttpReply:
    headers = {"Content-Type": _CONTENT_TYPE, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return HttpReply(status, headers, json.dumps(document).encode())
