"""Readers of ``datasets/``, ``dataset_reviews/`` and ``predictions/``."""

from __future__ import annotations

import io
import posixpath
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retest.benchmarks.imagenetv2.reading import Source
from retest.benchmarks.imagenetv2.records import RawPredictions
from retest.records import LARGEST_INTEGER, ClassReview, Revision

__all__ = ["read_class_reviews", "read_predictions", "read_revisions"]

ALIAS: Final = "_model"
REVIEW_SUFFIX: Final = "_review.json"
_FIELDS = frozenset({"sampling_function", "image_filenames", "is_valid", "seed", "starting_from", "username", "time_string"})


def read_revisions(source: Source, paths: Iterable[str]) -> Iterator[Revision]:
    """Revisions, named after their files. Every key that is no field of the record is kept in ``parameters``.

    ``is_valid`` is True where the file does not say (samples of the original validation set). ``starting_from`` is the
    previous revision's name without ".json".
    """
    for path in sorted(paths):
        name = _stem(path, ".json")
        values = {keys[0]: value for keys, value in source.items(path)}
        images = _images(source, path, values.get("image_filenames"))
        if images is None:
            if values:
                source.warn("malformed_record", path, name, "image_filenames is not a list of [image id, wnid]")
            continue
        revision = _revision(source, path, name, values, images)
        _check_revision(source, path, revision)
        yield revision


def read_class_reviews(source: Source, paths: Iterable[str]) -> Iterator[ClassReview]:
    """Reviews of all revisions; the revision's name comes from the file's."""
    for path in sorted(paths):
        revision = _stem(path, REVIEW_SUFFIX)
        for (wnid,), value in source.items(path):
            reviewed, problematic = (value.get("reviewed"), value.get("problematic")) if isinstance(value, dict) else (None, None)
            if not isinstance(reviewed, bool) or not isinstance(problematic, bool):
                source.warn("malformed_record", path, wnid, "not an object with reviewed and problematic (true or false)")
                continue
            source.check_class(wnid, path, wnid)
            yield ClassReview(revision, wnid, reviewed, problematic)


def read_predictions(source: Source, paths: Iterable[str], *, rows: Mapping[str, int] | None = None) -> Iterator[RawPredictions]:
    """Predictions exactly as stored, data set by data set, without ever unpickling.

    ``rows`` gives the number of images of each known revision: files of another length are left out with a warning, since
    their rows belong to no known images; files of unknown revisions are yielded with a warning.
    """
    seen: set[tuple[str, str]] = set()
    # "x.npy" sorts before "x_model.npy", so a plain name wins over its alias.
    for path in sorted(paths):
        dataset = posixpath.basename(posixpath.dirname(path))
        stem = _stem(path, ".npy")
        model = stem.removesuffix(ALIAS) or stem
        if (dataset, model) in seen:
            source.warn("duplicate_model", path, model, "the model has predictions under its own name as well; this file is left out")
            source.done(path)
            continue
        data = source.data(path)
        if data is None or (top := _array(source, path, data)) is None:
            continue
        if _check_rows(source, path, dataset, len(top), rows) and _check_top(source, path, top):
            seen.add((dataset, model))
            notes = () if model == stem else (f"the file is named {stem}",)
            yield RawPredictions(dataset, model, path, top, notes)


def _stem(path: str, suffix: str) -> str:
    return posixpath.basename(path).removesuffix(suffix)


def _images(source: Source, path: str, value: Any) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(value, list):
        return None
    pairs: list[tuple[str, str]] = []
    for position, pair in enumerate(value):
        if not isinstance(pair, list) or len(pair) != 2 or not {str}.issuperset(map(type, pair)):
            source.warn("malformed_record", path, position, f"{pair!r} is not [image id, wnid]; the revision is left out")
            return None
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _revision(source: Source, path: str, name: str, values: dict[str, Any], images: tuple[tuple[str, str], ...]) -> Revision:
    seed, valid = values.get("seed"), values.get("is_valid", True)
    if not isinstance(seed, int) or isinstance(seed, bool) or abs(seed) > LARGEST_INTEGER:
        source.warn("malformed_record", path, name, f"the seed is {seed!r}, not an integer of 64 bits; taken as 0")
        seed = 0
    if not isinstance(valid, bool):
        source.warn("malformed_record", path, name, f"is_valid is {valid!r}; taken as false")
        valid = False
    start = values.get("starting_from")
    if start is not None and not isinstance(start, str):
        source.warn("malformed_record", path, name, f"starting_from is {start!r}; left out")
        start = None
    return Revision(
        name=name,
        sampling_function=str(values.get("sampling_function") or ""),
        images=images,
        is_valid=valid,
        seed=seed,
        parameters={key: value for key, value in values.items() if key not in _FIELDS},
        starting_from=start.removesuffix(".json") if start else None,
        user=str(values.get("username") or ""),
        time=str(values.get("time_string") or ""),
    )


def _check_revision(source: Source, path: str, revision: Revision) -> None:
    ids = {image for image, _ in revision.images}
    if len(ids) != len(revision.images):
        source.warn("duplicate_image", path, revision.name, f"{len(revision.images) - len(ids)} images occur more than once")
    for wnid in sorted({wnid for _, wnid in revision.images}):
        source.check_class(wnid, path, revision.name)
    stated = revision.parameters.get("output_filename")
    if stated is not None and stated != f"{revision.name}.json":
        source.warn("other_name", path, revision.name, f"output_filename is {stated!r}")
    target = revision.parameters.get("target_size")
    if revision.is_valid and isinstance(target, int) and target != len(revision.images):
        source.warn("wrong_length", path, revision.name, f"is valid but holds {len(revision.images)} of {target} images")


# A header is a Python literal, which numpy tokenizes, parses and makes a dtype of.
_DAMAGED_HEADER = (ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError)


def _array(source: Source, path: str, data: bytes) -> NDArray[np.int64] | None:
    """The array of a .npy file. The header is checked against the length before anything is allocated."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except _DAMAGED_HEADER as error:
        source.warn("malformed_file", path, "", f"the file is not a numpy array ({error})")
        return None
    if dtype.hasobject or dtype.kind not in "iu" or len(shape) != 2 or shape[1] < 1:
        source.warn("malformed_file", path, "", f"holds {dtype} of shape {shape}, not integers of shape (images, classes)")
        return None
    body = data[stream.tell() :]
    if len(body) != shape[0] * shape[1] * dtype.itemsize:
        source.warn("malformed_file", path, "", f"holds {len(body)} bytes instead of those of {shape[0]} x {shape[1]} {dtype}")
        return None
    flat = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(flat, dtype=np.int64)


def _check_rows(source: Source, path: str, dataset: str, count: int, rows: Mapping[str, int] | None) -> bool:
    if rows is None:
        return True
    if dataset not in rows:
        source.warn("missing_revision", path, dataset, "predictions for a revision that is not here, so their images are unknown")
        return True
    if rows[dataset] != count:
        source.warn("wrong_length", path, dataset, f"holds {count} rows for {rows[dataset]} images; left out")
        return False
    return True


def _check_top(source: Source, path: str, top: NDArray[np.int64]) -> bool:
    largest = source.largest_cid
    if top.size and (top.min() < 0 or (largest is not None and top.max() > largest)):
        source.warn("class_index_out_of_range", path, "", f"holds class indices from {top.min()} to {top.max()}; left out")
        return False
    ordered = np.sort(top, axis=1)
    repeats = int((ordered[:, 1:] == ordered[:, :-1]).any(axis=1).sum())
    if repeats:
        source.warn("repeated_class", path, "", f"{repeats} rows name a class more than once")
    return True
