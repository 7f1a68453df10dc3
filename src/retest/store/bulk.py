"""What stages ask of a whole study: answered class by class or summed in the database, so that no table is held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import sqlalchemy as sa

from retest.records import VALID_STATUSES, Assignment, AssignmentStatus, Hit, ImageVariant, SelectionFrequency, Split
from retest.store import review_tables, schema
from retest.store.labels import hit_of
from retest.store.rows import TableGroup

_C, _F = schema.candidates, schema.selection_frequencies


class BulkTable(TableGroup):
    """Reads and writes over many rows with bounded memory."""

    _rows_per_block = 500  # rows of HITs and answers are long

    def hits_of_class(self, wnid: str) -> Iterator[Hit]:
        """The HITs of a class in the order in which they were added, excluded ones included."""
        t = schema.hits
        rows = self._plain_rows(sa.select(t).where(t.c.wnid == wnid).order_by(t.c.no))
        return (hit_of(cast("sa.Row[Any]", row)) for row in rows)

    def answers_of_class(self, wnid: str) -> Iterator[Assignment]:
        """The answers to the HITs of a class, HIT after HIT in the order in which those were added, by id."""
        t, hit = schema.assignments, schema.hits
        query = sa.select(t.c.id, t.c.hit_uuid, t.c.worker, t.c.status, t.c.selected, t.c.accept_time, t.c.submit_time)
        query = query.select_from(hit.join(t, t.c.hit_uuid == hit.c.uuid)).where(hit.c.wnid == wnid).order_by(hit.c.no, t.c.id)
        for name, uuid, worker, status, selected, accepted, submitted in self._plain_rows(query):
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
        stored = {row[0]: (row[1], row[2]) for row in self._plain_rows(_frequencies(wnid))}
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
        e, flag = schema.exclusions, review_tables.image_flags
        found = _C.outerjoin(_F, (_F.c.wnid == _C.c.wnid) & (_F.c.image_id == _C.c.id))
        found = found.outerjoin(e, e.c.candidate_id == _C.c.id).outerjoin(flag, flag.c.image_id == _C.c.id)
        left_out = sa.or_(e.c.candidate_id.is_not(None), flag.c.image_id.is_not(None))
        query: sa.Select[Any] = sa.select(_C.c.id, _C.c.wnid, _C.c.source, _C.c.photo_id, _F.c.num_selected, _F.c.num_assignments, left_out)
        for found_row in self._by_ids(query.select_from(found), _C.c.id, ids):
            row = cast("Sequence[Any]", found_row)
            yield row[0], row[1], row[2], row[3], row[4] / row[5] if row[5] else None, bool(row[6])

    def labelled_candidates(self) -> Iterator[tuple[str, int, int, int]]:
        """(wnid, times selected, assignments, how many): labelled candidates of a class that nobody left out, by their counts."""
        e, flag = schema.exclusions, review_tables.image_flags
        found = _F.join(_C, (_C.c.id == _F.c.image_id) & (_C.c.wnid == _F.c.wnid))
        kept = (~sa.exists().where(e.c.candidate_id == _C.c.id), ~sa.exists().where(flag.c.image_id == _C.c.id))
        query = sa.select(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments, sa.func.count()).select_from(found)
        query = query.where(_F.c.num_assignments > 0, *kept).group_by(_F.c.wnid, _F.c.num_selected, _F.c.num_assignments)
        return ((row[0], row[1], row[2], row[3]) for row in self._plain_rows(query))

    def waiting_images(self, variants: Sequence[str]) -> int:
        """How many images can be fetched but are not stored in all of these variants, have no problem and are not excluded."""
        stored, problem, excluded, image = schema.variants, schema.image_problems, schema.exclusions, schema.originals
        count = 0
        wanted = ((_C, _C.c.source != "reference"), (image, image.c.location.is_not(None)))
        for table, condition in wanted:
            complete = sa.select(sa.func.count()).where(stored.c.image_id == table.c.id, stored.c.variant.in_(variants)).scalar_subquery()
            settled = (problem.c.image_id, excluded.c.candidate_id)
            free = [~sa.exists().where(column == table.c.id) for column in settled]
            count += self._count(table, condition, *free, complete < len(variants))
        return count

    def images_to_check(self) -> int:
        """How many original images and candidates are expected to be stored: without those excluded, and those that could not be used."""
        excused = (schema.image_problems.c.image_id, schema.exclusions.c.candidate_id)
        count = 0
        for table, conditions in ((_C, [_C.c.source != "reference"]), (schema.originals, [])):
            count += self._count(table, *conditions, *(~sa.exists().where(column == table.c.id) for column in excused))
        return count

    def problems(self) -> int:
        """How many images could not be used."""
        return self._count(schema.image_problems)

    def opaque_names(self, key_version: int) -> int:
        """How many images have an opaque name of a key version."""
        return self._count(schema.opaque_names, schema.opaque_names.c.key_version == key_version)

    def near_duplicates(self) -> int:
        """How many candidates resolution calls near-duplicates."""
        return self._count(schema.resolutions, schema.resolutions.c.near_duplicate.is_(True))

    def kept_candidates(self) -> int:
        """How many candidates that were found are not excluded; those that other data only mention were not found."""
        return self._count(_C, _C.c.source != "reference", ~sa.exists().where(schema.exclusions.c.candidate_id == _C.c.id))

    def answered_candidates(self) -> int:
        """How many candidates have at least one valid answer, for whatever class."""
        return self._count(_C, sa.exists().where(_F.c.image_id == _C.c.id, _F.c.num_assignments > 0))

    def answered_images(self) -> int:
        """How many (image, class) have at least one valid answer."""
        return self._count(_F, _F.c.num_assignments > 0)

    def frequencies_in(self, condition: str) -> Iterator[tuple[int, int, int]]:
        """(times selected, assignments, how many) over images labelled for their own class: ``val`` originals or ``candidates``."""
        t = _C if condition == "candidates" else schema.originals
        query = sa.select(_F.c.num_selected, _F.c.num_assignments, sa.func.count())
        query = query.select_from(t.join(_F, (_F.c.image_id == t.c.id) & (_F.c.wnid == t.c.wnid))).where(_F.c.num_assignments > 0)
        if t is schema.originals:
            query = query.where(t.c.split == condition)
        return ((row[0], row[1], row[2]) for row in self._plain_rows(query.group_by(_F.c.num_selected, _F.c.num_assignments)))

    def frequencies_of(self, ids: Iterable[str]) -> dict[tuple[str, str], SelectionFrequency]:
        """(image, wnid) -> selection frequency, of these images for every class they were labelled for."""
        rows = self._by_ids(sa.select(_F), _F.c.image_id, ids)
        return {(r.image_id, r.wnid): SelectionFrequency(r.image_id, r.wnid, r.num_assignments, r.num_selected) for r in rows}

    def has_blocks(self, metric: str) -> bool:
        """Whether a neighbour search has planned its blocks for a metric."""
        t = schema.completions
        begun = sa.select(t.c.item).where(t.c.stage == "neighbor-blocks", t.c.item.startswith(f"{metric}/", autoescape=True)).limit(1)
        return self._connection.execute(begun).first() is not None

    def searched(self, variant: str) -> tuple[dict[str, int], dict[tuple[str, str | None], int]]:
        """How many images enter a search: candidates by class, original images by (split, class).

        Those that could not be used do not, unless they are stored in this rendition.
        """
        image = schema.originals
        candidates = self._counts_by(_C.c.wnid, _usable(_C.c.id, variant))
        query = sa.select(image.c.split, image.c.wnid, sa.func.count()).where(_usable(image.c.id, variant))
        rows = self._connection.execute(query.group_by(image.c.split, image.c.wnid))
        return candidates, {(split, wnid): int(count) for split, wnid, count in rows}

    def searched_and_stored(self, variant: str) -> int:
        """How many candidates and original images are stored in a rendition."""
        return sum(self._count(table, _stored(table.c.id, variant)) for table in (_C, schema.originals))

    def sample_variants(self, variant: str, number: int) -> list[ImageVariant]:
        """Up to ``number`` stored images in one rendition, original training images first."""
        t, image = schema.variants, schema.originals
        train = t.join(image, (image.c.id == t.c.image_id) & (image.c.split == str(Split.TRAIN)))
        columns = (t.c.image_id, t.c.variant, t.c.blob_key, t.c.sha256, t.c.size_bytes, t.c.width, t.c.height)
        found: dict[str, ImageVariant] = {}
        for source in (train, t):
            query = sa.select(*columns).select_from(source).where(t.c.variant == variant).order_by(t.c.sha256).limit(2 * number)
            found |= {row[0]: ImageVariant(*row) for row in self._plain_rows(query)} if len(found) < number else {}
        return list(found.values())[:number]

    def candidates_without(self, variant: str) -> tuple[int, str]:
        """How many candidates are neither excluded nor stored in this rendition, and the first of them."""
        t, excluded = schema.variants, schema.exclusions
        stored = sa.exists().where(t.c.image_id == _C.c.id, t.c.variant == variant)
        left_out = sa.exists().where(excluded.c.candidate_id == _C.c.id)
        count, first = self._connection.execute(sa.select(sa.func.count(), sa.func.min(_C.c.id)).where(~stored, ~left_out)).one()
        return int(count), first or ""

    def answer_histogram(self) -> dict[int, int]:
        """Number of valid answers -> how many published HITs that count have it."""
        hit, t = schema.hits, schema.assignments
        valid = (t.c.hit_uuid == hit.c.uuid, t.c.status.in_([str(status) for status in VALID_STATUSES]))
        number = sa.select(sa.func.count()).where(*valid).scalar_subquery()
        each = sa.select(number.label("valid")).where(hit.c.submitted.is_(True), hit.c.excluded.is_(None)).subquery()
        return self._counted(sa.select(each.c.valid, sa.func.count()).group_by(each.c.valid))

    def most_assignments(self) -> int:
        """The largest number of annotators that some HIT asks for; 0 without HITs."""
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(schema.hits.c.assignments), 0))).scalar_one())

    def _counted(self, query: sa.Select[Any]) -> dict[int, int]:
        return {int(value): int(count) for value, count in self._connection.execute(query)}


def _stored(image: sa.Column[str], variant: str) -> sa.ColumnElement[bool]:
    t = schema.variants
    return sa.exists().where(t.c.image_id == image, t.c.variant == variant)


def _usable(image: sa.Column[str], variant: str) -> sa.ColumnElement[bool]:
    problem = schema.image_problems
    return sa.or_(~sa.exists().where(problem.c.image_id == image), _stored(image, variant))


def _frequencies(wnid: str) -> sa.Select[Any]:
    return sa.select(_F.c.image_id, _F.c.num_assignments, _F.c.num_selected).where(_F.c.wnid == wnid)
