"""What makes PostgreSQL behave like the SQLite that every stage is written for: one writer at a time, steady views, order by code point.

Writers wait for one another at a lock of the whole study, so that "read, decide, write" in one transaction loses nothing and two
transactions cannot wait for each other in a circle; readers see one consistent view and wait for nobody. Text is compared byte by
byte, as in SQLite and as Python's ``sorted`` does, whatever the locale of the server.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

__all__ = ["compare_text_by_bytes", "prepare", "remedy"]

_REMEDIES = {
    "53100": "Free some space on the database server and run the same command again: everything committed so far is kept",
    "55P03": "Another process writes to the study for long; wait for it or stop it, then run the same command again",
    "25006": "The database accepts no changes (a standby, or default_transaction_read_only); connect to the primary",
    "42501": "Let the user create and change tables in this schema (GRANT ALL ON SCHEMA ... TO ...)",
    "42P01": "Run retest status STUDY once, which brings the tables up to date",
    "53300": "The server has no connection left; raise max_connections or stop other programs",
    "22021": "PostgreSQL stores no NUL characters; remove them from the named text",
    "22P05": "PostgreSQL stores no NUL characters; remove them from the named text",
}
"""SQLSTATE -> what to do."""

_AT_THE_DOOR = {
    r'database ".*" does not exist': "Create it with: createdb NAME",
    r"password authentication failed|no password supplied": "Check user and password; the password belongs into PGPASSWORD or ~/.pgpass",
    r'role ".*" does not exist|no pg_hba.conf entry': "Check the user, and the rules of the server's pg_hba.conf",
    r"too many (clients|connections)": "The server has no connection left; raise max_connections or stop other programs",
}
_AWAY = "See that the server runs and can be reached, then run the same command again: everything committed so far is kept"


def remedy(error: sa.exc.DatabaseError) -> str | None:
    """What to do about an error of PostgreSQL; refusals at the door come without SQLSTATE."""
    known = _REMEDIES.get(getattr(error.orig, "sqlstate", None) or "")
    if known is not None or not isinstance(error, sa.exc.OperationalError):
        return known
    return next((advice for sign, advice in _AT_THE_DOOR.items() if re.search(sign, str(error.orig))), _AWAY)


_WRITERS_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('retest writer ' || current_schema(), 0))"
_NAMELESS_COLLATION = """
    SELECT c.table_name, c.column_name, c.data_type
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'
      AND c.data_type IN ('character varying', 'text') AND c.collation_name IS NULL AND c.table_name = ANY(:tables)
    ORDER BY c.table_name, c.ordinal_position
"""


def prepare(engine: Engine, *, wait_s: float, read_only_option: str) -> None:
    """Let every transaction begin the way the study's code expects."""

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get(read_only_option, False):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return
        # Each statement sees what the writer before us committed, which a snapshot taken before the wait would not.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(wait_s * 1000)}")
        connection.exec_driver_sql(_WRITERS_TURN)


def compare_text_by_bytes(connection: Connection, tables: list[str]) -> None:
    """Give the text columns of these tables the collation "C" where they have that of the database; nothing to do at a later start."""
    quoted = connection.dialect.identifier_preparer.quote
    changes: dict[str, list[str]] = {}
    for table, column, kind in connection.execute(sa.text(_NAMELESS_COLLATION), {"tables": tables}):
        name = "text" if kind == "text" else "varchar"
        changes.setdefault(table, []).append(f'ALTER COLUMN {quoted(column)} TYPE {name} COLLATE "C"')
    for table, columns in changes.items():
        connection.exec_driver_sql(f"ALTER TABLE {quoted(table)} {', '.join(columns)}")
