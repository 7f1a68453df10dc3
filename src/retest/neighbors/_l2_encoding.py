"""Compiled loops that make the codes of _l2_codes.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retest.neighbors._jit import helper, kernel


@helper
def _block_sums(image: Any, height: Any, side: Any, sums: Any, energy: Any, column: Any, squares: Any) -> None:
    """Channel sums (rows, columns, 3) of whole blocks and energies of all cells of an image (h * w * 3,)."""
    width = column.size
    for cell_y in range(energy.shape[0]):
        squares[:] = 0
        for half in range(2):
            first = (2 * cell_y + half) * side
            last = min(first + side, height)
            column[:] = 0
            for y in range(first, last):
                row = image[y * width : (y + 1) * width]
                for x in range(width):
                    value = np.int32(row[x])
                    column[x] += value
                    squares[x] += value * value
            if last - first == side:
                target = sums[2 * cell_y + half]
                for block in range(sums.shape[1]):
                    pixels = column[block * side * 3 : (block + 1) * side * 3]
                    red, green, blue = np.int64(0), np.int64(0), np.int64(0)
                    for i in range(side):
                        red += pixels[3 * i]
                        green += pixels[3 * i + 1]
                        blue += pixels[3 * i + 2]
                    target[block, 0] = red
                    target[block, 1] = green
                    target[block, 2] = blue
        for cell_x in range(energy.shape[1]):
            cell = np.int64(0)
            for value in squares[cell_x * side * 6 : (cell_x + 1) * side * 6]:
                cell += value
            energy[cell_y, cell_x] = cell


@helper
def _halve(sums: Any, energy: Any, blocks: Any, cells: Any) -> None:
    """The same for blocks and cells of twice the side, in place, in the first rows and columns."""
    for y in range(blocks[0] // 2):
        for x in range(blocks[1] // 2):
            for c in range(3):
                sums[y, x, c] = (
                    sums[2 * y, 2 * x, c] + sums[2 * y, 2 * x + 1, c] + sums[2 * y + 1, 2 * x, c] + sums[2 * y + 1, 2 * x + 1, c]
                )
    rows, columns = cells
    for y in range((rows + 1) // 2):
        for x in range((columns + 1) // 2):
            total = np.int64(0)
            for from_y in range(2 * y, min(2 * y + 2, rows)):
                for from_x in range(2 * x, min(2 * x + 2, columns)):
                    total += energy[from_y, from_x]
            energy[y, x] = total


@helper
def _numbers(sums: Any, energy: Any, blocks: Any, cells: Any, side: Any, grey: Any, out: Any) -> None:
    """φ of _l2_codes.py, row of cells by row of cells, Y less that of a grey image."""
    rows, columns = cells
    full_rows, full = blocks[0] // 2, blocks[1] // 2
    y_scale, u_scale, v_scale = np.sqrt(3.0) * side, np.sqrt(2.0) * 2 * side, np.sqrt(6.0) * 2 * side
    y_shift = grey * y_scale
    whole = np.float64(24 * side * side)
    length = 6 * full + columns
    for cell_y in range(rows):
        row = out[cell_y * length : (cell_y + 1) * length]
        row[: 6 * full] = 0.0
        for cell_x in range(columns):
            left = 24 * side * side * energy[cell_y, cell_x]
            if cell_y < full_rows and cell_x < full:
                red, green, blue = np.int64(0), np.int64(0), np.int64(0)
                for dy in range(2):
                    for dx in range(2):
                        block = sums[2 * cell_y + dy, 2 * cell_x + dx]
                        y = block[0] + block[1] + block[2]
                        row[2 * (dy * full + cell_x) + dx] = y / y_scale - y_shift
                        left -= 8 * y * y
                        red += block[0]
                        green += block[1]
                        blue += block[2]
                u, v = red - blue, red - 2 * green + blue
                left -= 3 * u * u + v * v
                row[4 * full + cell_x] = u / u_scale
                row[5 * full + cell_x] = v / v_scale
            row[6 * full + cell_x] = np.sqrt(left / whole)


@helper
def _round(numbers: Any, step: Any, out: Any) -> None:
    for x in range(out.size):
        out[x] = np.int16(np.rint(numbers[x] / step))


@kernel
def encode(
    images: NDArray[np.uint8],
    positions: NDArray[np.int64],
    shape: tuple[int, int, int],
    steps: tuple[float, float],
    rough: NDArray[np.float32],
    middle: NDArray[np.int16],
    fine: NDArray[np.int16],
    norms: NDArray[np.float64],
) -> None:
    """Codes of the images (n, h * w * 3) at ``positions``, and squared lengths of the rough codes.

    ``shape`` is height, width and the side of the finest blocks, ``steps`` the units of the middle and the fine codes.
    """
    height, width, side = shape
    whole, over = (height // side, width // side), ((height - 1) // (2 * side) + 1, (width - 1) // (2 * side) + 1)
    sums, energy = np.zeros((whole[0], whole[1], 3), np.int64), np.zeros(over, np.int64)
    column, squares = np.empty(3 * width, np.int32), np.empty(3 * width, np.int32)
    numbers = np.empty(fine.shape[1], np.float64)
    for i in range(positions.size):
        _block_sums(images[positions[i]], height, side, sums, energy, column, squares)
        blocks, cells = whole, over
        for level in range(3):
            if level > 0:
                _halve(sums, energy, blocks, cells)
                blocks, cells = (blocks[0] // 2, blocks[1] // 2), ((cells[0] + 1) // 2, (cells[1] + 1) // 2)
            _numbers(sums, energy, blocks, cells, side << level, 127.5 * (level // 2), numbers)
            if level < 2:
                _round(numbers, steps[1 - level], fine[i] if level == 0 else middle[i])
        norms[i] = 0.0
        for x in range(rough.shape[1]):
            value = np.float32(numbers[x])
            rough[i, x] = value
            norms[i] += np.float64(value) * np.float64(value)
