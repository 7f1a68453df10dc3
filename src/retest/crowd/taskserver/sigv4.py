"""Verify AWS Signature Version 4 (AWS documentation, "Signing AWS API requests": the server's side of it)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from retest.crowd.taskserver.errors import ProtocolError

__all__ = ["MAX_SKEW_S", "verify_signature"]

MAX_SKEW_S = 900
"""A signature is good for 15 minutes around its date."""

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})")


def verify_signature(
    *,
    method: str,
    path: str,
    query: str = "",
    headers: Mapping[str, str],
    body: bytes,
    keys: Mapping[str, str],
    now: float,
) -> str:
    """Check a request's signature in constant time; returns the access key id.

    Args:
        method: HTTP method.
        path: the path as sent, percent-encoded.
        query: the query as sent, without "?".
        headers: names in lower case.
        body: the raw body; its hash is taken from these bytes, never from a header.
        keys: access key id -> secret key.
        now: seconds since 1970.

    Raises:
        ProtocolError: with HTTP status 403 if there is no signature, the key is unknown, it is too old or wrong.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", "").strip())
    if match is None:
        raise _refusal("Request is missing Authentication Token", "MissingAuthenticationTokenException")
    credential, signed, signature = match.groups()
    # A key id may hold slashes; the scope is the last four parts.
    key_id, *scope = credential.rsplit("/", 4)
    stamp, names = headers.get("x-amz-date", ""), signed.split(";")
    if len(scope) != 4 or scope[3] != "aws4_request" or not re.fullmatch(r"\d{8}T\d{6}Z", stamp) or scope[0] != stamp[:8]:
        raise _refusal("The credential's scope does not fit the request's date", "IncompleteSignatureException")
    if (
        not {"host", "x-amz-date", "x-amz-target"} <= set(names)
        or names != sorted(set(names))
        or any(name not in headers for name in names)
    ):
        raise _refusal("host, x-amz-date and x-amz-target must be signed, in order", "IncompleteSignatureException")
    # An unknown key takes as long as a wrong secret.
    secret = keys.get(key_id, "")
    expected = _signature(secret, scope, stamp, _canonical(method, path, query, headers, names, body))
    if not hmac.compare_digest(expected, signature) or key_id not in keys:
        raise _refusal("The security token or signature included in the request is invalid", "UnrecognizedClientException")
    if not abs(_seconds(stamp) - now) <= MAX_SKEW_S:
        raise _refusal("Signature expired or not yet valid; check the clocks", "InvalidSignatureException")
    return key_id


def _canonical(method: str, path: str, query: str, headers: Mapping[str, str], names: list[str], body: bytes) -> bytes:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(query, keep_blank_values=True))
    lines = [
        method,
        quote(path or "/", safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in pairs),
        *(f"{name}:{' '.join(headers[name].split())}" for name in names),
        "",
        ";".join(names),
        hashlib.sha256(body).hexdigest(),
    ]
    return "\n".join(lines).encode()


def _signature(secret: str, scope: list[str], stamp: str, canonical: bytes) -> str:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(scope), hashlib.sha256(canonical).hexdigest()))
    return hmac.digest(key, text.encode(), "sha256").hex()


def _seconds(stamp: str) -> float:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("nan")


def _refusal(problem: str, kind: str) -> ProtocolError:
    return ProtocolError(problem, kind=kind, http_status=403)
