"""What a simulated crowd has to remember: published HITs with their affinities, and decisions on answers.

One small SQLite database, in memory or in a file, so that a process killed anywhere leaves all of a change or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retest.crowd._database import Database
from retest.records import AssignmentStatus

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS hits (
        uuid TEXT PRIMARY KEY, wnid TEXT NOT NULL, images_all TEXT NOT NULL, affinities TEXT NOT NULL,
        assignments INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS decisions (
        assignment_id TEXT PRIMARY KEY, uuid TEXT NOT NULL REFERENCES hits (uuid), status TEXT NOT NULL, feedback TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS decisions_by_hit ON decisions (uuid)",
)
_COLUMNS = "uuid, wnid, images_all, affinities, assignments, deleted"


@dataclass(frozen=True, slots=True)
class StoredHit:
    """A published HIT; ``affinities[i]`` belongs to ``images_all[i]``."""

    uuid: str
    wnid: str
    images_all: tuple[str, ...]
    affinities: tuple[float, ...]
    assignments: int
    deleted: bool = False


class SimulatedState:
    """The database; safe to share between threads, and its file between processes."""

    def __init__(self, path: str | Path | None) -> None:
        self._db = Database(path, schema=_SCHEMA, what="the simulated crowd's state")

    def close(self) -> None:
        self._db.close()

    def get(self, uuid: str) -> StoredHit | None:
        with self._db.reading() as db:
            row = db.execute(f"SELECT {_COLUMNS} FROM hits WHERE uuid = ?", (uuid,)).fetchone()  # noqa: S608 constant columns
        return None if row is None else _stored(row)

    def all(self) -> list[StoredHit]:
        with self._db.reading() as db:
            return [_stored(row) for row in db.execute(f"SELECT {_COLUMNS} FROM hits ORDER BY uuid")]  # noqa: S608 constant columns

    def add(self, hit: StoredHit) -> tuple[StoredHit, bool]:
        """Insert unless the uuid exists; returns what is stored and whether this call stored it."""
        with self._db.writing() as db:
            row = (hit.uuid, hit.wnid, json.dumps(hit.images_all), json.dumps(hit.affinities), hit.assignments)
            cursor = db.execute(
                "INSERT INTO hits (uuid, wnid, images_all, affinities, assignments) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
            )
            if cursor.rowcount == 1:
                return hit, True
        stored = self.get(hit.uuid)
        return (stored if stored is not None else hit), False

    def extend(self, uuid: str, assignments: int) -> None:
        with self._db.writing() as db:
            db.execute("UPDATE hits SET assignments = max(assignments, ?) WHERE uuid = ?", (assignments, uuid))

    def delete(self, uuid: str) -> None:
        with self._db.writing() as db:
            db.execute("UPDATE hits SET deleted = 1 WHERE uuid = ?", (uuid,))

    def decisions(self, uuid: str) -> dict[str, AssignmentStatus]:
        with self._db.reading() as db:
            rows = db.execute("SELECT assignment_id, status FROM decisions WHERE uuid = ?", (uuid,)).fetchall()
        return {assignment_id: AssignmentStatus(status) for assignment_id, status in rows}

    def decide(self, uuid: str, assignment_id: str, rule: Callable[[AssignmentStatus], AssignmentStatus], feedback: str) -> None:
        """Replace an assignment's status by ``rule(status)`` in one transaction; the rule may refuse by raising."""
        with self._db.writing() as db:
            row = db.execute("SELECT status FROM decisions WHERE assignment_id = ?", (assignment_id,)).fetchone()
            present = AssignmentStatus.SUBMITTED if row is None else AssignmentStatus(row[0])
            wanted = rule(present)
            if wanted is not present:
                db.execute("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?)", (assignment_id, uuid, wanted.value, feedback))


def _stored(row: tuple[str, str, str, str, int, int]) -> StoredHit:
    uuid, wnid, images_all, affinities, assignments, deleted = row
    return StoredHit(uuid, wnid, tuple(json.loads(images_all)), tuple(json.loads(affinities)), assignments, bool(deleted))
