"""The published study's prediction files: int64 (N, 5) ``.npy``, rows in the order of the data set's ``image_filenames``.

Some of them are stored worst first. That is told from the data alone, never from a name: see :func:`is_worst_first`.
"""

from __future__ import annotations

import tokenize
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, NotFoundError
from retest.files import open_atomic
from retest.models.results import check_predictions
from retest.records import Predictions

_ALIAS = "_model"
_CERTAINTY = 1e-6


def published_model_name(path: Path | str) -> str:
    """Model name of a published file: its stem without the alias ending ``_model``."""
    return Path(path).stem.removesuffix(_ALIAS)


def find_published_predictions(folder: Path | str) -> dict[str, Path]:
    """Model name -> file, sorted by name, for all ``.npy`` files of a folder.

    Raises:
        NotFoundError: there is no such folder.
        InputError: two files stand for the same model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError("no such folder", item=str(folder), remedy="Name a folder of .npy files, such as data/predictions/<data set>.")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.npy")):
        name = published_model_name(path)
        if name in found:
            raise InputError(f"{found[name].name} and {path.name} stand for the same model", item=name, remedy="Remove one of the two.")
        found[name] = path
    return dict(sorted(found.items()))


def is_worst_first(top: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether rows are ordered from the least to the most probable class.

    The rule: the last column is right more often than the first, and a fair coin would give so lopsided a count with a
    probability below one in a million (one-sided sign test over the images that either column gets right). A usable
    classifier is right most often with its first guess, so only a reversed file can fulfil it.

    Args:
        top: int64 (n, k).
        labels: int64 (n,), -1 where unknown; such rows say nothing.
    """
    from scipy.stats import binom

    if top.shape[1] < 2:
        return False
    first, last = int(np.sum(top[:, 0] == labels)), int(np.sum(top[:, -1] == labels))
    return last > first and float(binom.sf(last - 1, first + last, 0.5)) < _CERTAINTY


def correct_order(predictions: Predictions) -> Predictions:
    """Turn predictions that are stored worst first around and say so in the notes; others are returned as they are.

    The accuracy as stored stays available as ``provenance["top1_as_stored"]``.
    """
    if not is_worst_first(predictions.top, predictions.labels):
        return predictions
    known = predictions.labels >= 0
    stored = float(np.mean(predictions.top[known, 0] == predictions.labels[known]))
    turned = float(np.mean(predictions.top[known, -1] == predictions.labels[known]))
    note = (
        f"stored worst first and turned around: the last column is right on {turned:.2%} of the images, "
        f"the first on {stored:.2%} (top-1 as stored)"
    )
    return replace(
        predictions,
        top=np.ascontiguousarray(predictions.top[:, ::-1]),
        scores=None if predictions.scores is None else np.ascontiguousarray(predictions.scores[:, ::-1]),
        provenance={**predictions.provenance, "order_corrected": True, "top1_as_stored": stored},
        notes=(*predictions.notes, note),
    )


def read_published_predictions(
    path: Path | str,
    *,
    dataset: str,
    images: Sequence[tuple[str, int]],
    correct: bool = True,
) -> Predictions:
    """Read a published ``.npy`` file without pickle.

    Args:
        path: the file; its name gives the model, see :func:`published_model_name`.
        dataset: name of the data set.
        images: (image id, true class index or -1) in the order of the data set's ``image_filenames``.
        correct: turn a file that is stored worst first around, see :func:`correct_order`.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not an int64 table (len(images), k) of class indices, or would need pickle.
    """
    path = Path(path)
    top = _class_indices(path)
    if len(top) != len(images):
        raise InputError(
            f"has {len(top)} rows, {dataset} has {len(images)} images",
            item=str(path),
            remedy="Choose the data set that the file belongs to.",
        )
    predictions = Predictions(
        dataset=dataset,
        model=published_model_name(path),
        image_ids=tuple(image for image, _ in images),
        labels=np.array([label for _, label in images], dtype=np.int64),
        top=top.astype(np.int64),
        provenance={"file": path.name, "format": "published npy"},
    )
    check_predictions(predictions)
    return correct_order(predictions) if correct else predictions


def _class_indices(path: Path) -> NDArray[np.integer[Any]]:
    """The table (n, k) of a file."""
    if not path.is_file():
        raise NotFoundError("no such file", item=str(path), remedy="Name a .npy file of predictions.")
    try:
        top = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError, MemoryError) as error:  # what its header can bring about
        raise InputError(
            f"cannot be read as an array ({error})", item=str(path), remedy="Expected int64 (N, 5) in NumPy's format."
        ) from error
    if not isinstance(top, np.ndarray) or top.dtype.kind not in "iu" or top.ndim != 2 or not top.shape[1]:
        raise InputError("is not a table of class indices", item=str(path), remedy="Expected int64 (N, 5), best class first.")
    if top.size and int(top.min()) < 0:
        raise InputError("holds a negative class index", item=str(path), remedy="Expected class indices counted from 0.")
    return top


def write_published_predictions(path: Path | str, predictions: Predictions) -> None:
    """Write the class indices as the published form has them: int64 (N, k), best first, atomically.

    Raises:
        InputError: the record is inconsistent.
    """
    check_predictions(predictions)
    with open_atomic(Path(path), durable=True) as file:
        np.save(file, np.ascontiguousarray(predictions.top), allow_pickle=False)
