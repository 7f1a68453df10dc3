"""The labelling server's state in one SQLite file of its own (or in memory)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from retest.crowd._database import Database
from retest.crowd.taskserver.records import HOLDING, HitType, LeaseStatus, TaskAssignment, TaskHit

__all__ = ["STATE_FILE", "SqliteTaskRepository"]

STATE_FILE = "label-server.db"
"""Name of the server's file in the folder of a study."""

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS hit_types (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, description TEXT NOT NULL, keywords TEXT NOT NULL, reward TEXT NOT NULL,
        auto_approval_s INTEGER NOT NULL, duration_s INTEGER NOT NULL, qualifications TEXT NOT NULL,
        UNIQUE (title, description, keywords, reward, auto_approval_s, duration_s, qualifications)
    )
    """,
    # taken repeats what the assignments say, so that free HITs can be found by index. The question comes last: it is
    # long, and readers of the other columns then skip it.
    """
    CREATE TABLE IF NOT EXISTS hits (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, hit_type_id TEXT NOT NULL REFERENCES hit_types (id),
        max_assignments INTEGER NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL, annotation TEXT,
        disposed INTEGER NOT NULL DEFAULT 0, taken INTEGER NOT NULL DEFAULT 0, question TEXT NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS free_hits ON hits (number) WHERE taken < max_assignments AND disposed = 0",
    """
    CREATE TABLE IF NOT EXISTS assignments (
        id TEXT PRIMARY KEY, hit_id TEXT NOT NULL REFERENCES hits (id), worker_id TEXT NOT NULL, status TEXT NOT NULL,
        accepted_at REAL NOT NULL, deadline REAL NOT NULL, number INTEGER NOT NULL DEFAULT 0, submitted_at REAL,
        auto_approve_at REAL, decided_at REAL, answer TEXT NOT NULL DEFAULT '', feedback TEXT NOT NULL DEFAULT '',
        UNIQUE (hit_id, worker_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS assignments_by_status ON assignments (hit_id, status)",
    "CREATE INDEX IF NOT EXISTS assignments_by_worker ON assignments (worker_id, status)",
    "CREATE UNIQUE INDEX IF NOT EXISTS assignments_by_number ON assignments (number) WHERE number > 0",
    "CREATE INDEX IF NOT EXISTS open_leases ON assignments (deadline) WHERE status = 'Accepted'",
    "CREATE INDEX IF NOT EXISTS undecided ON assignments (auto_approve_at) WHERE status = 'Submitted'",
    "CREATE TABLE IF NOT EXISTS drafts (assignment_id TEXT PRIMARY KEY REFERENCES assignments (id), fields TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS tokens (scope TEXT, token TEXT, value TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (scope, token))",
)

_COUNT = "(SELECT count(*) FROM assignments a WHERE a.hit_id = h.id AND a.status "
_HIT = f"""
    SELECT h.number, h.id, h.max_assignments, h.created_at, h.expires_at, h.annotation, h.disposed, h.question,
        {_COUNT} = 'Accepted') AS pending, {_COUNT} = 'Submitted') AS submitted, {_COUNT} IN ('Approved', 'Rejected')) AS decided,
        t.id AS type_id, t.title, t.description, t.keywords, t.reward, t.auto_approval_s, t.duration_s, t.qualifications
    FROM hits h JOIN hit_types t ON t.id = h.hit_type_id
"""  # noqa: S608 constant text
_TYPE_COLUMNS = ("title", "description", "keywords", "reward", "auto_approval_s", "duration_s", "qualifications")
_ASSIGNMENT_COLUMNS = (
    "id, hit_id, worker_id, status, accepted_at, deadline, number, submitted_at, auto_approve_at, decided_at, answer, feedback"
)
_ASSIGNMENT = f"SELECT {_ASSIGNMENT_COLUMNS} FROM assignments "  # noqa: S608 constant text


class SqliteTaskRepository:
    """A :class:`~retest.crowd.taskserver.TaskRepository` in a SQLite file (WAL); None keeps it in memory.

    Raises:
        StoreError: if the file cannot be used.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._db = Database(path, schema=_SCHEMA, what="the labelling server's state")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def reading(self) -> Iterator[_SqliteSession]:
        with self._db.reading() as db:
            yield _SqliteSession(db)

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[_SqliteSession]:
        with self._db.writing(durable=durable) as db:
            yield _SqliteSession(db)


