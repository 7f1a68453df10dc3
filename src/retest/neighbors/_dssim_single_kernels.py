"""Compiled loops of SSIM in float32, sixteen reference images at a time; _ssim_single.py derives how far they can be off.

Arrays of sixteen images end with the image: uint8 (3, h, w * 16), one number per lane.

The loops run as those of ``_dssim_kernels`` do. They are not written once for both, because nearly every line loads, computes and
keeps something else: other lanes, another type, and bounds in place of exact sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._jit import helper, kernel
from retest.neighbors._simd import (
    LANES,
    WIDE,
    load,
    load_wide,
    multiply_add,
    pair_products,
    splat,
    splat_wide,
    store,
    to_float32,
    to_float64,
)


@kernel
def to_wide(images: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Sixteen images (16, h * w * 3) into lanes (3, h * w * 16)."""
    for pixel in range(planes.shape[1] // WIDE):
        for c in range(3):
            for lane in range(WIDE):
                planes[c, pixel * WIDE + lane] = images[lane, 3 * pixel + c]


@helper
def _statistics(sums: Any, squares: Any, constants: Any, out: Any) -> None:
    """From window sums s and sums of squares q of one image row: s, s² + 2 c1 and n q - s² + 2 c2."""
    n, twice_c1, twice_c2 = splat(constants[0]), splat(2.0 * constants[1]), splat(2.0 * constants[2])
    to_sums, to_means, to_variances = out[0], out[1], out[2]
    for at in range(0, sums.size, LANES):
        s = to_float64(load(sums, at))
        square = s * s
        store(to_sums, at, to_float32(s))
        store(to_means, at, to_float32(square + twice_c1))
        store(to_variances, at, to_float32(n * to_float64(load(squares, at)) - square + twice_c2))


@helper
def _next_row(plane: Any, y: Any, window: Any, columns: Any, pairs: Any, statistics: Any, pixels: Any) -> None:
    """Move the windows of sixteen images down to end at row ``y``.

    ``plane`` is (h, w * 16); ``columns`` (2, w * 16) keeps the sums and sums of squares of each column. ``pairs`` gets the
    new values with the old ones, ``window`` rows above, in the high half; ``statistics`` s and n q - s² of each window.
    """
    size, keep = columns.shape[1], splat_wide(np.int32(1 if y >= window else 0))
    new_row, old_row = plane[y], plane[max(y - window, 0)]
    sums, squares = columns[0], columns[1]
    for at in range(0, size, WIDE):
        new, old = load_wide(new_row, at), load_wide(old_row, at) * keep
        store(pairs, at, new + old * splat_wide(np.int32(65536)))
        store(sums, at, load_wide(sums, at) + (new - old))
        store(squares, at, load_wide(squares, at) + (new * new - old * old))
    if y < window - 1:
        return
    total, total_squares = splat_wide(np.int32(0)), splat_wide(np.int32(0))
    for at in range(0, (window - 1) * WIDE, WIDE):
        total = total + load_wide(sums, at)
        total_squares = total_squares + load_wide(squares, at)
    out_sums, out_variances, n = statistics[0], statistics[1], splat_wide(pixels)
    for at in range(0, out_sums.size, WIDE):
        last = at + (window - 1) * WIDE
        total = total + load_wide(sums, last)
        total_squares = total_squares + load_wide(squares, last)
        s = to_float64(total)
        store(out_sums, at, to_float32(s))
        store(out_variances, at, to_float32(n * to_float64(total_squares) - s * s))
        total = total - load_wide(sums, at)
        total_squares = total_squares - load_wide(squares, at)


@helper
def _add_column(columns: Any, at: Any, pairs_a: Any, pairs_b: Any) -> Any:
    """Move the sum of products in one column of the window down by a row."""
    column = load_wide(columns, at) + pair_products(pairs_b, splat_wide(pairs_a))
    store(columns, at, column)
    return column


@helper
def _ratio(products: Any, constants: Any, a: Any, x: Any, sums_b: Any, variances_b: Any) -> Any:
    """A quarter of SSIM in one window."""
    n, c1, c2 = constants
    sums_a = splat_wide(a[0, x])
    means = multiply_add(sums_b, sums_a, c1)
    covariance = multiply_add(n, to_float32(products), c2 - sums_b * sums_a)
    return means * covariance / (multiply_add(sums_b, sums_b, splat_wide(a[1, x])) * (variances_b + splat_wide(a[2, x])))


@helper
def _ssim_row(
    pairs_a: Any, next_pairs_a: Any, a: Any, next_a: Any, pairs_b: Any, b: Any, columns: Any, next_columns: Any, setup: Any
) -> Any:
    """A quarter of the sums of SSIM over one row of windows, of two images with sixteen (two share what is read of these)."""
    window, constants = setup
    sums_b, variances_b = b[0], b[1]
    products, next_products = splat_wide(np.int32(0)), splat_wide(np.int32(0))
    total, next_total = splat_wide(np.float32(0.0)), splat_wide(np.float32(0.0))
    for x in range(window - 1):
        pairs = load_wide(pairs_b, WIDE * x)
        products = products + _add_column(columns, WIDE * x, pairs_a[x], pairs)
        next_products = next_products + _add_column(next_columns, WIDE * x, next_pairs_a[x], pairs)
    for x in range(sums_b.size // WIDE):
        at, last = WIDE * x, x + window - 1
        pairs = load_wide(pairs_b, WIDE * last)
        products = products + _add_column(columns, WIDE * last, pairs_a[last], pairs)
        next_products = next_products + _add_column(next_columns, WIDE * last, next_pairs_a[last], pairs)
        sums, variances = load_wide(sums_b, at), load_wide(variances_b, at)
        total = total + _ratio(products, constants, a, x, sums, variances)
        next_total = next_total + _ratio(next_products, constants, next_a, x, sums, variances)
        products = products - load_wide(columns, at)
        next_products = next_products - load_wide(next_columns, at)
    return to_float64(total), to_float64(next_total)


@kernel
def ssim_sums(
    pairs_a: NDArray[np.int32],
    sums_a: NDArray[np.int32],
    squares_a: NDArray[np.int32],
    planes_b: NDArray[np.uint8],
    constants: NDArray[np.float64],
    window: int,
    columns: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """About a quarter of the sum of SSIM over windows and channels, of n images with sixteen, into (n + 1, 16).

    Args:
        pairs_a: int32 (n, 3, h, w), from ``_dssim_kernels.pair_rows``.
        sums_a: int32 (n, 3, h', w' rounded up to a multiple of 8), sums over windows.
        squares_a: the same of squares.
        planes_b: uint8 (3, h, w * 16).
        constants: pixels per window, c1, c2.
        window: side of the window.
        columns: int32 (n + 1 or more, w * 16), room to work.
        out: float64 (n + 1, 16); the last row is room to work.
    """
    n, channels, height, width = pairs_a.shape
    across = width - window + 1
    pairs_b = np.empty(width * WIDE, np.int32)
    statistics_a = np.empty((2, 3, sums_a.shape[3]), np.float32)
    columns_b, statistics_b = np.empty((2, width * WIDE), np.int32), np.empty((2, across * WIDE), np.float32)
    setup = (window, (splat_wide(np.float32(constants[0])), splat_wide(np.float32(constants[1])), splat_wide(np.float32(constants[2]))))
    out[:] = 0.0
    for c in range(channels):
        columns[: n + 1] = 0
        columns_b[:] = 0
        for y in range(height):
            top = y - window + 1
            _next_row(planes_b[c], y, window, columns_b, pairs_b, statistics_b, constants[0])
            for i in range(0, n, 2):
                room = i + 1 if i + 1 < n else n
                j = min(i + 1, n - 1)
                if top < 0:
                    for x in range(width):
                        pairs = load_wide(pairs_b, WIDE * x)
                        _add_column(columns[i], WIDE * x, pairs_a[i, c, y, x], pairs)
                        _add_column(columns[room], WIDE * x, pairs_a[j, c, y, x], pairs)
                    continue
                _statistics(sums_a[i, c, top], squares_a[i, c, top], constants, statistics_a[0])
                _statistics(sums_a[j, c, top], squares_a[j, c, top], constants, statistics_a[1])
                row, next_row = _ssim_row(
                    pairs_a[i, c, y],
                    pairs_a[j, c, y],
                    statistics_a[0],
                    statistics_a[1],
                    pairs_b,
                    statistics_b,
                    columns[i],
                    columns[room],
                    setup,
                )
                store(out[i], 0, load_wide(out[i], 0) + row)
                store(out[room], 0, load_wide(out[room], 0) + next_row)
