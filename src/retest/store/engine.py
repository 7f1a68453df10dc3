"""Connects to a study's database: SQLite by default, PostgreSQL by URL; brings its tables up to date."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from retest.errors import StoreError
from retest.store import postgres
from retest.store.schema import metadata

_BUSY_TIMEOUT_S = 60
_READ_ONLY = "retest_read_only"


def connect(url: str, *, keep: int = 0) -> Engine:
    """Open the database at an SQLAlchemy URL; SQLite is put into WAL mode with immediate write transactions.

    Args:
        url: where the database is.
        keep: connections to a file that are kept for the next transaction, as a server of many small ones needs: opening one reads the
            whole schema, and closing the last one empties the log. By default each transaction opens its own and leaves nothing open.

    Raises:
        StoreError: the URL is not understood or the driver is missing.
    """
    try:
        # A pool keeps connections to a server, and looks whether each still lives before it hands it out.
        options: dict[str, Any] = {"pool_pre_ping": True, "max_overflow": 40}
        if url.startswith("sqlite"):
            # Last in, first out: what the connection used last has read is in its memory still.
            options = {"pool_size": keep, "max_overflow": 40, "pool_use_lifo": True} if keep else {"poolclass": NullPool}
        engine = sa.create_engine(url, hide_parameters=True, **options)
    except (sa.exc.ArgumentError, ModuleNotFoundError, ValueError) as error:
        raise StoreError(
            f"cannot open the study's database ({type(error).__name__})",
            item=re.sub(r"://.*@", "://***@", url),
            remedy="Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (with pip install 'retest[postgres]')",
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    elif engine.dialect.name == "postgresql":
        postgres.prepare(engine, wait_s=_BUSY_TIMEOUT_S, read_only_option=_READ_ONLY)
    else:
        raise StoreError(
            f"studies cannot live in {engine.dialect.name}",
            item=engine.url.render_as_string(),
            remedy="Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
        )
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")  # a decision that was confirmed survives a power cut
        connection.execute("PRAGMA cache_size = -65536")

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # Taking the write lock at once avoids the deadlock of two readers that both want to become writers.
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite does not wait for the lock here, so two processes that meet in a new study's file must retry."""
    give_up = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
        time.sleep(0.02)


@contextmanager
def transaction(engine: Engine, *, read_only: bool = False) -> Iterator[Connection]:
    """One transaction: committed when the block ends, rolled back when it raises.

    Raises:
        StoreError: the disk is full, the database is locked for too long, it is not a database, or it takes no more connections.
    """
    try:
        with engine.connect().execution_options(**{_READ_ONLY: read_only}) as connection, connection.begin():
            yield connection
    except sa.exc.DatabaseError as error:
        raise _explained(error, engine) from error
    except sa.exc.TimeoutError as error:
        remedy = "Too much is done at once in this process; wait, or use fewer workers"
        raise StoreError("no connection to the study's database is free", item=engine.url.render_as_string(), remedy=remedy) from error


def _explained(error: sa.exc.DatabaseError, engine: Engine) -> StoreError:
    text = " ".join(str(error.orig).split())
    remedies = {
        "disk is full": "Free some space and run the same command again: everything committed so far is kept",
        "readonly": "Check the permissions of the file and of its folder",
        "locked": "Another process holds the database for long; wait for it or stop it, then run the same command again",
        "not a database": "The file is damaged or no database; restore it from a backup",
        "unable to open": "Check that its folder exists and that you may write there",
        "no such table": "Run retest status STUDY once, which brings the tables up to date",
    }
    if engine.dialect.name == "postgresql":
        remedy = postgres.remedy(error)
    else:
        remedy = next((remedy for sign, remedy in remedies.items() if sign in text), None)
    return StoreError(f"the study's database failed ({text})", item=engine.url.render_as_string(), remedy=remedy)


def alembic_config(connection: Connection | None = None) -> alembic.config.Config:
    """Alembic's configuration for the migrations that ship with the package."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Create or migrate the tables to the newest schema; safe to call at every start and from several processes.

    Tables that are up to date are only looked at: a study can be opened while another process writes to it for long.

    Raises:
        StoreError: a newer version of retest has migrated this study.
    """
    with transaction(engine, read_only=True) as connection:
        if _is_current(connection):
            return
    with transaction(engine) as connection:
        try:
            alembic.command.upgrade(alembic_config(connection), "head")
        except CommandError as error:
            raise StoreError(
                f"the study's tables are those of a newer retest ({error})",
                item=engine.url.render_as_string(),
                remedy="Update retest: pip install --upgrade retest",
            ) from error
        if engine.dialect.name == "postgresql":
            postgres.compare_text_by_bytes(connection, sorted(metadata.tables))


def _is_current(connection: Connection) -> bool:
    return set(MigrationContext.configure(connection).get_current_heads()) == _newest()


@cache
def _newest() -> frozenset[str]:
    """The newest migrations of this installation; to know them, all of them are loaded."""
    return frozenset(ScriptDirectory.from_config(alembic_config()).get_heads())
