"""Stage: the predictions of models for reviewers (method, section 9): images by how models agree, one image with all that is said of it,
and how far the labels that models predict are judged.

The labels are judged by decisions of kind ``predicted_label``: see :mod:`retest.stages._review_predictions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.errors import NotFoundError, UsageError
from retest.records import ClassInfo
from retest.stages._review_checks import check_choice, check_limit
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_judged import JudgingProgress, ModelProgress
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_names import classes_by_index, known_classes
from retest.stages._review_prediction_views import Guess, LabelView, ModelView, PredictionView, prediction_views
from retest.stages._review_predictions import PREDICTED_LABEL, VERDICTS
from retest.stages._review_shelf import Board, PredictionShelf, SetName
from retest.store import Tables
from retest.study import Study

__all__ = [
    "JUDGED",
    "PREDICTED_LABEL",
    "SHOW",
    "VERDICTS",
    "Board",
    "Guess",
    "ImagePage",
    "ImageRow",
    "JudgingProgress",
    "LabelView",
    "ModelProgress",
    "ModelView",
    "PredictionFilter",
    "PredictionQueue",
    "PredictionSetRow",
    "PredictionShelf",
    "PredictionView",
    "SetName",
    "list_images",
    "list_sets",
    "open_board",
    "prediction_view",
    "predictions_queue",
    "prepare_board",
]

SHOW = ("all", "all_wrong", "disagreement")
JUDGED = ("any", "open", "done", "dont_know")
MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionFilter:
    """Which images, in which order.

    ``show``: all in the order of the test set; all_wrong: those that no model gets, the most unanimous wrong answers first;
    disagreement: the most varied answers first. ``wnid`` is the label, ``predicted`` a class that some model names first. ``judged``:
    open, some predicted label has no verdict; done, all have one; dont_know, somebody could not tell. ``skip_reviewed`` leaves out the
    images of classes that are reviewed: in the review of the revision, or because every label predicted for their images is judged.
    """

    show: str = "all"
    wnid: str | None = None
    predicted: str | None = None
    judged: str = "any"
    skip_reviewed: bool = False


@dataclass(frozen=True, slots=True)
class PredictionSetRow:
    """A test set with predictions."""

    name: SetName
    models: int


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image in the list. ``best`` is the class that most models name (``votes`` of ``models``), ``answers`` how many classes are named;
    classes that the study does not know are None beside their index. ``waiting`` labels have no verdict, ``judged`` have one.
    """

    image: ImageView
    label: int
    label_class: ClassInfo | None
    best: int
    best_class: ClassInfo | None
    votes: int
    right: int
    models: int
    answers: int
    waiting: int
    judged: int


@dataclass(frozen=True, slots=True)
class ImagePage:
    """A page of the list: of ``total`` images, ``next`` is the image to go on after (None: the end)."""

    rows: tuple[ImageRow, ...]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class PredictionQueue:
    """Images of a filter one after the other, of ``total``; ``more`` says whether it goes on."""

    items: tuple[PredictionView, ...]
    total: int
    more: bool


def list_sets(study: Study, shelf: PredictionShelf, memo: Memo, *, moment: int = 0) -> tuple[list[PredictionSetRow], SetName | None]:
    """Every test set with predictions, and the one to begin with: a revision where there is one."""
    with study.database.read() as tables:
        found = shelf.sets(study, tables, memo, moment=moment)
        revisions = memo.get("revision names", generations_key(tables.generations.of("revisions")), tables.revisions.names)
    rows = [PredictionSetRow(name, len(files)) for name, files in found.items()]
    own = [row.name for row in rows if not row.name.folder and row.name.dataset in revisions]
    return rows, next(iter([*own, *(row.name for row in rows)]), None)


