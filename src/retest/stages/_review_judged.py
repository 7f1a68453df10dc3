"""What has been judged of the predictions on one test set, kept up to date decision by decision.

A table of judgements can hold several hundred thousand; a page needs to know for every image how many labels wait, and for every model
its multi-label accuracy so far. Both are counted once and then adjusted for the images that were decided about since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from retest.analysis import proportion_interval
from retest.stages._review_prediction_index import Ints, PredictionIndex
from retest.stages._review_predictions import CORRECT, DONT_KNOW, PREDICTED_LABEL, WRONG, judged_labels, labelled_image
from retest.store import DecisionFilter, Tables

# Numbers of decisions are given before they are committed: a few that were late are looked at again.
_LATE = 16
_PAGE = 500


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """A model on a test set: top-1 accuracy over the ``labelled`` images, multi-label accuracy over the ``n`` that count so far.

    Fractions, None where no image counts; ``low`` to ``high`` is the 95 % Clopper-Pearson interval of ``multilabel``.
    """

    model: str
    labelled: int
    top1: float | None
    n: int
    multilabel: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class JudgingProgress:
    """How far a test set is judged. ``labels``: pairs of image and class that some model names and that are not the image's own
    label; ``waiting`` of them have no verdict. ``images`` have such labels, on ``images_done`` none waits.
    """

    labels: int
    waiting: int
    images: int
    images_done: int
    models: tuple[ModelProgress, ...]


class JudgedLabels:
    """Judgements of the predictions of an index, by image.

    ``waiting`` (n,) counts the classes that models name first, other than the label, without a verdict; ``judged`` (n,) all verdicts;
    ``unknown`` (n,) those of them that say don't know.

    Args:
        index: of a test set.
        tables: of the study.
    """

    def __init__(self, index: PredictionIndex, tables: Tables) -> None:
        n, m = len(index.images), len(index.models)
        self._index, self._lock = index, Lock()
        self._classes = {info.wnid: info.cid for info in tables.classes.all()}
        self._known = set(self._classes.values())
        self._verdicts: dict[int, dict[int, str]] = {}
        self._counted, self._right = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
        self.judged, self.unknown = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
        self._class_generation = tables.generations.of("classes")
        self._generation, self._newest = tables.generations.of("label_judgements"), tables.decisions.newest()
        self.waiting = self._named()
        self._labels = int(self.waiting.sum())
        self._to_judge = self.waiting > 0
        labels = index.labels
        self._labelled = [int(np.count_nonzero((labels >= 0) & (index.top[:, model, 0] >= 0))) for model in range(m)]
        self._top1 = [int(np.count_nonzero((labels >= 0) & (index.top[:, model, 0] == labels))) for model in range(m)]
        self._progress: JudgingProgress | None = None
        for image, verdicts in judged_labels(tables).items():
            if image in index.rows:
                self._set(index.rows[image], verdicts)

    def is_of(self, tables: Tables) -> bool:
        """Whether the classes of the study are still those that this was counted with."""
        return self._class_generation == tables.generations.of("classes")

    def update(self, tables: Tables) -> None:
        """Look at what was decided since."""
        generation = tables.generations.of("label_judgements")
        with self._lock:
            if generation == self._generation:
                return
            newest = tables.decisions.newest()
            images = [image for image in self._decided_since(tables) if image in self._index.rows]
            known = tables.judgements.of_images(images)
            for image in images:
                found = known.get(image, {})
                self._set(self._index.rows[image], {self._classes[w]: one.verdict for w, one in found.items() if w in self._classes})
            self._generation, self._newest, self._progress = generation, newest, None

    def _decided_since(self, tables: Tables) -> Iterable[str]:
        images: dict[str, None] = {}
        before: int | None = None
        while True:
            page = tables.decisions.page(DecisionFilter(kind=PREDICTED_LABEL), before=before, limit=2 * _LATE if before is None else _PAGE)
            images |= dict.fromkeys(labelled_image(decision.item)[0] for decision in page)
            if not page or page[-1].no <= self._newest - _LATE:
                return images
            before = page[-1].no

    def progress(self) -> JudgingProgress:
        """How far the test set is judged, and how the models do so far."""
        with self._lock:
            if self._progress is None:
                self._progress = self._count()
            return self._progress

    def _count(self) -> JudgingProgress:
        low, high = proportion_interval(self._right, np.maximum(self._counted, 1))
        models = tuple(
            ModelProgress(
                name,
                self._labelled[i],
                self._top1[i] / self._labelled[i] if self._labelled[i] else None,
                int(n),
                *((float(self._right[i] / n), float(low[i]), float(high[i])) if n else (None, None, None)),
            )
            for i, (name, n) in enumerate(zip(self._index.models, self._counted.tolist(), strict=True))
        )
        done = int(np.count_nonzero(self._to_judge & (self.waiting == 0)))
        return JudgingProgress(self._labels, int(self.waiting.sum()), int(np.count_nonzero(self._to_judge)), done, models)

    def _named(self) -> Ints:
        """(n,) classes of the study that some model names first, other than the label."""
        votes, labels = self._index.votes, self._index.labels
        rows = np.repeat(np.arange(len(labels)), np.diff(votes.run_start))
        others = (votes.run_class != labels[rows]) & np.isin(votes.run_class, np.array(sorted(self._known), dtype=np.int64))
        return np.bincount(rows[others], minlength=len(labels)).astype(np.int32)

    def _set(self, row: int, verdicts: Mapping[int, str]) -> None:
        before = self._verdicts.get(row, {})
        if before == verdicts:
            return
        self._add(row, before, -1)
        self._add(row, verdicts, 1)
        if verdicts:
            self._verdicts[row] = dict(verdicts)
        else:
            self._verdicts.pop(row, None)

    def _add(self, row: int, verdicts: Mapping[int, str], sign: int) -> None:
        """Add what these verdicts of an image contribute, or take it away, by the rule of :func:`_review_predictions.valid_classes`."""
        if not verdicts:
            return
        label = int(self._index.labels[row])
        self.judged[row] += sign * len(verdicts)
        self.unknown[row] += sign * sum(verdict == DONT_KNOW for verdict in verdicts.values())
        self.waiting[row] -= sign * sum(cid in verdicts for cid, _ in self._index.runs(row) if cid != label)
        all_known = {label: CORRECT, **verdicts} if label >= 0 else verdicts
        if CORRECT not in all_known.values():
            return  # an image without a valid class counts for no model
        first = self._index.top[row, :, 0]
        right, wrong = _is_one_of(first, all_known, CORRECT), _is_one_of(first, all_known, WRONG)
        self._right += sign * right
        self._counted += sign * (right | wrong)


def _is_one_of(first: Ints, verdicts: Mapping[int, str], wanted: str) -> NDArray[np.bool_]:
    found = np.zeros(len(first), dtype=bool)
    for cid, verdict in verdicts.items():
        if verdict == wanted:
            found |= first == cid
    return found
