"""HITs, answers and annotators with their figures: which wait to be judged, pages in any order, and what takes a figure back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

import sqlalchemy as sa

from retest.labeling import AssignmentQuality, ControlAccuracy, WorkerQuality
from retest.records import AssignmentStatus
from retest.store import schema
from retest.store.figure_tables import answer_figures, hit_figures, worker_figures
from retest.store.rows import TableGroup, chunks

HIT_SORTS = ("added", "answers", "controls", "seconds", "agreement")
_F, _A, _W = hit_figures, answer_figures, worker_figures
_SORTED_BY: dict[str, sa.Column[Any]] = {
    "answers": _F.c.valid,
    "controls": _F.c.controls,
    "seconds": _F.c.median_duration_s,
    "agreement": _F.c.agreement,
}
_CONTROLS = tuple(field.name for field in fields(ControlAccuracy))


@dataclass(frozen=True, slots=True)
class HitFigures:
    """A HIT without its images. ``no`` orders HITs as they were added; ``valid`` answers count unless it is excluded.

    ``controls`` is the share of controls answered rightly over all valid answers, ``agreement`` the mean share of the other answers that
    agree, ``median_duration_s`` the median of the durations; each None where there is nothing to compute it from. ``flagged`` answers
    have a flag of :class:`retest.labeling.AssignmentQuality`.
    """

    no: int
    uuid: str
    wnid: str
    wanted: int
    submitted: bool
    images: int
    valid: int
    rejected: int
    controls: float | None
    agreement: float | None
    median_duration_s: float | None
    flagged: int

    @property
    def state(self) -> str:
        """``planned`` until it is published, ``open`` until all answers asked for are there, then ``complete``."""
        return "planned" if not self.submitted else "open" if self.valid < self.wanted else "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class HitFilter:
    """Which HITs; None and "any" ask for all. Bounds are included; a HIT without the figure fails every demand on it.

    ``worker`` keeps HITs that this annotator answered; controls and agreement are shares from 0 to 1, seconds are medians of durations.
    """

    wnid: str | None = None
    worker: str | None = None
    state: str = "any"
    excluded: str = "any"
    flagged: str = "any"
    min_controls: float | None = None
    max_controls: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    min_agreement: float | None = None
    max_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer. ``quality`` is None for rejected ones; ``excluded`` is the reason where its HIT is left out."""

    id: str
    hit_uuid: str
    wnid: str
    status: str
    submit_time: str | None
    quality: AssignmentQuality | None
    excluded: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """An annotator: the judgement over all valid answers that count, and how many were rejected."""

    quality: WorkerQuality
    rejected: int

    @property
    def rate(self) -> float | None:
        """Share of all images shown that they selected."""
        return self.quality.selected / self.quality.images if self.quality.images else None


@dataclass(frozen=True, slots=True)
class JudgedHit:
    """A HIT's figures as they are stored, and its answers with the annotator of each."""

    figures: HitFigures
    answers: tuple[tuple[str, AnswerRow], ...]


