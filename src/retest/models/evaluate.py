"""Run classifiers over images: each image is decoded once for all of them, batch by batch, and a killed run resumes.

The engine is whatever stands behind :class:`retest.models.base.Classifier`; this module knows no deep-learning library.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retest.errors import ConfigError, ImageError, InputError, UsageError
from retest.models.base import Classifier, Float32Array, Int64Array, UInt8Array, top_k
from retest.models.parts import Part, PartFolder, image_list_hash, run_key
from retest.records import Predictions


@dataclass(frozen=True, slots=True)
class EvaluateParameters:
    """How an evaluation runs. Only ``top_k`` changes what is stored."""

    batch_size: int = field(default=64, metadata={"help": "images per batch; also what is lost at most when a run is killed"})
    top_k: int = field(default=5, metadata={"help": "classes kept per image, best first; 0 keeps the scores of all classes"})
    batches_ahead: int = field(default=1, metadata={"help": "batches decoded while another is being classified"})

    def __post_init__(self) -> None:
        for name, smallest in (("batch_size", 1), ("top_k", 0), ("batches_ahead", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ConfigError(f"must be a whole number of at least {smallest}, not {value!r}", item=name, remedy=f"Set {name} higher.")


class EvaluationImage(NamedTuple):
    """An image to classify.

    ``label`` is the true class index, -1 where unknown. ``load`` gives upright RGB, uint8 (height, width, 3), and raises
    :class:`~retest.errors.ImageError` when the image cannot be used. ``version`` says which content the id stands for (its
    hash, say): results of another version are not reused.
    """

    id: str
    label: int
    load: Callable[[], UInt8Array]
    version: str = ""


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that no classifier is judged on because it could not be decoded."""

    id: str
    reason: str
    problem: str


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """State after a batch. ``rows_reused`` are (image, classifier) pairs that an earlier run had done."""

    images_done: int
    images_total: int
    images_excluded: int
    rows_reused: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions per classifier, in the order given, all over the same images; what was left out; what was noticed."""

    predictions: tuple[Predictions, ...]
    excluded: tuple[ExcludedImage, ...]
    notes: tuple[str, ...] = ()


Progress = Callable[[EvaluationProgress], None]


def evaluate(
    images: Iterable[EvaluationImage | tuple[str, int, Callable[[], UInt8Array]]],
    classifiers: Sequence[Classifier],
    *,
    dataset: str,
    part_dir: Path | str,
    parameters: EvaluateParameters | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    finished: Iterable[Predictions] = (),
) -> Evaluation:
    """Classify every image with every classifier.

    Finished batches are kept under ``part_dir`` and reused by a later call with the same data set name, image list,
    fingerprint, preprocessing and k; a killed call therefore continues at its batch. An image that cannot be decoded is
    tried again by the next call, and excluded from the results of all classifiers alike.

    Args:
        images: what to classify; read once, held as ids, labels and loaders, never as pixels.
        classifiers: with distinct names.
        dataset: name of the data set, recorded with the results.
        part_dir: folder of partial results.
        parameters: batch size, k, look-ahead.
        executor: decodes and preprocesses ahead of the classifiers; without one this happens in turn. A pool of processes
            needs loaders and preprocessing that can be pickled.
        progress: called after every batch, finished ones included.
        finished: predictions of earlier calls; those with the same run key are reused like partial results.

    Raises:
        UsageError: no classifier, or two of the same name.
        InputError: an image id appears twice, a label is no class of some classifier, or a classifier breaks its contract.
        StoreError: a partial result cannot be written.
    """
    parameters = parameters or EvaluateParameters()
    listed = [EvaluationImage(*image) for image in images]
    _check_classifiers(classifiers)
    _check_images(listed, classifiers)
    images_sha256 = image_list_hash((image.id, image.version) for image in listed)
    runs = [_Run(classifier, listed, dataset, images_sha256, Path(part_dir), parameters.top_k) for classifier in classifiers]
    _take_finished(runs, listed, finished)
    reused = sum(int(run.done.sum()) for run in runs)
    excluded: dict[int, ExcludedImage] = {}
    done = 0
    with closing(_prepared(listed, runs, parameters, executor)) as batches:
        for batch in batches:
            excluded.update((item.row, item.excluded) for item in batch.items if item.excluded is not None)
            for run in runs:
                run.classify([item for item in batch.items if item.excluded is None and not run.done[item.row]])
            done += batch.size
            if progress is not None:
                progress(EvaluationProgress(done, len(listed), len(excluded), reused))
    return _finish(listed, runs, excluded, images_sha256)


def _take_finished(runs: Sequence[_Run], images: Sequence[EvaluationImage], finished: Iterable[Predictions]) -> None:
    by_key = {record.provenance.get("run_key"): record for record in finished if record.scores is not None}
    row_of = {image.id: row for row, image in enumerate(images)} if by_key else {}
    for run in runs:
        record = by_key.get(run.key)
        if record is not None and record.scores is not None:
            rows = np.array([row_of[image] for image in record.image_ids], dtype=np.int64)
            run.take(Part(rows, record.top, record.scores))


def _check_classifiers(classifiers: Sequence[Classifier]) -> None:
    if not classifiers:
        raise UsageError("no classifier given", item="classifiers", remedy="Name at least one model.")
    names = [classifier.name for classifier in classifiers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError("two classifiers of this name", item=repeated[0], remedy="Give each model its own name.")


def _check_images(images: Sequence[EvaluationImage], classifiers: Sequence[Classifier]) -> None:
    seen: set[str] = set()
    for image in images:
        if image.id in seen:
            raise InputError("appears twice in the image list", item=image.id, remedy="Give each image once.")
        seen.add(image.id)
        for classifier in classifiers:
            if not -1 <= image.label < classifier.num_classes:
                raise InputError(
                    f"has label {image.label}, {classifier.name} knows the classes 0 to {classifier.num_classes - 1}",
                    item=image.id,
                    remedy="Check the class order of the data set and the model.",
                )


# ---------------------------------------------------------------------------------------------- decoding, once


@dataclass(frozen=True, slots=True)
class _Item:
    row: int
    inputs: Mapping[str, NDArray[Any]]
    """Model input per distinct preprocessing."""
    excluded: ExcludedImage | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    size: int
    items: Sequence[_Item]


def _prepared(
    images: Sequence[EvaluationImage], runs: Sequence[_Run], parameters: EvaluateParameters, executor: Executor | None
) -> Generator[_Batch, None, None]:
    """Batches of decoded images, at most ``batches_ahead`` of them in advance; finished rows are not decoded."""
    ahead: deque[tuple[int, list[_Item] | list[Future[_Item]]]] = deque()
    try:
        for start in range(0, len(images), parameters.batch_size):
            rows = range(start, min(start + parameters.batch_size, len(images)))
            jobs = [(row, images[row], _preprocessors(runs, row)) for row in rows if not all(run.done[row] for run in runs)]
            if executor is None:
                yield _Batch(len(rows), [_prepare(*job) for job in jobs])
                continue
            ahead.append((len(rows), [executor.submit(_prepare, *job) for job in jobs]))
            if len(ahead) > parameters.batches_ahead:
                yield _collect(ahead)
        while ahead:
            yield _collect(ahead)
    finally:
        for _, waiting in ahead:
            for future in waiting:
                if isinstance(future, Future):
                    future.cancel()


def _collect(ahead: deque[tuple[int, list[_Item] | list[Future[_Item]]]]) -> _Batch:
    size, waiting = ahead[0]
    items = [future.result() if isinstance(future, Future) else future for future in waiting]
    ahead.popleft()
    return _Batch(size, items)


def _preprocessors(runs: Sequence[_Run], row: int) -> dict[str, Callable[[UInt8Array], NDArray[Any]]]:
    return {run.classifier.preprocessing: run.classifier.preprocess for run in runs if not run.done[row]}


def _prepare(row: int, image: EvaluationImage, preprocessors: Mapping[str, Callable[[UInt8Array], NDArray[Any]]]) -> _Item:
    try:
        rgb = image.load()
    except ImageError as error:
        return _Item(row, {}, ExcludedImage(image.id, error.reason, str(error)))
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(
            f"its loader gave {rgb.dtype} {rgb.shape}", item=image.id, remedy="A loader must give upright RGB, uint8 (height, width, 3)."
        )
    return _Item(row, {name: preprocess(rgb) for name, preprocess in preprocessors.items()})


# ------------------------------------------------------------------------------------------------- classifying


class _Run:
    """One classifier's results so far, in memory and on the disk."""

    def __init__(
        self, classifier: Classifier, images: Sequence[EvaluationImage], dataset: str, images_sha256: str, folder: Path, k: int
    ) -> None:
        self.classifier = classifier
        self.dataset = dataset
        self.k = min(k or classifier.num_classes, classifier.num_classes)
        self.key = run_key(classifier, dataset=dataset, images_sha256=images_sha256, k=self.k)
        self._images = images
        self.top: Int64Array = np.zeros((len(images), self.k), dtype=np.int64)
        self.scores: Float32Array = np.zeros((len(images), self.k), dtype=np.float32)
        self.done = np.zeros(len(images), dtype=np.bool_)
        self.parts = PartFolder(
            folder,
            self.key,
            {
                "dataset": dataset,
                "images": len(images),
                "images_sha256": images_sha256,
                "model": classifier.name,
                "fingerprint": classifier.fingerprint,
                "preprocessing": classifier.preprocessing,
                "top_k": self.k,
            },
        )
        for part in self.parts.load(images=len(images), k=self.k):
            self.take(part)

    def take(self, part: Part) -> None:
        """Enter rows that are done."""
        self.top[part.rows] = part.top
        self.scores[part.rows] = part.scores
        self.done[part.rows] = True

    def classify(self, items: Sequence[_Item]) -> None:
        """Classify a batch and put it on the disk; nothing to do for an empty one."""
        if not items:
            return
        inputs = [item.inputs[self.classifier.preprocessing] for item in items]
        if len({(array.shape, array.dtype) for array in inputs}) > 1:
            raise self._broken(f"preprocessing gave inputs of different shapes: {sorted({str(array.shape) for array in inputs})}")
        scores = self.classifier.predict(np.stack(inputs))
        expected = (len(items), self.classifier.num_classes)
        if scores.shape != expected:
            raise self._broken(f"predict gave scores of shape {scores.shape}, not {expected}")
        if not np.isfinite(scores).all():
            bad = int(np.argmin(np.isfinite(scores).all(axis=1)))
            raise self._broken(f"the scores of image {self._images[items[bad].row].id} are not finite")
        rows = np.array([item.row for item in items], dtype=np.int64)
        part = Part(rows, *top_k(scores, self.k))
        self.parts.save(part)
        self.take(part)

    def _broken(self, problem: str) -> InputError:
        return InputError(problem, item=f"model {self.classifier.name}", remedy="Check its weights and its preprocessing.")


def _finish(
    images: Sequence[EvaluationImage], runs: Sequence[_Run], excluded: Mapping[int, ExcludedImage], images_sha256: str
) -> Evaluation:
    kept = np.array([row for row in range(len(images)) if row not in excluded], dtype=np.int64)
    ids = tuple(images[row].id for row in kept)
    labels = np.array([images[row].label for row in kept], dtype=np.int64)
    left_out = tuple(excluded[row] for row in sorted(excluded))
    predictions = tuple(
        Predictions(
            dataset=run.dataset,
            model=run.classifier.name,
            image_ids=ids,
            labels=labels,
            top=run.top[kept],
            scores=run.scores[kept],
            provenance={
                **run.classifier.provenance,
                "fingerprint": run.classifier.fingerprint,
                "preprocessing": run.classifier.preprocessing,
                "images_sha256": images_sha256,
                "run_key": run.key,
                "excluded_images": [item.id for item in left_out],
            },
            notes=(f"{len(left_out)} images could not be decoded and are left out",) if left_out else (),
        )
        for run in runs
    )
    notes = tuple(f"{path} is damaged; its rows were computed again" for run in runs for path in run.parts.unreadable)
    return Evaluation(predictions, left_out, notes)
