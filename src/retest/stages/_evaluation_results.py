"""Where an evaluation keeps its predictions: a folder, or a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import numpy as np

from retest.errors import InputError
from retest.models import read_predictions, write_predictions, write_published_predictions
from retest.records import Predictions
from retest.stages._prediction_files import store_predictions
from retest.study import Study


class Results(Protocol):
    """Where predictions are kept."""

    @property
    def parts(self) -> Path:
        """Folder of partial results."""

    def stored(self, dataset: str, model: str, key: str) -> Predictions | None:
        """What is kept for a model on a data set, if it has this run key."""

    def store(self, predictions: Predictions, key: str) -> None:
        """Keep predictions, atomically."""


class FolderResults:
    """Predictions in a folder: ``<data set>/<model>.parquet``, partial ones below ``.parts``.

    Args:
        folder: made when the first result is written.
        npy: write the published form (int64 (n, 5) ``.npy``) beside each file as well.
    """

    def __init__(self, folder: Path, *, npy: bool = False) -> None:
        self._folder, self._npy = folder, npy

    @property
    def parts(self) -> Path:
        return self._folder / ".parts"

    def path(self, dataset: str, model: str) -> Path:
        """Where predictions lie."""
        return self._folder / quote(dataset, safe="") / f"{quote(model, safe='')}.parquet"

    def stored(self, dataset: str, model: str, key: str) -> Predictions | None:
        path = self.path(dataset, model)
        if not path.is_file():
            return None
        try:
            found = read_predictions(path)
        except InputError:
            return None  # damaged: it is computed again and replaced
        if self._npy and not path.with_suffix(".npy").is_file():
            return None
        return found if found.provenance.get("run_key") == key else None

    def store(self, predictions: Predictions, key: str) -> None:
        path = self.path(predictions.dataset, predictions.model)
        if self._npy:
            top5 = replace(predictions, top=np.ascontiguousarray(predictions.top[:, :5]), scores=None)
            write_published_predictions(path.with_suffix(".npy"), top5)
        write_predictions(path, predictions)


class StudyResults:
    """Predictions in a study."""

    def __init__(self, study: Study) -> None:
        self._study = study

    @property
    def parts(self) -> Path:
        return self._study.folder / "cache" / "evaluate"

    def stored(self, dataset: str, model: str, key: str) -> Predictions | None:
        with self._study.database.read() as tables:
            entry = tables.predictions.get(dataset, model)
        if entry is None or entry.fingerprint != key or not (self._study.folder / entry.blob_key).is_file():
            return None
        return read_predictions(self._study.folder / entry.blob_key)

    def store(self, predictions: Predictions, key: str) -> None:
        store_predictions(self._study, predictions, fingerprint=key)
