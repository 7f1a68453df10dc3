"""The class browser: original images beside all candidates of a class, filtered, sorted, marked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from retest.stages import review_candidates, review_classes
from retest.stages.review_candidates import CandidateFilter, CandidateView
from retest.store.review_candidates import ImageFacts
from retest.web.review.models import Answer
from retest.web.review.pages_classes import histogram
from retest.web.review.visit import Endpoint, Page, Query, Visit, image_url

__all__ = ["ENDPOINTS", "PAGES"]

_DATE = r"^\d{4}(-\d{2}(-\d{2})?)?$"
REASONS = (
    "not the class",
    "drawing or rendering",
    "text or watermark",
    "collage",
    "several objects",
    "blurred",
    "offensive",
    "people's privacy",
)


class FilterQuery(Query):
    """Which candidates of which class, in which order: all of it is in the address."""

    wnid: str = Field(description="the class")
    sort: Literal["frequency", "assignments", "taken", "id"] = "frequency"
    descending: bool = True
    min_frequency: float | None = Field(None, ge=0, le=1, description="least selection frequency")
    max_frequency: float | None = Field(None, ge=0, le=1, description="greatest selection frequency")
    bin: list[int] = Field(default_factory=list, max_length=50, description="numbers of bins of selection frequency, 0 the lowest")
    only_targets: bool = Field(False, description="only bins in which the test set has places")
    min_assignments: int | None = Field(None, ge=0, lt=2**31)
    max_assignments: int | None = Field(None, ge=0, lt=2**31)
    taken_from: str | None = Field(None, pattern=_DATE, description="first date taken: YYYY, YYYY-MM or YYYY-MM-DD")
    taken_to: str | None = Field(None, pattern=_DATE, description="last date taken, included")
    near_duplicate: Literal["any", "marked", "paired", "no"] = Field("any", description="marked: resolution drops it; paired: in some pair")
    excluded: Literal["any", "yes", "no"] = "any"
    problematic: Literal["any", "yes", "no"] = "any"
    revision: str | None = Field(None, description="only images of this revision")

    def filter(self) -> CandidateFilter:
        """The filter of the stage."""
        shared = {"min_frequency", "max_frequency", "only_targets", "min_assignments", "max_assignments", "taken_from", "taken_to"}
        values = self.model_dump(include={*shared, "near_duplicate", "excluded", "problematic", "revision"})
        return CandidateFilter(bins=tuple(self.bin), **values)


class BrowserQuery(FilterQuery):
    """A filter, and how the page looks."""

    originals: int = Field(24, ge=0, le=1000)
    size: int = Field(140, ge=40, le=600)


class PageQuery(FilterQuery):
    """A filter, and which page."""

    after: str | None = Field(None, description="id of the last candidate of the page before")
    limit: int = Field(200, ge=1, le=1000)


class OriginalsQuery(Query):
    """Original images of a class."""

    wnid: str
    limit: int = Field(24, ge=1, le=1000)


class ImageQuery(Query):
    """One image."""

    id: str


class MarkItem(Answer):
    """A mark and its version."""

    state: Any
    version: int


class ClassImageItem(Answer):
    """An image with its answers for the class; ``image`` is the address of its picture, ``stored`` whether there is one."""

    id: str
    frequency: float | None
    num_assignments: int
    num_selected: int
    date_taken: str | None
    image: str
    stored: bool
    width: int | None
    height: int | None


class CandidateItem(ClassImageItem):
    """A candidate with its marks. ``near_duplicate``: resolution drops it; ``paired_with``: its near-duplicates by decision."""

    exclusion: MarkItem
    problematic: MarkItem
    paired_with: list[str]
    near_duplicate: bool


class CandidatesAnswer(Answer):
    """A page of candidates; ``total`` comes with the first page only, ``next`` is the ``after`` of the next one."""

    candidates: list[CandidateItem]
    total: int | None
    next: str | None


class OriginalsAnswer(Answer):
    """Original images of a class."""

    originals: list[ClassImageItem]


class FrequencyItem(Answer):
    """How often an image was selected for a class."""

    wnid: str
    num_selected: int
    num_assignments: int


class DetailsAnswer(Answer):
    """Everything known of an image."""

    id: str
    kind: str
    wnid: str | None
    source: dict[str, str]
    frequencies: list[FrequencyItem]
    exclusion: dict[str, str] | None
    problematic: str | None
    paired_with: list[str]
    resolution: str | None
    revisions: list[str]
    problem: str | None
    full: str
    stored: bool


def _page(visit: Visit, query: BrowserQuery) -> Response:
    row = review_classes.class_row(visit.study, visit.desk.memo, query.wnid)
    originals = review_candidates.list_originals(visit.study, visit.desk.memo, query.wnid, limit=1000)
    return visit.render(
        "browser.html",
        query=query,
        row=row,
        bins=review_classes.bins(visit.study),
        boxes=histogram(row.counts, width=330, height=90),
        revisions=review_candidates.revision_names(visit.study, visit.desk.memo),
        reasons=REASONS,
        number_of_originals=len(originals),
    )


def _candidates(visit: Visit, query: PageQuery, body: None) -> dict[str, Any]:
    found = review_candidates.list_candidates(
        visit.study,
        visit.desk.memo,
        query.wnid,
        query.filter(),
        sort=query.sort,
        descending=query.descending,
        after=query.after,
        limit=query.limit,
    )
    return {"candidates": [_candidate(view) for view in found.items], "total": found.total, "next": found.next}


def _originals(visit: Visit, query: OriginalsQuery, body: None) -> dict[str, Any]:
    found = review_candidates.list_originals(visit.study, visit.desk.memo, query.wnid, limit=query.limit)
    return {"originals": [_image(facts) for facts in found]}


def _image(facts: ImageFacts) -> dict[str, Any]:
    """An :class:`ClassImageItem`: a page has hundreds, and a model of each would cost more than the database."""
    return {
        "id": facts.id,
        "frequency": facts.frequency,
        "num_assignments": facts.num_assignments,
        "num_selected": facts.num_selected,
        "date_taken": facts.date_taken,
        "image": image_url(facts.id, facts.sha256),
        "stored": facts.sha256 is not None,
        "width": facts.width,
        "height": facts.height,
    }


def _candidate(view: CandidateView) -> dict[str, Any]:
    """A :class:`CandidateItem`."""
    return _image(view.facts) | {
        "exclusion": view.exclusion._asdict(),
        "problematic": view.problematic._asdict(),
        "paired_with": view.paired_with,
        "near_duplicate": view.near_duplicate,
    }


def _details(visit: Visit, query: ImageQuery, body: None) -> DetailsAnswer:
    d = review_candidates.image_details(visit.study, query.id)
    return DetailsAnswer(
        id=d.id,
        kind=d.kind,
        wnid=d.wnid,
        source=d.source,
        frequencies=[FrequencyItem(wnid=wnid, num_selected=selected, num_assignments=number) for wnid, selected, number in d.frequencies],
        exclusion=d.exclusion,
        problematic=d.problematic,
        paired_with=list(d.paired_with),
        resolution=d.resolution,
        revisions=list(d.revisions),
        problem=d.problem,
        full=image_url(d.id, d.sha256, variant="full"),
        stored=d.sha256 is not None,
    )


PAGES = (Page(path="/class", handler=_page, query=BrowserQuery, within="/classes"),)
ENDPOINTS = (
    Endpoint(
        path="/candidates",
        handler=_candidates,
        summary="Candidates of a class, filtered and sorted",
        answer=CandidatesAnswer,
        query=PageQuery,
    ),
    Endpoint(path="/originals", handler=_originals, summary="Original images of a class", answer=OriginalsAnswer, query=OriginalsQuery),
    Endpoint(path="/image", handler=_details, summary="Everything known of an image", answer=DetailsAnswer, query=ImageQuery),
)
