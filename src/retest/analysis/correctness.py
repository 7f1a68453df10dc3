"""Which models get which images of one test set right: the table behind every comparison of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.analysis.accuracy import checked_arrays, describe
from retest.errors import InputError, UsageError
from retest.records import Predictions


@dataclass(frozen=True, slots=True, eq=False)
class Correctness:
    """Top-1 results of several models on the same images of one test set.

    ``correct`` is bool (m, n) and ``predicted`` int64 (m, n), one row per model, one column per image in the order of
    ``image_ids``; ``labels`` are int64 (n,). Only images with known label that every model has are kept; ``notes`` say
    how many others there were.
    """

    dataset: str
    models: tuple[str, ...]
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    correct: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def row(self, model: str) -> NDArray[np.bool_]:
        """Results of one model, bool (n,).

        Raises:
            UsageError: the model is not in the table.
        """
        if model not in self.models:
            raise UsageError(f"no predictions on {self.dataset}", item=model, remedy=f"Models there: {', '.join(self.models)}.")
        row: NDArray[np.bool_] = self.correct[self.models.index(model)]
        return row


def correctness_table(predictions: Iterable[Predictions]) -> Correctness:
    """Align the predictions of several models on one test set by image id.

    Args:
        predictions: at least one record, all of one test set; the orders of the images may differ.

    Raises:
        InputError: the records are of different test sets, a model comes twice, labels contradict one another, or no
            labelled image is common to all.
    """
    records = list(predictions)
    _check_records(records)
    first = records[0]
    rows = _aligned_rows(records)
    labels = first.labels[rows[0]]
    predicted = np.empty((len(records), len(labels)), dtype=np.int64)
    for i, record in enumerate(records):
        if not np.array_equal(record.labels[rows[i]], labels):
            raise InputError(
                f"labels differ from those of {first.model}", item=describe(record), remedy="Evaluate both with the same class map."
            )
        predicted[i] = record.top[rows[i], 0]
    complete = len(labels) == len(first.image_ids)
    return Correctness(
        dataset=first.dataset,
        models=tuple(record.model for record in records),
        image_ids=first.image_ids if complete else tuple(first.image_ids[j] for j in rows[0]),
        labels=labels,
        predicted=predicted,
        correct=predicted == labels,
        notes=_notes(records, len(labels)),
    )


def _check_records(records: Sequence[Predictions]) -> None:
    if not records:
        raise InputError("no predictions to compare", remedy="Give the predictions of at least one model.")
    seen: set[str] = set()
    for record in records:
        checked_arrays(record)
        if record.dataset != records[0].dataset:
            raise InputError(
                f"not the same test set as {records[0].dataset}", item=describe(record), remedy="Compare models on one test set at a time."
            )
        if record.model in seen:
            raise InputError("predictions come twice", item=describe(record), remedy="Give each model once.")
        seen.add(record.model)


def _aligned_rows(records: Sequence[Predictions]) -> list[NDArray[np.intp]]:
    """For each record the rows of the labelled images that all records have, in the order of the first record."""
    first = records[0]
    keep = np.flatnonzero(first.labels >= 0)
    others = [_positions(record) for record in records if record.image_ids != first.image_ids]
    if others:
        keep = np.array([i for i in keep if all(first.image_ids[i] in position for position in others)], dtype=np.intp)
    if not len(keep):
        raise InputError("no labelled image is common to all models", item=first.dataset, remedy="Evaluate the models on the same images.")
    found = iter(others)
    return [keep if record.image_ids == first.image_ids else _rows_of(first, keep, next(found)) for record in records]


def _positions(record: Predictions) -> dict[str, int]:
    position = {image: row for row, image in enumerate(record.image_ids)}
    if len(position) < len(record.image_ids):
        raise InputError("an image comes twice", item=describe(record), remedy="Give one row per image.")
    return position


def _rows_of(first: Predictions, keep: NDArray[np.intp], position: Mapping[str, int]) -> NDArray[np.intp]:
    return np.array([position[first.image_ids[i]] for i in keep], dtype=np.intp)


def _notes(records: Sequence[Predictions], kept: int) -> tuple[str, ...]:
    most = max(len(record.image_ids) for record in records)
    return (f"{most - kept} of {most} images without a label or without predictions of some model are left out",) if kept < most else ()
