"""The compare variants of many images as one memory-mapped matrix, built once and found again by its contents."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retest.images import ImageParameters, compare_array
from retest.records import ImageVariant
from retest.stages._common import Progress, completion_key, in_order
from retest.stages._rows import ImageSource, Rows, remove_files, writing_rows
from retest.store import BlobStore
from retest.study import Study

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class PixelMatrix:
    """The compare variants uint8 (n, side, side, 3); row i belongs to ``ids[i]``, which ascend."""

    rows: Rows
    ids: tuple[str, ...]
    source: ImageSource

    def open(self) -> NDArray[np.uint8]:
        """The array, memory-mapped read-only."""
        return self.rows.open()


def pixel_matrix(study: Study, variants: Sequence[ImageVariant], *, progress: Progress) -> PixelMatrix:
    """The matrix of these compare variants; built once, then found again by its contents.

    What an older matrix of the study holds is copied, so that a study that grows decodes only its new images.
    """
    parameters = study.config.images
    variants = sorted(variants, key=lambda variant: variant.image_id)
    side = parameters.compare_side
    key = completion_key("pixels-1", side, [(v.image_id, v.sha256) for v in variants])
    folder = study.folder / "cache"
    folder.mkdir(exist_ok=True)
    rows = Rows(key, folder / f"pixels-{side}-{key}.u8", (len(variants), side, side, 3), "uint8")
    matrix = PixelMatrix(rows, tuple(v.image_id for v in variants), ImageSource(tuple(v.blob_key for v in variants), parameters))
    if not rows.is_here():
        _build_pixels(study, variants, rows, parameters, progress)
    return matrix


def _build_pixels(study: Study, variants: Sequence[ImageVariant], rows: Rows, parameters: ImageParameters, progress: Progress) -> None:
    older = _older_matrices(rows)
    load = _Loader(study.blobs, parameters, older)
    with (
        writing_rows(rows.path) as file,
        ThreadPoolExecutor(study.config.study.workers) as pool,
        progress("Read pixels", total=len(variants)) as advance,
    ):
        for pixels in in_order(pool, load, variants, window=8 * study.config.study.workers):
            file.write(pixels.tobytes())
            advance(1)
    digests = _digest_path(rows.path)
    with writing_rows(digests) as file:
        file.write(b"".join(bytes.fromhex(v.sha256) for v in variants))
    remove_files(path for matrix in older.paths for path in (matrix, _digest_path(matrix)))


@dataclass(frozen=True, slots=True)
class _Older:
    """Rows of older matrices by the SHA-256 of the image."""

    paths: tuple[Path, ...]
    arrays: tuple[NDArray[np.uint8], ...]
    places: dict[bytes, tuple[int, int]]


def _older_matrices(rows: Rows) -> _Older:
    paths: list[Path] = []
    arrays: list[NDArray[np.uint8]] = []
    places: dict[bytes, tuple[int, int]] = {}
    for path in sorted(rows.path.parent.glob(f"pixels-{rows.shape[1]}-*.u8")):
        try:
            digests = _digest_path(path).read_bytes()
        except OSError:
            continue
        count = len(digests) // _DIGEST_BYTES
        old = Rows("", path, (count, *rows.shape[1:]), "uint8")
        if path == rows.path or not count or not old.is_here():
            continue
        for row in range(count):
            places[digests[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]] = (len(arrays), row)
        paths.append(path)
        arrays.append(old.open())
    return _Older(tuple(paths), tuple(arrays), places)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256s")


@dataclass(frozen=True, slots=True)
class _Loader:
    blobs: BlobStore
    parameters: ImageParameters
    older: _Older

    def __call__(self, variant: ImageVariant) -> NDArray[np.uint8]:
        known = self.older.places.get(bytes.fromhex(variant.sha256))
        if known is not None:
            matrix, row = known
            return np.asarray(self.older.arrays[matrix][row])
        return compare_array(self.blobs.get(variant.blob_key), item=variant.image_id, parameters=self.parameters)
