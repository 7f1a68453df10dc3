"""A study's content as plain lines, so that two studies can be compared whatever their history, folder or database.

Used by tests that interrupt a study, run it on another database, or run it twice: the lines must be equal::

    assert differences(canonical_dump(undisturbed), canonical_dump(interrupted)) == []
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from retest.records import Predictions
from retest.stages.evaluate import stored_predictions
from retest.store import Tables, schema
from retest.study import Study

__all__ = ["BOOKKEEPING", "canonical_dump", "canonical_predictions", "differences"]

BOOKKEEPING = frozenset({"answer_figures", "class_counts", "completions", "generations", "hit_figures", "worker_figures"})
"""Tables that say how a study came about, not what it holds: work that was cut or repeated differently leaves other rows here."""


def canonical_dump(study: Study, *, skip: Collection[str] = BOOKKEEPING, places: Mapping[str, str] | None = None) -> list[str]:
    """Every row of every table as one line ``table {json}``, sorted.

    Row numbers that the database gives are left out: HITs are named by their uuid, and decisions are numbered per kind and item,
    so that only the order of decisions about the same thing counts. SQLite and PostgreSQL give the same lines.

    Args:
        study: the study.
        skip: names of tables to leave out.
        places: text -> what to write in its place, such as the folder of this study -> ``"OUT"``.
    """
    with study.database.read() as tables:
        lines = [
            f"{table.name} {_line(row)}" for table in schema.metadata.sorted_tables if table.name not in skip for row in _of(tables, table)
        ]
    for text, name in (places or {}).items():
        lines = [line.replace(text, name) for line in lines]
    return sorted(lines)


def canonical_predictions(study: Study) -> list[str]:
    """Every prediction of every stored file as one line: data set, model, image, label, predicted classes, scores."""
    return sorted(line for predictions in stored_predictions(study) for line in _predictions(predictions))


def differences(left: Collection[str], right: Collection[str], *, most: int = 20) -> list[str]:
    """The first lines that only one side has, those of ``left`` marked ``-``, those of ``right`` ``+``; empty when both are equal."""
    only_left, only_right = Counter(left) - Counter(right), Counter(right) - Counter(left)
    found = [f"- {line}" for line in sorted(only_left.elements())] + [f"+ {line}" for line in sorted(only_right.elements())]
    more = len(found) - most
    return found if more <= 0 else [*found[:most], f"and {more} more"]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


def _of(tables: Tables, table: sa.Table) -> Iterator[dict[str, Any]]:
    rows = (dict(row._mapping) for row in tables.connection.execute(sa.select(table).order_by(*table.primary_key.columns)))
    if table is schema.hits:
        return _without_number(rows)
    if table is schema.hit_images:
        return _with_uuid(rows, tables)
    return _with_turn(rows) if table is schema.decisions else rows


def _without_number(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {name: value for name, value in row.items() if name != "no"}


def _with_uuid(rows: Iterator[dict[str, Any]], tables: Tables) -> Iterator[dict[str, Any]]:
    names = {row.no: row.uuid for row in tables.connection.execute(sa.select(schema.hits.c.no, schema.hits.c.uuid))}
    for row in rows:
        yield {**row, "hit_no": names[row["hit_no"]]}


def _with_turn(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    turns: Counter[tuple[str, str]] = Counter()
    for row in rows:
        thing = row["kind"], row["item"]
        turns[thing] += 1
        yield {**row, "no": turns[thing]}


def _predictions(predictions: Predictions) -> Iterator[str]:
    for row, image in enumerate(predictions.image_ids):
        scores = None if predictions.scores is None else predictions.scores[row].tolist()
        entry = [predictions.dataset, predictions.model, image, int(predictions.labels[row]), predictions.top[row].tolist(), scores]
        yield json.dumps(entry, ensure_ascii=False)
