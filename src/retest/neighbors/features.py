"""Exact nearest neighbours of feature vectors (fc7 and any other featuriser; method, section 6).

The order is that of distances computed in float64 from the float32 features. A float32 matrix product only proposes
candidates, with a proven margin. With u = 2⁻²⁴ and d dimensions, a product ĝ of two vectors a, b in float32, in any order of
summation, satisfies ``|ĝ - a·b| ≤ γ Σ|a b| ≤ γ/2 (A + B)``, γ = du/(1-du), A = ‖a‖², B = ‖b‖² (Higham, Accuracy and Stability of
Numerical Algorithms, section 3.1; then Cauchy-Schwarz), so ``‖a-b‖² = A + B - 2 a·b`` lies within γ(A + B) of ``A + B - 2ĝ``. The
float64 steps (A, B, this expression, and the distance that is reported) add relative errors of at most (d+3)·2⁻⁵³ of A + B each,
for which the slack is γ + 8(d+3)·2⁻⁵³; products below the smallest normal float32 lose at most 2⁻¹²⁵ each. A reference whose
lower bound exceeds the k-th smallest upper bound is farther, in float64, than k others; the distances of all others are
computed. If a vector is longer than 2⁵⁰, all are scaled by a power of two for the product, so that it cannot overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors.knn import Knn, empty

_QUERIES_AT_ONCE = 1024
_REFERENCES_AT_ONCE = 16384
_LONGEST = 2.0**50


def nearest_features(
    queries: NDArray[np.float32],
    references: NDArray[np.float32],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Knn:
    """The k references at the smallest squared Euclidean distance, computed and ordered in float64.

    Args:
        queries: float32 (q, d).
        references: float32 (r, d); may be memory-mapped. Equal distances go to the smaller index.
        k: neighbours per query.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        threads: threads to use; the result does not depend on it.
        progress: called with a number of pairs whenever so many more are done, from the threads that did them.

    Raises:
        UsageError: an argument has another type, shape or size.
        InputError: a feature is not finite.
    """
    return search_features(queries, references, k=k, subset=subset, threads=threads, progress=progress)[0]


def search_features(
    queries: NDArray[np.float32],
    references: NDArray[np.float32],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> tuple[Knn, int]:
    """``nearest_features``, and how many distances were computed in float64 (for measurements)."""
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
    search = _Search(queries, references, positions, min(k, max(positions.size, 1)), progress)
    with _threads.single_threaded_blas():
        for part in _threads.cut_evenly(positions.size, _REFERENCES_AT_ONCE):
            search.add(part, threads)
    result, kept = empty(len(queries), k), search.places.shape[1]
    result.indices[:, :kept] = search.places
    result.distances[:, :kept] = search.best
    return result, search.computed


class _Search:
    """A search in progress: the best found so far for every query, brought up to date block by block."""

    def __init__(
        self,
        queries: NDArray[np.float32],
        references: NDArray[np.float32],
        positions: NDArray[np.int64],
        k: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        from retest.neighbors import _features_kernels as kernels  # imports numba, which costs a third of a second

        self._kernels, self._progress, self._positions = kernels, progress, positions
        self._queries, self._references = _checks.read_only(queries), _checks.read_only(references)
        everything = np.arange(len(queries), dtype=np.int64)
        self._norms = self._squared_norms("queries", self._queries, everything)
        self._reference_norms = self._squared_norms("references", self._references, positions)
        longest = math.sqrt(max(float(norms.max(initial=0.0)) for norms in (self._norms, self._reference_norms)))
        self._shrink = 1.0 if longest <= _LONGEST else 2.0 ** -math.ceil(math.log2(longest))
        self.best, self.places = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1, np.int64)
        self._counts = np.zeros(len(queries), np.int64)
        self.computed = 0

    def _squared_norms(self, name: str, vectors: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        norms = np.empty(positions.size, np.float64)
        self._kernels.squared_norms(vectors, positions, norms)
        _checks.check_finite(name, norms, positions)
        return norms

    def add(self, part: slice, threads: int) -> None:
        """Search one more block of references; blocks come in ascending order."""
        positions = self._positions[part]
        together = positions[-1] - positions[0] + 1 == positions.size
        block = self._scaled(self._references[slice(positions[0], positions[-1] + 1) if together else positions])
        norms = self._reference_norms[part]
        size = max(1, min(_QUERIES_AT_ONCE, -(-len(self._queries) // threads)))
        pieces = _threads.cut(len(self._queries), size)
        self.computed += sum(_threads.run(lambda rows: self._add_to(rows, block, norms, positions), pieces, threads=threads))

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return vectors if self._shrink == 1.0 else vectors * np.float32(self._shrink)

    def _add_to(self, rows: slice, block: NDArray[np.float32], norms: NDArray[np.float64], positions: NDArray[np.int64]) -> int:
        d = block.shape[1]
        gamma = d * 2.0**-24 / (1.0 - d * 2.0**-24)
        back = self._shrink**-2
        setup = np.array([back, gamma + 8 * (d + 3) * 2.0**-53, d * 2.0**-124 * back])
        products = self._scaled(self._queries[rows]) @ block.T
        best, places, counts = self.best[rows], self.places[rows], self._counts[rows]
        arguments = (products, self._queries[rows], self._references, positions, self._norms[rows], norms, setup, best, places, counts)
        computed = int(self._kernels.search_rows(*arguments))
        if self._progress is not None:
            self._progress(products.size)
        return computed
