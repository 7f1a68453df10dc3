"""Neighbour search on a GPU (``--device cuda``), with the results of the processor's search, bit for bit.

* l2: the squared distance is an integer, ``A + B - 2 a·b``. With 128 subtracted from all values the products of 65,536 dimensions sum
  to at most 2³⁰, so an int8 matrix product is exact in int32, and their sums are exact in int64. Where there is no such product,
  float64 is exact as well: no partial sum reaches 2⁵³.
* features: distances from a float64 matrix product are off by less than ``8(d + 4)·2⁻⁵³ (A + B)`` (the derivation in
  ``neighbors/features.py`` with float64's unit). All references within that of the k-th best are compared again on the processor.
* dssim: window sums are exact integers, the rest is float64. A window's variances are off by less than 10⁻¹⁰ (65,025 times some units of
  2⁻⁵³), its SSIM, whose denominators are above C2 = 58, by less than 10⁻¹¹. All references within 2·10⁻⁹ of the k-th best
  are compared again on the processor.

Distances and order therefore come from the same code as without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.errors import UsageError
from retest.models.engines import chosen_device
from retest.models.libraries import needs_extra
from retest.neighbors import Knn, NeighborParameters, empty, nearest_dssim, nearest_features

with needs_extra():
    import torch

_EXACT_TERMS = 65_536
_QUERIES_AT_ONCE = 1024
_REFERENCES_AT_ONCE = 4096
_FEATURES_AT_ONCE = 16_384
_PAIRS_AT_ONCE = 256
_DSSIM_MARGIN = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """Queries (q, ...), references (n, ...) of which those at ``places`` are searched, and how; ``count`` hears of compared pairs."""

    queries: NDArray[Any]
    references: NDArray[Any]
    places: NDArray[np.int64]
    parameters: NeighborParameters
    device: str
    threads: int
    count: Callable[[int], None]


def nearest(
    metric: str,
    queries: NDArray[Any],
    references: NDArray[Any],
    *,
    parameters: NeighborParameters,
    subset: NDArray[np.int64] | None,
    device: str,
    threads: int,
    progress: Callable[[int], None] | None,
) -> Knn:
    """``nearest_l2``, ``nearest_dssim`` or ``nearest_features`` on a torch device (``cpu`` for tests).

    Raises:
        UsageError: torch sees no such device, or the pre-ranking of dssim is asked for.
        MissingExtraError: torch is not installed.
    """
    chosen_device(device)
    places = np.arange(len(references), dtype=np.int64) if subset is None else subset
    job = _Job(queries, references, places, parameters, device, threads, progress or (lambda _pairs: None))
    with torch.inference_mode():
        if metric == "l2":
            return _l2(job)
        if metric == "dssim":
            return _dssim(job)
        return _features(job)


# ------------------------------------------------------------------------------------------------------------------ l2


def _l2(job: _Job) -> Knn:
    found = _Best(len(job.queries), job.parameters.k)
    for rows in _cut(len(job.queries), _QUERIES_AT_ONCE):
        a = _signed(job.queries[rows], job.device)
        norms_a = _squares(a)
        for part in _cut(job.places.size, _REFERENCES_AT_ONCE):
            places = job.places[part]
            b = _signed(job.references[places], job.device)
            distances = norms_a[:, None] + _squares(b)[None, :] - 2 * _dots(a, b)
            found.add(rows, distances, places)
            job.count(distances.numel())
    return found.result()


def _signed(images: NDArray[np.uint8], device: str) -> Any:
    """int8 (n, d'), 128 less than the values; d' is a multiple of 8, filled with zeros."""
    flat = torch.from_numpy(np.array(images).reshape(len(images), -1)).to(device)
    values = (flat.to(torch.int16) - 128).to(torch.int8)
    return torch.nn.functional.pad(values, (0, -values.shape[1] % 8))


def _squares(values: Any) -> Any:
    total = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    for part in _cut(values.shape[1], _EXACT_TERMS):
        total += values[:, part].to(torch.int32).square().sum(dim=1, dtype=torch.int64)
    return total


def _dots(a: Any, b: Any) -> Any:
    """Exact inner products of int8 rows, int64 (q, r)."""
    total = torch.zeros((len(a), len(b)), dtype=torch.int64, device=a.device)
    for part in _cut(a.shape[1], _EXACT_TERMS):
        if a.is_cuda:
            total += _int8_product(a[:, part], b[:, part])
        else:
            total += (a[:, part].double() @ b[:, part].double().T).to(torch.int64)
    return total


def _int8_product(a: Any, b: Any) -> Any:
    q, r = len(a), len(b)
    pad = torch.nn.functional.pad
    wide_a, wide_b = pad(a, (0, 0, 0, max(24 - q, -q % 8))), pad(b, (0, 0, 0, -r % 8))  # sizes that the product needs
    return torch._int_mm(wide_a.contiguous(), wide_b.contiguous().T)[:q, :r]


class _Best:
    """The k smallest integers of every row so far, ties by place; parts come in ascending order of places."""

    def __init__(self, queries: int, k: int) -> None:
        self._knn, self._kept = empty(queries, k), [np.full((queries, k), np.iinfo(np.int64).max), np.full((queries, k), -1, np.int64)]

    def add(self, rows: slice, distances: Any, places: NDArray[np.int64]) -> None:
        """One more part of the references."""
        width = distances.shape[1]
        # The place is part of the number, so that equal distances are ordered; 2^42 times 2^12 fits into 63 bits.
        numbered = distances * width + torch.arange(width, device=distances.device)
        best = torch.topk(numbered, min(self._knn.k, width), largest=False, sorted=True).values.cpu().numpy()
        values, where = self._kept
        together = np.hstack([values[rows], best // width]), np.hstack([where[rows], places[best % width]])
        order = np.argsort(together[0], axis=1, kind="stable")[:, : self._knn.k]
        values[rows], where[rows] = (np.take_along_axis(array, order, axis=1) for array in together)

    def result(self) -> Knn:
        """What was found."""
        values, where = self._kept
        self._knn.indices[:] = where
        self._knn.distances[:] = np.where(where >= 0, values, np.inf)
        return self._knn


# ------------------------------------------------------------------------------------------------------------ features


def _features(job: _Job) -> Knn:
    queries, k = job.queries, job.parameters.k
    slack = 8.0 * (queries.shape[1] + 4) * 2.0**-53
    proposed: list[list[NDArray[np.int64]]] = [[] for _ in range(len(queries))]
    for rows in _cut(len(queries), _QUERIES_AT_ONCE):
        a = _double(queries[rows], job.device)
        norms_a = a.square().sum(dim=1)
        limit = torch.full((len(a),), torch.inf, dtype=torch.float64, device=job.device)
        upper = torch.empty((len(a), 0), dtype=torch.float64, device=job.device)
        lowers = []
        for part in _cut(job.places.size, _FEATURES_AT_ONCE):
            places = job.places[part]
            b = _double(job.references[places], job.device)
            norms = norms_a[:, None] + b.square().sum(dim=1)[None, :]
            distances, margin = norms - 2 * (a @ b.T), slack * norms
            upper = torch.cat([upper, distances + margin], dim=1)
            if upper.shape[1] >= k:
                upper = torch.topk(upper, k, largest=False, sorted=True).values
                limit = upper[:, -1]
            lowers.append(_within(distances - margin, limit, places))
            job.count(distances.numel())
        _collect(proposed, rows.start, lowers, limit)

    def compare(row: int, some: NDArray[np.int64]) -> Knn:
        return nearest_features(queries[row : row + 1], job.references, k=k, subset=some, threads=job.threads)

    return _again(compare, proposed, k)


def _double(table: NDArray[np.float32], device: str) -> Any:
    return torch.from_numpy(np.array(table)).to(device).double()


def _within(lower: Any, limit: Any, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(rows, places, lower bounds) of what may belong to the k nearest as far as is known."""
    rows, columns = torch.nonzero(lower <= limit[:, None], as_tuple=True)
    return rows.cpu().numpy(), places[columns.cpu().numpy()], lower[rows, columns].cpu().numpy()


def _collect(proposed: list[list[NDArray[np.int64]]], first: int, parts: list[Any], limit: Any) -> None:
    """What is still within the final limits, per query."""
    final = limit.cpu().numpy()
    for rows, places, bounds in parts:
        kept = bounds <= final[rows]
        for row in np.unique(rows[kept]).tolist():
            proposed[first + row].append(places[kept & (rows == row)])


def _again(compare: Callable[[int, NDArray[np.int64]], Knn], proposed: list[list[NDArray[np.int64]]], k: int) -> Knn:
    """The processor's own comparison of what was proposed."""
    result = empty(len(proposed), k)
    for row, parts in enumerate(proposed):
        if parts:
            found = compare(row, np.sort(np.concatenate(parts)))
            result.indices[row], result.distances[row] = found.indices[0], found.distances[0]
    return result


# --------------------------------------------------------------------------------------------------------------- dssim


def _dssim(job: _Job) -> Knn:
    queries, places, parameters = job.queries, job.places, job.parameters
    if parameters.dssim_prerank is not None:
        raise UsageError("is not for a GPU, which compares all pairs", item="dssim_prerank", remedy="Leave it out, or use --device cpu")
    window, k = parameters.ssim_window, parameters.k
    found = np.full((len(queries), places.size), np.inf)
    prepared = [_Windows(queries[row : row + 1], window, job.device) for row in range(len(queries))]
    for part in _cut(places.size, _PAIRS_AT_ONCE):
        b = _Windows(job.references[places[part]], window, job.device)
        for row, a in enumerate(prepared):
            found[row, part] = ((1.0 - a.ssim(b)) / 2.0).cpu().numpy()
        job.count(len(queries) * (part.stop - part.start))
    most = np.inf if parameters.dssim_threshold is None else parameters.dssim_threshold
    limits = np.full(len(queries), most) if places.size <= k else np.minimum(np.partition(found, k - 1, axis=1)[:, k - 1], most)
    proposed = [[places[found[row] <= limits[row] + 2 * _DSSIM_MARGIN]] for row in range(len(queries))]

    def compare(row: int, some: NDArray[np.int64]) -> Knn:
        options: dict[str, Any] = {"window": window, "threshold": parameters.dssim_threshold, "subset": some}
        return nearest_dssim(queries[row : row + 1], job.references, k=k, threads=job.threads, **options)

    return _again(compare, [[some for some in parts if some.size] for parts in proposed], k)


class _Windows:
    """Images with the sums over all windows of their values and squares, int64 (n, 3, rows, columns)."""

    def __init__(self, images: NDArray[np.uint8], window: int, device: str) -> None:
        self._values = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).to(torch.int32)
        self._window = window
        self._sums, self._squares = self._over(self._values), self._over(self._values * self._values)

    def _over(self, values: Any) -> Any:
        """Sums over all windows, exact in int64."""
        for axis in (2, 3):
            sums = torch.nn.functional.pad(values.cumsum(dim=axis, dtype=torch.int64), (1, 0) if axis == 3 else (0, 0, 1, 0))
            size = sums.shape[axis] - self._window
            values = sums.narrow(axis, self._window, size) - sums.narrow(axis, 0, size)
        return values

    def ssim(self, other: _Windows) -> Any:
        """Mean SSIM of this one image and each of the other's, float64 (n,)."""
        n = float(self._window**2)
        products = self._over(self._values * other._values)
        mean_a, mean_b = self._sums.double() / n, other._sums.double() / n
        norm = n / (n - 1.0)
        var_a = norm * (self._squares.double() / n - mean_a * mean_a)
        var_b = norm * (other._squares.double() / n - mean_b * mean_b)
        covariance = norm * (products.double() / n - mean_a * mean_b)
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        below = (mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2)
        return (above / below).mean(dim=(1, 2, 3))


def _cut(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
