"""Equal rows in files: what neighbour search maps into memory, and where a machine without the file fetches them.

The files are caches in the study folder: derived from stored images, named by their contents, safe to delete. On a machine that does not
see the study folder a worker of a cluster fetches the rows that it needs from the blob store: :class:`RowSource` says where they are.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from retest.images import ImageParameters, compare_array
from retest.store import BlobStore


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


@contextmanager
def writing_rows(path: Path) -> Iterator[BinaryIO]:
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


def remove_files(paths: Iterable[Path]) -> None:
    """Remove caches that a newer one replaces."""
    for path in paths:
        with suppress(OSError):  # another process may have it open where that forbids removing it
            path.unlink()


def array_bytes(array: NDArray[Any]) -> bytes:
    """An array in NumPy's file format, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(data: bytes) -> NDArray[Any]:
    """The array of :func:`array_bytes`."""
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
