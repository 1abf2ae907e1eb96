"""Vector registers in compiled code: sixteen float32 numbers that are loaded, combined and stored as one value.

Loops over plain arrays leave it to the compiler to find out that they do not overlap, which it asks anew at every short
loop or gives up on. Here nothing is left to be found out. LLVM splits a register where the machine's are shorter.
Arrays are contiguous, and `at` counts their numbers from the first. Nothing is checked: a place beyond the end crashes.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

import twin.compiled  # noqa: F401 - first, since it tells numba where to keep compiled code

# isort: split
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable
from numba.np.arrayobj import make_array

Float32Array = npt.NDArray[np.float32]
Lanes = Any  # a register
LANES = 16
FAST = ("contract", "reassoc", "nsz", "nnan", "ninf")
REGISTER = ir.VectorType(ir.FloatType(), LANES)
_EACH = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
_ALIGNED = 4  # bytes: numbers lie anywhere


def emitted(function: Any) -> Any:
    """numba's `intrinsic`, untyped: the instructions that a call becomes."""
    return intrinsic(function)


class _LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _LanesType) -> None:
        super().__init__(manager, kind, REGISTER)


_lanes = _LanesType()


def _operator(function: Any, instruction: str) -> None:
    """`function` of two registers is this instruction of LLVM."""

    @type_callable(function)
    def typed(context: Any) -> Any:
        return lambda a, b: _lanes if a is _lanes and b is _lanes else None

    @lower_builtin(function, _LanesType, _LanesType)
    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=FAST)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operator(_function, _instruction)


@emitted
def load(typing: Any, array: Any, at: Any) -> Any:
    """The numbers from `at` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load(register(builder, builder.gep(data, [args[1]])), align=_ALIGNED)

    return _lanes(array, types.intp), code


@emitted
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Puts them there."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, args[0]).data
        builder.store(args[2], register(builder, builder.gep(data, [args[1]])), align=_ALIGNED)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), code


@emitted
def fetch(typing: Any, array: Any, at: Any) -> Any:
    """Asks the caches for the numbers from `at` on, which are needed later; a place beyond the end is of no harm."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(prefetch, [pointer, *(ir.Constant(number, k) for k in (0, 2, 1))])  # to read, second cache, data
        return context.get_dummy_value()

    return types.void(array, types.intp), code


@emitted
def spread(typing: Any, number: Any) -> Any:
    """One number in every lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return spread_number(builder, args[0])

    return _lanes(types.float32), code


@emitted
def greater(typing: Any, a: Any, b: Any) -> Any:
    """The greater of both, lane by lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args, flags=FAST), *args)

    return _lanes(_lanes, _lanes), code


@emitted
def less(typing: Any, a: Any, b: Any) -> Any:
    """The lesser of both, lane by lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args, flags=FAST), *args)

    return _lanes(_lanes, _lanes), code


@emitted
def where_equal(typing: Any, a: Any, b: Any, value: Any) -> Any:
    """`value` in the lanes where a = b, 0 in the others."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], zeros())

    return _lanes(_lanes, _lanes, _lanes), code


@emitted
def where_above(typing: Any, a: Any, b: Any, value: Any) -> Any:
    """`value` in the lanes where a > b, 0 in the others."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], zeros())

    return _lanes(_lanes, _lanes, _lanes), code


@emitted
def total(typing: Any, value: Any) -> Any:
    """The sum over all lanes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found, count = args[0], LANES
        while count > 1:
            count //= 2
            halves = [ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(k, k + count))) for k in (0, count)]
            found = builder.fadd(*(builder.shuffle_vector(found, found, half) for half in halves), flags=FAST)
        return builder.extract_element(found, ir.Constant(ir.IntType(32), 0))

    return types.float32(_lanes), code


def register(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, REGISTER.as_pointer())


def spread_number(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(REGISTER, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, _EACH)


def zeros() -> Any:
    return ir.Constant(REGISTER, [0.0] * LANES)
