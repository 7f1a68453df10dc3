"""HITs and annotators for reviewers, page by page, and what excluding a HIT changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from retest.records import SelectionFrequency
from retest.store import schema
from retest.store.rows import TableGroup, chunks

_H, _A = schema.hits, schema.assignments


@dataclass(frozen=True, slots=True)
class HitRow:
    """A HIT without its images. ``no`` orders HITs as they were added; ``excluded`` is the reason, None when the HIT counts."""

    no: int
    uuid: str
    wnid: str
    images: int
    wanted: int
    submitted: bool
    time: str
    hit_id: str | None
    excluded: str | None


class ReviewHitTable(TableGroup):
    """Pages of HITs and annotators; every query walks an index."""

    def page(self, *, wnid: str | None = None, excluded: bool | None = None, after: int = 0, limit: int) -> list[HitRow]:
        """HITs in the order in which they were added."""
        query = _rows().where(_H.c.no > after).order_by(_H.c.no).limit(limit)
        if wnid is not None:
            query = query.where(_H.c.wnid == wnid)
        if excluded is not None:
            query = query.where(_H.c.excluded.is_not(None) if excluded else _H.c.excluded.is_(None))
        return [HitRow(**row._mapping) for row in self._connection.execute(query)]

    def of_uuids(self, uuids: Iterable[str]) -> dict[str, HitRow]:
        """uuid -> HIT, for those of these HITs that exist."""
        return {row.uuid: HitRow(**row._mapping) for row in self._by_ids(_rows(), _H.c.uuid, uuids)}

    def statuses(self, uuids: Iterable[str]) -> dict[str, dict[str, int]]:
        """HIT -> status -> number of answers."""
        found: dict[str, dict[str, int]] = {}
        for block in chunks(uuids, 400):
            query = sa.select(_A.c.hit_uuid, _A.c.status, sa.func.count()).where(_A.c.hit_uuid.in_(block))
            for uuid, status, number in self._connection.execute(query.group_by(_A.c.hit_uuid, _A.c.status)):
                found.setdefault(uuid, {})[status] = int(number)
        return found

    def workers(self, *, after: str = "", limit: int) -> list[tuple[str, int]]:
        """(annotator, number of answers) by name."""
        query = sa.select(_A.c.worker, sa.func.count()).where(_A.c.worker > after)
        rows = self._connection.execute(query.group_by(_A.c.worker).order_by(_A.c.worker).limit(limit))
        return [(row[0], int(row[1])) for row in rows]

    def hits_of_worker(self, worker: str, *, after: str = "", limit: int) -> list[str]:
        """uuids of the HITs that an annotator answered, sorted."""
        query = sa.select(_A.c.hit_uuid).where(_A.c.worker == worker, _A.c.hit_uuid > after).distinct()
        return list(self._connection.execute(query.order_by(_A.c.hit_uuid).limit(limit)).scalars())

    def count_of_worker(self, worker: str) -> int:
        """Number of answers of an annotator."""
        return self._count(_A, _A.c.worker == worker)

    def set_excluded(self, uuid: str, reason: str | None) -> None:
        """Let a HIT count nowhere, with the reason, or (None) count again."""
        self._change(_H, sa.update(_H).where(_H.c.uuid == uuid, _H.c.excluded.is_distinct_from(reason)).values(excluded=reason))

    def of_same_images(self, wnid: str, image_ids: Iterable[str]) -> set[str]:
        """uuids of the HITs of a class that show one of these images."""
        i = schema.hit_images
        found: set[str] = set()
        for block in chunks(image_ids, 400):
            query = sa.select(_H.c.uuid).join(i, i.c.hit_no == _H.c.no).where(i.c.image_id.in_(block), _H.c.wnid == wnid)
            found.update(self._connection.execute(query).scalars())
        return found

    def put_frequencies(self, wnid: str, image_ids: Iterable[str], frequencies: Iterable[SelectionFrequency]) -> None:
        """Make these the frequencies of these images for a class; images without one lose theirs."""
        t = schema.selection_frequencies
        given = {f.image_id: f for f in frequencies}
        rows = [
            {"wnid": wnid, "image_id": image, "num_assignments": f.num_assignments, "num_selected": f.num_selected}
            for image, f in given.items()
        ]
        self._put(t, rows)
        for block in chunks((image for image in image_ids if image not in given), 400):
            self._change(t, sa.delete(t).where(t.c.wnid == wnid, t.c.image_id.in_(block)))


def _rows() -> sa.Select[tuple[object, ...]]:
    images = sa.func.json_array_length(_H.c.images_all).label("images")
    columns = (_H.c.no, _H.c.uuid, _H.c.wnid, images, _H.c.assignments.label("wanted"), _H.c.submitted)
    return sa.select(*columns, _H.c.time, _H.c.hit_id, _H.c.excluded)
