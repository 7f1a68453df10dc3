"""HITs for reviewers: read page by page, and what excluding one changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from retest.records import Hit, SelectionFrequency
from retest.store import schema
from retest.store.hit_figures import HitFigureTable
from retest.store.labels import hit_of
from retest.store.rows import TableGroup, chunks

_H = schema.hits


@dataclass(frozen=True, slots=True)
class NumberedHit:
    """A HIT with its place in the order in which HITs were added, and how many annotators are asked for."""

    no: int
    hit: Hit
    wanted: int


class ReviewHitTable(TableGroup):
    """HITs by uuid; every query walks an index."""

    def numbered(self, uuids: Iterable[str]) -> list[NumberedHit]:
        """Those of these uuids that are HITs, in the order in which they were added."""
        rows = sorted(self._by_ids(sa.select(_H), _H.c.uuid, uuids), key=lambda row: row.no)
        return [NumberedHit(row.no, hit_of(row), row.assignments) for row in rows]

    def times(self, uuids: Iterable[str]) -> dict[str, str]:
        """uuid -> when the HIT was made or published."""
        return {row.uuid: row.time for row in self._by_ids(sa.select(_H.c.uuid, _H.c.time), _H.c.uuid, uuids)}

    def known(self, uuids: Iterable[str]) -> set[str]:
        """Those of these uuids that are HITs."""
        return {row.uuid for row in self._by_ids(sa.select(_H.c.uuid), _H.c.uuid, uuids)}

    def set_excluded(self, uuid: str, reason: str | None) -> None:
        """Let a HIT count nowhere, with the reason, or (None) count again."""
        if self._change(_H, sa.update(_H).where(_H.c.uuid == uuid, _H.c.excluded.is_distinct_from(reason)).values(excluded=reason)):
            HitFigureTable(self._connection).hit_changed(uuid, {"excluded": reason})

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
