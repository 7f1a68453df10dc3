"""Splitting an evaluation: whole batches go to other processes, which decode and classify, on this or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from retest.models._prepared import Batch, EvaluationImage, ExcludedImage, Job, input_name, prepare
from retest.models._runs import ModelError, classify
from retest.models.base import Classifier, Float32Array, Int64Array
from retest.models.names import ModelSpec
from retest.models.opening import RunParameters, open_classifiers


@dataclass(frozen=True, slots=True)
class Recipe:
    """How another process opens a model; what it opens must have the same fingerprint."""

    spec: ModelSpec
    run: RunParameters
    name: str

    def __call__(self) -> Classifier:
        return next(one for one in _opened(self.spec, self.run) if one.name == self.name)


@cache
def _opened(spec: ModelSpec, run: RunParameters) -> tuple[Classifier, ...]:
    return tuple(open_classifiers([spec], run=run))


@dataclass(frozen=True, slots=True)
class Ready:
    """A classifier that travels itself, pickled."""

    classifier: Classifier

    def __call__(self) -> Classifier:
        return self.classifier


@dataclass(frozen=True, slots=True)
class Order:
    """What one classifier shall do with a batch: the rows that it has not yet seen."""

    recipe: Callable[[], Classifier]
    fingerprint: str
    rows: tuple[int, ...]
    k: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one classifier made of a batch, or why it failed."""

    rows: Int64Array | None = None
    top: Int64Array | None = None
    scores: Float32Array | None = None
    failure: str = ""
    provenance: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def work(images: Mapping[int, EvaluationImage], orders: Sequence[Order | None]) -> tuple[dict[int, ExcludedImage], list[Answer | None]]:
    """Decode and classify one batch: runs in another process.

    Args:
        images: row -> image.
        orders: per classifier, None where it has nothing to do.

    Returns:
        what could not be decoded, and the answers in the order of ``orders``.
    """
    opened: list[Classifier | ModelError | None] = [None if order is None else _open(order) for order in orders]
    jobs = [Job(row, image, _preprocessors(row, orders, opened)) for row, image in images.items()]
    batch = Batch(len(images), prepare(jobs))
    listed = _Listed(images)
    answers = [
        None if order is None or one is None else _answer(order, one, batch, listed) for order, one in zip(orders, opened, strict=True)
    ]
    return batch.excluded, answers


class _Listed(Sequence[EvaluationImage]):
    """Images by row, as if all of the run were here."""

    def __init__(self, images: Mapping[int, EvaluationImage]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: Any) -> Any:
        return self._images[row]


def _open(order: Order) -> Classifier | ModelError:
    classifier = order.recipe()
    if classifier.fingerprint == order.fingerprint:
        return classifier
    problem = "is another one there than here: weights, preprocessing or versions of libraries differ between the processes"
    return ModelError(problem, item=f"model {classifier.name}", remedy="Install the same versions and give every worker the same files")


def _preprocessors(row: int, orders: Sequence[Order | None], opened: Sequence[Classifier | ModelError | None]) -> dict[str, Any]:
    return {
        input_name(one): one.preprocess
        for order, one in zip(orders, opened, strict=True)
        if order is not None and one is not None and not isinstance(one, ModelError) and row in order.rows
    }


def _answer(order: Order, one: Classifier | ModelError, batch: Batch, images: Sequence[EvaluationImage]) -> Answer:
    if isinstance(one, ModelError):
        return Answer(failure=str(one))
    rows = set(order.rows)
    items = [item for item in batch.items if item.row in rows]
    if not items:
        return Answer()
    try:
        found = classify(one, batch, items, images, k=order.k, name=input_name(one), lock=nullcontext())
    except ModelError as error:
        return Answer(failure=str(error))
    return Answer(*found, provenance=one.provenance, notes=tuple(getattr(one, "notes", ())))
