"""Exact nearest neighbours in squared Euclidean distance of pixels (method, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors._l2_codes import Codes, Scheme, encode
from retest.neighbors.knn import Knn, empty

if TYPE_CHECKING:
    from retest.neighbors import _l2_kernels

_QUERIES_AT_ONCE = 256
_REFERENCES_AT_ONCE = 16384
_GROUP = 32
_POWER_STEPS = 4
_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class L2Codes:
    """Codes of references, for several searches in the same ones; a tenth of the size of their pixels.

    Attributes:
        shape: height and width of the images.
        positions: int64 (m,), which references these are, ascending.
        blocks: their codes, block by block.
    """

    shape: tuple[int, int]
    positions: NDArray[np.int64]
    blocks: tuple[Codes, ...]


def encode_l2(references: NDArray[np.uint8], *, subset: NDArray[np.int64] | None = None, threads: int = 1) -> L2Codes:
    """Codes that :func:`nearest_l2` would make of ``references`` (of those in ``subset``) in every call.

    Raises:
        UsageError: an argument has another type or shape.
    """
    _checks.check_images("references", references)
    _checks.check_count("threads", threads)
    positions, flat = _checks.check_subset(subset, len(references)), _flat(references)
    scheme = Scheme.of(references.shape[1], references.shape[2])
    blocks = tuple(encode(flat, positions[part], scheme, threads=threads) for part in _parts(positions))
    return L2Codes((references.shape[1], references.shape[2]), positions, blocks)


def nearest_l2(
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    codes: L2Codes | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Knn:
    """The k references at the smallest squared Euclidean pixel distance, exactly.

    Every reported distance is an integer sum over all pixels, and every reference that is left out is proven to be
    farther: short codes of the images, a tenth of the size of the pixels, bound the distance from below and above. The
    derivation, with all rounding errors, is in ``_l2_codes``. A search runs through blocks of references, and in each:

    1. a float32 matrix product of the rough codes (448 numbers at 256 x 256) bounds all pairs; the few most promising
       references get upper bounds from their fine codes, the k-th smallest of which is the first limit;
    2. pairs within the limit are bounded by the middle (1,792) and then by the fine code (7,168 numbers); each new upper
       bound may lower the limit;
    3. what is left is compared pixel by pixel, lowest bound first and k per query at a time, strip by strip until the sum
       plus the bound of the remaining strips exceeds the limit, which the k-th best distance lowers.

    Similar queries are searched together, since they have references in common, which are then read from memory once.

    Args:
        queries: uint8 (q, h, w, 3), any size of image.
        references: uint8 (r, h, w, 3); may be memory-mapped. Equal distances go to the smaller index.
        k: neighbours per query.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        codes: what :func:`encode_l2` made of ``references``; the search is in those that it was made of.
        threads: threads to use; the result does not depend on it.
        progress: called with a number of pairs whenever so many more are done, from the threads that did them.

    Raises:
        UsageError: an argument has another type, shape or size, or both ``subset`` and ``codes`` are given.
    """
    return search_l2(queries, references, k=k, subset=subset, codes=codes, threads=threads, progress=progress)[0]


@dataclass(frozen=True, slots=True)
class L2Work:
    """How many pairs each stage of a search saw: the rest was ruled out before.

    ``exact`` pairs were compared pixel by pixel, of which ``complete`` to the last strip.
    """

    pairs: int
    middle: int
    fine: int
    exact: int
    complete: int


def search_l2(
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    *,
    k: int,
    subset: NDArray[np.int64] | None = None,
    codes: L2Codes | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> tuple[Knn, L2Work]:
    """``nearest_l2``, and how much the bounds ruled out (for measurements)."""
    _checks.check_image_pair(queries, references)
    _checks.check_count("k", k)
    _checks.check_count("threads", threads)
    positions = _positions(references, subset, codes)
    search = _Search(_flat(queries), Scheme.of(queries.shape[1], queries.shape[2]), min(k, max(positions.size, 1)), threads, progress)
    flat_references = _flat(references)
    for number, part in enumerate(_parts(positions)):
        search.add(flat_references, positions[part], None if codes is None else codes.blocks[number])
    return search.result(k, len(queries) * positions.size)


def _positions(references: NDArray[np.uint8], subset: NDArray[np.int64] | None, codes: L2Codes | None) -> NDArray[np.int64]:
    if codes is None:
        return _checks.check_subset(subset, len(references))
    if subset is not None:
        raise UsageError("excludes codes, which name their references themselves", item="subset", remedy="Give only one of the two.")
    if codes.shape != references.shape[1:3] or (codes.positions.size and int(codes.positions[-1]) >= len(references)):
        raise UsageError("were made of other references", item="codes", remedy="Make them with encode_l2 from these references.")
    return codes.positions


def _parts(positions: NDArray[np.int64]) -> list[slice]:
    return _threads.cut_evenly(positions.size, _REFERENCES_AT_ONCE)


class _Search:
    """A search in progress: the best found so far for every query, brought up to date block by block."""

    def __init__(
        self, queries: NDArray[np.uint8], scheme: Scheme, k: int, threads: int, progress: Callable[[int], None] | None = None
    ) -> None:
        self._scheme, self._threads, self._images, self._progress = scheme, threads, queries, progress
        codes = encode(queries, np.arange(len(queries)), scheme, threads=threads)
        with _threads.single_threaded_blas():
            self._order = order = _similar_together(codes.rough, np.arange(len(queries)), _GROUP)
        self._codes = Codes(codes.rough[order], codes.rough_norms[order], codes.middle[order], codes.fine[order], codes.longest)
        self._best, self._places = np.full((len(queries), k), _FAR, np.int64), np.full((len(queries), k), -1, np.int64)
        self._counts = np.zeros(len(queries), np.int64)
        self._work = np.zeros(4, np.int64)

    def add(self, references: NDArray[np.uint8], positions: NDArray[np.int64], known: Codes | None) -> None:
        """Search one more block of references, whose codes may be known; blocks come in ascending order."""
        codes = known or encode(references, positions, self._scheme, threads=self._threads)
        groups = -(-len(self._images) // (_GROUP * 4 * self._threads))
        pieces = _threads.cut(len(self._images), min(_QUERIES_AT_ONCE, _GROUP * max(1, groups)))
        for work in _threads.run(lambda rows: self._add_to(rows, references, codes, positions), pieces, threads=self._threads):
            self._work += work

    def _add_to(self, rows: slice, references: NDArray[np.uint8], b: Codes, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        from retest.neighbors import _l2_kernels as kernels  # imports numba, which costs a third of a second

        a, setup = self._codes, self._setup(max(self._codes.longest, b.longest))
        products = a.rough[rows] @ b.rough.T
        coded_a = kernels.Coded(self._images, self._order[rows], a.rough_norms[rows], a.middle[rows], a.fine[rows])
        coded_b = kernels.Coded(references, positions, b.rough_norms, b.middle, b.fine)
        best, places, counts, work = self._best[rows], self._places[rows], self._counts[rows], np.zeros(4, np.int64)
        k = best.shape[1]
        state = kernels.State(
            np.empty(_GROUP, np.float64),
            np.empty((_GROUP, 5), np.int64),
            np.empty((_GROUP, 2, k), np.int64),
            np.empty((_GROUP, 2, positions.size), np.int64),
        )
        for group in _threads.cut(len(best), _GROUP):
            first, last = group.start, group.stop
            state.numbers[: last - first, 0] = counts[group]
            state.upper[: last - first, 0], state.upper[: last - first, 1] = best[group], places[group]
            kernels.scan(first, last, products, coded_a, coded_b, setup, state, work)
            kernels.compare(first, last, coded_a, coded_b, setup, state, best, places, counts, work)
            if self._progress is not None:
                self._progress((last - first) * positions.size)
        return work

    def _setup(self, longest: float) -> _l2_kernels.Setup:
        from retest.neighbors._l2_kernels import Setup

        middle, fine = self._scheme.middle, self._scheme.fine
        return Setup(
            rough_slack=2.0**-23 * longest,
            middle_step=middle.step,
            middle_slack=middle.slack,
            middle_strip=middle.strip_rows * middle.length,
            fine_step=fine.step,
            fine_slack=fine.slack,
            fine_strip=fine.strip_rows * fine.length,
            row_length=fine.length,
            row_norms=fine.columns,
            pixel_strip=self._scheme.strip_pixels,
        )

    def result(self, k: int, pairs: int) -> tuple[Knn, L2Work]:
        """What was found, in the order of the queries, with room for ``k`` neighbours."""
        knn = empty(len(self._best), k)
        kept = self._best.shape[1]
        knn.indices[self._order, :kept] = self._places
        knn.distances[self._order, :kept] = np.where(self._places >= 0, self._best, np.inf)
        return knn, L2Work(pairs, *self._work.tolist())


def _similar_together(rough: NDArray[np.float32], rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The rows in an order that puts similar ones into the same ``size``: split by the main direction, again and again."""
    if rows.size <= size:
        return rows
    centred = rough[rows] - rough[rows].mean(axis=0)
    direction = centred[int(np.argmax(np.einsum("ij,ij->i", centred, centred)))]
    for _ in range(_POWER_STEPS):
        direction = centred.T @ (centred @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-30)
    order = rows[np.argsort(centred @ direction, kind="stable")]
    half = max(size, (rows.size // 2 + size - 1) // size * size)
    return np.concatenate([_similar_together(rough, order[:half], size), _similar_together(rough, order[half:], size)])


def _flat(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A read-only view (n, values)."""
    return _checks.read_only(images.reshape(len(images), images.shape[1] * images.shape[2] * 3))
