"""The table of classes: search, counts per stage, frequencies against the target, what is missing per bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from markupsafe import Markup
from pydantic import Field
from starlette.responses import Response

from retest.stages import review_classes
from retest.stages.review_classes import ClassCounts, ClassRow
from retest.web.review.models import Answer
from retest.web.review.visit import Endpoint, Page, Query, Visit, fragment

__all__ = ["ENDPOINTS", "PAGES", "histogram"]

_COLUMNS = (
    ("candidates", "Candidates"),
    ("stored", "Stored"),
    ("labelled", "Labelled"),
    ("excluded", "Excluded"),
    ("problematic", "Problematic"),
    ("near_duplicates", "Near-dupl."),
    ("usable", "Usable"),
    ("missing", "Missing"),
)
_Sort = Literal["wnid", "name", "candidates", "stored", "labelled", "usable", "missing", "excluded", "problematic", "near_duplicates"]
_Only = Literal["all", "missing", "complete", "problematic", "unlabelled"]


class ClassesQuery(Query):
    """Which classes, in which order."""

    q: str = Field("", max_length=200, description="words of wnid, synonyms, parents or gloss")
    sort: _Sort = "wnid"
    descending: bool = False
    only: _Only = Field("all", description="missing: those in which some bin lacks images")
    after: str | None = Field(None, description="wnid of the last class of the page before")
    limit: int = Field(100, ge=1, le=1000)


class ClassItem(Answer):
    """A class with its counts; lists are per bin of selection frequency, ascending."""

    wnid: str
    cid: int
    synset: list[str]
    gloss: str
    candidates: int
    stored: int
    labelled: int
    excluded: int
    problematic: int
    near_duplicates: int
    usable: int
    originals: int
    originals_labelled: int
    missing: int
    found_bins: list[int]
    usable_bins: list[int]
    original_bins: list[int]
    target_bins: list[int]
    missing_bins: list[int]

    @classmethod
    def of(cls, row: ClassRow) -> ClassItem:
        c = row.counts
        names = [name for name in cls.model_fields if hasattr(c, name)]
        values: dict[str, Any] = {name: list(v) if isinstance(v := getattr(c, name), tuple) else v for name in names}
        return cls(wnid=row.info.wnid, cid=row.info.cid, synset=list(row.info.synset), gloss=row.info.gloss, **values)


class ClassesAnswer(Answer):
    """A page of classes; ``current`` is false while counts are being brought up to date."""

    bins: list[str]
    classes: list[ClassItem]
    total: int
    next: str | None
    current: bool


def _found(visit: Visit, query: ClassesQuery) -> review_classes.ClassPage:
    found = review_classes.list_classes(
        visit.study,
        visit.desk.memo,
        search=query.q,
        sort=query.sort,
        descending=query.descending,
        only=query.only,
        after=query.after,
        limit=query.limit,
    )
    if not found.current:
        visit.desk.counting.start(lambda stop: review_classes.refresh_counts(visit.study, stop=stop), name="class counts")
    return found


def _page(visit: Visit, query: ClassesQuery) -> Response:
    def sorting(name: str, *, descending: bool) -> str:
        return query.address("/classes", sort=name, descending=descending, after=None)

    columns = [(name, title, sorting(name, descending=not (query.sort == name and query.descending))) for name, title in _COLUMNS]
    found = _found(visit, query)
    lines = visit.desk.memo.get("lines of classes", None, _Lines)
    names = review_classes.bins(visit.study)
    return visit.render(
        "classes.html",
        query=query,
        found=found,
        columns=columns,
        bins=names,
        by_wnid=sorting("wnid", descending=query.sort == "wnid" and not query.descending),
        following=None if found.next is None else query.address("/classes", after=found.next),
        first=None if query.after is None else query.address("/classes", after=None),
        line=lambda row: lines.of(row, names),
    )


class _Lines:
    """Lines of the table as last rendered: a page has a hundred with a drawing each, and a decision changes one or two."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ClassRow, Markup]] = {}

    def of(self, row: ClassRow, bins: Sequence[str]) -> Markup:
        """The line of a class; the bins are settings of the study."""
        known = self._known.get(row.info.wnid)
        if known is None or known[0] != row:
            columns = [name for name, _ in _COLUMNS]
            known = self._known[row.info.wnid] = (
                row,
                fragment("_class_line.html", row=row, columns=columns, bins=bins, histogram=histogram),
            )
        return known[1]


def histogram(counts: ClassCounts, *, width: int = 110, height: int = 40) -> list[dict[str, float | int]]:
    """Boxes of a histogram per bin: ``found``, ``usable`` and ``target`` as heights, with their numbers."""
    most = max([1, *counts.found_bins, *counts.target_bins])
    step = width / max(1, len(counts.found_bins))
    return [
        {
            "x": round(index * step + 1, 2),
            "width": round(step - 2, 2),
            "found": found,
            "usable": usable,
            "target": target,
            "found_height": round(height * found / most, 2),
            "usable_height": round(height * usable / most, 2),
            "target_y": round(height - height * target / most, 2),
        }
        for index, (found, usable, target) in enumerate(zip(counts.found_bins, counts.usable_bins, counts.target_bins, strict=True))
    ]


def _list(visit: Visit, query: ClassesQuery, body: None) -> ClassesAnswer:
    found = _found(visit, query)
    return ClassesAnswer(
        bins=review_classes.bins(visit.study),
        classes=[ClassItem.of(row) for row in found.rows],
        total=found.total,
        next=found.next,
        current=found.current,
    )


PAGES = (Page(path="/classes", handler=_page, query=ClassesQuery, nav="Classes"),)
ENDPOINTS = (Endpoint(path="/classes", handler=_list, summary="Classes with their counts", answer=ClassesAnswer, query=ClassesQuery),)
