"""HITs page by page with what is known of their answers: for work on all of them that holds a few at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from retest.records import VALID_STATUSES, AssignmentStatus, Hit
from retest.store import schema
from retest.store.labels import hit_of
from retest.store.rows import TableGroup

CLOSED = "close_hit"
"""Kind of the decisions by which a HIT gets no more answers."""
_H, _A, _D = schema.hits, schema.assignments, schema.decisions
_VALID = [str(status) for status in VALID_STATUSES]


@dataclass(frozen=True, slots=True)
class HitEntry:
    """A HIT with its place in the order in which HITs were added, and what was asked for where.

    ``crowd`` of one that is not submitted names the back end where it was about to be published.
    """

    no: int
    hit: Hit
    assignments: int
    crowd: str | None


@dataclass(frozen=True, slots=True)
class HitLine:
    """A HIT without its images. ``received`` answers came, of which ``valid`` count and ``rejected`` do not."""

    no: int
    uuid: str
    wnid: str
    hit_id: str | None
    assignments: int
    submitted: bool
    excluded: bool
    closed: bool
    images_to_label: int
    received: int
    valid: int
    rejected: int


class HitPageTable(TableGroup):
    """HITs in the order in which they were added, by their numbers; every query walks an index and returns a page."""

    def newest(self) -> int:
        """Number of the HIT that was added last; 0 without HITs."""
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(_H.c.no), 0))).scalar_one())

    def published(self, *, after: int = 0, until: int, limit: int) -> list[HitEntry]:
        """HITs that this study published itself, numbered above ``after`` up to ``until``."""
        return self._page(_here(), after, until, limit)

    def published_among(self, uuids: Iterable[str]) -> dict[str, HitEntry]:
        """uuid -> HIT, of those of these HITs that this study published itself."""
        return {row.uuid: _entry(row) for row in self._by_ids(sa.select(_H).where(*_here()), _H.c.uuid, uuids)}

    def count_published(self) -> int:
        """How many HITs this study published itself."""
        return self._count(_H, *_here())

    def without_images(
        self, *, after: int = 0, until: int, limit: int, lacking: bool = False, include_excluded: bool = True
    ) -> list[tuple[int, Hit]]:
        """(number, HIT without its images) as :meth:`published`; with ``lacking`` those that lack answers and are not closed."""
        answers = sa.select(sa.func.count()).where(_A.c.hit_uuid == _H.c.uuid).scalar_subquery()
        conditions = [*_here(), *([~_closed(), answers < _H.c.assignments] if lacking else [])]
        conditions += [] if include_excluded else [_H.c.excluded.is_(None)]
        query = sa.select(_H.c.no, _H.c.uuid, _H.c.wnid, _H.c.hit_id, _H.c.hit_type_id).where(
            _H.c.no > after, _H.c.no <= until, *conditions
        )
        rows = self._connection.execute(query.order_by(_H.c.no).limit(limit))
        return [
            (row.no, Hit(row.uuid, row.wnid, (), (), (), (), submitted=True, hit_id=row.hit_id, hit_type_id=row.hit_type_id))
            for row in rows
        ]

    def waiting(self, *, after: int = 0, until: int, limit: int) -> list[HitEntry]:
        """HITs that wait to be published and are not excluded."""
        return self._page(_waiting(), after, until, limit)

    def waiting_assignments(self) -> dict[int, int]:
        """Number of annotators asked for -> how many HITs that ask for it wait to be published."""
        return self._counts_by(_H.c.assignments, *_waiting())

    def _page(self, conditions: Collection[sa.ColumnElement[bool]], after: int, until: int, limit: int) -> list[HitEntry]:
        query = sa.select(_H).where(_H.c.no > after, _H.c.no <= until, *conditions).order_by(_H.c.no).limit(limit)
        return [_entry(row) for row in self._connection.execute(query)]

    def lines(self, *, after: int = 0, limit: int) -> list[HitLine]:
        """Every HIT without its images, numbered above ``after``."""
        query = _lines().where(_H.c.no > after).order_by(_H.c.no).limit(limit)
        return [_line(row) for row in self._connection.execute(query)]

    def lines_of(self, uuids: Iterable[str]) -> dict[str, HitLine]:
        """uuid -> the HIT without its images, of those of these uuids that are HITs."""
        return {row.uuid: _line(row) for row in self._by_ids(_lines(), _H.c.uuid, uuids)}

    def open_of_class(self, wnid: str) -> Iterator[tuple[Hit, int]]:
        """(HIT of a class, answers it still lacks) of those that may get them: neither excluded nor closed.

        Those that were submitted elsewhere (imported ones) were answered long ago.
        """
        received = sa.select(sa.func.count()).where(_A.c.hit_uuid == _H.c.uuid).scalar_subquery()
        may = sa.or_(_H.c.submitted.is_(False), _H.c.crowd.is_not(None))
        query = sa.select(_H, received.label("received")).where(_H.c.wnid == wnid, _H.c.excluded.is_(None), may, ~_closed())
        for row in self._rows(query.where(_H.c.assignments > received).order_by(_H.c.no)):
            yield hit_of(row), row.assignments - row.received

    def of_class(self, wnid: str) -> Iterator[HitEntry]:
        """The HITs of a class in the order in which they were added, excluded ones included."""
        return (_entry(row) for row in self._rows(sa.select(_H).where(_H.c.wnid == wnid).order_by(_H.c.no)))

    def uuids_of_class(self, wnid: str) -> list[str]:
        """uuids of the HITs of a class."""
        return list(self._connection.execute(sa.select(_H.c.uuid).where(_H.c.wnid == wnid)).scalars())

    def excluded_of_class(self, wnid: str) -> set[str]:
        """uuids of the HITs of a class that count nowhere."""
        return set(self._connection.execute(sa.select(_H.c.uuid).where(_H.c.wnid == wnid, _H.c.excluded.is_not(None))).scalars())

    def undecided_answers(self) -> list[str]:
        """Ids of the collected answers to HITs published here that nobody has decided about yet, sorted."""
        mine = sa.exists().where(_H.c.uuid == _A.c.hit_uuid, *_here())
        query = sa.select(_A.c.id).where(_A.c.status == str(AssignmentStatus.SUBMITTED), mine)
        return list(self._connection.execute(query.order_by(_A.c.id)).scalars())

    def answer_statuses(self, ids: Iterable[str]) -> dict[str, AssignmentStatus]:
        """id -> status, of those of these ids that are collected answers."""
        rows = self._by_ids(sa.select(_A.c.id, _A.c.status), _A.c.id, ids)
        return {row.id: AssignmentStatus(row.status) for row in rows}

    def answers_of(self, uuids: Iterable[str]) -> dict[str, int]:
        """uuid -> number of collected answers of any status; HITs without answers are absent."""
        query = sa.select(_A.c.hit_uuid, sa.func.count().label("number")).group_by(_A.c.hit_uuid)
        return {row.hit_uuid: int(row.number) for row in self._by_ids(query, _A.c.hit_uuid, uuids)}

    def closed_among(self, uuids: Iterable[str]) -> set[str]:
        """Those of these HITs whose missing answers are no longer expected."""
        query = sa.select(_D.c.item).distinct().where(_D.c.kind == CLOSED)
        return {row.item for row in self._by_ids(query, _D.c.item, uuids)}


def _here() -> list[sa.ColumnElement[bool]]:
    return [_H.c.submitted.is_(True), _H.c.crowd.is_not(None)]


def _waiting() -> list[sa.ColumnElement[bool]]:
    return [_H.c.submitted.is_(False), _H.c.excluded.is_(None)]


def _closed() -> sa.ColumnElement[bool]:
    return sa.exists().where(_D.c.kind == CLOSED, _D.c.item == _H.c.uuid)


def _entry(row: sa.Row[Any]) -> HitEntry:
    return HitEntry(row.no, hit_of(row), row.assignments, row.crowd)


def _lines() -> sa.Select[Any]:
    mine = sa.select(sa.func.count()).where(_A.c.hit_uuid == _H.c.uuid)
    columns = (_H.c.no, _H.c.uuid, _H.c.wnid, _H.c.hit_id, _H.c.assignments, _H.c.submitted, _H.c.excluded.is_not(None).label("excluded"))
    counts = (
        _closed().label("closed"),
        sa.func.json_array_length(_H.c.images_to_label).label("images_to_label"),
        mine.scalar_subquery().label("received"),
        mine.where(_A.c.status.in_(_VALID)).scalar_subquery().label("valid"),
        mine.where(_A.c.status == str(AssignmentStatus.REJECTED)).scalar_subquery().label("rejected"),
    )
    return sa.select(*columns, *counts)


def _line(row: sa.Row[Any]) -> HitLine:
    return HitLine(
        no=row.no,
        uuid=row.uuid,
        wnid=row.wnid,
        hit_id=row.hit_id,
        assignments=row.assignments,
        submitted=row.submitted,
        excluded=bool(row.excluded),
        closed=bool(row.closed),
        images_to_label=int(row.images_to_label),
        received=int(row.received),
        valid=int(row.valid),
        rejected=int(row.rejected),
    )
