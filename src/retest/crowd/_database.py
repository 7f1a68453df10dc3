"""A small SQLite database in memory or in a file (WAL), shared by threads, its file also by processes.

Every change is one transaction: a process killed anywhere leaves all of it or nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retest.errors import RetestError, StoreError


class Database:
    """One connection behind a lock.

    Args:
        path: the file; None keeps the database in memory.
        schema: statements that create what is missing.
        what: names the database in errors.

    Raises:
        StoreError: if the file cannot be used.
    """

    def __init__(self, path: str | Path | None, *, schema: Sequence[str], what: str) -> None:
        self._what = what
        self._item = "in memory" if path is None else str(path)
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(":memory:" if path is None else path, timeout=60, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self.writing() as db:
                for statement in schema:
                    db.execute(statement)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the connection; further use fails with StoreError."""
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view."""
        with self._locked() as db:
            yield from self._transaction(db, "BEGIN")

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One change: committed at the end of the block, undone if it raises.

        A committed change survives the death of the process; with ``durable`` also a power failure (one fsync).
        """
        with self._locked() as db:
            if durable and not db.in_transaction:
                db.execute("PRAGMA synchronous = FULL")
            try:
                yield from self._transaction(db, "BEGIN IMMEDIATE")
            finally:
                if durable and not db.in_transaction:
                    db.execute("PRAGMA synchronous = NORMAL")

    @staticmethod
    def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[sqlite3.Connection]:
        if db.in_transaction:  # part of an outer block of the same thread, which commits or undoes it
            yield db
            return
        db.execute(begin)
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except RetestError:
                raise
            except sqlite3.Error as error:
                raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{self._what} cannot be used ({error})", item=self._item, remedy="Check the file, its permissions and the disk")
