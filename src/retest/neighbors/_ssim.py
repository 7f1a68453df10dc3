"""SSIM of many pairs of images by exact window sums; the figures behind dssim.py.

The published figure is the mean over three channels and all windows inside the image of
``(2 μa μb + C1)(2 σab + C2) / ((μa² + μb² + C1)(σa² + σb² + C2))``, a uniform window of n pixels, sample (co)variances,
C1 = (0.01·255)², C2 = (0.03·255)². With sums s, sums of squares q and sums of products p over a window, all of them exact
integers, each factor times n² or n(n-1) is an integer plus a constant:

    S = 4 (sa sb + c1) (n p - sa sb + c2) / ((sa² + sb² + 2 c1) (n qa - sa² + n qb - sb² + 2 c2)),
    c1 = C1 n² / 2, c2 = C2 n (n - 1) / 2.

Sums of windows are updated from row to row and from column to column. What remains are some ten float64 operations per
window in a fixed order, so a figure does not depend on the machine or on the other images, and equal images give exactly 1.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.neighbors import _threads
from retest.neighbors.parameters import MAX_WINDOW

LANES = 8
_TILE = 32
_K1, _K2, _RANGE = 0.01, 0.03, 255.0
C1, C2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2


@dataclass(frozen=True, slots=True)
class Scale:
    """What SSIM is computed on: pixels, or sums over blocks of ``side`` pixels as an approximation.

    On blocks, means and variances of the windows are exact, but only every ``side``-th window in each direction counts, and
    products within a block are replaced by the product of the block's means.
    """

    height: int
    width: int
    window: int
    side: int = 1

    @property
    def planes(self) -> tuple[int, int, int]:
        """Channels, rows and columns of values."""
        return 3, self.height // self.side, self.width // self.side

    @property
    def span(self) -> int:
        """Side of the window in values."""
        return self.window // self.side

    @property
    def windows(self) -> tuple[int, int, int]:
        """Channels, rows and columns of windows."""
        channels, rows, columns = self.planes
        return channels, rows - self.span + 1, columns - self.span + 1

    @property
    def constants(self) -> NDArray[np.float64]:
        """Of the formula above: n, c1, c2, and n times the pixels that a product of two values stands for."""
        n = float(self.window * self.window)
        return np.array([n, C1 * n * n / 2.0, C2 * n * (n - 1.0) / 2.0, n / self.side**2])


def coarse(height: int, width: int, window: int) -> Scale:
    """The coarsest scale with at least seven blocks across the window whose sums of products fit into int32."""
    sides = [side for side in range(1, window) if window % side == 0 and window // side >= 7 and side * window <= MAX_WINDOW]
    return Scale(height, width, window, max(sides, default=1))


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Images prepared for comparison with any others: see ``_dssim_kernels.ssim_sums``."""

    scale: Scale
    pairs: NDArray[np.int32]
    sums: NDArray[np.int32]
    squares: NDArray[np.int32]

    @classmethod
    def prepare(cls, images: NDArray[np.uint8], scale: Scale) -> Queries:
        """From uint8 (n, h, w, 3)."""
        from retest.neighbors import _dssim_kernels as kernels  # imports numba, which costs a third of a second

        n, (channels, rows, columns), side = len(images), scale.planes, scale.side
        values = images[:, : rows * side, : columns * side].transpose(0, 3, 1, 2).astype(np.int32)
        blocks = values.reshape(n, channels, rows, side, columns, side)
        planes, energies = np.ascontiguousarray(blocks.sum(axis=(3, 5), dtype=np.int32)), (blocks * blocks).sum(axis=(3, 5), dtype=np.int32)
        _, down, across = scale.windows
        padded = -(-across // LANES) * LANES
        sums, squares = np.zeros((n, channels, down, padded), np.int32), np.zeros((n, channels, down, padded), np.int32)
        kernels.window_sums(planes, scale.span, sums)
        kernels.window_sums(np.ascontiguousarray(energies), scale.span, squares)
        pairs = np.empty_like(planes)
        kernels.pair_rows(planes, scale.span, pairs)
        return cls(scale, pairs, sums, squares)

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Possible:
    """How much SSIM eight references can still add up to with each query, from some row of windows on.

    ``remaining`` is float64 (queries, groups + 1, 8), sums over windows; groups go by channel and ``cell`` rows of windows.
    """

    remaining: NDArray[np.float64]
    cell: int

    @property
    def most(self) -> NDArray[np.float64]:
        """Sums (queries, 8) over all windows."""
        return self.remaining[:, 0]


class Lanes(threading.local):
    """Eight references at a time; every thread keeps its own room to work."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        _, rows, columns = scale.planes
        _, _, across = scale.windows
        self.planes = np.zeros((3, rows, columns, LANES), np.int16)
        self.squares = np.zeros((3, rows, columns, LANES) if scale.side > 1 else (3, 0, 0, LANES), np.int32)
        self._columns = aligned((_TILE, columns * LANES), np.dtype(np.int32)).view(np.int32)
        self._statistics = aligned((3, across * LANES), np.dtype(np.float64)).view(np.float64)

    def fill(self, images: NDArray[np.uint8], places: NDArray[np.int64]) -> None:
        """Take up to eight of the images uint8 (n, h, w, 3), which must be read-only and contiguous; the last fills up."""
        from retest.neighbors import _dssim_kernels as kernels

        filled = places[np.minimum(np.arange(LANES), places.size - 1)]
        if self.scale.side == 1:
            kernels.to_lanes(images[filled].reshape(LANES, -1), self.planes.reshape(3, -1, LANES))
            return
        for lane, place in enumerate(filled):
            kernels.blocks_to_lanes(images[place], self.scale.side, lane, self.planes, self.squares)

    def ssim(
        self, queries: Queries, chosen: NDArray[np.int64], *, needed: float = -1.0, possible: Possible | None = None
    ) -> NDArray[np.float64]:
        """SSIM float64 (n, 8) of the chosen queries with the references taken last.

        With ``possible``, a query for which none of the eight can reach the ``needed`` SSIM gets minus infinity for all.
        """
        from retest.neighbors import _dssim_kernels as kernels

        windows = float(np.prod(self.scale.windows))
        remaining, cell = (np.zeros((1, 1, LANES)), 0) if possible is None else (possible.remaining, possible.cell)
        mean = np.empty((chosen.size, LANES), np.float64)
        for part in _threads.cut(chosen.size, _TILE):
            out = np.empty((part.stop - part.start, LANES), np.float64)
            kernels.ssim_sums(
                queries.pairs,
                queries.sums,
                queries.squares,
                chosen[part],
                self.planes,
                self.squares,
                self.scale.constants,
                self.scale.span,
                self._columns,
                self._statistics,
                remaining,
                cell,
                needed * windows,
                out,
            )
            mean[part] = 4.0 * out / windows
        return mean


def aligned(shape: tuple[int, int], dtype: np.dtype[np.int32] | np.dtype[np.float64]) -> NDArray[np.uint8]:
    """Zeroed bytes of an array that starts on a cache line, so that vector loads do not straddle two."""
    size = shape[0] * shape[1] * dtype.itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(shape[0], shape[1] * dtype.itemsize)
