"""Compiled loops of SSIM. Shapes and meaning are explained in dssim.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._jit import kernel


@kernel
def box_sums(planes: NDArray[np.uint8], window: int, sums: NDArray[np.int32], squares: NDArray[np.int32]) -> None:
    """Sums of pixels and of squared pixels of (n, 3, h, w) over every window, into (n, 3, h-window+1, w-window+1)."""
    n, channels, height, width = planes.shape
    out_width = width - window + 1
    column = np.zeros(width, np.int32)
    column_squares = np.zeros(width, np.int32)
    for image in range(n):
        for c in range(channels):
            column[:] = 0
            column_squares[:] = 0
            for y in range(height):
                for x in range(width):
                    value = np.int32(planes[image, c, y, x])
                    column[x] += value
                    column_squares[x] += value * value
                if y >= window:
                    for x in range(width):
                        value = np.int32(planes[image, c, y - window, x])
                        column[x] -= value
                        column_squares[x] -= value * value
                if y >= window - 1:
                    total = np.int32(0)
                    total_squares = np.int32(0)
                    for x in range(window - 1):
                        total += column[x]
                        total_squares += column_squares[x]
                    for x in range(out_width):
                        total += column[x + window - 1]
                        total_squares += column_squares[x + window - 1]
                        sums[image, c, y - window + 1, x] = total
                        squares[image, c, y - window + 1, x] = total_squares
                        total -= column[x]
                        total_squares -= column_squares[x]


@kernel
def ssim_tile(
    planes_a: NDArray[np.uint8],
    sums_a: NDArray[np.int32],
    squares_a: NDArray[np.int32],
    planes_b: NDArray[np.uint8],
    sums_b: NDArray[np.int32],
    squares_b: NDArray[np.int32],
    window: int,
    out: NDArray[np.float64],
) -> None:
    """Sum of the SSIM map over windows and channels for every pair of two groups of images, into (n_a, n_b)."""
    n_a, channels, height, width = planes_a.shape
    n_b = planes_b.shape[0]
    out_width = width - window + 1
    pixels = np.float64(window * window)
    c1 = (0.01 * 255.0) ** 2 * pixels * pixels / 2.0
    c2 = (0.03 * 255.0) ** 2 * pixels * (pixels - 1.0) / 2.0
    columns = np.zeros((n_a, n_b, width), np.int32)
    row_sums = np.zeros((n_a + n_b, out_width), np.float64)
    row_means = np.zeros((n_a + n_b, out_width), np.float64)
    row_vars = np.zeros((n_a + n_b, out_width), np.float64)
    totals = np.zeros((n_a, n_b, out_width), np.float64)
    products = np.zeros(out_width, np.int32)
    for c in range(channels):
        columns[:] = 0
        for y in range(height):
            top = y - window + 1
            if top >= 0:
                for i in range(n_a):
                    _row_statistics(sums_a[i, c, top], squares_a[i, c, top], pixels, c1, c2, row_sums[i], row_means[i], row_vars[i])
                for j in range(n_b):
                    i = n_a + j
                    _row_statistics(sums_b[j, c, top], squares_b[j, c, top], pixels, c1, c2, row_sums[i], row_means[i], row_vars[i])
            for i in range(n_a):
                for j in range(n_b):
                    column = columns[i, j]
                    _add_products(planes_a[i, c], planes_b[j, c], y, window, column)
                    if top >= 0:
                        total = np.int32(0)
                        for x in range(window - 1):
                            total += column[x]
                        for x in range(out_width):
                            total += column[x + window - 1]
                            products[x] = total
                            total -= column[x]
                        jj = n_a + j
                        _add_ratio(
                            products,
                            row_sums[i],
                            row_means[i],
                            row_vars[i],
                            row_sums[jj],
                            row_means[jj],
                            row_vars[jj],
                            pixels,
                            c1,
                            c2,
                            totals[i, j],
                        )
    for i in range(n_a):
        for j in range(n_b):
            total_ssim = 0.0
            for x in range(out_width):
                total_ssim += totals[i, j, x]
            out[i, j] = total_ssim


@kernel
def _row_statistics(
    sums: NDArray[np.int32], squares: NDArray[np.int32], pixels: Any, c1: Any, c2: Any, row_sums: Any, row_means: Any, row_vars: Any
) -> None:
    for x in range(sums.size):
        s = np.float64(sums[x])
        row_sums[x] = s
        row_means[x] = s * s + c1
        row_vars[x] = (pixels * np.float64(squares[x]) - s * s) + c2


@kernel
def _add_products(plane_a: Any, plane_b: Any, y: Any, window: Any, column: Any) -> None:
    if y < window:
        for x in range(column.size):
            column[x] += np.int32(plane_a[y, x]) * np.int32(plane_b[y, x])
    else:
        old = y - window
        for x in range(column.size):
            column[x] += np.int32(plane_a[y, x]) * np.int32(plane_b[y, x]) - np.int32(plane_a[old, x]) * np.int32(plane_b[old, x])


@kernel
def _add_ratio(products: Any, sa: Any, ma: Any, va: Any, sb: Any, mb: Any, vb: Any, pixels: Any, c1: Any, c2: Any, total: Any) -> None:
    for x in range(products.size):
        p = sa[x] * sb[x]
        covariance = pixels * np.float64(products[x]) - p
        total[x] += 4.0 * (p + c1) * (covariance + c2) / ((ma[x] + mb[x]) * (va[x] + vb[x]))
