"""Who is at the other end: signed session cookies, tokens of scripts, CSRF tokens, and a limit on wrong tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from retest.stages import review_people
from retest.stages.review import Role
from retest.store import Tables
from retest.study import Study

__all__ = ["SESSION_S", "Limiter", "Sessions", "Who", "is_same_origin"]

SESSION_S = 14 * 24 * 3600
"""Seconds after which a session ends."""


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who is signed in. ``csrf`` must come back with every change; None for scripts, which send their token instead."""

    name: str
    role: Role
    csrf: str | None = field(default=None, repr=False)

    def may(self, role: Role | str) -> bool:
        """Whether they may do what ``role`` may."""
        return self.role.includes(Role(role))


class Limiter:
    """Lets every client fail a few times; then it has to wait.

    Args:
        now: the clock, seconds.
        most: failures within ``window_s`` seconds.
        window_s: how long a failure counts.
    """

    def __init__(self, now: Callable[[], float], *, most: int = 10, window_s: float = 300.0) -> None:
        self._now, self._most, self._window_s = now, most, window_s
        self._failures: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, client: str) -> int:
        """Whole seconds that a client has to wait; 0 when it may try."""
        with self._lock:
            failures = self._recent(client)
            return 0 if len(failures) < self._most else max(1, int(failures[0] + self._window_s - self._now()) + 1)

    def failed(self, client: str) -> None:
        """Count a failure."""
        with self._lock:
            self._recent(client)
            self._failures.setdefault(client, deque()).append(self._now())

    def _recent(self, client: str) -> deque[float]:
        horizon = self._now() - self._window_s
        for known in [client] if len(self._failures) < 10_000 else list(self._failures):
            failures = self._failures.get(known, deque())
            while failures and failures[0] <= horizon:
                failures.popleft()
            if not failures:
                self._failures.pop(known, None)
        return self._failures.get(client, deque())


class Sessions:
    """Makes and reads session cookies.

    A session names a person and the fingerprint of their token: it ends when the token is replaced or revoked. Sessions of the
    operator's own link end with the process.
    """

    def __init__(self, study: Study, key: bytes, *, secure: bool, local_admin: str | None) -> None:
        self._study, self._key, self._secure, self._local_admin = study, key, secure, local_admin
        self._serializer = URLSafeTimedSerializer(key, salt="retest-review-session", signer_kwargs={"digest_method": hashlib.sha256})
        self._boot = secrets.token_hex(8)
        self.local_code = secrets.token_urlsafe(24)
        # A __Host- cookie can neither be set by another host of the domain nor travel unencrypted.
        self.cookie = "__Host-retest-review" if secure else "retest-review"

    def begin(self, response: Response, person: review_people.Person) -> None:
        """Sign somebody in."""
        self._begin(response, {"n": person.name, "f": person.fingerprint})

    def begin_local(self, response: Response) -> None:
        """Sign the operator in."""
        self._begin(response, {"n": self._local_admin, "b": self._boot})

    def _begin(self, response: Response, content: Mapping[str, Any]) -> None:
        value = self._serializer.dumps({**content, "s": secrets.token_hex(8)})
        response.set_cookie(self.cookie, value, max_age=SESSION_S, path="/", secure=self._secure, httponly=True, samesite="lax")

    def end(self, response: Response) -> None:
        """Sign out."""
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="lax")

    def who(self, request: Request, tables: Tables | None = None) -> Who | None:
        """Who sent a request with a session; None for nobody, or a session that has ended. ``tables``: of an open transaction."""
        try:
            content = self._serializer.loads(request.cookies.get(self.cookie, ""), max_age=SESSION_S)
        except BadSignature:
            return None
        csrf = hmac.new(self._key, f"csrf:{content['s']}".encode(), hashlib.sha256).hexdigest()
        if "b" in content:
            valid = self._local_admin is not None and content["b"] == self._boot
            return Who(content["n"], Role.ADMIN, csrf) if valid else None
        name = content["n"]
        person = review_people.by_name(self._study, name) if tables is None else review_people.person_in(tables, name)
        if person is None or person.fingerprint is None or person.fingerprint != content["f"]:
            return None
        return Who(person.name, person.role, csrf)

    def who_by_token(self, token: str) -> Who | None:
        """Whose token a script sent."""
        person = review_people.by_token(self._study, token)
        return None if person is None else Who(person.name, person.role)


def is_same_origin(request: Request) -> bool:
    """Whether a request comes from a page of this server (or from no page at all, as a script's does)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
