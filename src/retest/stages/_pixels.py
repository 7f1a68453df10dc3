"""What neighbour search reads: the compare variant of many images, and their features, as memory-mapped files of equal rows.

The files are caches in the study folder: derived from stored images, named by their contents, safe to delete. Features lie in the blob
store as well, in blocks, so that no image is featurised twice. On a machine that does not see the study folder a worker of a cluster
fetches the rows that it needs from the blob store: :class:`RowSource` says where they are.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from retest.images import ImageParameters, compare_array
from retest.neighbors import Block, perceptual_hashes, plan_blocks
from retest.records import ImageVariant
from retest.stages._common import Progress, completion_key, in_order
from retest.store import BlobStore
from retest.study import Study

_FEATURE_BLOCK = 512
_DIGEST_BYTES = 32


class Featuriser(Protocol):
    """Images -> features; ``name`` pins weights and preprocessing. ``retest.models`` has implementations."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Equal rows in a file; cheap to send to another process. ``key`` names the contents, ``shape`` is (n, ...)."""

    key: str
    path: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    def is_here(self) -> bool:
        """Whether the whole file is on this machine."""
        try:
            return self.path.stat().st_size == self.shape[0] * self.row_bytes
        except OSError:
            return False

    def open(self) -> NDArray[Any]:
        """The rows, memory-mapped read-only."""
        return open_rows(self.path, self.shape, self.dtype)


def open_rows(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """A file of rows, memory-mapped read-only; an empty array where there are none, which cannot be mapped."""
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


class RowSource(Protocol):
    """Where rows come from on a machine that does not have the file."""

    def fetch(self, blobs: BlobStore, rows: NDArray[np.int64]) -> NDArray[Any]:
        """These rows."""

    def to_bytes(self) -> bytes:
        """What :func:`read_source` reads."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Row i is the image in ``blob_keys[i]``."""

    blob_keys: tuple[str, ...]
    parameters: ImageParameters

    def fetch(self, blobs: BlobStore, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        keys = [self.blob_keys[row] for row in rows.tolist()]
        return np.stack([compare_array(blobs.get(key), item=key, parameters=self.parameters) for key in keys])

    def to_bytes(self) -> bytes:
        return _packed({"kind": "images", "blob_keys": self.blob_keys, "parameters": dataclasses.asdict(self.parameters)})


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Row i is row ``rows[i]`` of the block of features in ``blob_keys[blocks[i]]``."""

    blob_keys: tuple[str, ...]
    blocks: NDArray[np.int32]
    rows: NDArray[np.int32]

    def fetch(self, blobs: BlobStore, rows: NDArray[np.int64]) -> NDArray[Any]:
        parts: dict[int, NDArray[Any]] = {}
        for block in np.unique(self.blocks[rows]).tolist():
            parts[block] = read_array(blobs.get(self.blob_keys[block]))
        return np.stack([parts[int(self.blocks[row])][self.rows[row]] for row in rows])

    def to_bytes(self) -> bytes:
        values = {"blob_keys": self.blob_keys, "blocks": self.blocks.tolist(), "rows": self.rows.tolist()}
        return _packed({"kind": "blocks", **values})


def _packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def read_source(data: bytes) -> RowSource:
    """The source behind ``to_bytes``."""
    value = json.loads(zlib.decompress(data))
    if value["kind"] == "images":
        return ImageSource(tuple(value["blob_keys"]), ImageParameters(**value["parameters"]))
    return BlockSource(tuple(value["blob_keys"]), np.array(value["blocks"], np.int32), np.array(value["rows"], np.int32))


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
        _writing(rows.path) as file,
        ThreadPoolExecutor(study.config.study.workers) as pool,
        progress("Read pixels", total=len(variants)) as advance,
    ):
        for pixels in in_order(pool, load, variants, window=8 * study.config.study.workers):
            file.write(pixels.tobytes())
            advance(1)
    digests = _digest_path(rows.path)
    with _writing(digests) as file:
        file.write(b"".join(bytes.fromhex(v.sha256) for v in variants))
    _remove(path for matrix in older.paths for path in (matrix, _digest_path(matrix)))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # another process may have it open where that forbids removing it
            path.unlink()


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


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete.

    It is never truncated: another process may be writing the same bytes to the same places, and may even be done.
    """
    temporary = path.with_suffix(path.suffix + ".part")
    with open(temporary, "wb", opener=lambda name, _flags: os.open(name, os.O_WRONLY | os.O_CREAT, 0o666)) as file:
        yield file
    try:
        temporary.replace(path)
    except FileNotFoundError:
        if not path.exists():  # else the other process was faster
            raise


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
    wanted = matrix.ids if ids is None else tuple(sorted(ids))
    kind = _completion(featuriser, mirrored)
    with study.database.read() as tables:
        known = tables.completions.info(kind, featuriser.name) or {"blocks": []}
    existing = [Block(tuple(members), digest) for members, digest in known["blocks"]]
    blocks = plan_blocks(wanted, block_size=_FEATURE_BLOCK, contents=contents, existing=existing)
    keys = tuple(f"features/{completion_key(featuriser.name)}/{'mirrored-' if mirrored else ''}{block.digest}.npy" for block in blocks)
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
        _remove(older)
    return FeatureMatrix(rows, ids, source)


def _write_features(blobs: BlobStore, rows: Rows, blocks: Sequence[Block], keys: tuple[str, ...], place: dict[str, int]) -> None:
    with _writing(rows.path) as file:
        for block, key in zip(blocks, keys, strict=True):
            values = read_array(blobs.get(key))
            for image, value in zip(block.ids, values, strict=True):
                file.seek(place[image] * rows.row_bytes)
                file.write(np.ascontiguousarray(value, rows.dtype).tobytes())


def array_bytes(array: NDArray[Any]) -> bytes:
    """An array in NumPy's file format, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(data: bytes) -> NDArray[Any]:
    """The array of :func:`array_bytes`."""
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
