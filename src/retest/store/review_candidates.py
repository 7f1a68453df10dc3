"""The candidates of one class beside everything a reviewer filters by; every query walks an index and reads one class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from retest.records import Split
from retest.sampling import CandidateFacts
from retest.store import review_tables, schema
from retest.store.packed import IDS, fetch_lines, fetch_packed, given, ids_text
from retest.store.rows import TableGroup, chunks

_C, _F, _V = schema.candidates, schema.selection_frequencies, schema.variants


class ImageFacts(NamedTuple):
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
    paired: set[str]
    """candidates in some near-duplicate pair"""
    near_duplicates: set[str]
    """candidates that resolution calls near-duplicates"""


class ImageCard(NamedTuple):
    """What a page shows of a candidate beside its facts: the stored rendition (pixels), its marks, and the numbers of their decisions."""

    sha256: str | None
    width: int | None
    height: int | None
    reason: str | None
    detail: str | None
    flag: str | None
    near_duplicate: bool
    exclusion_version: int
    flag_version: int


class SeenImage(NamedTuple):
    """An image wherever it appears; ``candidate_class`` is None for what is no candidate, ``split`` for what is no original image."""

    sha256: str | None
    candidate_class: str | None
    split: str | None
    reason: str | None
    """Why it is excluded."""
    wnid: str | None
    """Its class: that of the candidate, or of the original image."""
    num_selected: int
    num_assignments: int


class Standing(NamedTuple):
    """Marks of a candidate: left out by decision, called problematic, and whether it was resolved as part of a component."""

    excluded: bool
    problematic: bool
    resolved: bool


class ReviewCandidateTable(TableGroup):
    """Candidates class by class, for reviewers."""

    def facts_of_class(self, wnid: str) -> list[ImageFacts]:
        """Every candidate of a class by id, without renditions: read from two indexes in which a class lies together."""
        rows = fetch_packed(self._connection, _facts_query, {"wnid": wnid})
        return [ImageFacts(image, number or 0, selected or 0, date) for image, number, selected, date in sorted(rows, key=itemgetter(0))]

    def cards(self, ids: Iterable[str], *, variant: str, exclusion_kind: str, flag_kind: str) -> dict[str, ImageCard]:
        """What a page shows of these images; the kinds are those of decisions about exclusions and about flags."""
        values = {"variant": variant, "exclusion_kind": exclusion_kind, "flag_kind": flag_kind, IDS: ids_text(ids)}
        rows = fetch_packed(self._connection, _cards_query, values)
        return {
            image: ImageCard(sha256, width, height, reason, detail, flag, bool(dropped), excluded or 0, flagged or 0)
            for image, sha256, width, height, reason, detail, flag, dropped, excluded, flagged in rows
        }

    def partners(self, ids: Iterable[str]) -> dict[str, set[str]]:
        """image -> what it is paired with, for those of these images that are in some pair."""
        found: dict[str, set[str]] = {}
        for image, other in fetch_packed(self._connection, _partners_query, {IDS: ids_text(ids)}):
            found.setdefault(image, set()).add(other)
        return found

    def seen(self, ids: Iterable[str], *, variant: str, wnid: str | None = None) -> dict[str, SeenImage]:
        """What is told of these images wherever they appear; answers are those for ``wnid``, or for each image's own class."""
        found: dict[str, SeenImage] = {}
        for block in chunks(ids, 1000):
            values = {"variant": variant, "wnid": wnid, IDS: ids_text(block)}
            rows = fetch_packed(self._connection, _seen_query, values)
            for image, sha256, of_candidate, split, reason, own, selected, number in rows:
                found[image] = SeenImage(sha256, of_candidate, split, reason, own, selected or 0, number or 0)
        return found

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
        marks = ClassMarks({}, {}, set(), set())
        for image, reason, detail, flag, near_duplicate, paired in fetch_packed(self._connection, _marks_query, {"wnid": wnid}):
            if reason is not None:
                marks.exclusions[image] = (reason, detail)
            if flag is not None:
                marks.flags[image] = flag
            if paired:
                marks.paired.add(image)
            if near_duplicate:
                marks.near_duplicates.add(image)
        return marks

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

    def joined(self, ids: Iterable[str]) -> set[str]:
        """Images that are joined to one of these by a near-duplicate pair, or by showing the same photo (source and photo id)."""
        rows = fetch_packed(self._connection, _joined_query, {IDS: ids_text(ids)})
        return {other for (other,) in rows}

    def standing(self, ids: Iterable[str], metrics: Sequence[str]) -> Iterator[tuple[CandidateFacts, Standing]]:
        """Those of these images that are candidates of a class: what sampling asks of each, and which marks it has.

        One query, because every decision asks before and after it while it holds up other writers; ``FactTable.candidates`` says the same.
        """
        query = _standing_query(self._connection.dialect.name, tuple(metrics))
        for row in self._connection.execute(query, {IDS: ids_text(ids)}).all():
            image, wnid, number, selected, excluded, flagged, duplicate, *reached = cast("Sequence[Any]", row)
            thresholds = {metric: value for metric, value in zip(metrics, reached, strict=True) if value is not None}
            frequency = selected / number if number else 0.0
            facts = CandidateFacts(image, wnid, frequency, number or 0, bool(excluded or flagged), bool(duplicate), thresholds)
            yield facts, Standing(bool(excluded), bool(flagged), duplicate is not None)

    def labelled_in(self, wnids: Iterable[str]) -> Iterator[tuple[str, int, int, int]]:
        """(wnid, times selected, assignments, how many): labelled candidates of these classes that nobody left out, by their counts."""
        e, flag = schema.exclusions, review_tables.image_flags
        found = _F.join(_C, (_C.c.id == _F.c.image_id) & (_C.c.wnid == _F.c.wnid))
        found = found.outerjoin(e, e.c.candidate_id == _C.c.id).outerjoin(flag, flag.c.image_id == _C.c.id)
        kept = (_F.c.num_assignments > 0, e.c.candidate_id.is_(None), flag.c.image_id.is_(None))
        query = sa.select(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments, sa.func.count()).select_from(found).where(*kept)
        query = query.group_by(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments)
        for found_row in self._by_ids(query, _C.c.wnid, wnids):
            row = cast("Sequence[Any]", found_row)
            yield row[0], row[1], row[2], row[3]


