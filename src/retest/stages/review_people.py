"""Stage: who may review: named people with roles, each with a token of their own."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from retest.errors import NotFoundError, UsageError
from retest.stages._common import Stamp
from retest.stages._review_core import Role
from retest.store import Tables
from retest.store.review_people import ReviewerRecord
from retest.study import Study

__all__ = ["Person", "Role", "TokenGiven", "by_name", "by_token", "give_token", "note_seen", "people", "person_in", "revoke"]

_NAME = re.compile(r"[^\W_](?:[\w .@+'-]{0,98}[\w.])?")
_KIND = "reviewer"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may review. ``fingerprint`` changes with the token: sessions of an older token end. None: revoked."""

    name: str
    role: Role
    since: str
    seen: str | None
    fingerprint: str | None = field(repr=False)

    @property
    def active(self) -> bool:
        """Whether they may come in."""
        return self.fingerprint is not None


@dataclass(frozen=True, slots=True)
class TokenGiven:
    """A fresh token. It is shown once and cannot be read again."""

    person: Person
    token: str = field(repr=False)
    replaced: bool
    """Whether an earlier token of the same name has stopped working."""


def give_token(study: Study, name: str, role: Role, *, stamp: Stamp) -> TokenGiven:
    """Let somebody in, or give a known person a new token and role; the older token and its sessions end.

    Raises:
        UsageError: the name has no or strange characters.
    """
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:120]!r} is no name",
            item="name",
            remedy="Use 1 to 100 letters, digits, underscores, spaces and . @ + ' -; begin with a letter or digit, end in one, _ or .",
        )
    token = secrets.token_urlsafe(24)
    with study.database.write() as tables:
        known = tables.reviewers.get(name)
        made = tables.reviewers.put(name, role=str(role), token_hash=_hash(token), time=stamp.time)
        before = {"role": known.role} if known and known.token_hash else None
        _note(tables, stamp, name, before, {"role": str(role)})
    return TokenGiven(_person(made), token, before is not None)


def revoke(study: Study, name: str, *, stamp: Stamp) -> None:
    """Close the way in for somebody and end their sessions; what they decided stays.

    Raises:
        NotFoundError: nobody of this name may review.
    """
    with study.database.write() as tables:
        known = tables.reviewers.get(name)
        if known is None or known.token_hash is None:
            raise NotFoundError("nobody of this name may review", item=name, remedy="See the names with: retest people list")
        tables.reviewers.put(name, role=known.role, token_hash=None, time=stamp.time)
        _note(tables, stamp, name, {"role": known.role}, None)


def by_token(study: Study, token: str) -> Person | None:
    """Whose token this is; None for a wrong or replaced one."""
    with study.database.read() as tables:
        found = tables.reviewers.by_token_hash(_hash(token))
    return None if found is None else _person(found)


def by_name(study: Study, name: str) -> Person | None:
    """Somebody by name; None when nobody was ever called so."""
    with study.database.read() as tables:
        return person_in(tables, name)


def person_in(tables: Tables, name: str) -> Person | None:
    """Somebody by name, as :func:`by_name`, in an open transaction."""
    found = tables.reviewers.get(name)
    return None if found is None else _person(found)


def note_seen(study: Study, name: str, *, time: str) -> None:
    """Note that somebody has signed in."""
    with study.database.write() as tables:
        tables.reviewers.note_seen(name, time)


def people(study: Study) -> list[Person]:
    """Everybody, by name."""
    with study.database.read() as tables:
        return [_person(record) for record in tables.reviewers.all()]


def _person(record: ReviewerRecord) -> Person:
    fingerprint = None if record.token_hash is None else record.token_hash[:16]
    return Person(record.name, Role(record.role), record.since, record.seen, fingerprint)


def _note(tables: Tables, stamp: Stamp, name: str, before: object, after: object) -> None:
    tables.decisions.add(time=stamp.time, user=stamp.user, kind=_KIND, item=name, before=before, after=after)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