def open_board(study: Study, shelf: PredictionShelf, memo: Memo, name: SetName, *, moment: int = 0, stale: bool = False) -> Board | None:
    """A test set with what was judged until now; None while it has to be prepared (:func:`prepare_board`).

    With ``stale`` one whose files have changed since is better than none; ``current`` is False then.

    Raises:
        NotFoundError: there are no such predictions.
        InputError: they cannot be read.
        StoreError: their index cannot be written.
    """
    with study.database.read() as tables:
        return shelf.board(study, tables, memo, name, moment=moment, stale=stale)


def prepare_board(study: Study, shelf: PredictionShelf, memo: Memo, name: SetName, *, moment: int = 0) -> Board:
    """A test set; its index is made here and now where that is needed.

    Raises:
        NotFoundError, InputError, StoreError: as :func:`open_board`.
    """
    found = open_board(study, shelf, memo, name, moment=moment)
    if found is None:
        shelf.prepare(study, memo, name, moment=moment)
        found = open_board(study, shelf, memo, name, moment=moment)
    if found is None:
        raise NotFoundError("the predictions changed while they were read", item=name.dataset, remedy="Try again")
    return found


# -------------------------------------------------------------------------------------------------------- the list


def list_images(
    study: Study, board: Board, memo: Memo, wanted: PredictionFilter, *, after: str | None = None, limit: int = 48
) -> ImagePage:
    """A page of the images of a filter.

    Args:
        study: an open study.
        board: a test set, see :func:`open_board`.
        memo: where classes are kept as long as they do not change.
        wanted: the filter.
        after: the last image of the page before.
        limit: images of a page, 1 to 200.

    Raises:
        UsageError: an unknown choice, or a limit out of range.
        NotFoundError: the test set has no image ``after``, or the study no such class.
    """
    _check(wanted, limit)
    with study.database.read() as tables:
        rows = _chosen(study, tables, memo, board, wanted)
        start = 0 if after is None else _place_of(board, wanted, rows, after, behind=True)
        page = rows[start : start + limit].tolist()
        infos = classes_by_index(tables, memo)
        views = view_images(study, tables, [board.index.images[row] for row in page])
    shown = tuple(_image_row(board, row, infos, views) for row in page)
    return ImagePage(shown, len(rows), shown[-1].image.id if start + limit < len(rows) else None)


def _check(wanted: PredictionFilter, limit: int) -> None:
    check_choice("show", wanted.show, SHOW)
    check_choice("judged", wanted.judged, JUDGED)
    check_limit(limit, MOST)


def _order(board: Board, show: str) -> NDArray[np.int32]:
    votes = board.index.votes
    if show == "all":
        return np.arange(len(board.index.images), dtype=np.int32)
    return votes.missed if show == "all_wrong" else votes.disputed


def _chosen(study: Study, tables: Tables, memo: Memo, board: Board, wanted: PredictionFilter) -> NDArray[np.int32]:
    """The rows of a filter in its order."""
    index, judged = board.index, board.judged
    keep = np.ones(len(index.images), dtype=bool)
    if wanted.wnid:
        keep &= index.labels == _cid(tables, memo, wanted.wnid)
    if wanted.predicted:
        runs = np.flatnonzero(index.votes.run_class == _cid(tables, memo, wanted.predicted))
        named = np.zeros_like(keep)
        named[np.searchsorted(index.votes.run_start, runs, side="right") - 1] = True
        keep &= named
    if wanted.judged == "open":
        keep &= judged.waiting > 0
    elif wanted.judged == "done":
        keep &= (judged.waiting == 0) & (judged.judged > 0)
    elif wanted.judged == "dont_know":
        keep &= judged.unknown > 0
    if wanted.skip_reviewed:
        keep &= ~np.isin(index.labels, _reviewed(tables, memo, board))
    order = _order(board, wanted.show)
    return order[keep[order]]


def _cid(tables: Tables, memo: Memo, wnid: str) -> int:
    classes = known_classes(tables, memo)
    if wnid not in classes:
        raise NotFoundError("the study has no such class", item=wnid, remedy="Search it under Classes")
    return classes[wnid].cid


