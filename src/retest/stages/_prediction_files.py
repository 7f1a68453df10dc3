"""Where a study keeps predictions: one file per data set and model in its folder, found again through the database."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from retest.models import write_predictions
from retest.records import Predictions
from retest.store import PredictionSet
from retest.study import Study

Warned = tuple[str, str | None, str | None, str]
"""Kind, file, item and text of a warning that goes into the database with the predictions."""


def prediction_path(dataset: str, model: str) -> str:
    """Where the predictions of a model on a data set lie, relative to the study's folder; any text can be a name."""
    return f"predictions/{quote(dataset, safe='')}/{quote(model, safe='')}.parquet"


def store_predictions(study: Study, predictions: Predictions, *, fingerprint: str, warnings: Iterable[Warned] = ()) -> None:
    """Write a file, then the row that names it: a row never points to nothing.

    Args:
        study: an open study.
        predictions: of one model on one data set.
        fingerprint: by which it is known whether the same is there already.
        warnings: what an import has to tell of them.

    Raises:
        InputError: the record is inconsistent.
    """
    relative = prediction_path(predictions.dataset, predictions.model)
    write_predictions(study.folder / relative, predictions)
    entry = PredictionSet(predictions.dataset, predictions.model, relative, len(predictions.image_ids), fingerprint, predictions.notes)
    with study.database.write() as tables:
        tables.predictions.put(entry)
        tables.warnings.add("import", warnings)