class HitFigureTable(TableGroup):
    """Figures as last judged; every query walks an index."""

    # What waits

    def settled(self, *, workers: bool = True) -> bool:
        """Whether every HIT and (``workers``) every annotator is judged as the tables are now."""
        tables = (_F, _W) if workers else (_F,)
        waiting = (sa.select(table.c.judged).where(table.c.judged.is_(False)).limit(1) for table in tables)
        return not self._missing() and all(self._connection.execute(one).first() is None for one in waiting)

    def _missing(self) -> bool:
        last = self._connection.execute(sa.select(sa.func.max(schema.hits.c.no))).scalar_one()
        return last is not None and last > self._last()

    def _last(self) -> int:
        return self._connection.execute(sa.select(sa.func.max(_F.c.hit_no))).scalar_one() or 0

    def note_hits(self, limit: int) -> int:
        """Give a row that waits to the next HITs without one; returns how many."""
        hit = schema.hits
        found = sa.select(hit.c.no, hit.c.uuid, hit.c.wnid, hit.c.assignments, hit.c.submitted, hit.c.excluded)
        rows = self._connection.execute(found.where(hit.c.no > self._last()).order_by(hit.c.no).limit(limit))
        empty = dict.fromkeys(("images", "valid", "rejected", "flagged"), 0) | dict.fromkeys(("controls", "agreement", "median_duration_s"))
        return self._put(
            _F,
            [
                {
                    **empty,
                    **{"hit_no": row.no, "uuid": row.uuid, "wnid": row.wnid, "wanted": row.assignments, "submitted": row.submitted},
                    **{"excluded": row.excluded is not None, "judged": False},
                }
                for row in rows
            ],
        )

    def waiting_hits(self, limit: int) -> list[str]:
        """uuids of HITs to judge, in the order in which they were added."""
        query = sa.select(_F.c.uuid).where(_F.c.judged.is_(False)).order_by(_F.c.hit_no).limit(limit)
        return list(self._connection.execute(query).scalars())

    def waiting_workers(self, limit: int) -> list[str]:
        """Annotators to judge, by name."""
        query = sa.select(_W.c.worker).where(_W.c.judged.is_(False)).order_by(_W.c.worker).limit(limit)
        return list(self._connection.execute(query).scalars())

    def put_hits(self, judged: Iterable[JudgedHit]) -> None:
        """Store the figures of HITs and of all their answers; the annotators of old and new answers wait to be judged."""
        listed = list(judged)
        numbers = [one.figures.no for one in listed]
        workers = {worker for one in listed for worker, _ in one.answers}
        for block in chunks(numbers, 400):
            workers.update(self._connection.execute(sa.select(_A.c.worker).where(_A.c.hit_no.in_(block)).distinct()).scalars())
            self._change(_A, sa.delete(_A).where(_A.c.hit_no.in_(block)))
        self._add_new(_A, [_answer_row(one.figures.no, worker, answer) for one in listed for worker, answer in one.answers])
        if listed:
            values: dict[str, sa.BindParameter[Any]] = {name: sa.bindparam(f"new_{name}") for name in _JUDGED}
            rows = [{"this": one.figures.no, **{f"new_{name}": getattr(one.figures, name) for name in _JUDGED}} for one in listed]
            self._connection.execute(sa.update(_F).where(_F.c.hit_no == sa.bindparam("this")).values(judged=True, **values), rows)
            self._touch(_F)
        self._add_new(_W, [{"worker": worker, **_NOBODY} for worker in sorted(workers)])
        self._workers_wait(_W.c.worker.in_(block) for block in chunks(sorted(workers), 400))

    def put_workers(self, rows: Mapping[str, WorkerRow | None]) -> None:
        """Store the judgement of annotators; a row that is None forgets one who has no answer."""
        self._put(_W, [_worker_row(row) for row in rows.values() if row is not None])
        for block in chunks((worker for worker, row in rows.items() if row is None), 400):
            self._change(_W, sa.delete(_W).where(_W.c.worker.in_(block)))

    # What takes figures back

    def start_again(self) -> None:
        """Everything waits, as after a change of the rules."""
        for table in (_F, _W):
            self._change(table, sa.update(table).where(table.c.judged.is_(True)).values(judged=False))

    def begun(self) -> bool:
        """Whether anything was judged ever: until then nothing can be taken back."""
        return self._connection.execute(sa.select(_F.c.hit_no).limit(1)).first() is not None

    def answers_changed(self, uuids: Iterable[str]) -> None:
        """HITs wait because answers to them came, went or changed their status."""
        for block in chunks(uuids, 400):
            self._change(_F, sa.update(_F).where(_F.c.uuid.in_(block), _F.c.judged.is_(True)).values(judged=False))

    def hit_changed(self, uuid: str, values: Mapping[str, object]) -> None:
        """A HIT was published, or is left out or counts again: figures of annotators follow."""
        noted: dict[str, object] = {"submitted": values["submitted"]} if "submitted" in values else {}
        if "excluded" in values:
            noted["excluded"] = values["excluded"] is not None
        if not noted:
            return
        differs = sa.or_(*(_F.c[name].is_distinct_from(value) for name, value in noted.items()))
        if self._change(_F, sa.update(_F).where(_F.c.uuid == uuid, differs).values(**noted)) and "excluded" in noted:
            number = sa.select(_F.c.hit_no).where(_F.c.uuid == uuid).scalar_subquery()
            self._workers_wait([_W.c.worker.in_(sa.select(_A.c.worker).where(_A.c.hit_no == number))])

    def forget(self, worker: str) -> None:
        """Remove an annotator's figures at once; those of the HITs that they answered wait."""
        mine = sa.select(_A.c.hit_no).where(_A.c.worker == worker)
        self._change(_F, sa.update(_F).where(_F.c.hit_no.in_(mine), _F.c.judged.is_(True)).values(judged=False))
        for table in (_A, _W):
            self._change(table, sa.delete(table).where(table.c.worker == worker))

    def _workers_wait(self, conditions: Iterable[sa.ColumnElement[bool]]) -> None:
        for condition in conditions:
            self._change(_W, sa.update(_W).where(condition, _W.c.judged.is_(True)).values(judged=False))

    # HITs in order

    def find(self, uuid: str) -> HitFigures | None:
        """The figures of one HIT; None where there is no such HIT, or it is too new."""
        row = self._connection.execute(_hits().where(_F.c.uuid == uuid)).one_or_none()
        return None if row is None else HitFigures(*row)

    def page(
        self, wanted: HitFilter, sort: str, *, descending: bool, after: HitFigures | None = None, limit: int, backward: bool = False
    ) -> list[HitFigures]:
        """HITs behind ``after`` in an order, or (``backward``) before it, the nearest first.

        Equals come in the order in which they were added, or the other way round where ``descending``; those without a value last.
        """
        found: list[HitFigures] = []
        parts = _parts(sort, descending, after, backward)
        for condition, order in parts:
            if len(found) < limit:
                rows = self._connection.execute(_hits().where(*_tests(wanted), *condition).order_by(*order).limit(limit - len(found)))
                found += [HitFigures(*row) for row in rows]
        return found

    def count(self, wanted: HitFilter) -> int:
        """How many HITs fit."""
        return self._count(_F, *_tests(wanted))

    def place(self, wanted: HitFilter, sort: str, *, descending: bool, of: HitFigures) -> int | None:
        """How many HITs that fit come before one; None where it does not fit itself."""
        if not self._count(_F, _F.c.hit_no == of.no, *_tests(wanted)):
            return None
        return sum(self._count(_F, *_tests(wanted), *condition) for condition, _ in _parts(sort, descending, of, True))

    # Annotators

    def workers(self) -> list[WorkerRow]:
        """Every annotator by name, as last judged; those whose first answers wait are left out."""
        rows = self._rows(sa.select(_W).order_by(_W.c.worker))
        return [_worker(row) for row in rows if row.judged or row.assignments or row.rejected]

    def answers_of(self, worker: str, *, counting: bool = False) -> list[AnswerRow]:
        """All answers of an annotator by class, HIT and id; ``counting`` leaves out those to HITs that are left out."""
        query = _answers().where(_A.c.worker == worker, *([_F.c.excluded.is_(False)] if counting else []))
        return [_answer(row) for row in self._rows(query.order_by(_F.c.wnid, _F.c.uuid, _A.c.assignment_id))]

    def rejected_of(self, worker: str) -> int:
        """How many answers of an annotator were rejected."""
        return self._count(_A, _A.c.worker == worker, _A.c.status == str(AssignmentStatus.REJECTED))

    def newest_answers(self, worker: str, *, after: str | None = None, limit: int, judged: bool = False) -> list[AnswerRow] | None:
        """Answers of an annotator, the newest first, behind the one with the id ``after``; None where they gave no such answer."""
        query = _answers().where(_A.c.worker == worker, *([_A.c.judged.is_(True)] if judged else []))
        if after is not None:
            mine = sa.select(_A.c.submit_time).where(_A.c.worker == worker, _A.c.assignment_id == after)
            time = self._connection.execute(mine).scalar_one_or_none()
            if time is None:
                return None
            query = query.where(sa.tuple_(_A.c.submit_time, _A.c.assignment_id) < sa.tuple_(sa.literal(time), sa.literal(after)))
        rows = self._connection.execute(query.order_by(_A.c.submit_time.desc(), _A.c.assignment_id.desc()).limit(limit))
        return [_answer(row) for row in rows]

    def times_of(self, worker: str) -> tuple[int, str | None, str | None]:
        """How many answers an annotator gave, and the first and the last time that is known."""
        times = (sa.func.min(_A.c.submit_time).filter(_A.c.submit_time != ""), sa.func.max(_A.c.submit_time).filter(_A.c.submit_time != ""))
        number, first, last = self._connection.execute(sa.select(sa.func.count(), *times).where(_A.c.worker == worker)).one()
        return int(number), first, last


