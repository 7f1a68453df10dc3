"""Nearest neighbours in structural dissimilarity (method, section 6)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.neighbors import _checks, _threads
from retest.neighbors._ssim import LANES, Lanes, Possible, Queries, Scale, coarse
from retest.neighbors._ssim_bound import SLACK, Extremes
from retest.neighbors._ssim_single import LANES as SINGLE_LANES
from retest.neighbors._ssim_single import SingleLanes, margin
from retest.neighbors.knn import Knn, empty, from_matrix, joined
from retest.neighbors.parameters import MAX_WINDOW

_QUERIES_AT_ONCE = 128
_REFERENCES_AT_ONCE = 4096
_GROUPS_PER_PIECE = 8
_WORTHWHILE = 10


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
    progress: Callable[[int], None] | None = None,
) -> Knn:
    """The k references of smallest structural dissimilarity (1 - SSIM) / 2.

    SSIM is that of Wang et al. (2004) as published for ImageNetV2: on RGB values 0..255, with a uniform window, sample
    covariance, the mean over all windows inside the image and the three channels. It equals
    ``skimage.metrics.structural_similarity(a, b, channel_axis=-1, win_size=window)`` to about 1e-14.

    Args:
        queries: uint8 (q, h, w, 3).
        references: uint8 (r, h, w, 3); may be memory-mapped. Equal distances go to the smaller index.
        k: neighbours per query.
        window: side of the window in pixels, odd, at most the side of the images and 181.
        threshold: report only references up to this dissimilarity. Those that a rigorous bound rules out are not compared:
            the result is that of the exact search with farther references removed, and comes sooner.
        prerank: compare exactly only this many references per query, chosen by an approximation (SSIM from block
            means). Fast and unproven: a true neighbour can be missed. ``Knn.worst_prerank`` tells how close that came.
        subset: search only these references, int64 positions, ascending; indices still count in ``references``.
        threads: threads to use; the result does not depend on it.
        progress: called with a number of pairs whenever so many more are done, from the threads that did them.

    Raises:
        UsageError: an argument has another type, shape or size, or images are smaller than the window.
    """
    _checks.check_image_pair(queries, references)
    _checks.check_count("k", k)
    _checks.check_count("threads", threads)
    _check_window(window, queries.shape[1:3])
    _check_mode(k, threshold, prerank)
    positions = _checks.check_subset(subset, len(references))
    images = _checks.read_only(references)
    scale = Scale(queries.shape[1], queries.shape[2], window)
    with _threads.single_threaded_blas():
        if prerank is not None:
            return _preranked(queries, images, positions, scale, k=k, prerank=prerank, threads=threads, progress=progress)
        return _search(queries, images, positions, scale, k=k, threshold=threshold, threads=threads, progress=progress)


def _search(
    queries: NDArray[np.uint8],
    images: NDArray[np.uint8],
    positions: NDArray[np.int64],
    scale: Scale,
    *,
    k: int,
    threshold: float | None,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> Knn:
    """The k nearest of all references at ``positions``, at any scale."""
    result, lanes = empty(len(queries), k), Lanes(scale)
    worthwhile = scale.side == 1 and threshold is None and positions.size >= _WORTHWHILE * k
    single = SingleLanes(scale) if worthwhile else None
    for rows in _threads.cut(len(queries), _QUERIES_AT_ONCE):
        block = _Block(queries[rows], scale, lanes, threshold, threads)
        best = empty(rows.stop - rows.start, k)
        for part in _threads.cut(positions.size, _REFERENCES_AT_ONCE):
            if single is None:
                matrix = block.distances(images, positions[part], threads, progress)
            else:
                matrix = block.near(images, positions[part], best, single, threads, progress)
            best = joined(best, matrix, positions[part])
        result.indices[rows], result.distances[rows] = best.indices, best.distances
    return result


class _Block:
    """Some queries, ready for comparison with any number of references."""

    def __init__(self, queries: NDArray[np.uint8], scale: Scale, lanes: Lanes, threshold: float | None, threads: int) -> None:
        parts = _threads.run(lambda part: Queries.prepare(queries[part], scale), _threads.cut(len(queries), LANES), threads=threads)
        self._queries = Queries(scale, *(np.concatenate([getattr(part, name) for part in parts]) for name in ("pairs", "sums", "squares")))
        self._lanes, self._threshold, self._windows = lanes, threshold, float(np.prod(scale.windows))
        self._extremes = None if threshold is None else Extremes.of(_checks.read_only(queries), scale)

    def distances(
        self, images: NDArray[np.uint8], places: NDArray[np.int64], threads: int, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Dissimilarities (queries, places), infinite beyond the threshold."""
        groups = _threads.cut(places.size, LANES)

        def compare(piece: slice) -> NDArray[np.float64]:
            found = np.hstack([self._eight(images, places[group]) for group in groups[piece]])
            if progress is not None:
                progress(found.size)
            return found

        parts = _threads.run(compare, _threads.cut(len(groups), _GROUPS_PER_PIECE), threads=threads)
        return np.hstack(parts) if parts else np.empty((len(self._queries), 0))

    def near(
        self,
        images: NDArray[np.uint8],
        places: NDArray[np.int64],
        best: Knn,
        single: SingleLanes,
        threads: int,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Dissimilarities (queries, places), infinite where k references, those of ``best`` included, are surely nearer.

        That is decided by float32 figures and their margin; what is reported is computed in float64.
        """

        def estimate(group: slice) -> NDArray[np.float64]:
            found = single.ssim(self._queries, images[places[group]])
            if progress is not None:
                progress(found.size)
            return found

        parts = _threads.run(estimate, _threads.cut(places.size, SINGLE_LANES), threads=threads)
        estimates, slack = (1.0 - np.hstack(parts)) / 2.0, margin(single.scale) / 2.0
        above = np.hstack([best.distances, estimates + slack])
        limit = np.partition(above, best.k - 1, axis=1)[:, best.k - 1 : best.k]
        possible = estimates - slack <= limit
        matrix = np.full(possible.shape, np.inf)

        def compute(row: int) -> None:
            chosen = np.flatnonzero(possible[row])
            for group in _threads.cut(chosen.size, LANES):
                self._lanes.fill(images, places[chosen[group]])
                found = self._lanes.ssim(self._queries, np.array([row]))[0, : chosen[group].size]
                matrix[row, chosen[group]] = (1.0 - found) / 2.0

        _threads.run(compute, range(len(matrix)), threads=threads)
        return matrix

    def _eight(self, images: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.float64]:
        self._lanes.fill(images, places)
        if self._threshold is None or self._extremes is None:
            distances = (1.0 - self._lanes.ssim(self._queries, np.arange(len(self._queries)))) / 2.0
        else:
            distances = self._within(self._threshold, self._extremes.possible(self._lanes.planes))
        return distances[:, : places.size]

    def _within(self, threshold: float, possible: Possible) -> NDArray[np.float64]:
        """Dissimilarities to the eight references, infinite beyond the threshold."""
        needed = 1.0 - 2.0 * threshold - SLACK
        distances = np.full((len(self._queries), LANES), np.inf)
        chosen = np.flatnonzero((possible.most >= needed * self._windows).any(axis=1))
        if chosen.size:
            distances[chosen] = (1.0 - self._lanes.ssim(self._queries, chosen, needed=needed, possible=possible)) / 2.0
        return np.where(distances <= threshold, distances, np.inf)


def _preranked(
    queries: NDArray[np.uint8],
    images: NDArray[np.uint8],
    positions: NDArray[np.int64],
    scale: Scale,
    *,
    k: int,
    prerank: int,
    threads: int,
    progress: Callable[[int], None] | None,
) -> Knn:
    """The k nearest of those ``prerank`` references that are nearest on block means."""
    first = _search(queries, images, positions, coarse(scale.height, scale.width, scale.window), k=prerank, threshold=None, threads=threads)
    nothing = empty(len(queries), k)
    worst = np.zeros(len(queries), np.int64)
    result, lanes = Knn(nothing.indices, nothing.distances, worst), Lanes(scale)

    def refine(row: int) -> None:
        found = first.indices[row][first.indices[row] >= 0]
        chosen = np.sort(found)
        best = from_matrix(_Block(queries[row : row + 1], scale, lanes, None, 1).distances(images, chosen, 1), chosen, k=k)
        result.indices[row], result.distances[row] = best.indices[0], best.distances[0]
        worst[row] = np.flatnonzero(np.isin(found, best.indices[0])).max(initial=-1) + 1
        if progress is not None:
            progress(positions.size)

    _threads.run(refine, range(len(queries)), threads=threads)
    return result


def _check_window(window: int, shape: tuple[int, ...]) -> None:
    _checks.check_count("window", window, least=3)
    if window % 2 == 0 or window > MAX_WINDOW:
        raise UsageError(f"the window {window} is not an odd number from 3 to {MAX_WINDOW}", item="window", remedy="Published: 35.")
    if min(shape[:2]) < window:
        raise UsageError(
            f"images of {shape[0]}x{shape[1]} pixels are smaller than the SSIM window of {window}",
            item="window",
            remedy=f"Use larger images or an odd window of at most {(min(shape[:2]) - 1) // 2 * 2 + 1} pixels.",
        )


def _check_mode(k: int, threshold: float | None, prerank: int | None) -> None:
    if threshold is not None and prerank is not None:
        raise UsageError("threshold and prerank exclude each other", item="prerank", remedy="Give only one of the two.")
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise UsageError(f"{threshold} is not a dissimilarity", item="threshold", remedy="Use a number from 0 to 1.")
    if prerank is not None:
        _checks.check_count("prerank", prerank, least=k)
