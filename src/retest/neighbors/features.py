"""Exact nearest neighbours of feature vectors (fc7 and any other featuriser; method, section 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors.knn import Knn, empty, from_matrix


def nearest_features(
    queries: NDArray[np.float32],
    references: NDArray[np.float32],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> Knn:
    """The k references at the smallest squared Euclidean distance, computed and ordered in float64.

    Args:
        queries: float32 (q, d).
        references: float32 (r, d). Equal distances go to the smaller index.
        k: neighbours per query.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        threads: threads to use; the result does not depend on it.

    Raises:
        UsageError: an argument has another type, shape or size.
        InputError: a feature is not finite.
    """
    _checks.check_features("queries", queries)
    _checks.check_features("references", references)
    if queries.shape[1] != references.shape[1]:
        raise UsageError(
            f"queries have {queries.shape[1]} dimensions, references {references.shape[1]}",
            item="references",
            remedy="Compare features of one featuriser.",
        )
    _checks.check_k(k)
    _checks.check_threads(threads)
    positions = _checks.check_subset(subset, len(references))
    from retest.neighbors import _features_kernels  # imports numba, which costs a third of a second

    result = empty(len(queries), k)
    left, right = np.ascontiguousarray(queries), np.ascontiguousarray(references)

    def search(row: int) -> None:
        distances = np.empty((1, positions.size), np.float64)
        _features_kernels.squared_distances(left[row], right, positions, distances[0])
        best = from_matrix(distances, positions, k=k)
        result.indices[row], result.distances[row] = best.indices[0], best.distances[0]

    _threads.run(search, range(len(queries)), threads=threads)
    return result
