"""Who may answer, and as whom: invitations and Prolific participants, in a file of their own.

This file is the only place where a worker id meets a name or a Prolific id: personal data, kept apart from the answers. Deleting it
closes the ways in and leaves the answers as they are. Invitation tokens are stored as SHA-256 (they have 192 random bits).
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from retest.crowd.taskserver import new_entity_id
from retest.errors import NotFoundError, StoreError, UsageError

__all__ = ["Invitation", "Participant", "Participants"]

_MAX_NAME = 200
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS participants (
        worker_id TEXT PRIMARY KEY, way TEXT NOT NULL, name TEXT NOT NULL, token_hash TEXT UNIQUE, study_id TEXT NOT NULL DEFAULT '',
        session_id TEXT NOT NULL DEFAULT '', since REAL NOT NULL, active INTEGER NOT NULL DEFAULT 1, UNIQUE (way, name)
    )
    """,
    # By assignment, so that a repeated submission counts once.
    "CREATE TABLE IF NOT EXISTS answered (assignment_id TEXT PRIMARY KEY, worker_id TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS answered_by ON answered (worker_id)",
)
_COLUMNS = "worker_id, way, name, since, active, (SELECT count(*) FROM answered a WHERE a.worker_id = p.worker_id)"


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody who may answer. ``way`` is "invitation" or "prolific"; ``name`` the name invited or the Prolific id."""

    worker_id: str = field(repr=False)
    way: str
    name: str = field(repr=False)
    since: float
    active: bool
    answered: int
    """Tasks handed in so far."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A fresh invitation. The token is shown once and cannot be read again."""

    worker_id: str
    token: str = field(repr=False)
    replaced: bool
    """Whether an earlier link of the same name has stopped working."""


class Participants:
    """The participants of a study, shared by threads and processes.

    Args:
        path: the SQLite file.

    Raises:
        StoreError: if the file cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self._lock = str(path), threading.RLock()
        with self._failures():
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            for statement in _SCHEMA:
                self._db.execute(statement)
        Path(path).chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def invite(self, name: str, *, now: float) -> Invitation:
        """Make a link's token for ``name``. Inviting a name again replaces its token and keeps its worker id.

        Raises:
            UsageError: if the name is blank or longer than 200 characters.
        """
        name = name.strip()
        if not 0 < len(name) <= _MAX_NAME:
            raise UsageError(f"a name has 1 to {_MAX_NAME} characters", item="name", remedy="Give the annotator a short name")
        token = secrets.token_urlsafe(24)
        with self._writing() as db:
            known = db.execute("SELECT worker_id FROM participants WHERE way = 'invitation' AND name = ?", (name,)).fetchone()
            worker_id = known[0] if known else "A" + new_entity_id()[:26]
            db.execute(
                "INSERT INTO participants (worker_id, way, name, token_hash, since) VALUES (?, 'invitation', ?, ?, ?)"
                " ON CONFLICT (worker_id) DO UPDATE SET token_hash = excluded.token_hash, active = 1",
                (worker_id, name, _hash(token), now),
            )
        return Invitation(worker_id, token, known is not None)

    def revoke(self, name: str) -> None:
        """Close an invitation; what was answered stays.

        Raises:
            NotFoundError: if nobody of this name is invited.
        """
        with self._writing() as db:
            changed = db.execute(
                "UPDATE participants SET token_hash = NULL, active = 0 WHERE way = 'invitation' AND name = ?", (name.strip(),)
            ).rowcount
        if not changed:
            raise NotFoundError("nobody of this name is invited", item=name, remedy="See the names with: retest label invite --list")

    def find(self, who: str) -> list[str]:
        """Worker ids of those with this name, Prolific id or worker id."""
        with self._lock, self._failures():
            query = "SELECT worker_id FROM participants WHERE name = :who OR worker_id = :who ORDER BY 1"
            rows = self._db.execute(query, {"who": who.strip()})
            return [row[0] for row in rows]

    def forget(self, worker_id: str) -> bool:
        """Remove a person, overwriting what was there; links stop working. Whether somebody was there."""
        with self._lock, self._failures():
            self._db.execute("PRAGMA secure_delete = ON")
            with self._writing() as db:
                removed = db.execute("DELETE FROM participants WHERE worker_id = ?", (worker_id,)).rowcount
                db.execute("DELETE FROM answered WHERE worker_id = ?", (worker_id,))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(removed)

    def by_token(self, token: str) -> Participant | None:
        """Who was invited with this token; None for a wrong or replaced one."""
        return self._one("token_hash = ? AND active = 1", _hash(token))

    def by_worker(self, worker_id: str) -> Participant | None:
        """The participant behind a worker id; None for those who came another way."""
        return self._one("worker_id = ?", worker_id)

    def join_prolific(self, worker_id: str, *, pid: str, study_id: str, session_id: str, now: float) -> Participant:
        """Note a participant from Prolific; the first session is kept."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO participants (worker_id, way, name, study_id, session_id, since) VALUES (?, 'prolific', ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (worker_id, pid, study_id, session_id, now),
            )
        found = self.by_worker(worker_id)
        if found is None:
            raise StoreError(
                "the participant is known under another worker id", item=self._path, remedy="Use the RETEST_WORKER_KEY of before"
            )
        return found

    def all(self) -> list[Participant]:
        """Everybody, in order of arrival."""
        with self._lock, self._failures():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM participants p ORDER BY since, worker_id").fetchall()  # noqa: S608 constant
        return [_participant(row) for row in rows]

    def note_answered(self, worker_id: str, assignment_id: str) -> None:
        """Count a task as handed in; a repeat counts once."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO answered VALUES (?, ?)", (assignment_id, worker_id))

    def _one(self, where: str, value: str) -> Participant | None:
        with self._lock, self._failures():
            row = self._db.execute(f"SELECT {_COLUMNS} FROM participants p WHERE {where}", (value,)).fetchone()  # noqa: S608 constant
        return None if row is None else _participant(row)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._failures():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"the list of participants cannot be used ({error})", item=self._path, remedy="Check the file and the disk"
            ) from error


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _participant(row: tuple[str, str, str, float, int, int]) -> Participant:
    worker_id, way, name, since, active, answered = row
    return Participant(worker_id, way, name, since, bool(active), answered)
