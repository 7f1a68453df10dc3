"""Nearest neighbours in structural dissimilarity (method, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors.knn import Knn, empty, from_matrix

_TILE = 8
_QUERIES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Images by channel, uint8 (n, 3, h, w), with their window sums and sums of squares, int32 (n, 3, h', w')."""

    planes: NDArray[np.uint8]
    sums: NDArray[np.int32]
    squares: NDArray[np.int32]

    def __getitem__(self, rows: slice) -> _Prepared:
        return _Prepared(self.planes[rows], self.sums[rows], self.squares[rows])


def _prepare(images: NDArray[np.uint8], window: int) -> _Prepared:
    from retest.neighbors import _dssim_kernels  # imports numba, which costs a third of a second

    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    n, channels, height, width = planes.shape
    shape = (n, channels, height - window + 1, width - window + 1)
    sums, squares = np.empty(shape, np.int32), np.empty(shape, np.int32)
    _dssim_kernels.box_sums(planes, window, sums, squares)
    return _Prepared(planes, sums, squares)


def _dssim_matrix(a: _Prepared, b: _Prepared, window: int) -> NDArray[np.float64]:
    from retest.neighbors import _dssim_kernels

    out = np.empty((len(a.planes), len(b.planes)), np.float64)
    for rows in _threads.cut(out.shape[0], _TILE):
        for columns in _threads.cut(out.shape[1], _TILE):
            tile = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float64)
            left, right = a[rows], b[columns]
            _dssim_kernels.ssim_tile(left.planes, left.sums, left.squares, right.planes, right.sums, right.squares, window, tile)
            out[rows, columns] = tile
    windows = a.sums[0].size if len(a.sums) else 1
    distances: NDArray[np.float64] = (1.0 - out / windows) / 2.0
    return distances


def nearest_dssim(
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    *,
    k: int,
    window: int = 35,
    threshold: float | None = None,
    prerank: int | None = None,
    subset: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> Knn:
    """The k references of smallest structural dissimilarity (1 - SSIM) / 2.

    SSIM as published: mean over the three channels and all windows that lie inside the image of
    ``(2 μa μb + C1)(2 σab + C2) / ((μa² + μb² + C1)(σa² + σb² + C2))`` with a uniform window, sample (co)variances,
    C1 = (0.01·255)², C2 = (0.03·255)². Window sums are exact integers; the rest is float64.

    Args:
        queries: uint8 (q, h, w, 3).
        references: uint8 (r, h, w, 3); may be memory-mapped. Equal distances go to the smaller index.
        k: neighbours per query.
        window: side of the window in pixels, odd, at most the side of the images.
        threshold: report only references up to this dissimilarity, all that a rigorous bound cannot rule out being
            compared exactly: the result is that of the exact search with farther references removed.
        prerank: compare exactly only this many references per query, chosen by a cheap approximation. Fast and
            unproven: a true neighbour can be missed. ``Knn.worst_prerank`` tells how close that came.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        threads: threads to use; the result does not depend on it.

    Raises:
        UsageError: an argument has another type, shape or size, or images are smaller than the window.
    """
    _checks.check_image_pair(queries, references)
    _checks.check_k(k)
    _checks.check_threads(threads)
    check_window(window, queries.shape[1:3])
    _check_mode(k, threshold, prerank)
    positions = _checks.check_subset(subset, len(references))
    if prerank is not None and prerank < positions.size:
        return _preranked(queries, references, positions, k=k, window=window, prerank=prerank, threads=threads)
    result = empty(len(queries), k)

    def search(rows: slice) -> None:
        prepared = _prepare(queries[rows], window)
        best = empty(rows.stop - rows.start, k)
        for places, block in _reference_blocks(references, positions, window):
            matrix = _dssim_matrix(prepared, block, window)
            if threshold is not None:
                matrix[matrix > threshold] = np.inf
            best = from_matrix(np.hstack([best.distances, matrix]), np.hstack([best.indices, np.broadcast_to(places, matrix.shape)]), k=k)
        result.indices[rows], result.distances[rows] = best.indices, best.distances

    _threads.run(search, _threads.cut(len(queries), _QUERIES_AT_ONCE), threads=threads)
    if prerank is not None:
        return Knn(result.indices, result.distances, np.full(len(queries), min(k, positions.size), np.int64))
    return result


def _reference_blocks(
    references: NDArray[np.uint8], positions: NDArray[np.int64], window: int
) -> Iterator[tuple[NDArray[np.int64], _Prepared]]:
    for part in _threads.cut(positions.size, 4 * _TILE):
        yield positions[part], _prepare(references[positions[part]], window)


def _preranked(
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    positions: NDArray[np.int64],
    *,
    k: int,
    window: int,
    prerank: int,
    threads: int,
) -> Knn:
    step = max(size for size in range(1, 6) if window % size == 0)
    small = nearest_dssim(
        _block_means(queries, step), _block_means(references[positions], step), k=prerank, window=window // step, threads=threads
    )
    result = Knn(*_empty_pair(len(queries), k), np.zeros(len(queries), np.int64))

    def refine(query: int) -> None:
        chosen = np.sort(small.indices[query])
        one = _prepare(queries[query : query + 1], window)
        matrix = np.hstack([_dssim_matrix(one, block, window) for _, block in _reference_blocks(references, positions[chosen], window)])
        best = from_matrix(matrix, chosen, k=k)
        result.indices[query] = np.where(best.indices >= 0, positions[best.indices], -1)
        result.distances[query] = best.distances
        ranks = {index: rank for rank, index in enumerate(small.indices[query].tolist(), start=1)}
        if result.worst_prerank is not None:
            result.worst_prerank[query] = max(ranks[index] for index in best.indices[0].tolist() if index >= 0)

    _threads.run(refine, range(len(queries)), threads=threads)
    return result


def _empty_pair(queries: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    nothing = empty(queries, k)
    return nothing.indices, nothing.distances


def _block_means(images: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Images reduced by means of step x step pixels, rounded; what is left over at the right and bottom is cut."""
    n, height, width, channels = images.shape
    cropped = images[:, : height // step * step, : width // step * step]
    blocks = cropped.reshape(n, height // step, step, width // step, step, channels)
    means: NDArray[np.uint8] = np.rint(blocks.mean(axis=(2, 4), dtype=np.float64)).astype(np.uint8)
    return means


def check_window(window: int, shape: tuple[int, ...]) -> None:
    """Require an odd window that fits into images of ``shape`` (h, w)."""
    if window < 3 or window % 2 == 0:
        raise UsageError(f"the window {window} is not an odd number from 3", item="window", remedy="Published: 35.")
    if min(shape[:2]) < window:
        raise UsageError(
            f"images of {shape[0]}x{shape[1]} pixels are smaller than the SSIM window of {window}",
            item="window",
            remedy=f"Use larger images or an odd window of at most {min(shape[:2])} pixels.",
        )


def _check_mode(k: int, threshold: float | None, prerank: int | None) -> None:
    if threshold is not None and prerank is not None:
        raise UsageError("threshold and prerank exclude each other", item="prerank", remedy="Give only one of the two.")
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise UsageError(f"{threshold} is not a dissimilarity", item="threshold", remedy="Use a number from 0 to 1.")
    if prerank is not None and prerank < k:
        raise UsageError(f"{prerank} pre-ranked references cannot hold {k} neighbours", item="prerank", remedy=f"Use at least {k}.")