class _SqliteSession:
    """One transaction; see :class:`~retest.crowd.taskserver.TaskSession` for what the methods promise."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def _rows(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        cursor = self._db.execute(query, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def hit_type(self, hit_type_id: str) -> HitType | None:
        rows = self._rows("SELECT * FROM hit_types WHERE id = ?", (hit_type_id,))
        return HitType(**rows[0]) if rows else None

    def same_hit_type(self, hit_type: HitType) -> HitType | None:
        where = " AND ".join(f"{name} = ?" for name in _TYPE_COLUMNS)
        rows = self._rows(f"SELECT * FROM hit_types WHERE {where}", hit_type.properties)  # noqa: S608 constant columns
        return HitType(**rows[0]) if rows else None

    def add_hit_type(self, hit_type: HitType) -> None:
        self._db.execute("INSERT INTO hit_types VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (hit_type.id, *hit_type.properties))

    def hit(self, hit_id: str) -> TaskHit | None:
        rows = self._rows(_HIT + "WHERE h.id = ?", (hit_id,))
        return _hit(rows[0]) if rows else None

    def add_hit(self, hit: TaskHit) -> None:
        self._db.execute(
            "INSERT INTO hits (id, hit_type_id, max_assignments, created_at, expires_at, annotation, question)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (hit.id, hit.hit_type.id, hit.max_assignments, hit.created_at, hit.expires_at, hit.annotation, hit.question),
        )

    def change_hit(
        self, hit_id: str, *, max_assignments: int | None = None, expires_at: float | None = None, disposed: bool | None = None
    ) -> None:
        self._db.execute(
            "UPDATE hits SET max_assignments = coalesce(?, max_assignments), expires_at = coalesce(?, expires_at),"
            " disposed = coalesce(?, disposed) WHERE id = ?",
            (max_assignments, expires_at, disposed, hit_id),
        )

    def hits(self, *, after: int, limit: int, reviewable_at: float | None = None, hit_type_id: str | None = None) -> Sequence[TaskHit]:
        query = _HIT + "WHERE h.disposed = 0 AND h.number > :after AND (:type IS NULL OR h.hit_type_id = :type)"
        if reviewable_at is not None:
            query += f" AND (h.taken >= h.max_assignments OR h.expires_at <= :at) AND {_COUNT} = 'Accepted') = 0"
        values = {"after": after, "limit": limit, "at": reviewable_at, "type": hit_type_id}
        return [_hit(row) for row in self._rows(query + " ORDER BY h.number LIMIT :limit", values)]

    def free_hit(self, worker_id: str, now: float) -> TaskHit | None:
        # Start behind the annotator's newest HIT: the ones before have usually been seen.
        newest = "SELECT coalesce(max(h.number), 0) FROM assignments a JOIN hits h ON h.id = a.hit_id WHERE a.worker_id = ?"
        ((start,),) = self._db.execute(newest, (worker_id,)).fetchall()
        query = (
            "SELECT id FROM hits h WHERE taken < max_assignments AND disposed = 0 AND expires_at > :now AND number > :start"
            " AND NOT EXISTS (SELECT 1 FROM assignments a WHERE a.hit_id = h.id AND a.worker_id = :worker) ORDER BY number LIMIT 1"
        )
        for first in sorted({start, 0}, reverse=True):
            row = self._db.execute(query, {"now": now, "start": first, "worker": worker_id}).fetchone()
            if row is not None:
                return self.hit(row[0])
        return None

    def assignment(self, assignment_id: str) -> TaskAssignment | None:
        return self._one_assignment("WHERE id = ?", (assignment_id,))

    def assignment_of(self, hit_id: str, worker_id: str) -> TaskAssignment | None:
        return self._one_assignment("WHERE hit_id = ? AND worker_id = ?", (hit_id, worker_id))

    def at_work(self, worker_id: str) -> TaskAssignment | None:
        return self._one_assignment("WHERE worker_id = ? AND status = 'Accepted' ORDER BY accepted_at, id LIMIT 1", (worker_id,))

    def answers(self, hit_id: str, *, statuses: Sequence[LeaseStatus], after: int, limit: int) -> Sequence[TaskAssignment]:
        marks = ", ".join("?" * len(statuses))
        query = _ASSIGNMENT + f"WHERE hit_id = ? AND status IN ({marks}) AND number > ? ORDER BY number LIMIT ?"
        return [_assignment(row) for row in self._db.execute(query, (hit_id, *statuses, after, limit))]

    def add_assignment(self, assignment: TaskAssignment) -> None:
        marks = ", ".join("?" * 12)
        query = f"INSERT INTO assignments ({_ASSIGNMENT_COLUMNS}) VALUES ({marks})"  # noqa: S608 constant columns
        self._db.execute(query, _values(assignment))
        self._count(assignment.hit_id, int(assignment.status in HOLDING))

    def change_assignment(self, assignment: TaskAssignment) -> TaskAssignment:
        before = self.assignment(assignment.id)
        if before is not None:
            self._count(assignment.hit_id, int(assignment.status in HOLDING) - int(before.status in HOLDING))
        if assignment.submitted_at is not None and assignment.number == 0:
            ((number,),) = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM assignments WHERE number > 0").fetchall()
            assignment = replace(assignment, number=number)
        names = _ASSIGNMENT_COLUMNS.split(", ")[3:]
        changes = ", ".join(f"{name} = ?" for name in names)
        query = f"UPDATE assignments SET {changes} WHERE id = ?"  # noqa: S608 constant columns
        self._db.execute(query, (*_values(assignment)[3:], assignment.id))
        return assignment

    def due(self, now: float) -> Sequence[TaskAssignment]:
        leases = _ASSIGNMENT + "WHERE status = 'Accepted' AND deadline <= ?"
        undecided = _ASSIGNMENT + "WHERE status = 'Submitted' AND auto_approve_at <= ?"
        return [_assignment(row) for query in (leases, undecided) for row in self._db.execute(query, (now,))]

    def draft(self, assignment_id: str) -> str | None:
        row = self._db.execute("SELECT fields FROM drafts WHERE assignment_id = ?", (assignment_id,)).fetchone()
        return None if row is None else str(row[0])

    def keep_draft(self, assignment_id: str, fields: str | None) -> None:
        if fields is None:
            self._db.execute("DELETE FROM drafts WHERE assignment_id = ?", (assignment_id,))
        else:
            self._db.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?)", (assignment_id, fields))

    def token(self, scope: str, token: str) -> tuple[str, float] | None:
        row = self._db.execute("SELECT value, at FROM tokens WHERE scope = ? AND token = ?", (scope, token)).fetchone()
        return None if row is None else (row[0], row[1])

    def keep_token(self, scope: str, token: str, value: str, now: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)", (scope, token, value, now))

    def _one_assignment(self, where: str, values: Sequence[Any]) -> TaskAssignment | None:
        row = self._db.execute(_ASSIGNMENT + where, values).fetchone()
        return None if row is None else _assignment(row)

    def _count(self, hit_id: str, change: int) -> None:
        if change:
            self._db.execute("UPDATE hits SET taken = taken + ? WHERE id = ?", (change, hit_id))


def _hit(row: dict[str, Any]) -> TaskHit:
    hit_type = HitType(row.pop("type_id"), *(row.pop(name) for name in _TYPE_COLUMNS))
    return TaskHit(**{**row, "disposed": bool(row["disposed"])}, hit_type=hit_type)


def _assignment(row: tuple[Any, ...]) -> TaskAssignment:
    return TaskAssignment(row[0], row[1], row[2], LeaseStatus(row[3]), *row[4:])


def _values(assignment: TaskAssignment) -> tuple[Any, ...]:
    return tuple(getattr(assignment, name) for name in _ASSIGNMENT_COLUMNS.split(", "))
