"""Takes a person out of the labelling server's file on request: the worker id, and the answers where these are to go as well."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from retest.errors import StoreError

__all__ = ["forget_worker"]

_OF = "SELECT id FROM assignments WHERE worker_id = :name"
_HELD = "SELECT hit_id FROM assignments WHERE worker_id = :name AND status IN ('Accepted', 'Submitted', 'Approved', 'Rejected')"
_WITH_ANSWERS = (
    f"DELETE FROM drafts WHERE assignment_id IN ({_OF})",  # noqa: S608 constant text
    f"UPDATE hits SET taken = taken - 1 WHERE id IN ({_HELD})",  # noqa: S608 constant text
    "UPDATE assignments SET answer = '', feedback = '', status = 'Returned', number = 0 WHERE worker_id = :name",
)


def forget_worker(path: Path, worker_id: str, *, name: str, answers: bool) -> int:
    """Let the assignments of a worker be those of ``name``, and, with ``answers``, be given back without what was answered.

    Overwritten on the disk as well. A HIT that has lost an answer may be taken by somebody else again. The server may run meanwhile;
    doing it again changes nothing.

    Returns:
        How many assignments the worker had.

    Raises:
        StoreError: the file cannot be used.
    """
    values = {"worker": worker_id, "name": name}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=60, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            found: int = db.execute("UPDATE assignments SET worker_id = :name WHERE worker_id = :worker", values).rowcount
            for statement in _WITH_ANSWERS if answers else ():
                db.execute(statement, {"name": name})
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return found
    except sqlite3.Error as error:
        raise StoreError(
            f"the labelling server's state cannot be used ({error})", item=str(path), remedy="Check the file and the disk"
        ) from error
