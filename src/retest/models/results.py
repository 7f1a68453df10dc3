"""Predictions as Parquet files: one file per model and data set, with provenance, written atomically, read without pickle.

Columns: ``image_id`` string, ``label`` int64 (null where unknown), ``top_classes`` fixed-size list of int64 best first and,
where scores were kept, ``top_scores`` fixed-size list of float32. The key ``retest.predictions`` of the file's metadata
holds data set, model, provenance and notes as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import InputError, NotFoundError, UsageError
from retest.files import open_atomic
from retest.records import Predictions

METADATA_KEY = b"retest.predictions"
FORMAT_VERSION = 1


def check_predictions(predictions: Predictions) -> None:
    """Check that shapes, types and ids of the record fit together.

    Raises:
        InputError: they do not; says which part and how.
    """
    n = len(predictions.image_ids)
    item = f"predictions of {predictions.model} on {predictions.dataset}"
    remedy = "Rows of labels, top and scores must follow image_ids."
    if len(set(predictions.image_ids)) != n:
        raise InputError("an image id appears twice", item=item, remedy="Give each image once.")
    if predictions.labels.shape != (n,) or predictions.labels.dtype != np.int64:
        labels = predictions.labels
        raise InputError(f"labels must be int64 ({n},), not {labels.dtype} {labels.shape}", item=item, remedy=remedy)
    top = predictions.top
    if top.ndim != 2 or top.shape[0] != n or not top.shape[1] or top.dtype != np.int64:
        raise InputError(f"top must be int64 ({n}, k), not {top.dtype} {top.shape}", item=item, remedy=remedy)
    if predictions.scores is not None and (predictions.scores.shape != top.shape or predictions.scores.dtype != np.float32):
        scores = predictions.scores
        raise InputError(f"scores must be float32 {top.shape}, not {scores.dtype} {scores.shape}", item=item, remedy=remedy)


def write_predictions(path: Path | str, predictions: Predictions) -> None:
    """Write a Parquet file; it is whole or absent, whatever happens.

    Raises:
        InputError: the record is inconsistent, see :func:`check_predictions`.
        UsageError: provenance or notes cannot be written as JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_predictions(predictions)
    k = predictions.top.shape[1]
    columns = {
        "image_id": pa.array(predictions.image_ids, pa.string()),
        "label": pa.array(predictions.labels, pa.int64(), mask=predictions.labels < 0),
        "top_classes": pa.FixedSizeListArray.from_arrays(pa.array(predictions.top.ravel()), k),
    }
    if predictions.scores is not None:
        columns["top_scores"] = pa.FixedSizeListArray.from_arrays(pa.array(predictions.scores.ravel()), k)
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: _metadata(predictions)})
    with open_atomic(Path(path), durable=True) as file:
        pq.write_table(table, file, compression="zstd")


def _metadata(predictions: Predictions) -> bytes:
    content = {
        "version": FORMAT_VERSION,
        "dataset": predictions.dataset,
        "model": predictions.model,
        "provenance": dict(predictions.provenance),
        "notes": list(predictions.notes),
    }
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"provenance cannot be written as JSON ({error})",
            item=f"predictions of {predictions.model}",
            remedy="Use strings, numbers, lists and mappings of them.",
        ) from error


