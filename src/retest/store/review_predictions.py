"""What people say of the labels that models predict: one judgement per (image, class), whichever model or data set it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from retest.records import Split
from retest.store import review_tables, schema
from retest.store.rows import TableGroup

_T = review_tables.label_judgements


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an image shows a class: ``verdict`` is correct, wrong, unclear or dont_know."""

    image_id: str
    wnid: str
    verdict: str
    user: str
    time: str


class JudgementTable(TableGroup):
    """The current judgements; their history is in the ledger."""

    def put(self, verdicts: Mapping[tuple[str, str], str], *, user: str, time: str) -> None:
        """Set judgements: (image, wnid) -> verdict."""
        rows = ({"image_id": i, "wnid": w, "verdict": verdict, "user": user, "time": time} for (i, w), verdict in verdicts.items())
        self._put(_T, rows)

    def remove(self, pairs: Iterable[tuple[str, str]]) -> None:
        for image, wnid in pairs:
            self._change(_T, sa.delete(_T).where(_T.c.image_id == image, _T.c.wnid == wnid))

    def of_images(self, image_ids: Iterable[str]) -> dict[str, dict[str, Judgement]]:
        """image -> wnid -> judgement."""
        found: dict[str, dict[str, Judgement]] = {}
        for row in self._by_ids(sa.select(_T), _T.c.image_id, image_ids):
            found.setdefault(row.image_id, {})[row.wnid] = Judgement(**row._mapping)
        return found

    def all(self) -> Iterator[Judgement]:
        """Every judgement, by image and class."""
        return (Judgement(**row._mapping) for row in self._rows(sa.select(_T).order_by(_T.c.image_id, _T.c.wnid)))

    def examples(self, wnid: str, variant: str, *, limit: int) -> list[tuple[str, str]]:
        """(image, SHA-256 of a rendition) of stored original images of a class: validation images first, then test, then training."""
        t, v = schema.originals, schema.variants
        found: list[tuple[str, str]] = []
        for split in (Split.VAL, Split.TEST, Split.TRAIN):
            query = sa.select(t.c.id, v.c.sha256).join(v, (v.c.image_id == t.c.id) & (v.c.variant == variant))
            query = query.where(t.c.wnid == wnid, t.c.split == str(split)).order_by(t.c.id).limit(limit - len(found))
            found += [(row.id, row.sha256) for row in self._connection.execute(query)]
            if len(found) == limit:
                break
        return found

    def count(self) -> int:
        return self._count(_T)
