"""The compare variant of many images as one memory-mapped array, and their features: what neighbour search reads.

Both are caches in the study folder and the blob store: derived from stored images, keyed by their contents, safe to delete.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retest.images import ImageParameters, compare_array
from retest.neighbors import Block, plan_blocks
from retest.records import ImageVariant
from retest.stages._common import Progress, completion_key, in_order
from retest.store import BlobStore
from retest.study import Study

_FEATURE_BLOCK = 512


class Featuriser(Protocol):
    """Images -> features; ``name`` pins weights and preprocessing. ``retest.models`` has implementations."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class PixelMatrix:
    """uint8 (n, side, side, 3) in a file; row i belongs to ``ids[i]``, which ascend. Cheap to send to another process."""

    path: Path
    ids: tuple[str, ...]
    side: int

    def open(self) -> NDArray[np.uint8]:
        """The array, memory-mapped read-only."""
        return np.memmap(self.path, np.uint8, "r", shape=(len(self.ids), self.side, self.side, 3))

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row numbers of some ids, in their order."""
        numbers = {image: number for number, image in enumerate(self.ids)}
        return np.array([numbers[image] for image in ids], np.int64)


def pixel_matrix(study: Study, variants: Sequence[ImageVariant], *, progress: Progress) -> PixelMatrix:
    """The matrix of these compare variants (sorted by image id); built once, then found again by its contents."""
    parameters = study.config.images
    variants = sorted(variants, key=lambda variant: variant.image_id)
    key = completion_key("pixels-1", parameters.compare_side, [(v.image_id, v.sha256) for v in variants])
    folder = study.folder / "cache"
    folder.mkdir(exist_ok=True)
    matrix = PixelMatrix(folder / f"pixels-{key}.u8", tuple(v.image_id for v in variants), parameters.compare_side)
    if not matrix.path.exists():
        _build(study, variants, matrix, parameters, progress)
    return matrix


def _build(study: Study, variants: Sequence[ImageVariant], matrix: PixelMatrix, parameters: ImageParameters, progress: Progress) -> None:
    temporary = matrix.path.with_suffix(".part")
    load = _Loader(study.blobs, parameters)
    with (
        # Never truncated: another process may be writing the same bytes to the same places, and may even be done.
        open(temporary, "wb", opener=lambda path, _flags: os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)) as file,
        ThreadPoolExecutor(study.config.study.workers) as pool,
        progress("Read pixels", total=len(variants)) as advance,
    ):
        for pixels in in_order(pool, load, variants, window=8 * study.config.study.workers):
            file.write(pixels.tobytes())
            advance(1)
    try:
        temporary.replace(matrix.path)
    except FileNotFoundError:
        if not matrix.path.exists():  # else the other process was faster
            raise


@dataclass(frozen=True, slots=True)
class _Loader:
    blobs: BlobStore
    parameters: ImageParameters

    def __call__(self, variant: ImageVariant) -> NDArray[np.uint8]:
        return compare_array(self.blobs.get(variant.blob_key), item=variant.image_id, parameters=self.parameters)


def feature_matrix(
    study: Study, matrix: PixelMatrix, contents: dict[str, str], featuriser: Featuriser, *, progress: Progress
) -> NDArray[np.float32]:
    """float32 (n, d) in the order of ``matrix.ids``; stored in blocks per featuriser name, so no image is featurised twice."""
    with study.database.read() as tables:
        known = tables.completions.info("features", featuriser.name) or {"blocks": []}
    existing = [Block(tuple(ids), digest) for ids, digest in known["blocks"]]
    blocks = plan_blocks(matrix.ids, block_size=_FEATURE_BLOCK, contents=contents, existing=existing)
    result = np.empty((len(matrix.ids), featuriser.dimensions), np.float32)
    pixels = matrix.open()
    with progress(f"Features {featuriser.name[:16]}", total=len(matrix.ids)) as advance:
        for block in blocks:
            key = f"features/{completion_key(featuriser.name)}/{block.digest}.npy"
            rows = matrix.rows(block.ids)
            if not study.blobs.exists(key):
                study.blobs.put_new(key, array_bytes(featuriser.features(pixels[rows])))
            result[rows] = read_array(study.blobs.get(key))
            advance(len(block))
    with study.database.write() as tables:
        plan = [[list(block.ids), block.digest] for block in blocks]
        tables.completions.put("features", featuriser.name, completion_key([b.digest for b in blocks]), blocks=plan)
    return result


def array_bytes(array: NDArray[Any]) -> bytes:
    """An array in NumPy's file format, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(data: bytes) -> NDArray[Any]:
    """The array of :func:`array_bytes`."""
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
