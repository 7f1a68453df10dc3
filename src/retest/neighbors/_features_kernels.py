"""Compiled loops of the feature metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._jit import kernel


@kernel
def squared_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Squared Euclidean distance in float64; sixteen running sums in a fixed order, so equal on every machine."""
    sums = np.zeros(16, np.float64)
    full = a.size - a.size % 16
    for start in range(0, full, 16):
        for lane in range(16):
            difference = np.float64(a[start + lane]) - np.float64(b[start + lane])
            sums[lane] += difference * difference
    for lane in range(a.size - full):
        difference = np.float64(a[full + lane]) - np.float64(b[full + lane])
        sums[lane] += difference * difference
    total = 0.0
    for lane in range(16):
        total += sums[lane]
    return total


@kernel
def squared_distances(a: NDArray[np.float32], b: NDArray[np.float32], chosen: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Distances of one vector to the chosen rows of ``b``."""
    for i in range(chosen.size):
        out[i] = squared_distance(a, b[chosen[i]])
