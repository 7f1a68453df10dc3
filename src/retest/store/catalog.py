"""Classes, original images, candidates, their exclusions and the searches that found them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import groupby

import sqlalchemy as sa

from retest.records import Candidate, ClassInfo, DuplicateOccurrence, Exclusion, OriginalImage, Split
from retest.store import schema
from retest.store.rows import TableGroup

TAKEN_DOWN = "taken_down"
"""Reason of an exclusion on request of somebody who has rights in the image."""


@dataclasses.dataclass(frozen=True, slots=True)
class SearchState:
    """How far one query of a search has got; ``cursor`` is the next page to ask for."""

    key: str
    wnid: str
    cursor: str | None = None
    pages: int = 0
    found: int = 0
    finished: bool = False
    notes: tuple[str, ...] = ()


class ClassTable(TableGroup):
    """The classes of the benchmark."""

    def put(self, classes: Iterable[ClassInfo]) -> None:
        self._put(schema.classes, ({**_class_row(info)} for info in classes))

    def all(self) -> list[ClassInfo]:
        """Every class, by wnid."""
        return [_class_info(row) for row in self._rows(sa.select(schema.classes).order_by(schema.classes.c.wnid))]

    def get(self, wnids: Iterable[str]) -> dict[str, ClassInfo]:
        """Those of these wnids that are classes."""
        return {row.wnid: _class_info(row) for row in self._by_ids(sa.select(schema.classes), schema.classes.c.wnid, wnids)}

    def count(self) -> int:
        return self._count(schema.classes)


def _class_row(info: ClassInfo) -> dict[str, object]:
    return {
        "wnid": info.wnid,
        "cid": info.cid,
        "synset": list(info.synset),
        "gloss": info.gloss,
        "parent_terms": list(info.parent_terms),
        "wikipedia_pages": list(info.wikipedia_pages),
        "most_similar": list(info.most_similar),
    }


def _class_info(row: sa.Row[tuple[object, ...]]) -> ClassInfo:
    return ClassInfo(
        wnid=row.wnid,
        cid=row.cid,
        synset=tuple(row.synset),
        gloss=row.gloss,
        parent_terms=tuple(row.parent_terms),
        wikipedia_pages=tuple(row.wikipedia_pages),
        most_similar=tuple(row.most_similar),
    )


class OriginalTable(TableGroup):
    """Images of the benchmark that is being replicated."""

    def add(self, images: Iterable[OriginalImage]) -> int:
        rows = ({"id": i.id, "split": str(i.split), "wnid": i.wnid, "location": i.location} for i in images)
        return self._add_new(schema.originals, rows)

    def all(self, *, split: Split | None = None, wnid: str | None = None) -> Iterator[OriginalImage]:
        """Original images by id, optionally of one split or class."""
        table = schema.originals
        query = sa.select(table).order_by(table.c.id)
        if split is not None:
            query = query.where(table.c.split == str(split))
        if wnid is not None:
            query = query.where(table.c.wnid == wnid)
        return (_original(row) for row in self._rows(query))

    def page(self, *, after: str, limit: int) -> Iterator[OriginalImage]:
        """The next images by id."""
        t = schema.originals
        return (_original(row) for row in self._rows(sa.select(t).where(t.c.id > after).order_by(t.c.id).limit(limit)))

    def get(self, ids: Iterable[str]) -> dict[str, OriginalImage]:
        """Those of these ids that are original images."""
        return {row.id: _original(row) for row in self._by_ids(sa.select(schema.originals), schema.originals.c.id, ids)}

    def ids(self, *, split: Split | None = None, wnid: str | None = None, limit: int | None = None) -> list[str]:
        """Ids of the original images, sorted, optionally of one split or class, or the first of them only."""
        t = schema.originals
        query = sa.select(t.c.id).order_by(t.c.id).limit(limit)
        if split is not None:
            query = query.where(t.c.split == str(split))
        if wnid is not None:
            query = query.where(t.c.wnid == wnid)
        return list(self._connection.execute(query).scalars())

    def among(self, ids: Iterable[str]) -> set[str]:
        """Those of these ids that are original images."""
        return {row.id for row in self._by_ids(sa.select(schema.originals.c.id), schema.originals.c.id, ids)}

    def classes(self, split: Split) -> list[str]:
        """wnids of the classes with images in a split, sorted."""
        t = schema.originals
        query = sa.select(t.c.wnid).distinct().where(t.c.split == str(split), t.c.wnid.is_not(None)).order_by(t.c.wnid)
        return list(self._connection.execute(query).scalars())

    def counts(self) -> dict[str, int]:
        return self._counts_by(schema.originals.c.split)


def _original(row: sa.Row[tuple[object, ...]]) -> OriginalImage:
    return OriginalImage(id=row.id, split=Split(row.split), wnid=row.wnid, location=row.location)


class CandidateTable(TableGroup):
    """Candidates, and the further occurrences of the same photo."""

    def add(self, candidates: Iterable[Candidate]) -> int:
        """Add those that are new; an id that exists already keeps its first record."""
        return self._add_new(schema.candidates, (_candidate_row(c) for c in candidates))

    def add_occurrences(self, occurrences: Iterable[tuple[str, DuplicateOccurrence]]) -> int:
        """Add duplicate occurrences, each with the key of the place where it was found."""
        rows = ({"key": key, **dataclasses.asdict(found)} for key, found in occurrences)
        return self._add_new(schema.duplicate_occurrences, rows)

    def all(self, *, wnid: str | None = None, after: str | None = None, limit: int | None = None) -> Iterator[Candidate]:
        """Candidates by id; ``after`` and ``limit`` give pages by key."""
        table = schema.candidates
        query = sa.select(table).order_by(table.c.id).limit(limit)
        if wnid is not None:
            query = query.where(table.c.wnid == wnid)
        if after is not None:
            query = query.where(table.c.id > after)
        return (_candidate(row) for row in self._rows(query))

    def get(self, ids: Iterable[str]) -> dict[str, Candidate]:
        return {row.id: _candidate(row) for row in self._by_ids(sa.select(schema.candidates), schema.candidates.c.id, ids)}

    def ids(self, *, wnid: str | None = None) -> list[str]:
        """Ids of the candidates, sorted, optionally of one class."""
        t = schema.candidates
        query = sa.select(t.c.id).order_by(t.c.id)
        if wnid is not None:
            query = query.where(t.c.wnid == wnid)
        return list(self._connection.execute(query).scalars())

    def by_photo(self, source: str, photo_ids: Iterable[str]) -> list[tuple[str, str, str]]:
        """(photo id, wnid, candidate id) of the candidates already known for these photos."""
        table = schema.candidates
        query = sa.select(table.c.photo_id, table.c.wnid, table.c.id).where(table.c.source == source)
        return [(row.photo_id, row.wnid, row.id) for row in self._by_ids(query, table.c.photo_id, photo_ids)]

    def at_address(self, url: str) -> list[Candidate]:
        """Candidates with this address of their image or of its page, by id."""
        t = schema.candidates
        query = sa.select(t).where((t.c.url == url) | (t.c.source_page == url)).order_by(t.c.id)
        return [_candidate(row) for row in self._rows(query)]

    def identities(self, *, after: str = "", limit: int | None = None) -> Iterator[tuple[str, str, str, str, str | None]]:
        """(id, wnid, source, photo id, search key) of every candidate by id, without the rest of the record; or of a page of them."""
        t = schema.candidates
        query = sa.select(t.c.id, t.c.wnid, t.c.source, t.c.photo_id, t.c.search_key).where(t.c.id > after)
        for row in self._rows(query.order_by(t.c.id).limit(limit)):
            yield row.id, row.wnid, row.source, row.photo_id, row.search_key

    def photos(self, ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        """candidate id -> (source, photo id) for those of these ids that are candidates."""
        t = schema.candidates
        return {row.id: (row.source, row.photo_id) for row in self._by_ids(sa.select(t.c.id, t.c.source, t.c.photo_id), t.c.id, ids)}

    def shared_photos(self) -> list[list[str]]:
        """Groups of two or more candidates that show the same photo, ids in order; candidates without photo id are in none."""
        t = schema.candidates
        photo = sa.tuple_(t.c.source, t.c.photo_id)
        several = sa.select(t.c.source, t.c.photo_id).where(t.c.photo_id != "").group_by(t.c.source, t.c.photo_id)
        query = sa.select(t.c.source, t.c.photo_id, t.c.id).where(photo.in_(several.having(sa.func.count() > 1)))
        rows = self._rows(query.order_by(t.c.source, t.c.photo_id, t.c.id))
        return [[row.id for row in group] for _, group in groupby(rows, key=lambda row: (row.source, row.photo_id))]

    def all_occurrences(self, *, candidate_id: str | None = None) -> Iterator[DuplicateOccurrence]:
        """Every duplicate occurrence (of one candidate, if given), in the order of the places where they were found."""
        t = schema.duplicate_occurrences
        query = sa.select(t.c.candidate_id, t.c.source, t.c.photo_id, t.c.wnid, t.c.search_key, t.c.file).order_by(t.c.key)
        if candidate_id is not None:
            query = query.where(t.c.candidate_id == candidate_id)
        return (DuplicateOccurrence(**row._mapping) for row in self._rows(query))

    def count_by_search_key(self, wnid: str) -> dict[str | None, int]:
        """How many candidates of a class each search term has found."""
        return self._counts_by(schema.candidates.c.search_key, schema.candidates.c.wnid == wnid)

    def count(self, *, source: str | None = None) -> int:
        """Number of candidates, of all sources or of one."""
        conditions = [] if source is None else [schema.candidates.c.source == source]
        return self._count(schema.candidates, *conditions)

    def count_by_class(self) -> dict[str, int]:
        return self._counts_by(schema.candidates.c.wnid)

    def occurrences(self) -> int:
        return self._count(schema.duplicate_occurrences)


def _candidate_row(candidate: Candidate) -> dict[str, object]:
    # dataclasses.asdict deep-copies; a million candidates feel that.
    return {name: getattr(candidate, name) for name in _CANDIDATE_FIELDS} | {"query": dict(candidate.query)}


_CANDIDATE_FIELDS = tuple(field.name for field in dataclasses.fields(Candidate) if field.name != "query")


def _candidate(row: sa.Row[tuple[object, ...]]) -> Candidate:
    return Candidate(**row._mapping)


LIFTED = "exclusions_lifted"
"""Name of the generation that counts how many candidates may be used again that were excluded."""


class ExclusionTable(TableGroup):
    """Candidates that are left out, each with its reason. Who changed what is in the ledger."""

    def add(self, exclusions: Iterable[Exclusion]) -> int:
        """Exclude candidates; the first reason of a candidate stays."""
        return self._add_new(schema.exclusions, (dataclasses.asdict(e) for e in exclusions))

    def take_down(self, exclusions: Iterable[Exclusion]) -> int:
        """Exclude candidates for good, whatever else they are excluded for; return for how many this is new."""
        return self._put(schema.exclusions, ({**dataclasses.asdict(e), "reason": TAKEN_DOWN} for e in exclusions))

    def remove(self, candidate_ids: Iterable[str]) -> None:
        """Let candidates be used again, except those that were taken down: that promise is kept. The generation of :data:`LIFTED` grows."""
        t = schema.exclusions
        for candidate_id in candidate_ids:
            if self._change(t, sa.delete(t).where(t.c.candidate_id == candidate_id, t.c.reason != TAKEN_DOWN)):
                self._note(LIFTED)

    def all(self) -> dict[str, Exclusion]:
        query = sa.select(schema.exclusions).order_by(schema.exclusions.c.candidate_id)
        return {row.candidate_id: Exclusion(**row._mapping) for row in self._rows(query)}

    def ids(self) -> set[str]:
        """The candidates that are excluded."""
        return set(self._connection.execute(sa.select(schema.exclusions.c.candidate_id)).scalars())

    def of_class(self, wnid: str) -> set[str]:
        """The candidates of a class that are excluded."""
        t, candidate = schema.exclusions, schema.candidates
        query = sa.select(t.c.candidate_id).select_from(candidate.join(t, t.c.candidate_id == candidate.c.id))
        return set(self._connection.execute(query.where(candidate.c.wnid == wnid)).scalars())

    def get(self, candidate_ids: Iterable[str]) -> dict[str, Exclusion]:
        """The exclusions of those of these candidates that are excluded."""
        found = self._by_ids(sa.select(schema.exclusions), schema.exclusions.c.candidate_id, candidate_ids)
        return {row.candidate_id: Exclusion(**row._mapping) for row in found}

    def of_reason(self, reason: str) -> Iterator[Exclusion]:
        """The exclusions with a reason, by candidate id."""
        t = schema.exclusions
        return (Exclusion(**row._mapping) for row in self._rows(sa.select(t).where(t.c.reason == reason).order_by(t.c.candidate_id)))

    def counts(self) -> dict[str, int]:
        """reason -> how many."""
        return self._counts_by(schema.exclusions.c.reason)


class SearchTable(TableGroup):
    """State of every query, written in the same transaction as the page's photos."""

    def get(self, key: str, wnid: str) -> SearchState:
        row = self._connection.execute(sa.select(schema.search_queries).where(schema.search_queries.c.key == key)).first()
        return SearchState(key, wnid) if row is None else SearchState(**{**row._mapping, "notes": tuple(row.notes)})

    def put(self, state: SearchState) -> None:
        self._put(schema.search_queries, [{**dataclasses.asdict(state), "notes": list(state.notes)}])

    def counts(self) -> dict[str, int]:
        finished = self._count(schema.search_queries, schema.search_queries.c.finished.is_(True))
        return {"queries": self._count(schema.search_queries), "finished": finished}
