"""One classifier's part of an evaluation: its rows, in memory and on the disk, and what it makes of a batch."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, RetestError
from retest.models._prepared import Batch, EvaluationImage, Item, input_name
from retest.models.base import Classifier, Float32Array, Int64Array, top_k
from retest.models.libraries import kind_and_line
from retest.models.parts import Part, PartFolder, part_key


class ModelError(InputError):
    """A classifier fails or breaks its contract; the others are not concerned."""


class Run:
    """One classifier's results so far over the distinct images of a run.

    Args:
        classifier: what classifies.
        keys: content key of every image, uint8 (n, 32).
        row_of: content key -> row.
        folder: where parts are kept.
        k: classes kept per image; 0 means all.
    """

    def __init__(self, classifier: Classifier, keys: NDArray[np.uint8], row_of: Mapping[bytes, int], folder: Path, k: int) -> None:
        self.classifier = classifier
        self.k = kept_classes(classifier, k)
        self.key = part_key(classifier, k=self.k)
        self.input_name = input_name(classifier)
        self.failure = ""
        self.notes: dict[str, None] = {}
        self.provenance: Mapping[str, Any] | None = None
        """What another process said of it, where that did the work."""
        self._keys, self._row_of = keys, row_of
        self.top: Int64Array = np.zeros((len(keys), self.k), dtype=np.int64)
        self.scores: Float32Array = np.zeros((len(keys), self.k), dtype=np.float32)
        self.done = np.zeros(len(keys), dtype=np.bool_)
        self._lock = nullcontext() if getattr(classifier, "thread_safe", False) else threading.Lock()
        description = {"model": classifier.name, "fingerprint": classifier.fingerprint, "preprocessing": classifier.preprocessing}
        self.parts = PartFolder(folder, self.key, {**description, "top_k": self.k})
        for part in self.parts.load(k=self.k):
            self._take_known(part)

    def _take_known(self, part: Part) -> None:
        rows = [self._row_of.get(key.tobytes(), -1) for key in part.keys]
        known = np.array([row >= 0 for row in rows], dtype=np.bool_)
        self.enter(np.array(rows, dtype=np.int64)[known], part.top[known], part.scores[known])

    def enter(self, rows: Int64Array, top: Int64Array, scores: Float32Array) -> None:
        """Enter rows that are done."""
        self.top[rows], self.scores[rows], self.done[rows] = top, scores, True

    def keep(self, rows: Int64Array, top: Int64Array, scores: Float32Array) -> None:
        """Put new rows on the disk, then enter them."""
        self.parts.save(Part(self._keys[rows], top, scores))
        self.enter(rows, top, scores)

    def waiting(self, batch: Batch) -> list[Item]:
        """The items of a batch that this classifier has not yet seen."""
        return [] if self.failure else [item for item in batch.items if not self.done[item.row]]

    def classify(self, batch: Batch, images: Sequence[EvaluationImage]) -> None:
        """Classify what is waiting of a batch and put it on the disk.

        Raises:
            ModelError: the classifier fails or breaks its contract.
        """
        items = self.waiting(batch)
        if items:
            rows, top, scores = classify(self.classifier, batch, items, images, k=self.k, name=self.input_name, lock=self._lock)
            self.keep(rows, top, scores)


def kept_classes(classifier: Classifier, k: int) -> int:
    """How many classes per image are kept: all of them with 0, never more than there are."""
    return min(k or classifier.num_classes, classifier.num_classes)


def classify(
    classifier: Classifier, batch: Batch, items: Sequence[Item], images: Sequence[EvaluationImage], *, k: int, name: str, lock: Any
) -> tuple[Int64Array, Int64Array, Float32Array]:
    """Rows, best classes and their scores of some items of a batch.

    Raises:
        ModelError: the classifier fails or breaks its contract.
    """
    shapes = {(item.inputs[name].shape, item.inputs[name].dtype) for item in items}
    if len(shapes) > 1:
        shown = sorted(str(shape) for shape, _ in shapes)
        raise _broken(classifier, f"preprocessing gave inputs of different shapes: {shown}")
    with lock:
        scores = _scored(classifier, batch.stacked(name, items))
    expected = (len(items), classifier.num_classes)
    if scores.shape != expected:
        raise _broken(classifier, f"predict gave scores of shape {scores.shape}, not {expected}")
    if not np.isfinite(scores).all():
        bad = int(np.argmin(np.isfinite(scores).all(axis=1)))
        raise _broken(classifier, f"the scores of image {images[items[bad].row].id} are not finite")
    return np.array([item.row for item in items], dtype=np.int64), *top_k(scores, k)


def _scored(classifier: Classifier, inputs: NDArray[Any]) -> Float32Array:
    try:
        return classifier.predict(inputs)
    except RetestError as error:
        raise ModelError(error.problem, item=error.item or f"model {classifier.name}", remedy=error.remedy) from error
    except Exception as error:  # the model's own code: whatever it raises is no fault of ours
        raise _broken(classifier, f"fails with {kind_and_line(error, most=300)}") from error


def _broken(classifier: Classifier, problem: str) -> ModelError:
    return ModelError(problem, item=f"model {classifier.name}", remedy="Check its weights and its preprocessing.")
