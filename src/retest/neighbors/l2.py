"""Exact nearest neighbours in squared Euclidean distance of pixels (method, section 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retest.neighbors import _checks, _threads
from retest.neighbors.knn import Knn, empty, from_matrix

_CHUNK = 1024
"""Centred pixels lie in -128..127, so a product is at most 2**14 and a sum of 1,024 of them at most 2**24: every partial
sum of a float32 matrix product over that many pixels is an integer that float32 holds exactly, in any order of summation."""


def squared_l2_matrix(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Squared Euclidean distances int64 (n, m) between uint8 (n, d) and (m, d), exact: brute force at the speed of BLAS."""
    total = np.zeros((len(a), len(b)), np.float64)  # integers below 2**53
    for start in range(0, a.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        total += np.subtract(a[:, part], 128, dtype=np.float32) @ np.subtract(b[:, part], 128, dtype=np.float32).T
    return _centred_norms(a)[:, None] + _centred_norms(b)[None, :] - 2 * total.astype(np.int64)


def _centred_norms(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    norms = np.zeros(len(images), np.int64)
    for row, image in enumerate(images):
        centred = image.astype(np.int32) - 128
        norms[row] = int(np.dot(centred.astype(np.float64), centred.astype(np.float64)))
    return norms


def nearest_l2(
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> Knn:
    """The k references at the smallest squared Euclidean pixel distance, exactly.

    Args:
        queries: uint8 (q, h, w, 3), any size of image.
        references: uint8 (r, h, w, 3); may be memory-mapped. Equal distances go to the smaller index.
        k: neighbours per query.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        threads: threads to use; the result does not depend on it.

    Raises:
        UsageError: an argument has another type, shape or size.
    """
    _checks.check_image_pair(queries, references)
    _checks.check_k(k)
    _checks.check_threads(threads)
    positions = _checks.check_subset(subset, len(references))
    result = empty(len(queries), k)
    flat_queries = queries.reshape(len(queries), -1)
    flat_references = references.reshape(len(references), -1)

    def search(rows: slice) -> None:
        best = empty(rows.stop - rows.start, k)
        for part in _threads.cut(positions.size, 512):
            places = positions[part]
            matrix = squared_l2_matrix(flat_queries[rows], flat_references[places]).astype(np.float64)
            best = from_matrix(np.hstack([best.distances, matrix]), np.hstack([best.indices, np.broadcast_to(places, matrix.shape)]), k=k)
        result.indices[rows], result.distances[rows] = best.indices, best.distances

    _threads.run(search, _threads.cut(len(queries), 64), threads=threads)
    return result
