"""Records of the JSON interface to predictions."""

from __future__ import annotations

from retest.records import ClassInfo
from retest.stages.review_predictions import LabelView, PredictionView
from retest.web.review.models import Answer, ImageItem
from retest.web.review.visit import image_url

__all__ = [
    "JudgingAnswer",
    "ListAnswer",
    "ModelProgressItem",
    "PredictedClassItem",
    "PredictionItem",
    "PredictionsQueueAnswer",
    "RowItem",
    "SetItem",
    "SetsAnswer",
]


class PredictedClassItem(Answer):
    """A class that models name. ``wnid`` is null where the study does not know it."""

    cid: int
    wnid: str | None
    name: str
    synonyms: list[str]
    gloss: str

    @classmethod
    def of(cls, cid: int, info: ClassInfo | None) -> PredictedClassItem:
        if info is None:
            return cls(cid=cid, wnid=None, name=f"class {cid}", synonyms=[], gloss="")
        return cls(cid=cid, wnid=info.wnid, name=info.name, synonyms=list(info.synset[1:]), gloss=info.gloss)


class LabelItem(Answer):
    """A class beside what was judged. Decide with kind predicted_label about ``item``, null where it cannot be judged.

    ``own`` marks the image's own label; ``votes`` models name the class first, ``in_top5`` have it among their best five.
    """

    of: PredictedClassItem
    own: bool
    votes: int
    in_top5: int
    item: str | None
    state: str | None
    version: int
    user: str
    time: str
    examples: list[str]


class GuessItem(Answer):
    """A class index that a model names, with its score where scores were kept."""

    cid: int
    score: float | None


class ModelItem(Answer):
    """What a model says, best first."""

    model: str
    right: bool | None
    guesses: list[GuessItem]


class PredictionItem(Answer):
    """An image with all that models say of it; ``label`` is -1 where it is unknown."""

    image: ImageItem
    label: int
    labels: list[LabelItem]
    models: list[ModelItem]
    waiting: int

    @classmethod
    def of(cls, view: PredictionView) -> PredictionItem:
        return cls(
            image=ImageItem.of(view.image),
            label=view.label,
            labels=[_label(one) for one in view.labels],
            models=[
                ModelItem(model=m.model, right=m.right, guesses=[GuessItem(cid=g.cid, score=g.score) for g in m.guesses])
                for m in view.models
            ],
            waiting=view.waiting,
        )


class RowItem(Answer):
    """An image in the list: ``votes`` of ``models`` models say ``best``, ``right`` are right; ``waiting`` labels have no verdict."""

    image: ImageItem
    label: PredictedClassItem | None
    best: PredictedClassItem | None
    votes: int
    right: int
    models: int
    answers: int
    waiting: int
    judged: int


class ListAnswer(Answer):
    """A page of images; ``next`` is the ``after`` of the next page, null at the end."""

    images: list[RowItem]
    total: int
    next: str | None


class PredictionsQueueAnswer(Answer):
    """Images one after the other, of ``total``; ``more`` says whether it goes on."""

    items: list[PredictionItem]
    total: int
    more: bool


class ModelProgressItem(Answer):
    """A model: top-1 accuracy, and multi-label accuracy over the ``n`` images that count so far; fractions."""

    model: str
    labelled: int
    top1: float | None
    n: int
    multilabel: float | None
    low: float | None
    high: float | None


class JudgingAnswer(Answer):
    """How far a test set is judged: pairs of image and predicted label, images, and the models so far."""

    labels: int
    waiting: int
    images: int
    images_done: int
    models: list[ModelProgressItem]


class SetItem(Answer):
    """A test set with predictions."""

    folder: str
    dataset: str
    models: int


class SetsAnswer(Answer):
    """Every test set with predictions."""

    sets: list[SetItem]


def _label(view: LabelView) -> LabelItem:
    return LabelItem(
        of=PredictedClassItem.of(view.cid, view.info),
        own=view.own,
        votes=view.votes,
        in_top5=view.in_top5,
        item=view.item,
        state=view.state,
        version=view.version,
        user=view.user,
        time=view.time,
        examples=[image_url(image, sha256) for image, sha256 in view.examples],
    )
