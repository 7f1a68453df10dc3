"""Exact nearest neighbours of feature vectors (fc7 and any other featuriser; method, section 6).

The order is that of distances computed in float64 from the float32 features. A float32 matrix product only proposes
candidates, with a proven margin. With u = 2⁻²⁴ and d dimensions, a product ĝ of two vectors a, b in float32, in any order of
summation, satisfies ``|ĝ - a·b| ≤ γ Σ|a b| ≤ γ/2 (A + B)``, γ = du/(1-du), A = ‖a‖², B = ‖b‖² (Higham, Accuracy and Stability of
Numerical Algorithms, section 3.1; then Cauchy-Schwarz), so ``‖a-b‖² = A + B - 2 a·b`` lies within γ(A + B) of ``A + B - 2ĝ``. The
float64 steps (A, B, this expression, and the distance that is reported) add relative errors of at most (d+3)·2⁻⁵³ of A + B each,
for which the slack is γ + 8(d+3)·2⁻⁵³; products below the smallest normal float32 lose at most 2⁻¹²⁵ each. A reference whose
lower bound exceeds the k-th smallest upper bound is farther, in float64, than k others; the distances of all others are
computed. If a vector is longer than 2⁵⁰, all are scaled by a power of two for the product, so that it cannot overflow.

Many queries are not multiplied in float32 but as int16 codes, which is twice as fast; _features_codes.py derives their bounds.
The errors of codes grow with √d, those of float32 with d; at the dimensions of featurisers they are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors._features_codes import Codes, encode, room_for, scales_of_products
from retest.neighbors.knn import Knn, empty

if TYPE_CHECKING:
    from retest.neighbors import _features_kernels

_QUERIES_AT_ONCE = 1024
_REFERENCES_AT_ONCE = 16384
_LONGEST = 2.0**50
_CODED_QUERIES, _CODED_DIMENSIONS, _MOST_DIMENSIONS = 32, 64, 2**14
_PANELS_AT_ONCE, _NORMS_AT_ONCE = 16, 1024


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
    _checks.check_count("k", k)
    _checks.check_count("threads", threads)
    positions = _checks.check_subset(subset, len(references))
    search = _Search(queries, references, positions, min(k, max(positions.size, 1)), threads, progress)
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
        threads: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        from retest.neighbors import _features_kernels as kernels  # imports numba, which costs a third of a second

        self._kernels, self._progress, self._positions = kernels, progress, positions
        self._queries, self._references = _checks.read_only(queries), _checks.read_only(references)
        everything, d = np.arange(len(queries), dtype=np.int64), queries.shape[1]
        self._norms = self._squared_norms("queries", self._queries, everything, threads)
        self._reference_norms = self._squared_norms("references", self._references, positions, threads)
        longest = math.sqrt(max(float(norms.max(initial=0.0)) for norms in (self._norms, self._reference_norms)))
        self._shrink = 1.0 if longest <= _LONGEST else 2.0 ** -math.ceil(math.log2(longest))
        self._slack = 8 * (d + 3) * 2.0**-53
        self._coded = len(queries) >= _CODED_QUERIES and _CODED_DIMENSIONS <= d <= _MOST_DIMENSIONS and _products().FAST
        self.best, self.places = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1, np.int64)
        self._counts = np.zeros(len(queries), np.int64)
        self.computed = 0

    def _squared_norms(self, name: str, vectors: NDArray[np.float32], positions: NDArray[np.int64], threads: int) -> NDArray[np.float64]:
        norms = np.empty(positions.size, np.float64)
        pieces = _threads.cut(positions.size, _NORMS_AT_ONCE)
        _threads.run(lambda part: self._kernels.squared_norms(vectors, positions[part], norms[part]), pieces, threads=threads)
        _checks.check_finite(name, norms, positions)
        return norms

    def add(self, part: slice, threads: int) -> None:
        """Search one more block of references; blocks come in ascending order."""
        size = max(1, min(_QUERIES_AT_ONCE, -(-len(self._queries) // threads)))
        pieces = _threads.cut(len(self._queries), size)
        search = self._by_codes(part, threads) if self._coded else self._by_floats(part)
        self.computed += sum(_threads.run(search, pieces, threads=threads))

    def _by_floats(self, part: slice) -> Callable[[slice], int]:
        """How a piece of queries is searched in a block by float32 products."""
        positions = self._positions[part]
        together = positions[-1] - positions[0] + 1 == positions.size
        block = self._scaled(self._references[slice(positions[0], positions[-1] + 1) if together else positions])
        norms, d, back = self._reference_norms[part], block.shape[1], self._shrink**-2
        slack = d * 2.0**-24 / (1.0 - d * 2.0**-24) + self._slack
        absolute = d * 2.0**-124 * back
        ones = np.ones(norms.size, np.float64)
        b = self._kernels.Block(self._references, positions, (1.0 + slack) * norms, (1.0 - slack) * norms, ones)

        def search(rows: slice) -> int:
            products, norms = self._scaled(self._queries[rows]) @ block.T, self._norms[rows]
            scales = np.full(norms.size, 2.0 * back)
            a = self._piece(rows, ((1.0 + slack) * norms + absolute, (1.0 - slack) * norms - absolute), (scales, scales))
            return self._done(products.size, self._kernels.search_floats(products, a, b))

        return search

    def _by_codes(self, part: slice, threads: int) -> Callable[[slice], int]:
        """The same by products of int16 codes, which takes half the time."""
        products = _products()
        positions, norms = self._positions[part], self._reference_norms[part]

        width, panels = products.COLUMNS, room_for(positions.size, self._references.shape[1], products.COLUMNS)

        def encoded(place: slice) -> Codes:
            packed = panels[place.start // width : -(-place.stop // width)]
            return encode(self._references, positions[place], norms[place], width=width, slack=self._slack, packed=packed)

        pieces = _threads.run(encoded, _threads.cut(positions.size, _PANELS_AT_ONCE * width), threads=threads)
        above, below, scales = (np.concatenate([getattr(codes, name) for codes in pieces]) for name in ("above", "below", "scales"))
        b = self._kernels.Block(self._references, positions, above, below, scales)

        def search(rows: slice) -> int:
            everything = np.arange(rows.start, rows.stop, dtype=np.int64)
            codes = encode(self._queries, everything, self._norms[rows], width=products.ROWS, slack=self._slack)
            out = np.empty((len(codes.packed) * products.ROWS, len(panels) * products.COLUMNS), np.int32)
            products.multiply(codes.packed, panels, out)
            a = self._piece(rows, (codes.above, codes.below), scales_of_products(codes))
            return self._done(everything.size * positions.size, self._kernels.search_codes(out, a, b))

        return search

    def _piece(
        self, rows: slice, bounds: tuple[NDArray[np.float64], NDArray[np.float64]], scales: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> _features_kernels.Queries:
        return self._kernels.Queries(
            self._queries[rows], bounds[0], bounds[1], scales[0], scales[1], self.best[rows], self.places[rows], self._counts[rows]
        )

    def _done(self, pairs: int, computed: int) -> int:
        if self._progress is not None:
            self._progress(pairs)
        return int(computed)

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return vectors if self._shrink == 1.0 else vectors * np.float32(self._shrink)


def _products() -> ModuleType:
    from retest.neighbors import _features_products  # imports numba, which costs a third of a second

    return _features_products