_JUDGED = ("images", "valid", "rejected", "controls", "agreement", "median_duration_s", "flagged")
_HIT_COLUMNS = tuple("hit_no" if field.name == "no" else field.name for field in fields(HitFigures))
_NOBODY = (
    dict.fromkeys(("assignments", "rejected", *_CONTROLS, "images", "selected", "flagged_assignments"), 0)
    | dict.fromkeys(("median_duration_s", "agreement"))
    | {"judged": False, "flags": []}
)


def _hits() -> sa.Select[Any]:
    return sa.select(*(_F.c[name] for name in _HIT_COLUMNS))


_STATES: dict[str, tuple[sa.ColumnElement[bool], ...]] = {
    "any": (),
    "planned": (_F.c.submitted.is_(False),),
    "open": (_F.c.submitted.is_(True), _F.c.valid < _F.c.wanted),
    "complete": (_F.c.submitted.is_(True), _F.c.valid >= _F.c.wanted),
}
_YES_NO: tuple[tuple[str, Callable[[bool], sa.ColumnElement[bool]]], ...] = (
    ("excluded", _F.c.excluded.is_),
    ("flagged", lambda yes: _F.c.flagged > 0 if yes else _F.c.flagged == 0),
)


def _tests(wanted: HitFilter) -> list[sa.ColumnElement[bool]]:
    tests = list(_STATES[wanted.state])
    if wanted.wnid:
        tests.append(_F.c.wnid == wanted.wnid)
    if wanted.worker:
        tests.append(_F.c.hit_no.in_(sa.select(_A.c.hit_no).where(_A.c.worker == wanted.worker)))
    tests += [test(getattr(wanted, name) == "yes") for name, test in _YES_NO if getattr(wanted, name) != "any"]
    for name in ("controls", "seconds", "agreement"):
        least, most = getattr(wanted, f"min_{name}"), getattr(wanted, f"max_{name}")
        tests += [_SORTED_BY[name] >= least] if least is not None else []
        tests += [_SORTED_BY[name] <= most] if most is not None else []
    return tests


