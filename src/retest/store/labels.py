"""HITs, their answers and the selection frequencies that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from retest.records import Assignment, AssignmentStatus, Hit, SelectionFrequency
from retest.store import schema
from retest.store.hit_figures import HitFigureTable
from retest.store.rows import TableGroup, chunks

_FORGOTTEN = "forgotten_workers"
_ROLES = {"label": "images_to_label", "positive": "images_pos_control", "negative": "images_neg_control"}


@dataclass(frozen=True, slots=True)
class HitTotals:
    """Counts over all HITs."""

    hits: int
    submitted: int
    images_to_label: int
    positive_controls: int
    negative_controls: int
    excluded: int


class HitTable(TableGroup):
    """Labelling tasks."""

    def add(self, hits: Iterable[Hit], *, assignments: int) -> int:
        """Add HITs that are new by their uuid, with the number of annotators asked for."""
        added = 0
        for block in chunks(hits, 2000):
            added += self._add_new(schema.hits, [_hit_row(hit, assignments) for hit in block])
            table = schema.hits
            numbers = {r.uuid: r.no for r in self._by_ids(sa.select(table.c.uuid, table.c.no), table.c.uuid, [h.uuid for h in block])}
            self._add_new(schema.hit_images, _image_rows(block, numbers))
        return added

    def all(self, *, submitted: bool | None = None, include_excluded: bool = True) -> Iterator[Hit]:
        """HITs in the order in which they were added."""
        query = sa.select(schema.hits).order_by(schema.hits.c.no)
        if submitted is not None:
            query = query.where(schema.hits.c.submitted.is_(submitted))
        if not include_excluded:
            query = query.where(schema.hits.c.excluded.is_(None))
        return (hit_of(row) for row in self._rows(query))

    def get(self, uuids: Iterable[str]) -> dict[str, Hit]:
        return {row.uuid: hit_of(row) for row in self._by_ids(sa.select(schema.hits), schema.hits.c.uuid, uuids)}

    def of_image(self, image_id: str, *, include_excluded: bool = True) -> list[Hit]:
        """The HITs that show an image, in the order in which they were added."""
        t = schema.hits
        query = sa.select(t).join(schema.hit_images, schema.hit_images.c.hit_no == t.c.no).where(schema.hit_images.c.image_id == image_id)
        return self._selected(query, include_excluded)

    def of_class(self, wnid: str, *, include_excluded: bool = True) -> list[Hit]:
        """The HITs whose target class is ``wnid``, in the order in which they were added."""
        return self._selected(sa.select(schema.hits).where(schema.hits.c.wnid == wnid), include_excluded)

    def by_crowd_id(self, hit_id: str) -> list[Hit]:
        """The HITs that a crowd back end knows under this id (one, unless back ends share ids)."""
        return self._selected(sa.select(schema.hits).where(schema.hits.c.hit_id == hit_id), True)

    def _selected(self, query: sa.Select[Any], include_excluded: bool) -> list[Hit]:
        if not include_excluded:
            query = query.where(schema.hits.c.excluded.is_(None))
        return [hit_of(row) for row in self._rows(query.order_by(schema.hits.c.no))]

    def count_by_class(self, *, include_excluded: bool = True) -> dict[str, int]:
        """wnid -> number of HITs."""
        return self._counts_by(schema.hits.c.wnid, *([] if include_excluded else [schema.hits.c.excluded.is_(None)]))

    def requested_assignments(self) -> dict[str, int]:
        """uuid -> number of annotators asked for."""
        query = sa.select(schema.hits.c.uuid, schema.hits.c.assignments)
        return {row.uuid: row.assignments for row in self._rows(query)}

    def published_assignments(self, crowd: str) -> list[tuple[str, int]]:
        """(HIT type, number of annotators asked for) of each HIT that was published on a back end."""
        t = schema.hits
        query = sa.select(t.c.hit_type_id, t.c.assignments).where(t.c.crowd == crowd, t.c.submitted.is_(True))
        return [(row.hit_type_id or "", row.assignments) for row in self._rows(query)]

    def mark_attempt(self, uuid: str, *, crowd: str | None) -> None:
        """Note that a HIT is about to be published on a back end; None takes the note back: nothing was sent."""
        self._set(uuid, {"crowd": crowd})

    def mark_submitted(self, uuid: str, *, crowd: str, hit_id: str, hit_type_id: str, user: str, time: str) -> None:
        """Record that a HIT is published on a crowd back end."""
        values = {"submitted": True, "crowd": crowd, "hit_id": hit_id, "hit_type_id": hit_type_id, "user": user, "time": time}
        self._set(uuid, values)

    def exclude(self, uuids: Iterable[str], reason: str) -> None:
        """Let HITs count nowhere."""
        for uuid in uuids:
            self._set(uuid, {"excluded": reason})

    def _set(self, uuid: str, values: Mapping[str, object]) -> None:
        t = schema.hits
        differs = sa.or_(*(t.c[name].is_distinct_from(value) for name, value in values.items()))
        if self._change(t, sa.update(t).where(t.c.uuid == uuid, differs).values(**values)):
            HitFigureTable(self._connection).hit_changed(uuid, values)

    def excluded(self, uuids: Iterable[str] | None = None) -> dict[str, str]:
        """uuid -> reason of the HITs that count nowhere, of all or of these."""
        t = schema.hits
        query = sa.select(t.c.uuid, t.c.excluded).where(t.c.excluded.is_not(None))
        rows = self._rows(query) if uuids is None else self._by_ids(query, t.c.uuid, uuids)
        return {row.uuid: row.excluded for row in rows}

    def crowds(self) -> list[str]:
        """Names of the back ends that HITs were published on."""
        query = (
            sa.select(schema.hits.c.crowd)
            .where(schema.hits.c.crowd.is_not(None), schema.hits.c.submitted.is_(True))
            .distinct()
            .order_by(schema.hits.c.crowd)
        )
        return [row.crowd for row in self._rows(query)]

    def numbers(self) -> tuple[int, int]:
        """How many HITs there are, and how many of them are submitted."""
        return self._count(schema.hits), self._count(schema.hits, schema.hits.c.submitted.is_(True))

    def totals(self) -> HitTotals:
        """Counts over all HITs, excluded ones included; an image counts once per place in a HIT."""
        t = schema.hits
        lengths = [sa.func.coalesce(sa.func.sum(sa.func.json_array_length(t.c[name])), 0) for name in _ROLES.values()]
        submitted = sa.func.count(sa.case((t.c.submitted.is_(True), 1)))
        # One pass: rows are long, and several indexes of one table cannot answer together.
        found = self._connection.execute(sa.select(sa.func.count(), submitted, sa.func.count(t.c.excluded), *lengths).select_from(t)).one()
        hits, published, excluded, to_label, positive, negative = (int(number) for number in found)
        return HitTotals(
            hits=hits,
            submitted=published,
            images_to_label=to_label,
            positive_controls=positive,
            negative_controls=negative,
            excluded=excluded,
        )


def _hit_row(hit: Hit, assignments: int) -> dict[str, object]:
    return {
        "uuid": hit.uuid,
        "wnid": hit.wnid,
        **{name: list(getattr(hit, name)) for name in (*_ROLES.values(), "images_all")},
        "assignments": assignments,
        "user": hit.user,
        "time": hit.time,
        "submitted": hit.submitted,
        "crowd": None,
        "hit_id": hit.hit_id,
        "hit_type_id": hit.hit_type_id,
        "file": hit.file,
        "excluded": None,
    }


def _image_rows(hits: list[Hit], numbers: dict[str, int]) -> Iterator[dict[str, object]]:
    for hit in hits:
        for role, name in _ROLES.items():
            for image_id in getattr(hit, name):
                yield {"image_id": image_id, "hit_no": numbers[hit.uuid], "role": role}


def hit_of(row: sa.Row[tuple[object, ...]]) -> Hit:
    """The HIT of a row of the table."""
    return Hit(
        uuid=row.uuid,
        wnid=row.wnid,
        images_to_label=tuple(row.images_to_label),
        images_pos_control=tuple(row.images_pos_control),
        images_neg_control=tuple(row.images_neg_control),
        images_all=tuple(row.images_all),
        user=row.user,
        time=row.time,
        submitted=row.submitted,
        hit_id=row.hit_id,
        hit_type_id=row.hit_type_id,
        file=row.file,
    )


class AssignmentTable(TableGroup):
    """Raw answers: added once, never rewritten; only their status moves."""

    def add(self, assignments: Iterable[Assignment], *, contents: Mapping[str, str] | None = None) -> int:
        """Add answers that are new by their id; ``contents`` holds what the back end delivered, by id.

        Answers of those who asked to be forgotten with their answers do not come back.
        """
        forgotten = {worker for worker, what in self.forgotten().items() if what == "answers"}
        kept = (a for a in assignments if a.worker not in forgotten)
        return sum(self._add_block(block, contents or {}) for block in chunks(kept, 2000))

    def _add_block(self, block: list[Assignment], contents: Mapping[str, str]) -> int:
        figures, t = HitFigureTable(self._connection), schema.assignments
        if figures.begun():
            known = {row.id for row in self._by_ids(sa.select(t.c.id), t.c.id, [a.id for a in block])}
            figures.answers_changed({a.hit_uuid for a in block if a.id not in known})
        rows = (
            {
                "content": contents.get(a.id),
                "id": a.id,
                "hit_uuid": a.hit_uuid,
                "worker": a.worker,
                "status": str(a.status),
                "selected": list(a.selected),
                "accept_time": a.accept_time,
                "submit_time": a.submit_time,
            }
            for a in block
        )
        return self._add_new(t, rows)

    def add_workers(self, ids: Mapping[str, str]) -> None:
        """Remember whose hash is whose: worker -> the back end's own id; not of those who asked to be forgotten."""
        forgotten = self.forgotten()
        self._add_new(schema.workers, ({"worker": worker, "worker_id": raw} for worker, raw in ids.items() if worker not in forgotten))

    def raw_ids(self, who: str) -> dict[str, str]:
        """worker -> raw id of those whose hash or raw id is ``who``."""
        t = schema.workers
        query = sa.select(t).where((t.c.worker == who) | (t.c.worker_id == who)).order_by(t.c.worker)
        return {row.worker: row.worker_id for row in self._rows(query)}

    def forgotten(self) -> dict[str, str]:
        """worker -> "ids" or "answers": who asked to be forgotten, and what of them."""
        t = schema.settings
        value = self._connection.execute(sa.select(t.c.value).where(t.c.key == _FORGOTTEN)).scalar_one_or_none()
        return dict(value or {})

    def forget(self, worker: str, *, answers: bool) -> int:
        """Remove whose hash this is, with ``answers`` also all answers, overwriting what was there; return how many answers.

        Neither comes back when answers are collected again.
        """
        if self._connection.dialect.name == "sqlite":
            self._connection.exec_driver_sql("PRAGMA secure_delete = ON")
        known = self.forgotten()
        if known.get(worker) != "answers":
            self._put(schema.settings, [{"key": _FORGOTTEN, "value": {**known, worker: "answers" if answers else "ids"}}])
        self._change(schema.workers, sa.delete(schema.workers).where(schema.workers.c.worker == worker))
        if not answers:
            return 0
        HitFigureTable(self._connection).forget(worker)
        t = schema.assignments
        return self._change(t, sa.delete(t).where(t.c.worker == worker))

    def set_status(self, assignment_id: str, status: AssignmentStatus) -> None:
        table = schema.assignments
        differs = (table.c.id == assignment_id) & (table.c.status != str(status))
        if self._change(table, sa.update(table).where(differs).values(status=str(status))):
            answered = self._connection.execute(sa.select(table.c.hit_uuid).where(table.c.id == assignment_id)).scalars()
            HitFigureTable(self._connection).answers_changed(answered)

    def all(self, *, hit_uuid: str | None = None) -> Iterator[Assignment]:
        """Answers ordered by HIT and id."""
        table = schema.assignments
        query = sa.select(table).order_by(table.c.hit_uuid, table.c.id)
        if hit_uuid is not None:
            query = query.where(table.c.hit_uuid == hit_uuid)
        return (_assignment(row) for row in self._rows(query))

    def get(self, ids: Iterable[str]) -> dict[str, Assignment]:
        return {row.id: _assignment(row) for row in self._by_ids(sa.select(schema.assignments), schema.assignments.c.id, ids)}

    def of_hits(self, uuids: Iterable[str]) -> Iterator[Assignment]:
        """The answers to these HITs, HIT after HIT, by id."""
        t = schema.assignments
        return (_assignment(row) for row in self._by_ids(sa.select(t).order_by(t.c.hit_uuid, t.c.id), t.c.hit_uuid, uuids))

    def of_worker(self, worker: str) -> Iterator[Assignment]:
        """The answers of one annotator, ordered by HIT and id."""
        t = schema.assignments
        return (_assignment(row) for row in self._rows(sa.select(t).where(t.c.worker == worker).order_by(t.c.hit_uuid, t.c.id)))

    def counts_by_worker(self, statuses: Iterable[AssignmentStatus]) -> dict[str, int]:
        """worker -> number of answers with one of these statuses."""
        return self._counts_by(schema.assignments.c.worker, schema.assignments.c.status.in_([str(status) for status in statuses]))

    def count(self) -> int:
        return self._count(schema.assignments)

    def rejected(self) -> list[str]:
        """Ids of the rejected answers, sorted."""
        t = schema.assignments
        query = sa.select(t.c.id).where(t.c.status == str(AssignmentStatus.REJECTED)).order_by(t.c.id)
        return [row.id for row in self._rows(query)]

    def counts_by_hit(self) -> dict[str, dict[str, int]]:
        """HIT uuid -> status -> count."""
        t = schema.assignments
        result: dict[str, dict[str, int]] = {}
        for uuid, status, number in self._connection.execute(
            sa.select(t.c.hit_uuid, t.c.status, sa.func.count()).group_by(t.c.hit_uuid, t.c.status)
        ):
            result.setdefault(uuid, {})[status] = int(number)
        return result


def _assignment(row: sa.Row[tuple[object, ...]]) -> Assignment:
    status = AssignmentStatus(row.status)
    return Assignment(row.id, row.hit_uuid, row.worker, status, tuple(row.selected), row.accept_time, row.submit_time)


class FrequencyTable(TableGroup):
    """Selection frequencies as last computed from the answers."""

    def replace(self, frequencies: Iterable[SelectionFrequency]) -> None:
        """Make these the current ones."""
        self._replace(
            schema.selection_frequencies,
            (
                {"wnid": f.wnid, "image_id": f.image_id, "num_assignments": f.num_assignments, "num_selected": f.num_selected}
                for f in frequencies
            ),
        )

    def all(self, *, wnid: str | None = None) -> Iterator[SelectionFrequency]:
        """Frequencies ordered by class and image."""
        t = schema.selection_frequencies
        query = sa.select(t).order_by(t.c.wnid, t.c.image_id)
        if wnid is not None:
            query = query.where(t.c.wnid == wnid)
        for row in self._rows(query):
            yield SelectionFrequency(row.image_id, row.wnid, row.num_assignments, row.num_selected)

    def count(self) -> int:
        return self._count(schema.selection_frequencies)
