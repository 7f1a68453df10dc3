"""An upper bound of SSIM that is cheap for pairs of many images.

In every window SSIM is the product of ``l = f(μa, μb; C1)`` and ``s = (2 σab + C2) / (σa² + σb² + C2)`` with
``f(x, y; C) = (2xy + C) / (x² + y² + C)``. By Cauchy-Schwarz ``σab ≤ σa σb``, so ``s ≤ f(σa, σb; C2)``, and since l > 0 the product is at
most ``f(μa, μb; C1) f(σa, σb; C2)``. For x < y, ``∂f/∂x`` has the sign of ``2(y - x)(y(x + y) + C) > 0`` and ``∂f/∂y`` of the
opposite: f grows as its arguments approach each other, up to 1. So where x and y are only known to lie in two intervals,
f is at most its value at the closest two points of the intervals.

Windows that overlap almost entirely have almost equal means and deviations. The smallest and largest of them in cells of
6 x 6 positions (with windows of 35 pixels) therefore bound SSIM nearly as well as all windows do, at a thirtieth of the
work. The bound also holds for any part of the windows. So the exact computation stops as soon as what it has summed up plus
the bound of the remaining rows stays below the threshold, which for unlike images comes soon.

All figures are float64 with relative errors below 10⁻¹², and no window counts more than 1, so a slack of 10⁻⁹ in the mean
covers rounding many times over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.neighbors import _threads
from retest.neighbors._ssim import C1, C2, LANES, Lanes, Possible, Scale

SLACK = 1e-9
"""An SSIM that the bound puts below a threshold less this is truly below it, and so is the one computed."""


@dataclass(frozen=True, slots=True, eq=False)
class Extremes:
    """Smallest and largest window mean and deviation per cell, float64 (n, 4, cells), of n images.

    ``weights`` are the windows per cell, float64 (rows of cells of all channels, cells per row).
    """

    scale: Scale
    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, images: NDArray[np.uint8], scale: Scale) -> Extremes:
        """From read-only uint8 (n, h, w, 3)."""
        channels, down, across = scale.windows
        rows, columns = (np.bincount(np.arange(count) // _cell(scale)).astype(np.float64) for count in (down, across))
        weights = np.tile(np.outer(rows, columns), (channels, 1))
        values = np.empty((len(images), 4, weights.size), np.float64)
        lanes = Lanes(scale)
        for group in _threads.cut(len(images), LANES):
            lanes.fill(images, np.arange(group.start, group.stop))
            values[group] = _extremes(lanes.planes, scale, weights.size).transpose(2, 0, 1)[: group.stop - group.start]
        return cls(scale, values, weights)

    def possible(self, planes: NDArray[np.int16]) -> Possible:
        """What no pair of an image with one of eight, int16 (3, h, w, 8), exceeds."""
        from retest.neighbors import _dssim_kernels as kernels  # imports numba, which costs a third of a second

        out = np.empty((len(self.values), len(self.weights) + 1, LANES), np.float64)
        kernels.ssim_bounds(self.values, _extremes(planes, self.scale, self.weights.size), self.weights, (C1, C2), out)
        return Possible(out, _cell(self.scale))


def _cell(scale: Scale) -> int:
    return max(1, scale.window * 6 // 35)


def _extremes(planes: NDArray[np.int16], scale: Scale, cells: int) -> NDArray[np.float64]:
    from retest.neighbors import _dssim_kernels as kernels

    out = np.empty((4, cells, LANES), np.float64)
    kernels.window_extremes(planes, scale.window, _cell(scale), out)
    return out
