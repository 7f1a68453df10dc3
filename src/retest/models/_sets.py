"""Test sets of an evaluation: the distinct images among them, what earlier runs predicted, and the predictions at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.models._prepared import EvaluationImage, ExcludedImage
from retest.models._runs import Run, kept_classes
from retest.models.base import Classifier, Int64Array
from retest.models.parts import content_key, image_list_hash, run_key
from retest.records import Predictions


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A test set to evaluate on: its name and its images in order."""

    name: str
    images: Sequence[EvaluationImage]


def set_run_key(one: EvaluationSet, classifier: Classifier, *, k: int) -> str:
    """The completion key of a classifier on a test set: ids, contents, labels, fingerprint, preprocessing and k."""
    return run_key(classifier, dataset=one.name, images_sha256=_set_hash(one), k=kept_classes(classifier, k))


def _set_hash(one: EvaluationSet) -> str:
    # Another label is another question, although it changes no row.
    return image_list_hash((image.id, f"{image.version}:{image.label}") for image in one.images)


class Distinct:
    """The distinct images of several sets, in order of first appearance."""

    def __init__(self, sets: Sequence[EvaluationSet]) -> None:
        self.sets = sets
        self.images: list[EvaluationImage] = []
        self.row_of: dict[bytes, int] = {}
        self.rows: list[Int64Array] = []
        for one in sets:
            rows = np.zeros(len(one.images), dtype=np.int64)
            for position, image in enumerate(one.images):
                key = content_key(one.name, image.id, image.version)
                rows[position] = self.row_of.setdefault(key, len(self.images))
                if rows[position] == len(self.images):
                    self.images.append(image)
            self.rows.append(rows)
        self.keys: NDArray[np.uint8] = np.frombuffer(b"".join(self.row_of), dtype=np.uint8).reshape(-1, 32)


def take_finished(runs: Sequence[Run], distinct: Distinct, finished: Iterable[Predictions], k: int) -> None:
    """Enter the rows of earlier predictions with the same run key."""
    by_key = {record.provenance.get("run_key"): record for record in finished if record.scores is not None}
    for one, set_rows in zip(distinct.sets, distinct.rows, strict=True):
        row_of = {image.id: int(row) for image, row in zip(one.images, set_rows, strict=True)} if by_key else {}
        for run in runs:
            record = by_key.get(set_run_key(one, run.classifier, k=k)) if by_key else None
            if record is not None and record.scores is not None:
                rows = np.array([row_of[image] for image in record.image_ids], dtype=np.int64)
                run.enter(rows, record.top, record.scores)


def predictions_of(
    one: EvaluationSet, run: Run, rows: Int64Array, kept: NDArray[np.int64], left_out: Sequence[ExcludedImage], k: int
) -> Predictions:
    """The record of one classifier on one set, of its rows ``kept``, with provenance."""
    classifier = run.classifier
    images = [one.images[position] for position in kept.tolist()]
    return Predictions(
        dataset=one.name,
        model=classifier.name,
        image_ids=tuple(image.id for image in images),
        labels=np.array([image.label for image in images], dtype=np.int64),
        top=run.top[rows[kept]],
        scores=run.scores[rows[kept]],
        provenance={
            **(run.provenance or classifier.provenance),
            "fingerprint": classifier.fingerprint,
            "preprocessing": classifier.preprocessing,
            "images_sha256": _set_hash(one),
            "run_key": set_run_key(one, classifier, k=k),
            "part_key": run.key,
            "excluded_images": [item.id for item in left_out],
        },
        notes=(f"{len(left_out)} images could not be decoded and are left out",) if left_out else (),
    )
