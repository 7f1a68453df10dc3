"""Near-duplicate review: the queue per metric and threshold, and pairs to decide."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import Field
from starlette.responses import Response

from retest.stages import review_pairs as stage
from retest.stages.review_pairs import CandidatePairs, NeighborView, QueueProgress
from retest.web.review.models import Answer, ImageItem
from retest.web.review.visit import Endpoint, Page, Query, Visit

__all__ = ["ENDPOINTS", "PAGES"]


class PairsQuery(Query):
    """Which part of the queue."""

    metric: str | None = Field(None, description="metric of the distances; the first one with a review target by default")
    threshold: float | None = Field(None, ge=0, allow_inf_nan=False, description="distance up to which neighbours are shown")
    wnid: str | None = Field(None, description="only candidates of this class")
    candidate: str | None = Field(None, description="begin with this candidate, decided or not")


class QueueQuery(Query):
    """A page of the queue, the nearest pairs first."""

    metric: str = Field(description="metric of the distances")
    threshold: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="distance up to which neighbours count; the target by default"
    )
    wnid: str | None = Field(None, description="only candidates of this class")
    after: str | None = Field(None, description="next of the page before")
    limit: int = Field(10, ge=1, le=100, description="most candidates of a page")


class CandidateQuery(Query):
    """One candidate in one metric."""

    candidate: str = Field(description="id of the candidate")
    metric: str = Field(description="metric of the distances")
    threshold: float | None = Field(None, ge=0, allow_inf_nan=False, description="distance up to which neighbours are given")


class ProgressQuery(Query):
    """How much is left."""

    metric: str = Field(description="metric of the distances")
    threshold: float | None = Field(None, ge=0, allow_inf_nan=False, description="the chosen distance; the target by default")


class KnownItem(Answer):
    """What was said of the same two images in another metric or with the other one as the candidate."""

    metric: str
    near_duplicate: bool
    reviewer: str
    time: str


class NeighborItem(Answer):
    """A neighbour: ``waits`` for a decision, or is ``marked`` true or false in this metric; ``paired`` by any decision."""

    image: ImageItem
    distance: float
    waits: bool
    marked: bool | None
    paired: bool
    known: list[KnownItem]

    @classmethod
    def of(cls, view: NeighborView) -> NeighborItem:
        known = [KnownItem(**asdict(one)) for one in view.known]
        return cls(
            image=ImageItem.of(view.image),
            distance=view.distance,
            waits=view.waits,
            marked=view.marked,
            paired=view.paired,
            known=known,
        )


class PairsItem(Answer):
    """A candidate beside its neighbours. Decide with kind near_duplicate_review about ``item``."""

    item: str
    candidate: ImageItem
    class_name: str
    metric: str
    neighbors: list[NeighborItem]
    state: Any
    version: int

    @classmethod
    def of(cls, found: CandidatePairs) -> PairsItem:
        return cls(
            item=stage.review_item(found.candidate.id, found.metric),
            candidate=ImageItem.of(found.candidate),
            class_name=found.name,
            metric=found.metric,
            neighbors=[NeighborItem.of(one) for one in found.neighbors],
            state=found.state,
            version=found.version,
        )


class PairsQueueAnswer(Answer):
    """Candidates that wait; ``next`` is the ``after`` of the next page, null at the end."""

    items: list[PairsItem]
    next: str | None


class StepItem(Answer):
    """How many candidates wait at a threshold."""

    threshold: float
    left: int


class PairsProgressAnswer(Answer):
    """How much is left: candidates within the threshold, neighbours within the target, and candidates at other thresholds."""

    metric: str
    target: float
    threshold: float
    candidates: int
    left: int
    waiting: int
    steps: list[StepItem]
    current: bool
    recounting: bool
    computed: bool


def _progress(visit: Visit, metric: str, threshold: float | None) -> QueueProgress:
    found = stage.queue_progress(visit.study, visit.desk.memo, metric, threshold=threshold)
    if not found.current:
        visit.desk.counting.start(lambda stop: stage.refresh_queue(visit.study, stop=stop), name="pair queue")
    return found


def _pairs_page(visit: Visit, query: PairsQuery) -> Response:
    metrics = stage.review_metrics(visit.study)
    metric = query.metric or next(iter(metrics), "")
    if not metrics:
        return visit.render("pairs.html", metrics=metrics, metric="", query=query, progress=None, widest=0.0)
    progress = _progress(visit, metric, query.threshold)
    widest = max(left for _, left in progress.steps) or 1
    return visit.render("pairs.html", metrics=metrics, metric=metric, query=query, progress=progress, widest=widest)


def _queue(visit: Visit, query: QueueQuery, body: None) -> PairsQueueAnswer:
    found = stage.next_candidates(
        visit.study,
        visit.desk.memo,
        query.metric,
        threshold=query.threshold,
        wnid=query.wnid,
        after=query.after,
        limit=query.limit,
    )
    return PairsQueueAnswer(items=[PairsItem.of(one) for one in found.items], next=found.next)


def _candidate(visit: Visit, query: CandidateQuery, body: None) -> PairsItem:
    return PairsItem.of(stage.candidate_pairs(visit.study, visit.desk.memo, query.candidate, query.metric, threshold=query.threshold))


def _left(visit: Visit, query: ProgressQuery, body: None) -> PairsProgressAnswer:
    found = _progress(visit, query.metric, query.threshold)
    return PairsProgressAnswer(**asdict(found) | {"steps": [StepItem(threshold=t, left=n) for t, n in found.steps]})


PAGES = (Page(path="/pairs", handler=_pairs_page, query=PairsQuery, nav="Near-duplicates"),)
ENDPOINTS = (
    Endpoint(path="/pairs/queue", handler=_queue, query=QueueQuery, answer=PairsQueueAnswer, summary="Candidates that wait for review"),
    Endpoint(
        path="/pairs/candidate", handler=_candidate, query=CandidateQuery, answer=PairsItem, summary="One candidate beside its neighbours"
    ),
    Endpoint(
        path="/pairs/progress",
        handler=_left,
        query=ProgressQuery,
        answer=PairsProgressAnswer,
        summary="How much is left, at this and at other thresholds",
    ),
)