def _facts_query(dialect: str) -> sa.Select[Any]:
    found = _C.outerjoin(_F, (_F.c.wnid == _C.c.wnid) & (_F.c.image_id == _C.c.id))
    columns = (_C.c.id, _F.c.num_assignments, _F.c.num_selected, _C.c.date_taken)
    return sa.select(*columns).select_from(found).where(_C.c.wnid == sa.bindparam("wnid"))


def _cards_query(dialect: str) -> sa.Select[Any]:
    image = given(dialect).alias("image")
    e, flag, fate = schema.exclusions, review_tables.image_flags, schema.resolutions
    found = image.outerjoin(_V, (_V.c.image_id == image.c.value) & (_V.c.variant == sa.bindparam("variant")))
    found = found.outerjoin(e, e.c.candidate_id == image.c.value).outerjoin(flag, flag.c.image_id == image.c.value)
    found = found.outerjoin(fate, fate.c.candidate_id == image.c.value)
    marks = (e.c.reason, e.c.detail, flag.c.detail.label("flag"), _as_number(fate.c.near_duplicate, "dropped"))
    versions = (_version("exclusion_kind", image), _version("flag_kind", image))
    return sa.select(image.c.value, _V.c.sha256, _V.c.width, _V.c.height, *marks, *versions).select_from(found)


def _seen_query(dialect: str) -> sa.Select[Any]:
    image, o, e = given(dialect).alias("image"), schema.originals, schema.exclusions
    found = image.outerjoin(_V, (_V.c.image_id == image.c.value) & (_V.c.variant == sa.bindparam("variant")))
    found = found.outerjoin(_C, _C.c.id == image.c.value).outerjoin(o, (o.c.id == image.c.value) & _C.c.id.is_(None))
    own = sa.func.coalesce(sa.func.nullif(_C.c.wnid, ""), o.c.wnid)
    asked = sa.func.coalesce(sa.bindparam("wnid", type_=sa.String), own)
    found = found.outerjoin(_F, (_F.c.wnid == asked) & (_F.c.image_id == image.c.value)).outerjoin(e, e.c.candidate_id == image.c.value)
    columns = (_V.c.sha256, _C.c.wnid, o.c.split, e.c.reason, own.label("own"), _F.c.num_selected, _F.c.num_assignments)
    return sa.select(image.c.value, *columns).select_from(found)


def _version(kind: str, image: sa.FromClause) -> sa.Label[int]:
    """Number of the latest decision of a kind about an image."""
    t = schema.decisions
    newest = sa.select(sa.func.max(t.c.no)).where(t.c.kind == sa.bindparam(kind), t.c.item == image.c.value)
    return newest.correlate(image).scalar_subquery().label(kind)


