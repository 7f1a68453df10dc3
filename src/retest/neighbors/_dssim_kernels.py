"""Compiled loops of SSIM, eight reference images at a time; dssim.py explains the figures.

Arrays of eight images end with the image: int16 (3, h, w, 8), one number per lane.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._jit import helper, kernel
from retest.neighbors._simd import LANES, load, maximum, minimum, multiply_add, pair_products, splat, store, to_float64


@kernel
def to_lanes(images: NDArray[np.uint8], planes: NDArray[np.int16]) -> None:
    """Eight images (8, h * w * 3) into the lanes of (3, h * w, 8)."""
    for pixel in range(planes.shape[1]):
        for c in range(3):
            for lane in range(LANES):
                planes[c, pixel, lane] = images[lane, 3 * pixel + c]


@kernel
def blocks_to_lanes(image: NDArray[np.uint8], side: int, lane: int, planes: NDArray[np.int16], squares: NDArray[np.int32]) -> None:
    """Sums of the pixels of an image (h, w, 3), and of their squares, over blocks, into one lane of (3, h // side, w // side, 8)."""
    for c in range(3):
        for row in range(planes.shape[1]):
            for column in range(planes.shape[2]):
                total, total_squares = np.int32(0), np.int32(0)
                for y in range(row * side, (row + 1) * side):
                    for x in range(column * side, (column + 1) * side):
                        value = np.int32(image[y, x, c])
                        total += value
                        total_squares += value * value
                planes[c, row, column, lane] = total
                squares[c, row, column, lane] = total_squares


@kernel
def window_sums(values: NDArray[np.int32], window: int, out: NDArray[np.int32]) -> None:
    """Sums over every window of (n, c, h, w), into (n, c, h - window + 1, at least w - window + 1)."""
    n, channels, height, width = values.shape
    columns = np.empty(width, np.int32)
    for i in range(n):
        for c in range(channels):
            columns[:] = 0
            for y in range(height):
                if y >= window:
                    columns -= values[i, c, y - window]
                columns += values[i, c, y]
                if y >= window - 1:
                    total = np.int32(0)
                    for x in range(width):
                        total += columns[x]
                        if x >= window - 1:
                            out[i, c, y - window + 1, x - window + 1] = total
                            total -= columns[x - window + 1]


@kernel
def pair_rows(planes: NDArray[np.int32], window: int, out: NDArray[np.int32]) -> None:
    """Each value in the low half of an int32, and in the high half minus the value ``window`` rows above, or 0.

    Both are (n, 3, h, w), of values from 0 to 2**15 - 1.
    """
    n, channels, height, width = planes.shape
    for i in range(n):
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    old = planes[i, c, y - window, x] if y >= window else np.int32(0)
                    out[i, c, y, x] = planes[i, c, y, x] - old * np.int32(65536)


@helper
def _next_row(planes: Any, squares: Any, y: Any, window: Any, columns: Any, out: Any) -> None:
    """Move the windows of eight images down to end at row ``y``: their sums and sums of squares into ``out``.

    ``planes`` is (h, w, 8), ``squares`` as well, or empty if the values are to be squared; ``columns`` (2, w * 8) keeps
    the sums of each column, ``out`` is (2, w' * 8).
    """
    size, given = columns.shape[1], squares.size > 0
    back = max(y - window, 0)
    new, old = planes[y].reshape(size), planes[back].reshape(size)
    keep = splat(np.int32(1 if y >= window else 0))
    column_sums, column_squares = columns[0], columns[1]
    for at in range(0, size, LANES):
        added, removed = load(new, at), load(old, at) * keep
        store(column_sums, at, load(column_sums, at) + (added - removed))
        if not given:
            store(column_squares, at, load(column_squares, at) + (added * added - removed * removed))
    if given:
        new_squares, old_squares = squares[y].reshape(size), squares[back].reshape(size)
        for at in range(0, size, LANES):
            store(column_squares, at, load(column_squares, at) + (load(new_squares, at) - load(old_squares, at) * keep))
    if y < window - 1:
        return
    total, total_squares = splat(np.int32(0)), splat(np.int32(0))
    for at in range(0, (window - 1) * LANES, LANES):
        total = total + load(column_sums, at)
        total_squares = total_squares + load(column_squares, at)
    out_sums, out_squares = out[0], out[1]
    for at in range(0, out_sums.size, LANES):
        last = at + (window - 1) * LANES
        total = total + load(column_sums, last)
        total_squares = total_squares + load(column_squares, last)
        store(out_sums, at, total)
        store(out_squares, at, total_squares)
        total = total - load(column_sums, at)
        total_squares = total_squares - load(column_squares, at)


@helper
def _statistics(sums: Any, squares: Any, constants: Any, out: Any) -> None:
    """From window sums s and sums of squares q of one image row: s, s² + c1 and n·q + (c2 - s²)."""
    pixels, c1, c2 = splat(constants[0]), splat(constants[1]), splat(constants[2])
    to_sums, to_means, to_variances = out[0], out[1], out[2]
    for at in range(0, sums.size, LANES):
        s = to_float64(load(sums, at))
        square = s * s
        store(to_sums, at, s)
        store(to_means, at, square + c1)
        store(to_variances, at, multiply_add(pixels, to_float64(load(squares, at)), c2 - square))


@helper
def _pair_row(new: Any, old: Any, out: Any) -> None:
    for at in range(0, new.size, LANES):
        store(out, at, load(new, at) + load(old, at) * splat(np.int32(65536)))


@helper
def _add_column(columns: Any, at: Any, pairs_a: Any, pairs_b: Any) -> Any:
    """Move the sum of products in one column of the window down by a row."""
    column = load(columns, at) + pair_products(pairs_b, splat(pairs_a))
    store(columns, at, column)
    return column


@helper
def _ratio(products: Any, scale: Any, c1: Any, c2: Any, a: Any, x: Any, sums_b: Any, means_b: Any, variances_b: Any) -> Any:
    """A quarter of SSIM in one window, from sums of products and the statistics of both sides."""
    means = sums_b * splat(a[0, x])
    covariance = multiply_add(scale, to_float64(products), c2 - means)
    return (means + c1) * covariance / ((means_b + splat(a[1, x])) * (variances_b + splat(a[2, x])))


@helper
def _ssim_row(
    pairs_a: Any, next_pairs_a: Any, a: Any, next_a: Any, pairs_b: Any, b: Any, columns: Any, next_columns: Any, setup: Any
) -> Any:
    """A quarter of the sums of SSIM over one row of windows, of two images with eight.

    Two at a time, because reading the statistics of the eight takes as long as computing with them.
    """
    window, constants = setup
    c1, c2, scale = splat(constants[1]), splat(constants[2]), splat(constants[3])
    sums_b, means_b, variances_b = b[0], b[1], b[2]
    products, next_products = splat(np.int32(0)), splat(np.int32(0))
    total, next_total = splat(0.0), splat(0.0)
    for x in range(window - 1):
        pairs = load(pairs_b, LANES * x)
        products = products + _add_column(columns, LANES * x, pairs_a[x], pairs)
        next_products = next_products + _add_column(next_columns, LANES * x, next_pairs_a[x], pairs)
    for x in range(sums_b.size // LANES):
        at, last = LANES * x, x + window - 1
        pairs = load(pairs_b, LANES * last)
        products = products + _add_column(columns, LANES * last, pairs_a[last], pairs)
        next_products = next_products + _add_column(next_columns, LANES * last, next_pairs_a[last], pairs)
        sums, means, variances = load(sums_b, at), load(means_b, at), load(variances_b, at)
        total = total + _ratio(products, scale, c1, c2, a, x, sums, means, variances)
        next_total = next_total + _ratio(next_products, scale, c1, c2, next_a, x, sums, means, variances)
        products = products - load(columns, at)
        next_products = next_products - load(next_columns, at)
    return total, next_total


@helper
def _ssim_row_alone(pairs_a: Any, a: Any, pairs_b: Any, b: Any, columns: Any, setup: Any) -> Any:
    """The same of one image with eight."""
    window, constants = setup
    c1, c2, scale = splat(constants[1]), splat(constants[2]), splat(constants[3])
    sums_b, means_b, variances_b = b[0], b[1], b[2]
    products, total = splat(np.int32(0)), splat(0.0)
    for x in range(window - 1):
        products = products + _add_column(columns, LANES * x, pairs_a[x], load(pairs_b, LANES * x))
    for x in range(sums_b.size // LANES):
        at, last = LANES * x, x + window - 1
        products = products + _add_column(columns, LANES * last, pairs_a[last], load(pairs_b, LANES * last))
        total = total + _ratio(products, scale, c1, c2, a, x, load(sums_b, at), load(means_b, at), load(variances_b, at))
        products = products - load(columns, at)
    return total


@helper
def _keep_possible(active: Any, count: Any, chosen: Any, out: Any, remaining: Any, group: Any, needed: Any) -> Any:
    """Move those to the front whose SSIM with one of the eight may still reach what is needed; their number."""
    kept = 0
    for slot in active[:count]:
        possible = False
        for lane in range(LANES):
            if 4.0 * out[slot, lane] + remaining[chosen[slot], group, lane] >= needed:
                possible = True
        if possible:
            active[kept] = slot
            kept += 1
        else:
            for lane in range(LANES):
                out[slot, lane] = -np.inf
    return kept


@kernel
def ssim_sums(
    pairs_a: NDArray[np.int32],
    sums_a: NDArray[np.int32],
    squares_a: NDArray[np.int32],
    chosen: NDArray[np.int64],
    planes_b: NDArray[np.int16],
    squares_b: NDArray[np.int32],
    constants: NDArray[np.float64],
    window: int,
    columns: NDArray[np.int32],
    statistics_b: NDArray[np.float64],
    remaining: NDArray[np.float64],
    cell: int,
    needed: float,
    out: NDArray[np.float64],
) -> None:
    """A quarter of the sum of SSIM over windows and channels, of n chosen images with eight, into (n, 8).

    Args:
        pairs_a: int32 (m, 3, h, w), from ``pair_rows``.
        sums_a: int32 (m, 3, h', w' rounded up to a multiple of 8), sums over windows.
        squares_a: the same of squares.
        chosen: int64 (n,), which of the m images.
        planes_b: int16 (3, h, w, 8).
        squares_b: int32 (3, h, w, 8), sums of squares that the values stand for; (3, 0, 0, 8) if just their squares.
        constants: pixels per window, c1, c2, and what a product of two values of the planes counts.
        window: side of the window in values of the planes.
        columns: int32 (n or more, w * 8), room to work.
        statistics_b: float64 (3, w' * 8), room to work.
        remaining: float64 (m, groups + 1, 8), most that the sum over the rows of windows from each group on can be, by
            channel and ``cell`` rows.
        cell: rows of windows per group; 0 to compute everything.
        needed: an image whose sums cannot reach this gets minus infinity instead.
        out: float64 (n, 8).
    """
    n, (_, channels, height, width) = chosen.size, pairs_a.shape
    statistics_a = np.empty((2, 3, sums_a.shape[3]), np.float64)
    pairs_b, nothing = np.empty(width * LANES, np.int32), np.zeros(width * LANES, np.int16)
    columns_b, row_b = np.empty((2, width * LANES), np.int32), np.empty((2, statistics_b.shape[1]), np.int32)
    active, count, group = np.arange(n), n, 0
    out[:] = 0.0
    for c in range(channels):
        columns[:n] = 0
        columns_b[:] = 0
        for y in range(height):
            top = y - window + 1
            old = planes_b[c, y - window].reshape(width * LANES) if y >= window else nothing
            _pair_row(planes_b[c, y].reshape(width * LANES), old, pairs_b)
            _next_row(planes_b[c], squares_b[c], y, window, columns_b, row_b)
            if top < 0:
                for slot in active[:count]:
                    row_a = pairs_a[chosen[slot], c, y]
                    for x in range(width):
                        _add_column(columns[slot], LANES * x, row_a[x], load(pairs_b, LANES * x))
                continue
            _statistics(row_b[0], row_b[1], constants, statistics_b)
            for at in range(0, count, 2):
                slot = active[at]
                a = chosen[slot]
                _statistics(sums_a[a, c, top], squares_a[a, c, top], constants, statistics_a[0])
                if at + 1 == count:
                    row = _ssim_row_alone(pairs_a[a, c, y], statistics_a[0], pairs_b, statistics_b, columns[slot], (window, constants))
                    store(out[slot], 0, load(out[slot], 0) + row)
                    continue
                next_slot = active[at + 1]
                next_a = chosen[next_slot]
                _statistics(sums_a[next_a, c, top], squares_a[next_a, c, top], constants, statistics_a[1])
                row, next_row = _ssim_row(
                    pairs_a[a, c, y],
                    pairs_a[next_a, c, y],
                    statistics_a[0],
                    statistics_a[1],
                    pairs_b,
                    statistics_b,
                    columns[slot],
                    columns[next_slot],
                    (window, constants),
                )
                store(out[slot], 0, load(out[slot], 0) + row)
                store(out[next_slot], 0, load(out[next_slot], 0) + next_row)
            if cell > 0 and ((top + 1) % cell == 0 or y == height - 1):
                group += 1
                count = _keep_possible(active, count, chosen, out, remaining, group, needed)
                if count == 0:
                    return


@kernel
def window_extremes(planes: NDArray[np.int16], window: int, cell: int, out: NDArray[np.float64]) -> None:
    """Smallest and largest mean and deviation of the windows in cells of ``cell`` x ``cell`` positions, of eight images.

    ``planes`` is (3, h, w, 8); ``out`` is (4, cells, 8): the smallest and largest mean, then deviation, cells by channel,
    row and column.
    """
    channels, height, width, _ = planes.shape
    across = width - window + 1
    pixels = np.float64(window * window)
    n, per_pixel = splat(pixels), splat(1.0 / pixels)
    columns, row = np.empty((2, width * LANES), np.int32), np.empty((2, across * LANES), np.int32)
    nothing = planes[0, :0]
    cells_across = (across + cell - 1) // cell
    low_mean, high_mean, low_variance, high_variance = out[0], out[1], out[2], out[3]
    out[0] = np.inf
    out[1] = -np.inf
    out[2] = np.inf
    out[3] = -np.inf
    for c in range(channels):
        columns[:] = 0
        for y in range(height):
            _next_row(planes[c], nothing, y, window, columns, row)
            if y < window - 1:
                continue
            down = (height - window + cell) // cell
            first = (c * down + (y - window + 1) // cell) * cells_across
            for x in range(across):
                at = first + x // cell
                s, q = to_float64(load(row[0], LANES * x)), to_float64(load(row[1], LANES * x))
                mean, variance = s * per_pixel, n * q - s * s
                store(low_mean[at], 0, minimum(load(low_mean[at], 0), mean))
                store(high_mean[at], 0, maximum(load(high_mean[at], 0), mean))
                store(low_variance[at], 0, minimum(load(low_variance[at], 0), variance))
                store(high_variance[at], 0, maximum(load(high_variance[at], 0), variance))
    for side in range(2, 4):
        for at in range(out.shape[1]):
            for lane in range(LANES):
                out[side, at, lane] = np.sqrt(out[side, at, lane] / (pixels * (pixels - 1.0)))


@helper
def _closest(low_a: Any, high_a: Any, low_b: Any, high_b: Any) -> Any:
    """The closest two numbers of two intervals, the smaller first; twice the same where they meet."""
    below = minimum(high_a, high_b)
    return below, maximum(maximum(low_a, low_b), below)


@kernel
def ssim_bounds(
    a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64], constants: tuple[float, float], out: NDArray[np.float64]
) -> None:
    """Most that the sum of SSIM can be over the rows of cells from each on, of n images with eight, into (n, rows + 1, 8).

    Args:
        a: float64 (n, 4, cells), extremes of each image.
        b: float64 (4, cells, 8), from ``window_extremes``.
        weights: float64 (rows, cells per row), windows per cell.
        constants: C1 and C2 of SSIM.
        out: float64 (n, rows + 1, 8).
    """
    c1, c2, two = splat(constants[0]), splat(constants[1]), splat(2.0)
    low_mean_b, high_mean_b, low_b, high_b = b[0], b[1], b[2], b[3]
    rows, columns = weights.shape
    for i in range(a.shape[0]):
        total = splat(0.0)
        store(out[i, rows], 0, total)
        for row in range(rows - 1, -1, -1):
            for column in range(columns):
                at = row * columns + column
                m, m2 = _closest(splat(a[i, 0, at]), splat(a[i, 1, at]), load(low_mean_b[at], 0), load(high_mean_b[at], 0))
                d, d2 = _closest(splat(a[i, 2, at]), splat(a[i, 3, at]), load(low_b[at], 0), load(high_b[at], 0))
                above = (two * m * m2 + c1) * (two * d * d2 + c2)
                total = total + splat(weights[row, column]) * above / ((m * m + m2 * m2 + c1) * (d * d + d2 * d2 + c2))
            store(out[i, row], 0, total)
