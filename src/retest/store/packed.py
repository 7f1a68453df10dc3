"""Many ids in and many rows out as one JSON text each, for requests of a server in which other threads compute.

A driver lets go of the interpreter at every row that it steps to and then waits for whoever took it, and a condition on 200 ids is 200
parameters to write out; a query that takes one text and gives one row does neither. Only texts, whole numbers and null travel
unchanged this way: SQLite rounds floating-point numbers in JSON, and has no truth values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

IDS = "ids"
"""Name of the parameter that :func:`given` reads."""

_POSTGRESQL = "postgresql"


def given(dialect: str, *, name: str = IDS) -> sa.FromClause:
    """The ids of a parameter as rows with the column ``value``; :func:`ids_text` writes the parameter."""
    text, value = sa.bindparam(name, type_=sa.Text), sa.column("value", sa.Text)
    if dialect == _POSTGRESQL:
        return sa.func.json_array_elements_text(sa.cast(text, postgresql.JSON)).table_valued(value)
    return sa.func.json_each(text).table_valued(value)


def ids_text(ids: Iterable[str]) -> str:
    """Ids as the value of the parameter of :func:`given`."""
    return json.dumps(list(ids), ensure_ascii=False)


def fetch_packed(connection: Connection, build: Callable[[str], sa.Select[Any]], values: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of a query of texts and whole numbers; their order is not that of the query.

    Args:
        connection: with an open transaction.
        build: gives the query for a dialect; a function of a module, because what it gives is kept.
        values: its parameters.
    """
    text = connection.execute(_packed(build, connection.dialect.name), values).scalar_one()
    rows: list[list[Any]] = json.loads(text) if text else []
    return rows


def fetch_lines(connection: Connection, build: Callable[[str], sa.Select[tuple[str]]]) -> list[str]:
    """The rows of a query of one text without line breaks; their order is not that of the query."""
    text = connection.execute(_lines(build, connection.dialect.name)).scalar_one()
    return text.split("\n") if text else []


@lru_cache(maxsize=256)
def _lines(build: Callable[[str], sa.Select[tuple[str]]], dialect: str) -> sa.Select[Any]:
    (line,) = build(dialect).subquery().c
    return sa.select(sa.func.aggregate_strings(line, "\n"))


@lru_cache(maxsize=256)
def _packed(build: Callable[[str], sa.Select[Any]], dialect: str) -> sa.Select[Any]:
    rows = build(dialect).subquery()
    if dialect == _POSTGRESQL:
        return sa.select(sa.cast(sa.func.json_agg(sa.func.json_build_array(*rows.c)), sa.Text))
    return sa.select(sa.func.json_group_array(sa.func.json_array(*rows.c)))
