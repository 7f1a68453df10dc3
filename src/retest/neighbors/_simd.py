"""Eight numbers at a time in numba kernels.

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

LANES = 8


class _Lanes(types.Type):  # type: ignore[misc]
    """Eight numbers of one type."""

    def __init__(self, number: types.Number) -> None:
        self.number = number
        super().__init__(name=f"Lanes({number})")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: _Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(manager[lanes.number].get_value_type(), LANES))


_INT32, _FLOAT64 = _Lanes(types.int32), _Lanes(types.float64)


def _lanes_of(number: Any) -> _Lanes:
    return _INT32 if number == types.int32 else _FLOAT64


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, element: ir.Type) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(element, LANES).as_pointer())


@intrinsic
def load(_context: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 8]`` of a contiguous array of int32 or float64, or of float32 as float64."""
    result = _lanes_of(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], element)
        value = builder.load(pointer, align=context.get_abi_alignment(element))
        return builder.fpext(value, context.get_value_type(result)) if array.dtype == types.float32 else value

    return result(array, types.intp), generate


@intrinsic
def store(_context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """``array[index : index + 8] = lanes``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], element)
        builder.store(arguments[2], pointer, align=context.get_abi_alignment(element))
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def splat(_context: Any, number: Any) -> Any:
    """A number in all lanes."""
    result = _lanes_of(number)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[0], signature.args[0], result.number)
        vector = context.get_value_type(result)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, cgutils.int32_t(0))
        mask = ir.Constant(ir.VectorType(cgutils.int32_t, LANES), [0] * LANES)
        return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)

    return result(number), generate


@intrinsic
def to_float64(_context: Any, lanes: Any) -> Any:
    """int32 lanes as float64 lanes."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], context.get_value_type(_FLOAT64))

    return _FLOAT64(lanes), generate


@intrinsic
def multiply_add(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of float64 lanes, rounded once, on every machine."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(_FLOAT64)
        function = ir.FunctionType(vector, [vector] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.v{LANES}f64"), arguments)

    return _FLOAT64(a, b, c), generate


@intrinsic
def pair_products(_context: Any, a: Any, b: Any) -> Any:
    """``low(a) * low(b) + high(a) * high(b)`` of int32 lanes that each hold two int16: one instruction where there is one."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        halves = [builder.bitcast(argument, ir.VectorType(ir.IntType(16), 2 * LANES)) for argument in arguments]
        wide = ir.VectorType(ir.IntType(32), 2 * LANES)
        products = builder.mul(*(builder.sext(half, wide) for half in halves))
        undefined, index = ir.Constant(wide, ir.Undefined), ir.VectorType(ir.IntType(32), LANES)
        low, high = (builder.shuffle_vector(products, undefined, ir.Constant(index, list(range(start, 2 * LANES, 2)))) for start in (0, 1))
        return builder.add(low, high)

    return _INT32(a, b), generate


def _extreme(comparison: str) -> Any:
    @intrinsic
    def extreme(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, *arguments), *arguments)

        return _FLOAT64(a, b), generate

    return extreme


minimum, maximum = _extreme("<"), _extreme(">")
"""The smaller, the larger of each two of float64 lanes (none of them NaN)."""


def _operation(integer: str, floating: str) -> Any:
    @intrinsic
    def operation(_context: Any, a: Any, b: Any) -> Any:
        name = floating if a.number == types.float64 else integer

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return a(a, b), generate

    return operation


def _define(symbol: Callable[..., Any], integer: str | None, floating: str) -> None:
    operation = _operation(integer or floating, floating)

    @overload(symbol)
    def _typed(a: Any, b: Any) -> Any:
        if not isinstance(a, _Lanes) or a != b or (integer is None and a != _FLOAT64):
            return None

        def apply(a: Any, b: Any) -> Any:
            return operation(a, b)

        return apply


_define(operator.add, "add", "fadd")
_define(operator.sub, "sub", "fsub")
_define(operator.mul, "mul", "fmul")
_define(operator.truediv, None, "fdiv")
