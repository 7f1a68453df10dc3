"""Perceptual hashes: 64 bits per image, compared by the number of bits that differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors.knn import Knn, empty, joined

_SIDE, _KEPT = 32, 8
_LUMA = np.array([299, 587, 114], np.int64)
_WAVES = np.rint(2**14 * np.cos(np.pi * np.arange(_KEPT)[:, None] * (2 * np.arange(_SIDE) + 1) / (2 * _SIDE))).astype(np.int64)
_IMAGES_AT_ONCE = 64
_QUERIES_AT_ONCE = 64
_REFERENCES_AT_ONCE = 65536


def perceptual_hashes(images: NDArray[np.uint8], *, threads: int = 1) -> NDArray[np.uint64]:
    """The perceptual hash (pHash) of every image: uint64 (n,).

    The image is averaged to 32 x 32 grey values (ITU-R 601 weights) and transformed by a discrete cosine transform; of the
    8 x 8 lowest frequencies, row by row, bit i tells whether the i-th is at least the median of all but the constant one
    (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section 3.2). Everything after the
    averages is computed in integers, so equal images have equal hashes on every machine.

    Args:
        images: uint8 (n, h, w, 3); may be memory-mapped.
        threads: threads to use.

    Raises:
        UsageError: an argument has another type or shape.
    """
    _checks.check_images("images", images)
    _checks.check_count("threads", threads)
    parts = _threads.run(lambda part: _hashes(images[part]), _threads.cut(len(images), _IMAGES_AT_ONCE), threads=threads)
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    grey = images.astype(np.int64) @ _LUMA
    columns, across = _cells(grey, axis=2)
    cells, down = _cells(columns, axis=1)
    means = np.rint(cells / (down[:, None] * across[None, :])).astype(np.int64)  # thousandths of a grey value
    waves = (_WAVES @ means @ _WAVES.T).reshape(len(images), _KEPT * _KEPT)
    bits = waves >= np.median(waves[:, 1:], axis=1, keepdims=True)
    codes: NDArray[np.uint64] = (bits.astype(np.uint64) << np.arange(_KEPT * _KEPT, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return codes


def _cells(values: NDArray[np.int64], *, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums of 32 parts along an axis, and how long the parts are; parts of a short axis share pixels."""
    count = values.shape[axis]
    starts = np.arange(_SIDE) * count // _SIDE
    ends = np.maximum((np.arange(_SIDE) + 1) * count // _SIDE, starts + 1)
    before = np.insert(np.cumsum(values, axis=axis), 0, 0, axis=axis)
    return np.take(before, ends, axis=axis) - np.take(before, starts, axis=axis), ends - starts


def nearest_hashes(
    queries: NDArray[np.uint64],
    references: NDArray[np.uint64],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> Knn:
    """The k references whose hashes differ in the fewest bits.

    Args:
        queries: uint64 (q,).
        references: uint64 (r,). Equal distances go to the smaller index.
        k: neighbours per query.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        threads: threads to use; the result does not depend on it.

    Raises:
        UsageError: an argument has another type or shape.
    """
    for name, hashes in (("queries", queries), ("references", references)):
        if not isinstance(hashes, np.ndarray) or hashes.dtype != np.uint64 or hashes.ndim != 1:
            raise UsageError("these are not hashes", item=name, remedy="Give uint64 (n,) as perceptual_hashes makes them.")
    _checks.check_count("k", k)
    _checks.check_count("threads", threads)
    positions = _checks.check_subset(subset, len(references))
    result = empty(len(queries), k)

    def search(rows: slice) -> None:
        best = empty(rows.stop - rows.start, k)
        for part in _threads.cut(positions.size, _REFERENCES_AT_ONCE):
            places = positions[part]
            bits = np.bitwise_count(queries[rows, None] ^ references[places][None, :]).astype(np.float64)
            best = joined(best, bits, places)
        result.indices[rows], result.distances[rows] = best.indices, best.distances

    _threads.run(search, _threads.cut(len(queries), _QUERIES_AT_ONCE), threads=threads)
    return result
