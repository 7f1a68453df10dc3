"""Revisions, their reviews, and the predictions made on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from retest.errors import ConflictError, NotFoundError, UsageError
from retest.records import ClassReview, Revision
from retest.store import schema
from retest.store.rows import TableGroup

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class RevisionSummary:
    """A revision without its images. Fields as in :class:`~retest.records.Revision`."""

    name: str
    sampling_function: str
    num_images: int
    is_valid: bool
    seed: int
    starting_from: str | None
    user: str
    time: str


class RevisionTable(TableGroup):
    """Immutable test sets."""

    def add(self, revision: Revision) -> bool:
        """Store a revision; True when it is new, False when an equal one is there.

        Raises:
            UsageError: the name cannot be that of a file, or is that of the original data set.
            ConflictError: a different revision has this name already.
        """
        if not _NAME.fullmatch(revision.name) or revision.name == "original":
            raise UsageError(
                f"{revision.name!r} is no name for a revision",
                item="name",
                remedy="Use letters, digits, '.', '_' and '-', such as mystudy-a-1",
            )
        if revision.name in self.names():
            known = self.get(revision.name)
            if (known.images, known.seed, known.sampling_function) == (revision.images, revision.seed, revision.sampling_function):
                return False
            raise ConflictError(
                "this revision exists with other content, and revisions never change",
                item=revision.name,
                remedy="Choose the next number, or --starting-from this one",
            )
        values = {name: getattr(revision, name) for name in ("name", "sampling_function", "seed", "is_valid", "starting_from")}
        values |= {"parameters": dict(revision.parameters), "user": revision.user, "time": revision.time}
        self._add_new(schema.revisions, [values])
        rows = (
            {"revision": revision.name, "position": i, "image_id": image, "wnid": wnid} for i, (image, wnid) in enumerate(revision.images)
        )
        self._put(schema.revision_images, rows)
        return True

    def names(self) -> list[str]:
        return [row.name for row in self._rows(sa.select(schema.revisions.c.name).order_by(schema.revisions.c.name))]

    def summaries(self) -> list[RevisionSummary]:
        """Every revision by name, without its images."""
        t, images = schema.revisions, schema.revision_images
        size = sa.select(sa.func.count()).where(images.c.revision == t.c.name).scalar_subquery()
        columns = (t.c.name, t.c.sampling_function, size.label("num_images"), t.c.is_valid, t.c.seed, t.c.starting_from, t.c.user, t.c.time)
        return [RevisionSummary(**row._mapping) for row in self._rows(sa.select(*columns).order_by(t.c.name))]

    def containing(self, image_id: str) -> list[tuple[str, int, str]]:
        """(revision, position from 0, wnid) of every place of an image, by revision."""
        t = schema.revision_images
        query = sa.select(t.c.revision, t.c.position, t.c.wnid).where(t.c.image_id == image_id).order_by(t.c.revision, t.c.position)
        return [(row.revision, row.position, row.wnid) for row in self._rows(query)]

    def get(self, name: str) -> Revision:
        """A revision by name.

        Raises:
            NotFoundError: there is none; the message lists those that exist.
        """
        row = self._connection.execute(sa.select(schema.revisions).where(schema.revisions.c.name == name)).first()
        if row is None:
            raise self._unknown(name)
        t = schema.revision_images
        query = sa.select(t.c.image_id, t.c.wnid).where(t.c.revision == name).order_by(t.c.position)
        images = tuple((found[0], found[1]) for found in self._connection.execute(query).fetchall())
        return Revision(**row._mapping, images=images)

    def classes_among(self, name: str, wnids: Iterable[str]) -> set[str]:
        """Those of these classes that have images in a revision.

        Raises:
            NotFoundError: there is no such revision.
        """
        t = schema.revision_images
        query = sa.select(t.c.wnid).distinct().where(t.c.revision == name)
        found = {row[0] for row in self._by_ids(query, t.c.wnid, wnids)}
        if not found:
            self.require(name)
        return found

    def require(self, name: str) -> None:
        """Check that there is a revision of this name, without reading it.

        Raises:
            NotFoundError: there is none; the message lists those that exist.
        """
        if name not in self.names():
            raise self._unknown(name)

    def _unknown(self, name: str) -> NotFoundError:
        known = ", ".join(self.names()) or "none yet: run retest sample"
        return NotFoundError("the study has no revision of this name", item=name, remedy=f"Revisions: {known}")

    def put_reviews(self, reviews: Iterable[ClassReview]) -> None:
        rows = ({"revision": r.revision, "wnid": r.wnid, "reviewed": r.reviewed, "problematic": r.problematic} for r in reviews)
        self._put(schema.class_reviews, rows)

    def add_reviews(self, reviews: Iterable[ClassReview]) -> int:
        """Add the reviews of classes that have none yet."""
        rows = ({"revision": r.revision, "wnid": r.wnid, "reviewed": r.reviewed, "problematic": r.problematic} for r in reviews)
        return self._add_new(schema.class_reviews, rows)

    def all_reviews(self) -> Iterator[ClassReview]:
        """Every class review by revision and class, those of revisions that the study lacks included."""
        t = schema.class_reviews
        return (ClassReview(**row._mapping) for row in self._rows(sa.select(t).order_by(t.c.revision, t.c.wnid)))

    def class_counts(self) -> dict[str, int]:
        """revision -> of how many classes it has images."""
        t = schema.revision_images
        rows = self._connection.execute(sa.select(t.c.revision, sa.func.count(t.c.wnid.distinct())).group_by(t.c.revision))
        return {row[0]: int(row[1]) for row in rows}

    def review_counts(self) -> dict[str, tuple[int, int]]:
        """revision -> how many classes are reviewed, how many problematic; nothing for one that nobody decided about."""
        t = schema.class_reviews
        sums = [sa.func.sum(sa.case((column.is_(True), 1), else_=0)) for column in (t.c.reviewed, t.c.problematic)]
        rows = self._connection.execute(sa.select(t.c.revision, *sums).group_by(t.c.revision))
        return {row[0]: (int(row[1]), int(row[2])) for row in rows}

    def reviews(self, name: str, wnids: Iterable[str] | None = None) -> dict[str, ClassReview]:
        """wnid -> what was found of it in a revision, of all classes that somebody decided about or those among ``wnids``, by wnid."""
        t = schema.class_reviews
        query = sa.select(t.c.wnid, t.c.reviewed, t.c.problematic).where(t.c.revision == name).order_by(t.c.wnid)
        rows: Iterable[Any] = self._connection.execute(query).fetchall() if wnids is None else self._by_ids(query, t.c.wnid, wnids)
        return {row[0]: ClassReview(name, row[0], reviewed=row[1], problematic=row[2]) for row in rows}


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """Where the predictions of a model on a data set lie."""

    dataset: str
    model: str
    blob_key: str
    num_images: int
    fingerprint: str
    notes: tuple[str, ...] = ()


class PredictionTable(TableGroup):
    """Index of the stored prediction files."""

    def put(self, entry: PredictionSet) -> None:
        row = {name: getattr(entry, name) for name in ("dataset", "model", "blob_key", "num_images", "fingerprint")}
        self._put(schema.prediction_sets, [{**row, "notes": list(entry.notes)}])

    def all(self, *, dataset: str | None = None) -> list[PredictionSet]:
        """Every entry (of one data set, if given), by data set and model."""
        t = schema.prediction_sets
        query = sa.select(t).order_by(t.c.dataset, t.c.model)
        if dataset is not None:
            query = query.where(t.c.dataset == dataset)
        return [_prediction_set(row) for row in self._rows(query)]

    def get(self, dataset: str, model: str) -> PredictionSet | None:
        """The entry of a model on a data set, or None."""
        t = schema.prediction_sets
        row = self._connection.execute(sa.select(t).where(t.c.dataset == dataset, t.c.model == model)).first()
        return None if row is None else _prediction_set(row)

    def counts_by_dataset(self) -> dict[str, int]:
        """data set -> number of models."""
        return self._counts_by(schema.prediction_sets.c.dataset)

    def count(self) -> int:
        return self._count(schema.prediction_sets)


def _prediction_set(row: sa.Row[tuple[object, ...]]) -> PredictionSet:
    return PredictionSet(row.dataset, row.model, row.blob_key, row.num_images, row.fingerprint, tuple(row.notes))