def _partners_query(dialect: str) -> sa.Select[Any]:
    image, t = given(dialect).alias("image"), schema.near_duplicate_pairs
    sides = ((t.c.first, t.c.second), (t.c.second, t.c.first))
    both = sa.union_all(*(sa.select(own, other.label("other")).select_from(image.join(t, own == image.c.value)) for own, other in sides))
    return sa.select(*both.subquery().c)


def _joined_query(dialect: str) -> sa.Select[Any]:
    image, t, other = given(dialect).alias("image"), schema.near_duplicate_pairs, _C.alias("other")
    sides = ((t.c.first, t.c.second), (t.c.second, t.c.first))
    pairs = (sa.select(there.label("other")).select_from(image.join(t, here == image.c.value)) for here, there in sides)
    same_photo = (other.c.source == _C.c.source) & (other.c.photo_id == _C.c.photo_id)
    photos = sa.select(other.c.id).select_from(image.join(_C, _C.c.id == image.c.value).join(other, same_photo)).where(_C.c.photo_id != "")
    return sa.select(sa.union(*pairs, photos).subquery().c.other)


@lru_cache(maxsize=64)
def _standing_query(dialect: str, metrics: tuple[str, ...]) -> sa.Select[Any]:
    image = given(dialect).alias("image")
    e, flag, fate, reach = schema.exclusions, review_tables.image_flags, schema.resolutions, schema.review_thresholds
    found = image.join(_C, _C.c.id == image.c.value).outerjoin(_F, (_F.c.wnid == _C.c.wnid) & (_F.c.image_id == _C.c.id))
    found = found.outerjoin(e, e.c.candidate_id == _C.c.id).outerjoin(flag, flag.c.image_id == _C.c.id)
    found = found.outerjoin(fate, fate.c.candidate_id == _C.c.id)
    thresholds = (
        sa.select(reach.c.threshold).where(reach.c.candidate_id == _C.c.id, reach.c.metric == metric).correlate(_C).scalar_subquery()
        for metric in metrics
    )
    marks = (e.c.candidate_id, flag.c.image_id, fate.c.near_duplicate)
    return sa.select(_C.c.id, _C.c.wnid, _F.c.num_assignments, _F.c.num_selected, *marks, *thresholds).select_from(found)


def _marks_query(dialect: str) -> sa.Select[Any]:
    e, flag, fate, pair = schema.exclusions, review_tables.image_flags, schema.resolutions, schema.near_duplicate_pairs
    found = _C.outerjoin(e, e.c.candidate_id == _C.c.id).outerjoin(flag, flag.c.image_id == _C.c.id)
    found = found.outerjoin(fate, fate.c.candidate_id == _C.c.id)
    paired = sa.or_(*(sa.exists().where(side == _C.c.id) for side in (pair.c.first, pair.c.second)))
    marks = (
        e.c.reason,
        e.c.detail,
        flag.c.detail.label("flag"),
        _as_number(fate.c.near_duplicate, "dropped"),
        _as_number(paired, "paired"),
    )
    own = sa.select(_C.c.id, *marks).select_from(found).where(_C.c.wnid == sa.bindparam("wnid")).subquery()
    marked = (own.c.reason.is_not(None), own.c.flag.is_not(None), own.c.dropped == 1, own.c.paired == 1)
    return sa.select(own).where(sa.or_(*marked))


def _as_number(truth: sa.ColumnElement[bool], name: str) -> sa.Label[int]:
    return sa.case((truth, 1), else_=0).label(name)


class ClassCountTable(TableGroup):
    """Counts per class as last derived."""

    def put(self, counts: Mapping[str, Mapping[str, Any]]) -> None:
        self._put(review_tables.class_counts, ({"wnid": wnid, "counts": values} for wnid, values in counts.items()))

    def all(self) -> dict[str, dict[str, Any]]:
        """wnid -> its counts, by wnid."""
        t = review_tables.class_counts
        return {row.wnid: row.counts for row in self._connection.execute(sa.select(t).order_by(t.c.wnid))}

    def texts(self) -> dict[str, str]:
        """wnid -> its counts as JSON, unread: to see which have changed."""
        return dict(sorted(line.split("\t", 1) for line in fetch_lines(self._connection, _count_lines)))

    def get(self, wnid: str) -> dict[str, Any] | None:
        t = review_tables.class_counts
        return self._connection.execute(sa.select(t.c.counts).where(t.c.wnid == wnid)).scalar_one_or_none()


def _count_lines(dialect: str) -> sa.Select[tuple[str]]:
    t = review_tables.class_counts
    return sa.select(t.c.wnid + "\t" + sa.cast(t.c.counts, sa.Text))
