"""A study's tables as a whole: copied into another database, compared with it, and written to a file of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from retest.errors import StoreError
from retest.store.database import Database, Tables
from retest.store.rows import chunks
from retest.store.schema import metadata

__all__ = ["copy_rows", "different_table", "integrity_problems", "row_counts", "snapshot", "snapshot_sqlite"]

_ROWS = 2000


def row_counts(tables: Tables) -> dict[str, int]:
    """Table -> number of rows."""
    count = sa.select(sa.func.count())
    return {table.name: int(tables.connection.execute(count.select_from(table)).scalar_one()) for table in metadata.sorted_tables}


def copy_rows(source: Tables, target: Tables, *, advance: Callable[[int], None] = lambda _rows: None) -> int:
    """Write every row of ``source``, bookkeeping included, into the empty tables of ``target``; returns how many."""
    copied = 0
    for table in metadata.sorted_tables:
        for block in chunks(_rows(source.connection, table), _ROWS):
            target.connection.execute(sa.insert(table), [dict(row._mapping) for row in block])
            copied += len(block)
            advance(len(block))
        _count_on(target.connection, table)
    return copied


def different_table(left: Tables, right: Tables) -> str | None:
    """The name of the first table whose rows differ; None when all are equal, on whatever kinds of database."""
    for table in metadata.sorted_tables:
        pairs = zip_longest(_rows(left.connection, table), _rows(right.connection, table))
        if any(one is None or other is None or tuple(one) != tuple(other) for one, other in pairs):
            return table.name
    return None


def _rows(connection: Connection, table: sa.Table) -> Iterator[sa.Row[Any]]:
    query = sa.select(table).order_by(*table.primary_key.columns)
    yield from connection.execute(query, execution_options={"yield_per": _ROWS})


def _count_on(connection: Connection, table: sa.Table) -> None:
    """Let automatic numbers go on behind the copied ones."""
    if connection.dialect.name == "postgresql" and "no" in table.primary_key.columns:
        sequence = f"pg_get_serial_sequence('{table.name}', 'no')"
        connection.exec_driver_sql(f"SELECT setval({sequence}, coalesce((SELECT max(no) FROM {table.name}), 0) + 1, false)")  # noqa: S608


def snapshot(database: Database, target: Path) -> None:
    """Write the study as it is at one moment into a new SQLite file, while others go on working in it.

    Raises:
        StoreError: the file exists or cannot be written.
    """
    if database.engine.dialect.name == "sqlite":
        snapshot_sqlite(Path(str(database.engine.url.database)), target)
        return
    if target.exists():
        raise StoreError("a file is here already", item=str(target), remedy="Choose another name")
    copy = Database(f"sqlite:///{target}")
    try:
        copy.upgrade()
        with database.read() as source, copy.write() as tables:
            copy_rows(source, tables)
        with closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    finally:
        copy.close()


def snapshot_sqlite(path: Path, target: Path) -> None:
    """Write one moment of a SQLite file that others may be writing to into a new file, without its unused pages."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot be copied ({error})", item=str(path), remedy="Check the disk, and the file with: retest study verify"
        ) from error


def integrity_problems(path: Path) -> list[str]:
    """What SQLite finds wrong with the structure of a file; empty for a sound one."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    except sqlite3.Error as error:
        return [str(error)]
    return [] if found == ["ok"] else found
