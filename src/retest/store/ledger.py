"""What was done: completed items of stages, human decisions, warnings, and the study's few settings of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from retest.store import schema
from retest.store.packed import IDS, fetch_packed, given, ids_text
from retest.store.rows import TableGroup, chunks

_ITEMS_PER_QUERY = 500
_FEW = 2000  # decisions


class CompletionTable(TableGroup):
    """Which items of a stage are done, and with which key (hash of configuration, inputs and rule version)."""

    def key(self, stage: str, item: str) -> str | None:
        t = schema.completions
        return self._connection.execute(sa.select(t.c.key).where(t.c.stage == stage, t.c.item == item)).scalar_one_or_none()

    def keys(self, stage: str) -> dict[str, str]:
        """item -> key of a whole stage."""
        t = schema.completions
        return {row.item: row.key for row in self._rows(sa.select(t.c.item, t.c.key).where(t.c.stage == stage))}

    def keys_of(self, stage: str, items: Iterable[str]) -> dict[str, str]:
        """item -> key, of those of these items of a stage that are done."""
        t = schema.completions
        return {row.item: row.key for row in self._by_ids(sa.select(t.c.item, t.c.key).where(t.c.stage == stage), t.c.item, items)}

    def put_all(self, stage: str, keys: Mapping[str, str]) -> None:
        """Note that items of a stage about which nothing else is noted are done: item -> key."""
        self._put(schema.completions, ({"stage": stage, "item": item, "key": key, "info": {}} for item, key in keys.items()))

    def info(self, stage: str, item: str) -> dict[str, Any] | None:
        t = schema.completions
        return self._connection.execute(sa.select(t.c.info).where(t.c.stage == stage, t.c.item == item)).scalar_one_or_none()

    def put(self, stage: str, item: str, key: str, **info: Any) -> None:
        self._put(schema.completions, [{"stage": stage, "item": item, "key": key, "info": info}])


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of the history: ``item`` of this ``kind`` went from state ``before`` to ``after``. ``no`` counts up."""

    no: int
    time: str
    user: str
    kind: str
    item: str
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFilter:
    """Which decisions to list; None asks for all. ``since`` and ``until`` are ISO-8601, ``until`` is not included."""

    user: str | None = None
    kind: str | None = None
    item: str | None = None
    since: str | None = None
    until: str | None = None


