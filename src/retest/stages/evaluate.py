"""Stage: run classifiers on test sets, of a study or not; predictions as Parquet files (method, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retest.analysis import AccuracyRow, accuracy_rows
from retest.errors import InputError, NotFoundError, StageError
from retest.images import ImageParameters, load_rgb, variant_names
from retest.models import (
    Classifier,
    EvaluateParameters,
    Evaluation,
    EvaluationImage,
    EvaluationProgress,
    EvaluationSet,
    evaluate_sets,
    read_predictions,
    set_run_key,
)
from retest.records import ImageVariant, Predictions, Split
from retest.stages._common import Progress, Stamp, silent
from retest.stages._evaluation_labels import check_classes, label_order_notes, unnamed_notes
from retest.stages._evaluation_machine import Machine, decoders, one_thread_each
from retest.stages._evaluation_results import FolderResults, Results, StudyResults
from retest.stages._evaluation_sets import KNOWN, ClassList, Places, TestSet, find_set
from retest.stages._processes import WorkerEndedError
from retest.store import BlobStore
from retest.study import Study, executor_slots

__all__ = [
    "KNOWN",
    "ORIGINAL",
    "EvaluationCounts",
    "EvaluationReport",
    "FolderResults",
    "Machine",
    "Places",
    "Results",
    "StudyResults",
    "TestSet",
    "accuracy",
    "dataset_images",
    "evaluate_models",
    "find_sets",
    "run_evaluation",
    "stored_predictions",
]

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


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What one run did: per data set; images of all sets together and distinct ones among them; models that failed; notes."""

    counts: tuple[EvaluationCounts, ...]
    images: int
    distinct: int
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    predictions: tuple[Predictions, ...] = field(repr=False, default=())


# ------------------------------------------------------------------------------------------------------- test sets


def find_sets(
    names: Sequence[str], *, study: Study | None = None, places: Places | None = None, progress: Progress = silent
) -> list[TestSet]:
    """Test sets by name: of the study where it has them (``original``, revisions), else released sets, benchmarks and folders.

    Raises:
        NotFoundError, UsageError, InputError, StageError: a set is not there, or not what it should be.
    """
    found = []
    for name in names:
        if study is not None and _is_of_study(study, name):
            found.append(_study_set(study, name))
        else:
            found.append(find_set(name, places or Places(), progress=progress))
    return found


def _is_of_study(study: Study, name: str) -> bool:
    if name == ORIGINAL:
        return True
    with study.database.read() as tables:
        return name in tables.revisions.names() or not ("=" in name or name in KNOWN or Path(name).is_dir())


def _study_set(study: Study, name: str) -> TestSet:
    with study.database.read() as tables:
        infos = sorted(tables.classes.all(), key=lambda info: info.cid)
    complete = [info.cid for info in infos] == list(range(len(infos)))
    names = tuple((info.wnid, *info.synset) for info in infos) if complete else ()
    # A study may hold a part of a benchmark's classes: the models know more of them then.
    return TestSet(
        EvaluationSet(name, dataset_images(study, name)), ClassList(names, complete=False) if len(names) >= 1000 else ClassList()
    )


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
        images.append(EvaluationImage(image, cids[wnid], load, stored[image].sha256))
    return images


@dataclass(frozen=True, slots=True)
class _Load:
    blobs: BlobStore
    variant: ImageVariant
    parameters: ImageParameters

    def __call__(self) -> NDArray[np.uint8]:
        return load_rgb(self.blobs.get(self.variant.blob_key), item=self.variant.image_id, parameters=self.parameters)


# ---------------------------------------------------------------------------------------------------------- running


def evaluate_models(
    study: Study,
    datasets: Sequence[str],
    classifiers: Sequence[Classifier],
    *,
    parameters: EvaluateParameters | None = None,
    progress: Progress = silent,
) -> list[EvaluationCounts]:
    """Predict data sets of a study with every classifier; what an equal earlier run has stored is not computed again.

    Raises:
        InputError: a classifier fails, or its classes are others than the test set's.
    """
    sets = [_study_set(study, name) for name in datasets]
    machine = Machine(workers=study.config.study.workers, lanes=1)
    report = run_evaluation(sets, classifiers, StudyResults(study), parameters=parameters, machine=machine, progress=progress)
    if report.failures:
        raise InputError(report.failures[0], remedy="The other models are done; run again after mending it")
    return list(report.counts)