def _reviewed(tables: Tables, memo: Memo, board: Board) -> NDArray[np.int32]:
    """Indices of the classes that are reviewed."""
    labels, judged = board.index.labels, board.judged
    known = labels >= 0
    waiting = np.bincount(labels[known], weights=judged.waiting[known])
    some = np.bincount(labels[known], weights=judged.judged[known])
    done = np.flatnonzero((waiting == 0) & (some > 0)).tolist()
    if not board.name.folder:
        key = generations_key(tables.generations.of("class_reviews", "classes"))
        flags = memo.get(
            ("reviewed classes", board.name.dataset),
            key,
            lambda: [wnid for wnid, review in tables.revisions.reviews(board.name.dataset).items() if review.reviewed],
        )
        classes = known_classes(tables, memo)
        done += [classes[wnid].cid for wnid in flags if wnid in classes]
    return np.array(done, dtype=np.int32)


def _place_of(board: Board, wanted: PredictionFilter, rows: NDArray[np.int32], image: str, *, behind: bool) -> int:
    """Where an image stands among ``rows``, or would stand: it may have left the filter since; ``behind``: the place after it."""
    row = board.index.rows.get(image)
    if row is None:
        raise NotFoundError("the test set has no such image", item=image, remedy="Start again at the first page")
    order = _order(board, wanted.show)
    rank = np.full(len(board.index.images), -1, dtype=np.int64)  # what is not in this order stands before it
    rank[order] = np.arange(len(order))
    return int(np.searchsorted(rank[rows], rank[row], side="right" if behind else "left"))


def _image_row(board: Board, row: int, infos: Mapping[int, ClassInfo], views: dict[str, ImageView]) -> ImageRow:
    index = board.index
    runs, label = index.runs(row), int(index.labels[row])
    best, votes = runs[0] if runs else (-1, 0)
    return ImageRow(
        image=views[index.images[row]],
        label=label,
        label_class=infos.get(label),
        best=best,
        best_class=infos.get(best),
        votes=votes,
        right=int(index.votes.right[row]),
        models=int(index.votes.predicting[row]),
        answers=len(runs),
        waiting=int(board.judged.waiting[row]),
        judged=int(board.judged.judged[row]),
    )


# ------------------------------------------------------------------------------------------------------- one image


def prediction_view(study: Study, shelf: PredictionShelf, board: Board, memo: Memo, image_id: str) -> PredictionView:
    """An image with all that models say of it.

    Raises:
        NotFoundError: the test set has no such image.
    """
    row = board.index.rows.get(image_id)
    if row is None:
        raise NotFoundError("the test set has no such image", item=image_id, remedy="See the list of predictions")
    with study.database.read() as tables:
        return prediction_views(study, tables, shelf, board, memo, [row])[0]


def predictions_queue(
    study: Study,
    shelf: PredictionShelf,
    board: Board,
    memo: Memo,
    wanted: PredictionFilter,
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int = 4,
) -> PredictionQueue:
    """The next images of a filter after one of them, or those before one of them (the nearest first).

    Raises:
        UsageError: an unknown choice, a limit out of range, or both ``after`` and ``before``.
        NotFoundError: the test set has no such image, or the study no such class.
    """
    _check(wanted, limit)
    if after is not None and before is not None:
        raise UsageError("give after or before, not both", remedy="Leave one of them out")
    with study.database.read() as tables:
        rows = _chosen(study, tables, memo, board, wanted)
        if before is not None:
            ahead = rows[: _place_of(board, wanted, rows, before, behind=False)][::-1]
        else:
            ahead = rows[0 if after is None else _place_of(board, wanted, rows, after, behind=True) :]
        items = prediction_views(study, tables, shelf, board, memo, ahead[:limit].tolist())
    return PredictionQueue(tuple(items), len(rows), len(ahead) > limit)