_Part = tuple[list[sa.ColumnElement[bool]], list[sa.UnaryExpression[Any]]]


def _parts(sort: str, descending: bool, after: HitFigures | None, backward: bool) -> list[_Part]:
    """(conditions, order) of the queries that together give what follows a HIT in an order: HITs with a value, then those without."""
    number = _F.c.hit_no
    down = descending != backward
    order = [number.desc() if down else number.asc()]
    beyond: list[sa.ColumnElement[bool]] = [] if after is None else [number < after.no if down else number > after.no]
    if sort == "added":
        return [(beyond, order)]
    column = _SORTED_BY[sort]
    known: _Part = ([column.is_not(None)], [column.desc() if down else column.asc(), *order])
    unknown: _Part = ([column.is_(None), *beyond], order)
    value = None if after is None else getattr(after, column.name)
    if after is None:
        return [known, unknown]
    if value is None:
        return [unknown, known] if backward else [unknown]
    pair, there = sa.tuple_(column, number), sa.tuple_(sa.literal(value), sa.literal(after.no))
    known = ([pair < there if down else pair > there], known[1])
    return [known] if backward else [known, ([column.is_(None)], order)]


def _answers() -> sa.Select[Any]:
    return sa.select(_A, _F.c.uuid, _F.c.wnid).join(_F, _F.c.hit_no == _A.c.hit_no)


def _answer_row(hit_no: int, worker: str, answer: AnswerRow) -> dict[str, object]:
    quality = answer.quality or AssignmentQuality(answer.id, answer.hit_uuid, worker, ControlAccuracy(), 0, 0, None, None, ())
    return {
        "hit_no": hit_no,
        "assignment_id": answer.id,
        "worker": worker,
        "status": answer.status,
        "submit_time": answer.submit_time or "",
        "judged": answer.quality is not None,
        **dict(zip(_CONTROLS, astuple(quality.controls), strict=True)),
        "images": quality.images,
        "selected": quality.selected,
        "duration_s": quality.duration_s,
        "agreement": quality.agreement,
        "flags": [list(flag) for flag in quality.flags],
    }


def _controls(row: sa.Row[Any]) -> ControlAccuracy:
    return ControlAccuracy(row.positive_shown, row.positive_correct, row.negative_shown, row.negative_correct)


def _flags(row: sa.Row[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((code, reason) for code, reason in row.flags)


def _answer(row: sa.Row[Any]) -> AnswerRow:
    judged = (row.assignment_id, row.uuid, row.worker, _controls(row), row.images, row.selected, row.duration_s, row.agreement, _flags(row))
    quality = AssignmentQuality(*judged) if row.judged else None
    return AnswerRow(row.assignment_id, row.uuid, row.wnid, row.status, row.submit_time or None, quality)


def _worker_row(row: WorkerRow) -> dict[str, object]:
    one = row.quality
    names = ("worker", "assignments", "images", "selected", "median_duration_s", "agreement", "flagged_assignments")
    return {
        **{name: getattr(one, name) for name in names},
        **dict(zip(_CONTROLS, astuple(one.controls), strict=True)),
        "judged": True,
        "rejected": row.rejected,
        "flags": [list(flag) for flag in one.flags],
    }


def _worker(row: sa.Row[Any]) -> WorkerRow:
    figures = (row.images, row.selected, row.median_duration_s, row.agreement, row.flagged_assignments, _flags(row))
    return WorkerRow(WorkerQuality(row.worker, row.assignments, _controls(row), *figures), row.rejected)