def run_evaluation(
    sets: Sequence[TestSet],
    classifiers: Sequence[Classifier],
    results: Results,
    *,
    parameters: EvaluateParameters | None = None,
    machine: Machine | None = None,
    stamp: Stamp | None = None,
    progress: Progress = silent,
) -> EvaluationReport:
    """Predict every test set with every classifier in one pass; what an equal earlier run has stored is not computed again.

    Raises:
        InputError: the classes of a model are others than a test set's; nothing has run then.
        StoreError: results cannot be written.
    """
    settings, machine = parameters or EvaluateParameters(), machine or Machine()
    check_classes(sets, classifiers)
    keys = {(s.images.name, c.name): set_run_key(s.images, c, k=settings.top_k) for s in sets for c in classifiers}
    kept = {pair: record for pair, key in keys.items() if (record := results.stored(*pair, key)) is not None}
    missing = keys.keys() - kept.keys()
    waiting = [c for c in classifiers if any((s.images.name, c.name) in missing for s in sets)]
    failures: tuple[str, ...] = ()
    notes = [note for one in sets for note in one.notes]
    excluded: dict[str, list[str]] = {}
    if waiting:
        found = _run(sets, waiting, results.parts, list(kept.values()), settings, machine, progress)
        for predictions in found.predictions:
            pair = (predictions.dataset, predictions.model)
            if pair not in kept or predictions.image_ids != kept[pair].image_ids:
                kept[pair] = predictions = _stamped(predictions, stamp)
                results.store(predictions, keys[pair])
        for image in found.excluded:
            excluded.setdefault(image.dataset, []).append(f"{image.id}: {image.problem}")
        failures = tuple(failure.problem for failure in found.failures)
        notes += found.notes
    counts = tuple(_counts(one, classifiers, missing, excluded) for one in sets)
    records = tuple(kept[pair] for pair in keys if pair in kept)
    distinct = len({image.version or (s.images.name, image.id) for s in sets for image in s.images.images})
    total = sum(len(s.images.images) for s in sets)
    return EvaluationReport(
        counts, total, distinct, failures, (*notes, *unnamed_notes(sets, classifiers), *label_order_notes(records)), records
    )


def _counts(
    one: TestSet, classifiers: Sequence[Classifier], missing: Collection[tuple[str, str]], excluded: Mapping[str, list[str]]
) -> EvaluationCounts:
    name = one.images.name
    computed = sum((name, classifier.name) in missing for classifier in classifiers)
    return EvaluationCounts(name, len(one.images.images), len(classifiers), computed, tuple(excluded.get(name, ())))


def _stamped(predictions: Predictions, stamp: Stamp | None) -> Predictions:
    if stamp is None:
        return predictions
    return replace(predictions, provenance={**predictions.provenance, "date": stamp.time})


def _run(
    sets: Sequence[TestSet], classifiers: Sequence[Classifier], parts: Path, finished: Sequence[Predictions], settings: EvaluateParameters,
    machine: Machine, progress: Progress,
) -> Evaluation:  # fmt: skip
    parts.mkdir(parents=True, exist_ok=True)
    images = len({image.version or (s.images.name, image.id) for s in sets for image in s.images.images})
    label = f"Evaluate {len(classifiers)} models" if len(classifiers) > 1 else f"Evaluate {classifiers[0].name}"
    with (
        progress(label, total=images * len(classifiers)) as advance,
        decoders(sets, classifiers, images, machine) as decoding,
        one_thread_each(machine),
    ):
        return evaluate_sets(
            [one.images for one in sets],
            classifiers,
            part_dir=parts,
            parameters=settings,
            executor=decoding,
            executor_ended=(WorkerEndedError,),
            lanes=machine.lanes,
            workers=machine.cluster,
            workers_count=executor_slots(machine.cluster, otherwise=machine.workers),
            recipes=machine.recipes,
            progress=_Advance(advance, len(classifiers)),
            finished=finished,
            keep_going=True,
        )


class _Advance:
    """Turns the evaluation's totals into steps of a progress bar over (image, model) pairs."""

    def __init__(self, advance: Callable[[int], None], models: int) -> None:
        self._advance, self._models, self._seen = advance, models, 0

    def __call__(self, state: EvaluationProgress) -> None:
        done = state.images_done * self._models
        self._advance(done - self._seen)
        self._seen = done


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
