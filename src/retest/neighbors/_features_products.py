"""Compiled loops of inner products of int16 vectors: twice as fast as a float32 matrix product, and exact.

Vectors are kept as pairs of neighbouring numbers, one int32 each. Those of one side stand in tiles of ``ROWS``, those of the
other in panels of ``COLUMNS``, pair by pair, so that one step of the loop multiplies ``ROWS`` x ``COLUMNS`` pairs in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from retest.neighbors._jit import helper, kernel
from retest.neighbors._simd import LANES, load, maximum, multiply_add, pair_products_of, splat, store, to_float64

_FEATURES = binding.get_host_cpu_features()
FAST = bool(_FEATURES.get("avx2"))
"""Whether the processor has the instruction that makes this faster than a float32 matrix product."""
_WIDTH = 16 if _FEATURES.get("avx512bw") else 8
_VECTORS = 3
ROWS = 8 if _WIDTH == 16 else 4
COLUMNS = _VECTORS * _WIDTH
LARGEST, LONGEST = 32767.0, 46340.0
"""The most that a number, and the length of a vector, may be: no sum of products then exceeds int32."""


@helper
def _largest(vector: Any, whole: Any, lanes: Any) -> Any:
    found = splat(0.0)
    for at in range(0, whole, LANES):
        numbers = load(vector, at)
        found = maximum(found, maximum(numbers, splat(0.0) - numbers))
    store(lanes, 0, found)
    largest = 0.0
    for lane in range(LANES):
        largest = max(largest, lanes[lane])
    for x in range(whole, vector.size):
        largest = max(largest, abs(np.float64(vector[x])))
    return largest


@helper
def _squared_error(vector: Any, code: Any, scale: Any, whole: Any, lanes: Any) -> Any:
    found = splat(0.0)
    for at in range(0, whole, LANES):
        left = load(vector, at) - splat(scale) * to_float64(load(code, at))
        found = multiply_add(left, left, found)
    store(lanes, 0, found)
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    for x in range(whole, vector.size):
        left_over = np.float64(vector[x]) - scale * np.float64(code[x])
        total += left_over * left_over
    return total


@kernel
def quantize(
    vectors: NDArray[np.float32],
    places: NDArray[np.int64],
    norms: NDArray[np.float64],
    codes: NDArray[np.int16],
    scales: NDArray[np.float64],
    lengths: NDArray[np.float64],
    errors: NDArray[np.float64],
) -> None:
    """The vectors at ``places`` as ``scale * code + error``.

    Args:
        vectors: float32 (r, d).
        places: int64 (n,).
        norms: float64 (n,), squared lengths of the vectors.
        codes: int16 (n, d or d + 1).
        scales: float64 (n,).
        lengths: float64 (n,), squared lengths of ``scale * code``.
        errors: float64 (n,), at least the lengths of the errors.
    """
    d = vectors.shape[1]
    whole, room = d // LANES * LANES, LONGEST - 1.0 - 0.5 * np.sqrt(np.float64(d))
    lanes = np.empty(LANES, np.float64)
    for i in range(places.size):
        vector, code = vectors[places[i]], codes[i]
        scale = max(np.sqrt(norms[i]) / room, _largest(vector, whole, lanes) / LARGEST)
        if scale == 0.0:
            scale = 1.0
        inverse, length = 1.0 / scale, np.int64(0)
        for x in range(d):
            code[x] = np.int16(np.rint(np.float64(vector[x]) * inverse))
        code[d:] = 0
        for x in range(d):
            length += np.int64(np.int32(code[x]) * np.int32(code[x]))
        scales[i] = scale
        lengths[i] = scale * scale * np.float64(length)
        errors[i] = np.sqrt(_squared_error(vector, code, scale, whole, lanes)) * (1.0 + 1e-6) + 1e-15 * np.sqrt(norms[i])


@kernel
def pack(codes: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Codes (n, pairs) into tiles or panels (⌈n / width⌉, pairs, width); what is left over is filled up with zeros."""
    n, width = codes.shape[0], out.shape[2]
    for block in range(out.shape[0]):
        target = out[block]
        for lane in range(width):
            row = block * width + lane
            for pair in range(codes.shape[1]):
                target[pair, lane] = codes[row, pair] if row < n else np.int32(0)


def _vector_of(number: ir.Type) -> ir.Type:
    return ir.VectorType(number, _WIDTH)


@intrinsic
def _multiply_tile(_context: Any, a: Any, b: Any, pairs: Any, out: Any, at: Any, stride: Any) -> Any:
    """Products of a tile (pairs * ROWS,) with a panel (pairs * COLUMNS,), into ``out`` from ``at`` on, row by row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        vector = _vector_of(number)
        data_a, data_b, data_out = (
            context.make_array(signature.args[place])(context, builder, arguments[place]).data for place in (0, 1, 3)
        )
        pairs, at, stride = arguments[2], arguments[4], arguments[5]
        index, align = pairs.type, context.get_abi_alignment(number)
        sums = [[cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(_VECTORS)] for _ in range(ROWS)]

        def vector_at(data: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

        def plus(place: Any, more: int) -> Any:
            return builder.add(place, ir.Constant(index, more))

        with cgutils.for_range(builder, pairs, intp=index) as loop:
            first_a = builder.mul(loop.index, ir.Constant(index, ROWS))
            first_b = builder.mul(loop.index, ir.Constant(index, COLUMNS))
            columns = [builder.load(vector_at(data_b, plus(first_b, _WIDTH * j)), align=align) for j in range(_VECTORS)]
            for i in range(ROWS):
                single = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), builder.load(builder.gep(data_a, [plus(first_a, i)])), number(0)
                )
                row = builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * _WIDTH))
                for j in range(_VECTORS):
                    product = pair_products_of(builder, columns[j], row, _WIDTH)
                    builder.store(builder.add(builder.load(sums[i][j]), product), sums[i][j])
        for i in range(ROWS):
            for j in range(_VECTORS):
                place = plus(builder.add(at, builder.mul(stride, ir.Constant(index, i))), _WIDTH * j)
                builder.store(builder.load(sums[i][j]), vector_at(data_out, place), align=align)
        return context.get_dummy_value()

    return types.void(a, b, types.intp, out, types.intp, types.intp), generate


@helper
def _multiply_panel(tiles: Any, panel: Any, pairs: Any, out: Any, first: Any, stride: Any) -> None:
    for tile in range(tiles.shape[0]):
        _multiply_tile(tiles[tile], panel, pairs, out, tile * ROWS * stride + first, stride)


@kernel
def multiply(tiles: NDArray[np.int32], panels: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Inner products of all vectors of tiles (t, pairs * ROWS) with those of panels (p, pairs * COLUMNS): (t * ROWS, p * COLUMNS)."""
    pairs, stride = tiles.shape[1] // ROWS, out.shape[1]
    flat = out.reshape(out.size)
    for panel in range(panels.shape[0]):
        _multiply_panel(tiles, panels[panel], pairs, flat, panel * COLUMNS, stride)
