"""Who may review a study, and which images reviewers call problematic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from retest.store import review_tables
from retest.store.rows import TableGroup


@dataclass(frozen=True, slots=True)
class ReviewerRecord:
    """Somebody who may review, or might once. ``token_hash`` is the SHA-256 of the token, None when it was revoked."""

    name: str
    role: str
    since: str
    seen: str | None = None
    token_hash: str | None = field(default=None, repr=False)


# Every request asks who sends it.
_BY_NAME = sa.select(review_tables.reviewers).where(review_tables.reviewers.c.name == sa.bindparam("wanted"))
_BY_TOKEN = sa.select(review_tables.reviewers).where(review_tables.reviewers.c.token_hash == sa.bindparam("wanted"))


class ReviewerTable(TableGroup):
    """The reviewers by name."""

    def put(self, name: str, *, role: str, token_hash: str | None, time: str) -> ReviewerRecord:
        """Add somebody, or give a known one this role and token."""
        known = self.get(name)
        record = ReviewerRecord(
            name=name,
            role=role,
            since=known.since if known else time,
            seen=known.seen if known else None,
            token_hash=token_hash,
        )
        self._put(review_tables.reviewers, [asdict(record)])
        return record

    def get(self, name: str) -> ReviewerRecord | None:
        return self._one(_BY_NAME, name)

    def by_token_hash(self, token_hash: str) -> ReviewerRecord | None:
        return self._one(_BY_TOKEN, token_hash)

    def note_seen(self, name: str, time: str) -> None:
        t = review_tables.reviewers
        self._change(t, sa.update(t).where(t.c.name == name).values(seen=time))

    def all(self) -> list[ReviewerRecord]:
        """Everybody, by name."""
        return [_reviewer(row) for row in self._rows(sa.select(review_tables.reviewers).order_by(review_tables.reviewers.c.name))]

    def _one(self, query: sa.Select[Any], wanted: str) -> ReviewerRecord | None:
        row = self._connection.execute(query, {"wanted": wanted}).first()
        return None if row is None else _reviewer(row)


def _reviewer(row: sa.Row[tuple[object, ...]]) -> ReviewerRecord:
    return ReviewerRecord(**row._mapping)


class FlagTable(TableGroup):
    """Images that somebody calls problematic, with what is wrong: no test set takes them until that is settled."""

    def put(self, details: Mapping[str, str], *, user: str, time: str) -> None:
        """Flag images: image id -> what is wrong."""
        rows = ({"image_id": image, "detail": detail, "user": user, "time": time} for image, detail in details.items())
        self._put(review_tables.image_flags, rows)

    def remove(self, image_ids: Iterable[str]) -> None:
        t = review_tables.image_flags
        for image in image_ids:
            self._change(t, sa.delete(t).where(t.c.image_id == image))

    def get(self, image_ids: Iterable[str]) -> dict[str, str]:
        """image id -> what is wrong, for those of these images that are flagged."""
        t = review_tables.image_flags
        return {row.image_id: row.detail for row in self._by_ids(sa.select(t.c.image_id, t.c.detail), t.c.image_id, image_ids)}

    def ids(self) -> set[str]:
        """Every flagged image."""
        return {row.image_id for row in self._rows(sa.select(review_tables.image_flags.c.image_id))}

    def count(self) -> int:
        return self._count(review_tables.image_flags)
