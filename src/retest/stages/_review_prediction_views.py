"""One image with all that models say of it: its labels with what was judged, original images of each, the guesses of every model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan

from retest.records import ClassInfo
from retest.stages._common import display_variant
from retest.stages._review_images import ImageView, view_images
from retest.stages._review_memo import Memo, generations_key
from retest.stages._review_names import classes_by_index
from retest.stages._review_prediction_index import PredictionIndex
from retest.stages._review_predictions import PREDICTED_LABEL, label_item
from retest.stages._review_shelf import Board, PredictionShelf
from retest.store import Decision, Tables
from retest.store.review_predictions import Judgement
from retest.study import Study

EXAMPLES = 4
"""Original images that are shown of a class."""


@dataclass(frozen=True, slots=True)
class LabelView:
    """A class that models name for an image, or the image's own label (``own``).

    ``votes`` models name it first, ``in_top5`` have it among their five. ``item`` is what is decided about, None where it cannot be
    judged: the study does not know the class or the image. ``examples`` are original images of the class with
    the SHA-256 of their bytes.
    """

    cid: int
    info: ClassInfo | None
    own: bool
    votes: int
    in_top5: int
    item: str | None
    state: str | None
    version: int
    user: str
    time: str
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Guess:
    """A class that a model names, with its score where scores were kept."""

    cid: int
    score: float | None


@dataclass(frozen=True, slots=True)
class ModelView:
    """What a model says of an image, best first; ``right`` is None where the label is unknown."""

    model: str
    right: bool | None
    guesses: tuple[Guess, ...]


@dataclass(frozen=True, slots=True)
class PredictionView:
    """An image with all that models say of it: the own label first, then the others by votes; ``waiting`` of them have no verdict."""

    image: ImageView
    label: int
    labels: tuple[LabelView, ...]
    models: tuple[ModelView, ...]
    waiting: int


def prediction_views(
    study: Study, tables: Tables, shelf: PredictionShelf, board: Board, memo: Memo, rows: Sequence[int]
) -> list[PredictionView]:
    """Images of a test set by their places in its index, each with all that models say of it."""
    index, infos = board.index, classes_by_index(tables, memo)
    images = view_images(study, tables, [index.images[row] for row in rows])
    items = {
        (row, cid): label_item(index.images[row], infos[cid].wnid)
        for row in rows
        if images[index.images[row]].kind != "unknown"
        for cid in _classes(index, row, _in_five(index, row))
        if cid in infos
    }
    latest = tables.decisions.latest(PREDICTED_LABEL, items.values())
    found = tables.judgements.of_images(images)
    examples = _Examples(study, tables, shelf)
    return [
        _view(index, infos, images[image], row, items, latest, found.get(image, {}), examples)
        for row, image in ((row, index.images[row]) for row in rows)
    ]


def _classes(index: PredictionIndex, row: int, in_five: Counter[int]) -> list[int]:
    """The own label, then the classes that models name first, then those among their five by how many have them."""
    label = int(index.labels[row])
    first = [cid for cid, _ in index.runs(row)]
    five = sorted(in_five, key=lambda cid: (-in_five[cid], cid))
    return list(dict.fromkeys([*([label] if label >= 0 else []), *first, *five]))


def _in_five(index: PredictionIndex, row: int) -> Counter[int]:
    """class -> models that have it among their five."""
    return Counter(cid for guesses in index.top[row].tolist() for cid in set(guesses) if cid >= 0)


def _view(
    index: PredictionIndex,
    infos: Mapping[int, ClassInfo],
    image: ImageView,
    row: int,
    items: dict[tuple[int, int], str],
    latest: dict[str, Decision],
    found: dict[str, Judgement],
    examples: _Examples,
) -> PredictionView:
    label, votes, in_five = int(index.labels[row]), dict(index.runs(row)), _in_five(index, row)
    labels = []
    for cid in _classes(index, row, in_five):
        info, item = infos.get(cid), items.get((row, cid))
        said, decision = (found.get(info.wnid) if info else None), latest.get(item or "")
        shown = info is not None and (cid == label or cid in votes)
        labels.append(
            LabelView(
                cid=cid,
                info=info,
                own=cid == label,
                votes=votes.get(cid, 0),
                in_top5=in_five[cid],
                item=item,
                state=said.verdict if said else None,
                version=decision.no if decision else 0,
                user=said.user if said else "",
                time=said.time if said else "",
                examples=examples.of(info.wnid, image.id) if info is not None and shown else (),
            )
        )
    top = index.top[row].tolist()
    scores = [None] * len(top) if index.scores is None else index.scores[row].tolist()
    models = tuple(
        ModelView(name, None if label < 0 else guesses[0] == label, _guesses(guesses, kept))
        for name, guesses, kept in zip(index.models, top, scores, strict=True)
        if guesses[0] >= 0
    )
    waiting = sum(one.item is not None and not one.own and one.votes > 0 and one.state is None for one in labels)
    return PredictionView(image, label, tuple(labels), models, waiting)


def _guesses(classes: list[int], scores: list[float] | None) -> tuple[Guess, ...]:
    kept = [nan] * len(classes) if scores is None else scores
    return tuple(Guess(cid, score if isfinite(score) else None) for cid, score in zip(classes, kept, strict=True) if cid >= 0)


class _Examples:
    """Stored original images of classes, kept as long as the originals do not change."""

    def __init__(self, study: Study, tables: Tables, shelf: PredictionShelf) -> None:
        self._tables, self._memo = tables, shelf.examples
        self._variant = display_variant(study.config.images)
        self._key = generations_key(tables.generations.of("originals", "variants"))

    def of(self, wnid: str, without: str) -> tuple[tuple[str, str], ...]:
        """(image, SHA-256) of some images of a class other than the one looked at."""
        load = partial(self._tables.judgements.examples, wnid, self._variant, limit=EXAMPLES + 1)
        return tuple(one for one in self._memo.get(wnid, self._key, load) if one[0] != without)[:EXAMPLES]
