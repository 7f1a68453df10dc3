"""What every group of tables shares: bulk inserts that skip or replace existing rows, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, ClassVar, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from retest.store.schema import generations

T = TypeVar("T")
Row = Mapping[str, Any]
_ROWS_PER_STATEMENT = 5000
_IDS_PER_QUERY = 500


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut an iterable into lists of at most ``size``."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


class TableGroup:
    """Base of the repositories: a few related tables behind one open transaction."""

    _rows_per_block: ClassVar[int] = 5000

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _insert(self, table: sa.Table) -> Any:
        dialect = self._connection.dialect.name
        return (postgresql if dialect == "postgresql" else sqlite).insert(table)

    def _add_new(self, table: sa.Table, rows: Iterable[Row]) -> int:
        """Insert rows whose primary key (or unique key) is not there yet; return how many were new."""
        return self._write(table, self._insert(table).on_conflict_do_nothing(), rows)

    def _put(self, table: sa.Table, rows: Iterable[Row]) -> int:
        """Insert rows, replacing those with the same primary key; return how many were new or different."""
        statement = self._insert(table)
        keys = [column.name for column in table.primary_key]
        others = [column for column in table.columns if column.name not in keys]
        changes = {column.name: statement.excluded[column.name] for column in others}
        differs = sa.or_(*(_comparable(column).is_distinct_from(_comparable(statement.excluded[column.name])) for column in others))
        return self._write(table, statement.on_conflict_do_update(index_elements=keys, set_=changes, where=differs), rows)

    def _write(self, table: sa.Table, statement: Any, rows: Iterable[Row]) -> int:
        written = 0
        for block in chunks(rows, _ROWS_PER_STATEMENT):
            written += int(self._connection.execute(statement, block, execution_options={"preserve_rowcount": True}).rowcount)
        if written:
            self._touch(table)
        return written

    def _replace(self, table: sa.Table, rows: Iterable[Row]) -> None:
        """Make a table hold exactly these rows; those that are there already are left alone."""
        keys = [column.name for column in table.primary_key]
        wanted: set[tuple[Any, ...]] = set()

        def noted() -> Iterator[Row]:
            for row in rows:
                wanted.add(tuple(row[key] for key in keys))
                yield row

        self._put(table, noted())
        stale = [row for row in self._connection.execute(sa.select(*table.primary_key.columns)) if tuple(row) not in wanted]
        if stale:
            conditions = [column == sa.bindparam(f"key_{column.name}") for column in table.primary_key]
            values = [{f"key_{key}": value for key, value in zip(keys, row, strict=True)} for row in stale]
            self._connection.execute(sa.delete(table).where(*conditions), values)
            self._touch(table)

    def _change(self, table: sa.Table, statement: sa.Update | sa.Delete) -> int:
        """Run an update or delete; return how many rows it changed."""
        changed: int = self._connection.execute(statement).rowcount
        if changed:
            self._touch(table)
        return changed

    def _touch(self, table: sa.Table) -> None:
        """Note that the content of a table has changed."""
        self._note(table.name)

    def _note(self, name: str) -> None:
        """Let the generation of a name grow."""
        self._connection.execute(_one_more(self._connection.dialect.name), {"name": name, "number": 1})

    def _count(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one())

    def _rows(self, statement: sa.Select[Any]) -> Iterator[sa.Row[Any]]:
        """Stream the rows of a query with bounded memory."""
        # For this statement only: options of a connection stay, and PostgreSQL streams nothing but queries.
        yield from self._connection.execute(statement, execution_options={"yield_per": _ROWS_PER_STATEMENT})

    def _plain_rows(self, query: sa.Select[Any]) -> Iterator[Sequence[Any]]:
        """Rows by position, block by block: a quarter of a million of them feel what asking for each costs."""
        for block in self._connection.execute(query, execution_options={"yield_per": self._rows_per_block}).partitions():
            yield from cast("Sequence[Sequence[Any]]", block)

    def _by_ids(self, statement: sa.Select[Any], column: sa.Column[Any], ids: Iterable[str]) -> Iterator[sa.Row[Any]]:
        """Rows whose ``column`` is one of ``ids``, asked in blocks (databases limit the number of parameters)."""
        for block in chunks(ids, _IDS_PER_QUERY):
            yield from self._connection.execute(statement.where(column.in_(block)))

    def _counts_by(self, column: sa.Column[Any], *conditions: sa.ColumnElement[bool]) -> dict[Any, int]:
        statement = sa.select(column, sa.func.count()).where(*conditions).group_by(column).order_by(column)
        return {value: int(count) for value, count in self._connection.execute(statement)}


@cache
def _one_more(dialect: str) -> Any:
    """Counts a change of a table; made once, as every change of every table needs it."""
    statement = (postgresql if dialect == "postgresql" else sqlite).insert(generations)
    return statement.on_conflict_do_update(index_elements=["name"], set_={"number": generations.c.number + 1})


def _comparable(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """PostgreSQL cannot compare JSON, but its text."""
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
