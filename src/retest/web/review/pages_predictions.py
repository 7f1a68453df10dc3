"""Predictions: per image what models say and how many agree; each predicted label is judged, and multi-label accuracy follows."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import Response

from retest.stages import review_predictions as stage
from retest.stages.review_predictions import Board, JudgingProgress, PredictionFilter, SetName
from retest.web.review.models import ImageItem
from retest.web.review.models_predictions import (
    JudgingAnswer,
    ListAnswer,
    ModelProgressItem,
    PredictedClassItem,
    PredictionItem,
    PredictionsQueueAnswer,
    RowItem,
    SetItem,
    SetsAnswer,
)
from retest.web.review.visit import Endpoint, Page, Query, RefusedError, Visit

__all__ = ["ENDPOINTS", "PAGES"]

_LOOK_AGAIN_S = 10
_PATIENCE_S = 1.5
_PAGE = 48

Text = Annotated[str, Field(max_length=300)]


class SetQuery(Query):
    """A test set with predictions."""

    dataset: Text | None = Field(None, description="test set; the first revision with predictions by default")
    folder: Text = Field("", description="folder given to retest serve --predictions; empty: the study's own predictions")


class FilterQuery(SetQuery):
    """Which images of a test set, in which order."""

    show: Literal["all", "all_wrong", "disagreement"] = Field(
        "all", description="all_wrong: the most unanimous wrong answers first; disagreement: the most varied answers first"
    )
    wnid: Text | None = Field(None, description="only images of this class")
    predicted: Text | None = Field(None, description="only images for which some model names this class first")
    judged: Literal["any", "open", "done", "dont_know"] = Field(
        "any", description="open: some predicted label has no verdict; done: all have one; dont_know: somebody could not tell"
    )
    skip_reviewed: bool = Field(False, description="leave out images of classes that are reviewed")

    def filter(self) -> PredictionFilter:
        """As the stage wants it."""
        return PredictionFilter(
            show=self.show,
            wnid=self.wnid or None,
            predicted=self.predicted or None,
            judged=self.judged,
            skip_reviewed=self.skip_reviewed,
        )


class ListQuery(FilterQuery):
    """A page of the list."""

    after: str | None = Field(None, description="last image of the page before")
    limit: int = Field(_PAGE, ge=1, le=200, description="most images of a page")


class PlaceQuery(FilterQuery):
    """Images of a filter one by one, beginning with ``image``."""

    image: str | None = Field(None, description="begin with this image, whatever the filter")


class QueueQuery(FilterQuery):
    """The next images of a filter, or those before."""

    after: str | None = Field(None, description="the images that come after this one")
    before: str | None = Field(None, description="the images that come before this one, the nearest first")
    limit: int = Field(4, ge=1, le=20, description="most images")


class ImageQuery(SetQuery):
    """One image of a test set."""

    image: str = Field(description="id of the image")


# ----------------------------------------------------------------------------------------------------------- pages


def _moment(visit: Visit) -> int:
    return int(visit.desk.now() // _LOOK_AGAIN_S)


def _sets(visit: Visit) -> tuple[list[stage.PredictionSetRow], SetName | None]:
    return stage.list_sets(visit.study, visit.desk.predictions, visit.desk.memo, moment=_moment(visit))


def _name(visit: Visit, query: SetQuery) -> SetName | None:
    if query.dataset:
        return SetName(query.folder, query.dataset)
    rows, first = _sets(visit)
    return next((row.name for row in rows if row.name.folder == query.folder), None) if query.folder else first


def _board(visit: Visit, name: SetName) -> Board | None:
    """The test set, as it was before its files changed where they are being read anew; None while its index is made for the first time."""
    desk, moment = visit.desk, _moment(visit)

    def find() -> Board | None:
        return stage.open_board(desk.study, desk.predictions, desk.memo, name, moment=moment, stale=True)

    found = find()
    if found is None or not found.current:
        under_way = desk.predictions.start(desk.study, desk.memo, name, moment=moment)
        with suppress(TimeoutError):
            under_way.result(_PATIENCE_S if found is None else 0)
        found = find()
    return found


def _ready(visit: Visit, query: SetQuery) -> Board:
    name = _name(visit, query)
    if name is None:
        raise RefusedError(404, "There are no predictions", remedy="Run: retest evaluate")
    board = _board(visit, name)
    if board is None:
        raise RefusedError(503, "The predictions are being prepared", remedy="Ask again in a few seconds", headers={"Retry-After": "2"})
    return board


def _of(name: SetName | None) -> dict[str, str]:
    """What addresses name a test set by, also where none was asked for."""
    return {} if name is None else {"dataset": name.dataset, "folder": name.folder}


def _list_page(visit: Visit, query: ListQuery) -> Response:
    rows, _ = _sets(visit)
    name = _name(visit, query)
    board = None if name is None else _board(visit, name)
    page = None
    if board is not None:
        page = stage.list_images(visit.study, board, visit.desk.memo, query.filter(), after=query.after, limit=query.limit)
    return visit.render(
        "predictions.html",
        sets=rows,
        name=name,
        query=query,
        page=page,
        current=board is None or board.current,
        notes=(*visit.desk.predictions.unreadable, *(() if board is None else board.index.notes)),
        progress=None if board is None else board.judged.progress(),
        link=lambda to=name, **changes: query.address("/predictions", **{"after": None, **_of(to), **changes}),
        image_link=partial(query.address, "/predictions/image", of=PlaceQuery, **_of(name)),
    )


def _image_page(visit: Visit, query: PlaceQuery) -> Response:
    name = _name(visit, query)
    board = None if name is None else _board(visit, name)
    return visit.render(
        "prediction.html",
        name=name,
        query=query,
        progress=None if board is None else board.judged.progress(),
        back=query.address("/predictions", of=ListQuery, **_of(name)),
    )


# -------------------------------------------------------------------------------------------------------------- JSON


def _list(visit: Visit, query: ListQuery, body: None) -> ListAnswer:
    found = stage.list_images(visit.study, _ready(visit, query), visit.desk.memo, query.filter(), after=query.after, limit=query.limit)
    images = [
        RowItem(
            image=ImageItem.of(row.image),
            label=None if row.label < 0 else PredictedClassItem.of(row.label, row.label_class),
            best=None if row.best < 0 else PredictedClassItem.of(row.best, row.best_class),
            votes=row.votes,
            right=row.right,
            models=row.models,
            answers=row.answers,
            waiting=row.waiting,
            judged=row.judged,
        )
        for row in found.rows
    ]
    return ListAnswer(images=images, total=found.total, next=found.next)


def _queue(visit: Visit, query: QueueQuery, body: None) -> PredictionsQueueAnswer:
    found = stage.predictions_queue(
        visit.study,
        visit.desk.predictions,
        _ready(visit, query),
        visit.desk.memo,
        query.filter(),
        after=query.after,
        before=query.before,
        limit=query.limit,
    )
    return PredictionsQueueAnswer(items=[PredictionItem.of(one) for one in found.items], total=found.total, more=found.more)


def _image(visit: Visit, query: ImageQuery, body: None) -> PredictionItem:
    board = _ready(visit, query)
    return PredictionItem.of(stage.prediction_view(visit.study, visit.desk.predictions, board, visit.desk.memo, query.image))


def _progress(visit: Visit, query: SetQuery, body: None) -> JudgingAnswer:
    found: JudgingProgress = _ready(visit, query).judged.progress()
    models = [
        ModelProgressItem(model=m.model, labelled=m.labelled, top1=m.top1, n=m.n, multilabel=m.multilabel, low=m.low, high=m.high)
        for m in found.models
    ]
    return JudgingAnswer(labels=found.labels, waiting=found.waiting, images=found.images, images_done=found.images_done, models=models)


def _all_sets(visit: Visit, query: Query, body: None) -> SetsAnswer:
    return SetsAnswer(sets=[SetItem(folder=r.name.folder, dataset=r.name.dataset, models=r.models) for r in _sets(visit)[0]])


PAGES = (
    Page(path="/predictions", handler=_list_page, query=ListQuery, nav="Predictions"),
    Page(path="/predictions/image", handler=_image_page, query=PlaceQuery, within="/predictions"),
)
ENDPOINTS = (
    Endpoint(path="/predictions/sets", handler=_all_sets, answer=SetsAnswer, summary="Test sets with predictions"),
    Endpoint(path="/predictions", handler=_list, query=ListQuery, answer=ListAnswer, summary="Images of a test set by how models agree"),
    Endpoint(
        path="/predictions/queue",
        handler=_queue,
        query=QueueQuery,
        answer=PredictionsQueueAnswer,
        summary="The next images of a filter with all that models say",
    ),
    Endpoint(
        path="/predictions/image", handler=_image, query=ImageQuery, answer=PredictionItem, summary="One image with all that models say"
    ),
    Endpoint(
        path="/predictions/progress",
        handler=_progress,
        query=SetQuery,
        answer=JudgingAnswer,
        summary="How far a test set is judged, and multi-label accuracy so far",
    ),
)
