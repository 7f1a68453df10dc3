"""Features of a study's images: computed once per featuriser, kept in the blob store in blocks, read as a file of equal rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retest.neighbors import Block, perceptual_hashes, plan_blocks
from retest.stages._common import Progress, completion_key
from retest.stages._pixels import PixelMatrix
from retest.stages._rows import BlockSource, Rows, array_bytes, read_array, remove_files, writing_rows
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


class PerceptualHashes:
    """Perceptual hashes as a featuriser of 64-bit numbers, uint64 (n, 1)."""

    name = "phash-1"
    dimensions = 1

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def features(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """The hashes of uint8 (n, h, w, 3)."""
        return perceptual_hashes(images, threads=self._threads)[:, None]


ComputeFeatures = Callable[[Sequence[NDArray[np.int64]], bool], Iterator[NDArray[Any]]]
"""(rows of each block, whether mirrored) -> features of each block, in their order."""


@dataclass(frozen=True, slots=True)
class FeatureMatrix:
    """Features of some images; row i belongs to ``ids[i]``, which ascend. ``source`` is needed where the file is not."""

    rows: Rows
    ids: tuple[str, ...]
    source: BlockSource


def feature_matrix(
    study: Study,
    matrix: PixelMatrix,
    contents: dict[str, str],
    featuriser: Featuriser,
    *,
    label: str,
    ids: Sequence[str] | None = None,
    mirrored: bool = False,
    progress: Progress,
    elsewhere: ComputeFeatures | None = None,
) -> FeatureMatrix:
    """Features of all images of ``matrix`` (or of ``ids``), of their mirror images if ``mirrored``.

    They lie in the blob store in blocks per featuriser name; only images that are in no block yet are featurised, by this process or by
    ``elsewhere``.
    """
    from retest.datasets.features import feature_blob_key  # not at the start of every search worker

    wanted = matrix.ids if ids is None else tuple(sorted(ids))
    kind = _completion(featuriser, mirrored)
    with study.database.read() as tables:
        known = tables.completions.info(kind, featuriser.name) or {"blocks": []}
    existing = [Block(tuple(members), digest) for members, digest in known["blocks"]]
    blocks = plan_blocks(wanted, block_size=_FEATURE_BLOCK, contents=contents, existing=existing)
    keys = tuple(feature_blob_key(featuriser.name, block.digest, mirrored=mirrored) for block in blocks)
    compute = elsewhere or (lambda parts, flipped: _features_here(matrix, featuriser, parts, flipped))
    _featurise(study, matrix, featuriser.name, list(zip(blocks, keys, strict=True)), compute, mirrored, progress)
    with study.database.write() as tables:
        plan = [[list(block.ids), block.digest] for block in blocks]
        key = completion_key(label, [b.digest for b in blocks])
        if tables.completions.key(kind, featuriser.name) != key:
            tables.completions.put(kind, featuriser.name, key, blocks=plan, label=label)
    return _feature_file(study, wanted, blocks, keys, featuriser, mirrored)


def _completion(featuriser: Featuriser, mirrored: bool) -> str:
    kind = "hashes" if isinstance(featuriser, PerceptualHashes) else "features"
    return f"mirrored-{kind}" if mirrored else kind


def _featurise(
    study: Study,
    matrix: PixelMatrix,
    name: str,
    blocks: list[tuple[Block, str]],
    compute: ComputeFeatures,
    mirrored: bool,
    progress: Progress,
) -> None:
    missing = [(block, key) for block, key in blocks if not study.blobs.exists(key)]
    if not missing:
        return
    numbers = {image: row for row, image in enumerate(matrix.ids)}
    parts = [np.array([numbers[image] for image in block.ids], np.int64) for block, _ in missing]
    with progress(f"Features {name[:24]}", total=sum(len(block) for block, _ in missing)) as advance:
        for (block, key), features in zip(missing, compute(parts, mirrored), strict=True):
            study.blobs.put_new(key, array_bytes(features))
            advance(len(block))


def _features_here(
    matrix: PixelMatrix, featuriser: Featuriser, parts: Sequence[NDArray[np.int64]], mirrored: bool
) -> Iterator[NDArray[Any]]:
    pixels = matrix.open()
    for rows in parts:
        yield featuriser.features(upright_or_mirrored(pixels[rows], mirrored))


def upright_or_mirrored(images: NDArray[np.uint8], mirrored: bool) -> NDArray[np.uint8]:
    """Images (n, h, w, 3) as they are, or their mirror images."""
    return np.ascontiguousarray(images[:, :, ::-1]) if mirrored else images


def _feature_file(
    study: Study, ids: tuple[str, ...], blocks: Sequence[Block], keys: tuple[str, ...], featuriser: Featuriser, mirrored: bool
) -> FeatureMatrix:
    place = {image: row for row, image in enumerate(ids)}
    of_block, of_row = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
    for number, block in enumerate(blocks):
        places = [place[image] for image in block.ids]
        of_block[places], of_row[places] = number, np.arange(len(block), dtype=np.int32)
    key = completion_key("features-1", keys, list(ids))
    dtype = "uint64" if isinstance(featuriser, PerceptualHashes) else "float32"
    folder = study.folder / "cache"
    folder.mkdir(exist_ok=True)
    prefix = f"features-{completion_key(featuriser.name)[:8]}{'-mirrored' if mirrored else ''}"
    rows = Rows(key, folder / f"{prefix}-{key}.rows", (len(ids), featuriser.dimensions), dtype)
    source = BlockSource(keys, of_block, of_row)
    if not rows.is_here():
        older = [path for path in folder.glob(f"{prefix}-*.rows") if len(path.name) == len(rows.path.name)]
        _write_features(study.blobs, rows, blocks, keys, place)
        remove_files(older)
    return FeatureMatrix(rows, ids, source)


def _write_features(blobs: BlobStore, rows: Rows, blocks: Sequence[Block], keys: tuple[str, ...], place: dict[str, int]) -> None:
    with writing_rows(rows.path) as file:
        for block, key in zip(blocks, keys, strict=True):
            values = read_array(blobs.get(key))
            for image, value in zip(block.ids, values, strict=True):
                file.seek(place[image] * rows.row_bytes)
                file.write(np.ascontiguousarray(value, rows.dtype).tobytes())
