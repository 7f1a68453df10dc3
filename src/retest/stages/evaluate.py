"""Stage: run classifiers on the original validation images and on revisions; predictions as Parquet files (method, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from retest.analysis import AccuracyRow, accuracy_rows
from retest.errors import NotFoundError, StageError
from retest.images import ImageParameters, load_rgb, variant_names
from retest.models import (
    Classifier,
    EvaluateParameters,
    EvaluationImage,
    evaluate,
    image_list_hash,
    read_predictions,
    run_key,
    write_predictions,
)
from retest.models.evaluate import EvaluationProgress
from retest.records import ImageVariant, Predictions, Split
from retest.stages._common import Progress, silent
from retest.store import BlobStore, PredictionSet
from retest.study import Study

ORIGINAL = "original"
"""Name of the data set of all original validation images."""


@dataclass(frozen=True, slots=True)
class EvaluationCounts:
    """What one run did for one data set."""

    dataset: str
    images: int
    models: int
    computed: int
    excluded: tuple[str, ...]


def dataset_images(study: Study, dataset: str) -> list[EvaluationImage]:
    """The images of a data set in order, with class indices as labels: ``original``, or the name of a revision.

    Raises:
        NotFoundError: there is no such data set, or an image is not stored.
        StageError: a class of the data set has no class index.
    """
    with study.database.read() as tables:
        cids = {info.wnid: info.cid for info in tables.classes.all()}
        if dataset == ORIGINAL:
            pairs = [(image.id, image.wnid) for image in tables.originals.all(split=Split.VAL) if image.wnid is not None]
            problems = tables.problems.all()
            pairs = [pair for pair in pairs if pair[0] not in problems]
        else:
            pairs = list(tables.revisions.get(dataset).images)
        stored = tables.variants.get((image for image, _ in pairs), variant_names(study.config.images)[0])
    if not pairs:
        raise NotFoundError("the data set is empty", item=dataset, remedy="Run: retest benchmark, then retest download")
    images = []
    for image, wnid in pairs:
        if wnid not in cids:
            raise StageError("the study does not know this class", item=wnid, remedy="Register the benchmark again")
        if image not in stored:
            raise NotFoundError("the image is not stored", item=image, remedy="Run: retest download --study STUDY")
        load = _Load(study.blobs, stored[image], study.config.images)
        # Another label is another question: it is part of what results are keyed by.
        images.append(EvaluationImage(image, cids[wnid], load, f"{stored[image].sha256}:{cids[wnid]}"))
    return images


@dataclass(frozen=True, slots=True)
class _Load:
    blobs: BlobStore
    variant: ImageVariant
    parameters: ImageParameters

    def __call__(self) -> NDArray[np.uint8]:
        return load_rgb(self.blobs.get(self.variant.blob_key), item=self.variant.image_id, parameters=self.parameters)


def evaluate_models(
    study: Study,
    datasets: Sequence[str],
    classifiers: Sequence[Classifier],
    *,
    parameters: EvaluateParameters | None = None,
    progress: Progress = silent,
) -> list[EvaluationCounts]:
    """Predict every data set with every classifier; what an equal earlier run has stored is not computed again."""
    settings = parameters or EvaluateParameters()
    return [_evaluate_one(study, dataset, classifiers, settings, progress) for dataset in datasets]


def _evaluate_one(
    study: Study, dataset: str, classifiers: Sequence[Classifier], settings: EvaluateParameters, progress: Progress
) -> EvaluationCounts:
    images = dataset_images(study, dataset)
    digest = image_list_hash((image.id, image.version) for image in images)
    keys = {c.name: run_key(c, dataset=dataset, images_sha256=digest, k=_kept(c, settings)) for c in classifiers}
    with study.database.read() as tables:
        known = {entry.model: entry for entry in tables.predictions.all() if entry.dataset == dataset}
    waiting = [c for c in classifiers if not _is_done(study, known.get(c.name), keys[c.name])]
    if not waiting:
        return EvaluationCounts(dataset, len(images), len(classifiers), 0, ())
    parts = study.folder / "cache" / "evaluate"
    parts.mkdir(parents=True, exist_ok=True)
    with progress(f"Evaluate on {dataset}", total=len(images)) as advance, ThreadPoolExecutor(study.config.study.workers) as pool:
        result = evaluate(images, waiting, dataset=dataset, part_dir=parts, parameters=settings, executor=pool, progress=_Advance(advance))
    for predictions in result.predictions:
        _store(study, predictions, keys[predictions.model])
    return EvaluationCounts(dataset, len(images), len(classifiers), len(waiting), tuple(f"{e.id}: {e.problem}" for e in result.excluded))


def _kept(classifier: Classifier, settings: EvaluateParameters) -> int:
    return min(settings.top_k or classifier.num_classes, classifier.num_classes)


class _Advance:
    """Turns the evaluation's totals into steps of a progress bar."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._seen = advance, 0

    def __call__(self, state: EvaluationProgress) -> None:
        done = state.images_done + state.images_excluded
        self._advance(done - self._seen)
        self._seen = done


def _is_done(study: Study, entry: PredictionSet | None, key: str) -> bool:
    return entry is not None and entry.fingerprint == key and (study.folder / entry.blob_key).is_file()


def _store(study: Study, predictions: Predictions, key: str) -> None:
    relative = f"predictions/{quote(predictions.dataset, safe='')}/{quote(predictions.model, safe='')}.parquet"
    path = study.folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, predictions)
    entry = PredictionSet(predictions.dataset, predictions.model, relative, len(predictions.image_ids), key, predictions.notes)
    with study.database.write() as tables:
        tables.predictions.put(entry)


def stored_predictions(study: Study, dataset: str | None = None) -> list[Predictions]:
    """The study's predictions, of one data set or of all.

    Raises:
        StageError: there are none.
    """
    with study.database.read() as tables:
        entries = [entry for entry in tables.predictions.all() if dataset in (None, entry.dataset)]
    if not entries:
        raise StageError("the study has no predictions", item=dataset, remedy="Run: retest evaluate --study STUDY")
    return [read_predictions(study.folder / entry.blob_key) for entry in entries]


def accuracy(study: Study) -> list[AccuracyRow]:
    """Accuracy of every model on every data set that has predictions."""
    return accuracy_rows(stored_predictions(study))
