"""Names for annotators that say nothing about the person (worker ids are personal data)."""

from __future__ import annotations

import base64
import hmac

from retest.errors import UsageError

__all__ = ["MIN_KEY_BYTES", "check_key", "check_worker_key", "hash_worker", "protocol_worker_id"]

MIN_KEY_BYTES = 16


def check_key(key: bytes, *, item: str, remedy: str) -> None:
    """Raise :class:`UsageError`, naming ``item``, unless a key has at least 16 bytes."""
    if len(key) < MIN_KEY_BYTES:
        raise UsageError(f"has {len(key)} bytes, at least {MIN_KEY_BYTES} are needed", item=item, remedy=remedy)


def check_worker_key(key: bytes) -> None:
    """Raise :class:`UsageError` unless the key has at least 16 bytes."""
    check_key(key, item="worker key", remedy="Make one with secrets.token_bytes(32) and keep it apart from the results")


def hash_worker(key: bytes, worker_id: str) -> str:
    """The name under which answers of a worker are stored: "worker-" and 24 hex digits of HMAC-SHA256(key, id).

    Equal ids give equal names under one key; without the key nobody can test a guess.

    Raises:
        UsageError: if the key is shorter than 16 bytes.
    """
    check_worker_key(key)
    return "worker-" + hmac.digest(key, b"worker:" + worker_id.encode(), "sha256").hex()[:24]


def protocol_worker_id(key: bytes, identity: str) -> str:
    """A worker id of Mechanical Turk's form for somebody known otherwise (an invitation, a Prolific id).

    "A" and 26 capitals or digits, 130 bits of HMAC-SHA256(key, identity).

    Raises:
        UsageError: if the key is shorter than 16 bytes.
    """
    check_worker_key(key)
    return "A" + base64.b32encode(hmac.digest(key, b"identity:" + identity.encode(), "sha256")).decode()[:26]
