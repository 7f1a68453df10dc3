"""What people say of labels that models predict: kind ``predicted_label``, item :func:`label_item` of image and class, a verdict as state.

*correct*: the image shows the class; *wrong*: it does not; *unclear*: the image does not tell, whoever looks; *dont_know*: this
reviewer cannot tell, somebody else may. A judgement is about the image and the class, so it holds in every test set and for every
model.

Multi-label accuracy follows from it (:func:`valid_classes`): an image counts for a model if the class that the model predicts for it
was judged correct or wrong; *unclear* and *dont_know* decide nothing, so the image counts for no model that predicts that class. The
image's own label counts as judged correct on images of which some label was judged, until somebody judges it otherwise: else models
would be measured on their mistakes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from retest.errors import InputError, NotFoundError
from retest.records import Predictions
from retest.stages._common import Stamp
from retest.stages._review_core import Role, State, register
from retest.stages._review_marks import check_images
from retest.store import Tables
from retest.study import Study

PREDICTED_LABEL = "predicted_label"
CORRECT, WRONG, UNCLEAR, DONT_KNOW = "correct", "wrong", "unclear", "dont_know"
VERDICTS = (CORRECT, WRONG, UNCLEAR, DONT_KNOW)


def label_item(image_id: str, wnid: str) -> str:
    """The item of an image and a class."""
    return f"{quote(image_id, safe='')}|{quote(wnid, safe='')}"


def labelled_image(item: str) -> tuple[str, str]:
    """(image, wnid) of an item.

    Raises:
        InputError: that is no such item.
    """
    image, bar, wnid = item.partition("|")
    pair = unquote(image), unquote(wnid)
    if not bar or label_item(*pair) != item:
        raise InputError("is no image with a class", item=item, remedy="Write IMAGE|WNID, each percent-encoded")
    return pair


class PredictedLabelKind:
    """Whether an image shows a class that some model predicts for it."""

    name, label, role = PREDICTED_LABEL, "predicted label", Role.ANNOTATOR

    def states(self, study: Study, tables: Tables, items: Sequence[str]) -> dict[str, State]:
        pairs = {item: labelled_image(item) for item in items}
        known = tables.judgements.of_images(sorted({image for image, _ in pairs.values()}))
        return {item: known[image][wnid].verdict for item, (image, wnid) in pairs.items() if wnid in known.get(image, {})}

    def check(self, study: Study, tables: Tables, wishes: Mapping[str, State]) -> None:
        pairs = [labelled_image(item) for item in wishes]
        check_images(tables, sorted({image for image, _ in pairs}))
        classes = {info.wnid for info in tables.classes.all()}
        for item, (_, wnid) in zip(wishes, pairs, strict=True):
            if wnid not in classes:
                raise NotFoundError("the study has no such class", item=wnid, remedy="Check the class")
            if wishes[item] is not None and wishes[item] not in VERDICTS:
                raise InputError(f"{wishes[item]!r} is no verdict", item=item, remedy=f"Use {', '.join(VERDICTS)} or null")

    def write(self, study: Study, tables: Tables, states: Mapping[str, State], stamp: Stamp) -> None:
        tables.judgements.remove(labelled_image(item) for item, verdict in states.items() if verdict is None)
        given = {labelled_image(item): verdict for item, verdict in states.items() if verdict is not None}
        tables.judgements.put(given, user=stamp.user, time=stamp.time)

    def images(self, item: str) -> tuple[str, ...]:
        return ()


def judged_labels(tables: Tables) -> dict[str, dict[int, str]]:
    """image -> class index -> verdict, of every judgement."""
    cids = {info.wnid: info.cid for info in tables.classes.all()}
    found: dict[str, dict[int, str]] = {}
    for one in tables.judgements.all():
        if one.wnid in cids:
            found.setdefault(one.image_id, {})[cids[one.wnid]] = one.verdict
    return found


def valid_classes(predictions: Predictions, judged: Mapping[str, Mapping[int, str]]) -> dict[str, set[int]]:
    """image -> classes that are valid for it, for the images that count for a model: those whose predicted class was judged.

    Args:
        predictions: of one model on one test set.
        judged: image -> class index -> verdict.
    """
    found: dict[str, set[int]] = {}
    for image, label, top in zip(predictions.image_ids, predictions.labels.tolist(), predictions.top[:, 0].tolist(), strict=True):
        verdicts = judged.get(image)
        if not verdicts:
            continue
        known = {label: CORRECT, **verdicts} if label >= 0 else dict(verdicts)
        if known.get(top) in (CORRECT, WRONG):
            found[image] = {cid for cid, verdict in known.items() if verdict == CORRECT}
    return found


register(PredictedLabelKind())
