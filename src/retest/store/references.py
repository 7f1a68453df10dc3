"""Whether the tables of a study fit together: rows that mention what is not there, counted by the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from retest.store import schema
from retest.store.rows import TableGroup

__all__ = ["BrokenReference", "ReferenceCheck"]

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class BrokenReference:
    """``count`` rows of ``table`` mention in ``column`` what ``missing_from`` lacks; ``examples`` are some of these values."""

    table: str
    column: str
    missing_from: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} rows of {self.table}: {self.column} is not in {self.missing_from} ({', '.join(self.examples)}{more})"


class ReferenceCheck(TableGroup):
    """Finds broken references. An imported study may mention images that it does not hold, so those columns are not looked at."""

    def problems(self) -> Iterator[BrokenReference]:
        """Every column with values that lead nowhere."""
        s = schema
        candidates, originals = s.candidates.c.id, s.originals.c.id
        images = sa.union_all(sa.select(candidates.label("id")), sa.select(originals.label("id"))).subquery("images")
        for column, known, name in (
            (s.hit_images.c.hit_no, s.hits.c.no, "hits"),
            (s.assignments.c.hit_uuid, s.hits.c.uuid, "hits"),
            (s.exclusions.c.candidate_id, candidates, "candidates"),
            (s.variants.c.image_id, images.c.id, "candidates and originals"),
            (s.opaque_names.c.image_id, images.c.id, "candidates and originals"),
            (s.revision_images.c.revision, s.revisions.c.name, "revisions"),
        ):
            if found := self._broken(column, known, name):
                yield found
        yield from self._gaps()

    def _broken(self, column: sa.Column[object], known: sa.ColumnElement[object], name: str) -> BrokenReference | None:
        there = sa.exists(sa.select(sa.literal(1)).where(known == column))
        query = sa.select(column).where(column.is_not(None), ~there)
        count = int(self._connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())
        if not count:
            return None
        examples = self._connection.execute(query.distinct().order_by(column).limit(_EXAMPLES)).scalars()
        return BrokenReference(column.table.name, column.name, name, count, tuple(map(str, examples)))

    def _gaps(self) -> Iterator[BrokenReference]:
        """Revisions whose images are not numbered from 0 without a gap."""
        t = schema.revision_images
        query = sa.select(t.c.revision).group_by(t.c.revision).having(sa.func.max(t.c.position) != sa.func.count() - 1)
        if found := list(self._connection.execute(query.order_by(t.c.revision))):
            names = tuple(row[0] for row in found[:_EXAMPLES])
            yield BrokenReference("revision_images", "revision", "a list without gaps", len(found), names)