class DecisionTable(TableGroup):
    """The append-only history of human (or simulated) decisions. The number of the latest one about an item is its version."""

    def add(self, *, time: str, user: str, kind: str, item: str, before: Any = None, after: Any = None) -> None:
        row = {"time": time, "user": user, "kind": kind, "item": item, "before": before, "after": after}
        self._connection.execute(sa.insert(schema.decisions), [row])

    def add_many(self, rows: Iterable[dict[str, Any]]) -> None:
        block = [{"before": None, "after": None, **row} for row in rows]
        if block:
            self._connection.execute(sa.insert(schema.decisions), block)

    def all(self, *, kind: str | None = None, item: str | None = None) -> list[dict[str, Any]]:
        t = schema.decisions
        query = sa.select(t).order_by(t.c.no)
        if kind is not None:
            query = query.where(t.c.kind == kind)
        if item is not None:
            query = query.where(t.c.item == item)
        return [dict(row._mapping) for row in self._rows(query)]

    def append(self, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Add decisions; their numbers, in the order given."""
        if not rows:
            return []
        block = [{"before": None, "after": None, **row} for row in rows]
        statement = sa.insert(schema.decisions).returning(schema.decisions.c.no, sort_by_parameter_order=True)
        return list(self._connection.execute(statement, block).scalars())

    def latest(self, kind: str, items: Iterable[str]) -> dict[str, Decision]:
        """item -> the latest decision of a kind about it; items that nobody decided about are absent."""
        numbers = self.versions(kind, items).values()
        return {one.item: one for one in self.get(numbers).values()} if numbers else {}

    def versions(self, kind: str, items: Iterable[str]) -> dict[str, int]:
        """item -> number of the latest decision of a kind about it; read from an index alone."""
        found: dict[str, int] = {}
        for block in chunks(items, _ITEMS_PER_QUERY):
            found.update((row[0], row[1]) for row in fetch_packed(self._connection, _versions_query, {"kind": kind, IDS: ids_text(block)}))
        return found

    def get(self, numbers: Iterable[int]) -> dict[int, Decision]:
        """number -> decision, for those of these numbers that exist."""
        t = schema.decisions
        return {
            row.no: Decision(**row._mapping)
            for block in chunks(numbers, _ITEMS_PER_QUERY)
            for row in self._connection.execute(sa.select(t).where(t.c.no.in_(block)))
        }

    def page(self, wanted: DecisionFilter, *, before: int | None = None, limit: int) -> list[Decision]:
        """The newest decisions first; ``before`` is the last number of the page before."""
        t = schema.decisions
        query = sa.select(t).order_by(t.c.no.desc()).limit(limit)
        for column, value in ((t.c.user, wanted.user), (t.c.kind, wanted.kind), (t.c.item, wanted.item)):
            if value is not None:
                query = query.where(column == value)
        if wanted.since is not None or wanted.until is not None:
            query = query.where(*self._within(wanted))
        if before is not None:
            query = query.where(t.c.no < before)
        return [Decision(**row._mapping) for row in self._connection.execute(query)]

    def _within(self, wanted: DecisionFilter) -> list[sa.ColumnElement[bool]]:
        """Conditions on the time such that few decisions outside it are looked at: a few are named, of many the ends are given.

        Decisions are numbered nearly as time goes by (an import adds old ones later), so that of a long time most between the ends fit.
        """
        t = schema.decisions
        times = [t.c.time >= wanted.since] if wanted.since is not None else []
        times += [t.c.time < wanted.until] if wanted.until is not None else []
        few = list(self._connection.execute(sa.select(t.c.no).where(*times).order_by(t.c.time).limit(_FEW + 1)).scalars())
        if len(few) <= _FEW:
            return [t.c.no.in_(few)]
        least, most = self._connection.execute(sa.select(sa.func.min(t.c.no), sa.func.max(t.c.no)).where(*times)).one()
        return [*times, t.c.no >= least, t.c.no <= most]

    def newest(self) -> int:
        """Number of the newest decision; 0 when there is none."""
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(schema.decisions.c.no), 0))).scalar_one())

    def users(self) -> list[str]:
        """Everybody who decided something, by name; steps along the index from name to name."""
        return self._distinct(schema.decisions.c.user)

    def kinds(self) -> list[str]:
        """Every kind of decision there is, by name."""
        return self._distinct(schema.decisions.c.kind)

    def _distinct(self, column: sa.Column[str]) -> list[str]:
        steps = sa.select(sa.func.min(column).label("value")).cte("steps", recursive=True)
        following = sa.select(sa.func.min(column)).where(column > steps.c.value).correlate(steps).scalar_subquery()
        steps = steps.union_all(sa.select(following).where(steps.c.value.is_not(None)))
        query = sa.select(steps.c.value).where(steps.c.value.is_not(None)).order_by(steps.c.value)
        return list(self._connection.execute(query).scalars())

    def count(self) -> int:
        return self._count(schema.decisions)


def _versions_query(dialect: str) -> sa.Select[Any]:
    t, item = schema.decisions, given(dialect).alias("wanted")
    newest = sa.select(sa.func.max(t.c.no)).where(t.c.kind == sa.bindparam("kind"), t.c.item == item.c.value).correlate(item)
    versions = sa.select(item.c.value, newest.scalar_subquery().label("no")).subquery()
    return sa.select(versions).where(versions.c.no.is_not(None))


class WarningTable(TableGroup):
    """Inconsistencies that were met and stepped over."""

    def add(self, stage: str, warnings: Iterable[tuple[str, str | None, str | None, str]]) -> int:
        """Add warnings (kind, file, item, message); equal ones are stored once."""
        rows = []
        for kind, file, item, message in warnings:
            key = hashlib.sha256("\0".join((stage, kind, file or "", item or "", message)).encode()).hexdigest()[:32]
            rows.append({"key": key, "stage": stage, "kind": kind, "file": file, "item": item, "message": message})
        return self._add_new(schema.warnings, rows)

    def counts(self) -> dict[str, int]:
        return self._counts_by(schema.warnings.c.kind)

    def all(self, *, stage: str | None = None) -> list[dict[str, Any]]:
        t = schema.warnings
        query = sa.select(t.c.stage, t.c.kind, t.c.file, t.c.item, t.c.message).order_by(t.c.stage, t.c.kind, t.c.file, t.c.item, t.c.key)
        if stage is not None:
            query = query.where(t.c.stage == stage)
        return [dict(row._mapping) for row in self._rows(query)]


class SettingTable(TableGroup):
    """Values that belong to the study itself, such as the fingerprint of the key that makes opaque names."""

    def get(self, key: str) -> Any:
        return self._connection.execute(sa.select(schema.settings.c.value).where(schema.settings.c.key == key)).scalar_one_or_none()

    def put(self, key: str, value: Any) -> None:
        self._put(schema.settings, [{"key": key, "value": value}])


class GenerationTable(TableGroup):
    """How often the content of each table has changed: part of the key of everything derived from it."""

    def of(self, *names: str) -> dict[str, int]:
        """Table name -> number of changes so far; 0 for a table that never changed."""
        rows = fetch_packed(self._connection, _generations_query, {IDS: ids_text(names)})
        return dict.fromkeys(sorted(names), 0) | {row[0]: row[1] for row in rows}


def _generations_query(dialect: str) -> sa.Select[Any]:
    t, name = schema.generations, given(dialect).alias("wanted")
    return sa.select(t.c.name, t.c.number).select_from(name.join(t, t.c.name == name.c.value))