def read_predictions(path: Path | str) -> Predictions:
    """Read a file of :func:`write_predictions`.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not such a file, damaged, or of a newer version; says what was expected.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise NotFoundError("no such file", item=str(path), remedy="Name a Parquet file written by retest evaluate.")
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise _not_predictions(path, f"cannot be read as Parquet ({error})") from error
    metadata = _read_metadata(path, table.schema.metadata or {})
    _check_schema(path, table.schema)
    top = _matrix(table.column("top_classes"))
    scores = _matrix(table.column("top_scores")) if "top_scores" in table.column_names else None
    predictions = Predictions(
        dataset=metadata["dataset"],
        model=metadata["model"],
        image_ids=tuple(table.column("image_id").to_pylist()),
        labels=table.column("label").fill_null(-1).to_numpy().astype(np.int64, copy=False),
        top=top,
        scores=scores,
        provenance=metadata["provenance"],
        notes=tuple(metadata["notes"]),
    )
    check_predictions(predictions)
    return predictions


def read_predictions_header(path: Path | str) -> tuple[str, str]:
    """Data set and model of a file of :func:`write_predictions`, without reading its rows.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise NotFoundError("no such file", item=str(path), remedy="Name a Parquet file written by retest evaluate.")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _not_predictions(path, f"cannot be read as Parquet ({error})") from error
    metadata = _read_metadata(path, schema.metadata or {})
    return metadata["dataset"], metadata["model"]


def _not_predictions(path: Path, problem: str) -> InputError:
    return InputError(problem, item=str(path), remedy="Expected a predictions file written by retest; evaluate again to replace it.")


def _read_metadata(path: Path, metadata: dict[bytes, bytes]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        raise _not_predictions(path, f"has no metadata {METADATA_KEY.decode()!r}")
    try:
        content = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise _not_predictions(path, "its metadata is not JSON") from error
    expected = {"version": int, "dataset": str, "model": str, "provenance": dict, "notes": list}
    for name, kind in expected.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise _not_predictions(path, f"its metadata lacks {name!r}")
    if content["version"] > FORMAT_VERSION:
        raise InputError(
            f"is of version {content['version']}, this program knows {FORMAT_VERSION}", item=str(path), remedy="Update retest to read it."
        )
    return dict(content)


def _check_schema(path: Path, schema: Any) -> None:
    import pyarrow as pa

    expected = {"image_id": pa.types.is_string, "label": pa.types.is_int64}
    for name, fits in expected.items():
        if name not in schema.names or not fits(schema.field(name).type):
            raise _not_predictions(path, f"lacks the column {name!r} of the right type")
    sizes = set()
    for name, value, required in (("top_classes", pa.int64(), True), ("top_scores", pa.float32(), False)):
        if name not in schema.names and not required:
            continue
        if (
            name not in schema.names
            or not pa.types.is_fixed_size_list(schema.field(name).type)
            or schema.field(name).type.value_type != value
        ):
            raise _not_predictions(path, f"lacks the column {name!r} as a fixed-size list of {value}")
        sizes.add(schema.field(name).type.list_size)
    if len(sizes) != 1:
        raise _not_predictions(path, f"top_classes and top_scores differ in length: {sorted(sizes)}")


def _matrix(column: Any) -> NDArray[Any]:
    size = column.type.list_size
    if column.null_count:
        raise InputError("holds missing rows", item="top_classes or top_scores", remedy="Evaluate again to replace the file.")
    flat = column.combine_chunks().flatten()
    return np.array(flat.to_numpy(zero_copy_only=False)).reshape(-1, size)


def take_rows(predictions: Predictions, *, dataset: str, images: Sequence[tuple[str, int]]) -> Predictions:
    """Predictions on one of several data sets that were evaluated together.

    Args:
        predictions: rows for at least the images wanted.
        dataset: name of the data set that ``images`` make up.
        images: (image id, true class index or -1), in the order wanted.

    Raises:
        NotFoundError: images without a row; names the first and says how many.
    """
    row_of = {image: row for row, image in enumerate(predictions.image_ids)}
    missing = [image for image, _ in images if image not in row_of]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of {len(images)} images of {dataset} have no prediction by {predictions.model}",
            item=missing[0],
            remedy="Evaluate them first, or leave them out.",
        )
    rows = np.array([row_of[image] for image, _ in images], dtype=np.int64)
    return replace(
        predictions,
        dataset=dataset,
        image_ids=tuple(image for image, _ in images),
        labels=np.array([label for _, label in images], dtype=np.int64),
        top=predictions.top[rows],
        scores=None if predictions.scores is None else predictions.scores[rows],
    )
