"""What stages ask of a whole study: answered class by class or summed in the database, so that no table is held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import sqlalchemy as sa

from retest.records import VALID_STATUSES, Assignment, AssignmentStatus, Hit, SelectionFrequency
from retest.store import schema
from retest.store.labels import hit_of
from retest.store.rows import TableGroup

_C, _F = schema.candidates, schema.selection_frequencies
_BLOCK = 500  # rows of HITs and answers are long


class BulkTable(TableGroup):
    """Reads and writes over many rows with bounded memory."""

    def hits_of_class(self, wnid: str) -> Iterator[Hit]:
        """The HITs of a class in the order in which they were added, excluded ones included."""
        t = schema.hits
        rows = self._stream(sa.select(t).where(t.c.wnid == wnid).order_by(t.c.no))
        return (hit_of(cast("sa.Row[Any]", row)) for row in rows)

    def answers_of_class(self, wnid: str) -> Iterator[Assignment]:
        """The answers to the HITs of a class, HIT after HIT in the order in which those were added, by id."""
        t, hit = schema.assignments, schema.hits
        query = sa.select(t.c.id, t.c.hit_uuid, t.c.worker, t.c.status, t.c.selected, t.c.accept_time, t.c.submit_time)
        query = query.select_from(hit.join(t, t.c.hit_uuid == hit.c.uuid)).where(hit.c.wnid == wnid).order_by(hit.c.no, t.c.id)
        for name, uuid, worker, status, selected, accepted, submitted in self._stream(query):
            yield Assignment(name, uuid, worker, AssignmentStatus(status), tuple(selected), accepted, submitted)

    def answers_to_nothing(self) -> int:
        """How many valid answers name a HIT that the study does not have."""
        t, hit = schema.assignments, schema.hits
        valid = t.c.status.in_([str(status) for status in VALID_STATUSES])
        known = sa.exists().where(hit.c.uuid == t.c.hit_uuid)
        return self._count(t, ~known, valid)

    def replace_frequencies(self, wnid: str, frequencies: Iterable[SelectionFrequency]) -> None:
        """Make these the selection frequencies of a class; rows that are right already are left alone."""
        found = {f.image_id: (f.num_assignments, f.num_selected) for f in frequencies}
        stored = {row[0]: (row[1], row[2]) for row in self._stream(_frequencies(wnid))}
        if gone := sorted(stored.keys() - found.keys()):
            mine = (_F.c.wnid == wnid, _F.c.image_id == sa.bindparam("image"))
            self._connection.execute(sa.delete(_F).where(*mine), [{"image": image} for image in gone])
            self._touch(_F)
        rows = (
            {"wnid": wnid, "image_id": image, "num_assignments": counts[0], "num_selected": counts[1]}
            for image, counts in sorted(found.items())
            if stored.get(image) != counts
        )
        self._put(_F, rows)

    def drop_frequencies_besides(self, wnids: Iterable[str]) -> None:
        """Forget the selection frequencies of all other classes."""
        kept = set(wnids)
        for wnid in self._counts_by(_F.c.wnid):
            if wnid not in kept:
                self._change(_F, sa.delete(_F).where(_F.c.wnid == wnid))

    def for_resolution(self, ids: Iterable[str]) -> Iterator[tuple[str, str, str, str, float | None, bool]]:
        """(id, wnid, source, photo id, selection frequency or None, left out) of those of these images that are candidates."""
        e, flag = schema.exclusions, schema.image_flags
        found = _C.outerjoin(_F, (_F.c.wnid == _C.c.wnid) & (_F.c.image_id == _C.c.id))
        found = found.outerjoin(e, e.c.candidate_id == _C.c.id).outerjoin(flag, flag.c.image_id == _C.c.id)
        left_out = sa.or_(e.c.candidate_id.is_not(None), flag.c.image_id.is_not(None))
        query: sa.Select[Any] = sa.select(_C.c.id, _C.c.wnid, _C.c.source, _C.c.photo_id, _F.c.num_selected, _F.c.num_assignments, left_out)
        for found_row in self._by_ids(query.select_from(found), _C.c.id, ids):
            row = cast("Sequence[Any]", found_row)
            yield row[0], row[1], row[2], row[3], row[4] / row[5] if row[5] else None, bool(row[6])

    def labelled_candidates(self) -> Iterator[tuple[str, int, int, int]]:
        """(wnid, times selected, assignments, how many): labelled candidates of a class that nobody left out, by their counts."""
        e, flag = schema.exclusions, schema.image_flags
        found = _F.join(_C, (_C.c.id == _F.c.image_id) & (_C.c.wnid == _F.c.wnid))
        kept = (~sa.exists().where(e.c.candidate_id == _C.c.id), ~sa.exists().where(flag.c.image_id == _C.c.id))
        query = sa.select(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments, sa.func.count()).select_from(found)
        query = query.where(_F.c.num_assignments > 0, *kept).group_by(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments)
        return ((row[0], row[1], row[2], row[3]) for row in self._stream(query))

    def _stream(self, query: sa.Select[Any]) -> Iterator[Sequence[Any]]:
        for block in self._connection.execute(query, execution_options={"yield_per": _BLOCK}).partitions():
            yield from cast("Sequence[Sequence[Any]]", block)


def _frequencies(wnid: str) -> sa.Select[Any]:
    return sa.select(_F.c.image_id, _F.c.num_assignments, _F.c.num_selected).where(_F.c.wnid == wnid)
