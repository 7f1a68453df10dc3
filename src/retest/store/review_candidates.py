"""The candidates of one class beside everything a reviewer filters by; every query walks an index and reads one class."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from retest.records import Split
from retest.store import schema
from retest.store.rows import TableGroup, chunks

_C, _F, _V = schema.candidates, schema.selection_frequencies, schema.variants


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image of a class with what changes rarely: answers for that class, date, the stored rendition (``sha256`` None: no image)."""

    id: str
    num_assignments: int
    num_selected: int
    date_taken: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None

    @property
    def frequency(self) -> float | None:
        """Selection frequency for its class; None without answers."""
        return self.num_selected / self.num_assignments if self.num_assignments else None


@dataclass(frozen=True, slots=True)
class ClassMarks:
    """What has been decided about the candidates of a class."""

    exclusions: dict[str, tuple[str, str]]
    """candidate -> (reason, detail)"""
    flags: dict[str, str]
    pairs: dict[str, int]
    """candidate -> in how many near-duplicate pairs it is"""
    near_duplicates: set[str]
    """candidates that resolution calls near-duplicates"""


class ReviewCandidateTable(TableGroup):
    """Candidates class by class, for reviewers."""

    def facts_of_class(self, wnid: str) -> list[ImageFacts]:
        """Every candidate of a class by id, without renditions: read from two indexes in which a class lies together."""
        found = _C.outerjoin(_F, (_F.c.wnid == _C.c.wnid) & (_F.c.image_id == _C.c.id))
        columns = (_C.c.id, _F.c.num_assignments, _F.c.num_selected, _C.c.date_taken)
        query = sa.select(*columns).select_from(found).where(_C.c.wnid == wnid).order_by(_C.c.id)
        rows = cast("Sequence[Sequence[Any]]", self._connection.execute(query).fetchall())
        return [ImageFacts(row[0], row[1] or 0, row[2] or 0, row[3]) for row in rows]

    def renditions(self, ids: Iterable[str], variant: str) -> dict[str, tuple[str, int, int]]:
        """image -> (SHA-256, width, height in pixels) of a rendition, for those of these images that have it."""
        query = sa.select(_V.c.image_id, _V.c.sha256, _V.c.width, _V.c.height).where(_V.c.variant == variant)
        return {row.image_id: (row.sha256, row.width, row.height) for row in self._by_ids(query, _V.c.image_id, ids)}

    def stored_in_class(self, wnid: str, variant: str) -> int:
        """How many candidates of a class have a rendition."""
        found = _C.join(_V, (_V.c.image_id == _C.c.id) & (_V.c.variant == variant))
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(found).where(_C.c.wnid == wnid)).scalar_one())

    def originals_of_class(self, wnid: str, variant: str, *, split: Split = Split.VAL) -> list[ImageFacts]:
        """The original images of a class in one split, by id."""
        t = schema.originals
        found = t.outerjoin(_F, (_F.c.wnid == t.c.wnid) & (_F.c.image_id == t.c.id))
        found = found.outerjoin(_V, (_V.c.image_id == t.c.id) & (_V.c.variant == variant))
        columns = (t.c.id, _F.c.num_assignments, _F.c.num_selected, _V.c.sha256, _V.c.width, _V.c.height)
        query = sa.select(*columns).select_from(found).where(t.c.wnid == wnid, t.c.split == str(split)).order_by(t.c.id)
        return [ImageFacts(row[0], row[1] or 0, row[2] or 0, None, *row[3:]) for row in self._connection.execute(query)]

    def marks_of_class(self, wnid: str) -> ClassMarks:
        """What has been decided about the candidates of a class."""
        return self._marks([_C.c.wnid == wnid])

    def marks_of(self, ids: Sequence[str]) -> ClassMarks:
        """What has been decided about these candidates, at most 1,000."""
        return self._marks([_C.c.id.in_(ids)])

    def _marks(self, mine: list[sa.ColumnElement[bool]]) -> ClassMarks:
        e, flag, fate = schema.exclusions, schema.image_flags, schema.resolutions
        excluded = sa.select(e.c.candidate_id, e.c.reason, e.c.detail).join(_C, _C.c.id == e.c.candidate_id).where(*mine)
        flagged = sa.select(flag.c.image_id, flag.c.detail).join(_C, _C.c.id == flag.c.image_id).where(*mine)
        resolved = sa.select(fate.c.candidate_id).join(_C, _C.c.id == fate.c.candidate_id).where(*mine, fate.c.near_duplicate.is_(True))
        return ClassMarks(
            {row[0]: (row[1], row[2]) for row in self._connection.execute(excluded)},
            {row[0]: row[1] for row in self._connection.execute(flagged)},
            self._pairs(mine),
            set(self._connection.execute(resolved).scalars()),
        )

    def _pairs(self, mine: list[sa.ColumnElement[bool]]) -> dict[str, int]:
        t = schema.near_duplicate_pairs
        counts: dict[str, int] = {}
        for side in (t.c.first, t.c.second):
            query = sa.select(_C.c.id, sa.func.count()).join(t, side == _C.c.id).where(*mine).group_by(_C.c.id)
            for image, number in self._connection.execute(query):
                counts[image] = counts.get(image, 0) + number
        return counts

    def frequencies_of(self, image_id: str) -> list[tuple[str, int, int]]:
        """(wnid, times selected, assignments) of an image, by class."""
        query = sa.select(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments).where(_F.c.image_id == image_id).order_by(_F.c.wnid)
        return [(row[0], row[1], row[2]) for row in self._connection.execute(query)]

    def of_revision(self, revision: str, wnid: str) -> set[str]:
        """The images of a class in a revision."""
        t = schema.revision_images
        query = sa.select(t.c.image_id).where(t.c.revision == revision, t.c.wnid == wnid)
        return set(self._connection.execute(query).scalars())

    def classes_of(self, ids: Iterable[str]) -> dict[str, str]:
        """candidate -> its class, for those of these ids that are candidates; those known only by reference have none."""
        rows = self._by_ids(sa.select(_C.c.id, _C.c.wnid), _C.c.id, ids)
        return {row.id: row.wnid for row in rows if row.wnid}

    def same_photo(self, ids: Collection[str]) -> set[str]:
        """All candidates that show the same photo (source and photo id) as one of these, themselves included."""
        photos: dict[str, set[str]] = {}
        for row in self._by_ids(sa.select(_C.c.id, _C.c.source, _C.c.photo_id), _C.c.id, ids):
            if row.photo_id:
                photos.setdefault(row.source, set()).add(row.photo_id)
        found: set[str] = set()
        for source, names in sorted(photos.items()):
            for block in chunks(sorted(names), 400):
                query = sa.select(_C.c.id).where(_C.c.source == source, _C.c.photo_id.in_(block))
                found.update(self._connection.execute(query).scalars())
        return found

    def labelled_in(self, wnids: Iterable[str]) -> Iterator[tuple[str, int, int, int]]:
        """(wnid, times selected, assignments, how many): labelled candidates of these classes that nobody left out, by their counts."""
        e, flag = schema.exclusions, schema.image_flags
        found = _F.join(_C, (_C.c.id == _F.c.image_id) & (_C.c.wnid == _F.c.wnid))
        found = found.outerjoin(e, e.c.candidate_id == _C.c.id).outerjoin(flag, flag.c.image_id == _C.c.id)
        kept = (_F.c.num_assignments > 0, e.c.candidate_id.is_(None), flag.c.image_id.is_(None))
        query = sa.select(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments, sa.func.count()).select_from(found).where(*kept)
        query = query.group_by(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments)
        for found_row in self._by_ids(query, _C.c.wnid, wnids):
            row = cast("Sequence[Any]", found_row)
            yield row[0], row[1], row[2], row[3]


class ClassCountTable(TableGroup):
    """Counts per class as last derived."""

    def put(self, counts: Mapping[str, Mapping[str, Any]]) -> None:
        self._put(schema.class_counts, ({"wnid": wnid, "counts": values} for wnid, values in counts.items()))

    def all(self) -> dict[str, dict[str, Any]]:
        """wnid -> its counts, by wnid."""
        t = schema.class_counts
        return {row.wnid: row.counts for row in self._connection.execute(sa.select(t).order_by(t.c.wnid))}

    def texts(self) -> dict[str, str]:
        """wnid -> its counts as JSON, unread: to see which have changed."""
        t = schema.class_counts
        rows = self._connection.execute(sa.select(t.c.wnid, sa.cast(t.c.counts, sa.Text)).order_by(t.c.wnid))
        return {row[0]: row[1] for row in rows}

    def get(self, wnid: str) -> dict[str, Any] | None:
        t = schema.class_counts
        return self._connection.execute(sa.select(t.c.counts).where(t.c.wnid == wnid)).scalar_one_or_none()
