"""Eight or sixteen numbers at a time in numba kernels.

A compiler rarely finds the vector form of a loop that carries a running sum, and never changes the order of floating
point sums. Here a kernel names its lanes itself: LLVM maps them to whatever vector instructions the machine has, each
lane computes exactly what scalar code would, and so the results are equal on every machine.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES, WIDE = 8, 16


class _Lanes(types.Type):  # type: ignore[misc]
    """Eight or sixteen numbers of one type."""

    def __init__(self, number: types.Number, count: int) -> None:
        self.number, self.count = number, count
        super().__init__(name=f"Lanes({number} x {count})")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: _Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(manager[lanes.number].get_value_type(), lanes.count))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: ir.Type) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _loading(array: Any, result: _Lanes, widen: str | None) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], ir.VectorType(element, result.count))
        value = builder.load(pointer, align=context.get_abi_alignment(element))
        return value if widen is None else getattr(builder, widen)(value, context.get_value_type(result))

    return result(array, types.intp), generate


@intrinsic
def load(_context: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 8]`` of a contiguous array of int32 or float64, of int16 as int32, or of float32 as float64."""
    if array.dtype == types.int16:
        return _loading(array, _Lanes(types.int32, LANES), "sext")
    if array.dtype == types.float32:
        return _loading(array, _Lanes(types.float64, LANES), "fpext")
    return _loading(array, _Lanes(array.dtype, LANES), None)


@intrinsic
def load_float64(_context: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 8]`` of a contiguous array of int32 or float32, as float64."""
    return _loading(array, _Lanes(types.float64, LANES), "sitofp" if array.dtype == types.int32 else "fpext")


@intrinsic
def load_wide(_context: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 16]`` of a contiguous array of int32, float32 or float64, or of uint8 as int32."""
    if array.dtype == types.uint8:
        return _loading(array, _Lanes(types.int32, WIDE), "zext")
    return _loading(array, _Lanes(array.dtype, WIDE), None)


@intrinsic
def store(_context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """``array[index : index + 8 or 16] = lanes``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], ir.VectorType(element, lanes.count))
        builder.store(arguments[2], pointer, align=context.get_abi_alignment(element))
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


def _splatting(number: Any, count: int) -> Any:
    result = _Lanes(number if number in (types.int32, types.float32) else types.float64, count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[0], signature.args[0], result.number)
        vector = context.get_value_type(result)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, cgutils.int32_t(0))
        mask = ir.Constant(ir.VectorType(cgutils.int32_t, count), [0] * count)
        return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)

    return result(number), generate


@intrinsic
def splat(_context: Any, number: Any) -> Any:
    """A number in all of eight lanes."""
    return _splatting(number, LANES)


@intrinsic
def splat_wide(_context: Any, number: Any) -> Any:
    """A number in all of sixteen lanes."""
    return _splatting(number, WIDE)


def _conversion(lanes: Any, number: types.Number, instruction: str) -> Any:
    result = _Lanes(number, lanes.count)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(arguments[0], context.get_value_type(result))

    return result(lanes), generate


@intrinsic
def to_float64(_context: Any, lanes: Any) -> Any:
    """int32 or float32 lanes as float64 lanes."""
    return _conversion(lanes, types.float64, "sitofp" if lanes.number == types.int32 else "fpext")


@intrinsic
def to_float32(_context: Any, lanes: Any) -> Any:
    """int32 or float64 lanes as float32 lanes, rounded to the nearest."""
    return _conversion(lanes, types.float32, "sitofp" if lanes.number == types.int32 else "fptrunc")


@intrinsic
def multiply_add(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of floating point lanes, rounded once, on every machine."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(a)
        function = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fma.v{a.count}f{a.number.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)

    return a(a, b, c), generate


def pair_products_of(builder: Any, a: Any, b: Any, count: int) -> Any:
    """Instructions for ``pair_products`` of vectors of ``count`` int32."""
    halves = [builder.bitcast(vector, ir.VectorType(ir.IntType(16), 2 * count)) for vector in (a, b)]
    wide, index = ir.VectorType(ir.IntType(32), 2 * count), ir.VectorType(ir.IntType(32), count)
    products = builder.mul(*(builder.sext(half, wide) for half in halves))
    places = [ir.Constant(index, list(range(start, 2 * count, 2))) for start in (0, 1)]
    low, high = (builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), every_second) for every_second in places)
    return builder.add(low, high)


@intrinsic
def pair_products(_context: Any, a: Any, b: Any) -> Any:
    """``low(a) * low(b) + high(a) * high(b)`` of int32 lanes that each hold two int16: one instruction where there is one."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return pair_products_of(builder, arguments[0], arguments[1], a.count)

    return a(a, b), generate


def _extreme(comparison: str) -> Any:
    @intrinsic
    def extreme(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, *arguments), *arguments)

        return a(a, b), generate

    return extreme


minimum, maximum = _extreme("<"), _extreme(">")
"""The smaller, the larger of each two of floating point lanes (none of them NaN)."""


def _any(comparison: str) -> Any:
    @intrinsic
    def any_lane(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            bits = builder.bitcast(builder.fcmp_ordered(comparison, *arguments), ir.IntType(a.count))
            return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

        return types.boolean(a, b), generate

    return any_lane


any_below, any_up_to = _any("<"), _any("<=")
"""Whether a number is below, or not above, the one in the same lane, of floating point lanes."""


def _operation(integer: str, floating: str) -> Any:
    @intrinsic
    def operation(_context: Any, a: Any, b: Any) -> Any:
        name = integer if a.number == types.int32 else floating

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return a(a, b), generate

    return operation


def _define(symbol: Callable[..., Any], integer: str | None, floating: str) -> None:
    operation = _operation(integer or floating, floating)

    @overload(symbol)
    def _typed(a: Any, b: Any) -> Any:
        if not isinstance(a, _Lanes) or a != b or (integer is None and a.number == types.int32):
            return None

        def apply(a: Any, b: Any) -> Any:
            return operation(a, b)

        return apply


_define(operator.add, "add", "fadd")
_define(operator.sub, "sub", "fsub")
_define(operator.mul, "mul", "fmul")
_define(operator.truediv, None, "fdiv")
