"""Vector registers in compiled code: four float64 numbers that are loaded, combined and stored as one value.

Left to itself the compiler does four such sums one after the other, since it cannot know that arrays do not overlap.
LLVM splits a register where the machine's are shorter. Arrays are contiguous, and `at` counts their numbers from the
first. Nothing is checked: a place beyond the end crashes.
"""

from __future__ import annotations

import operator
from typing import Any

import twin.compiled  # noqa: F401 - first, since it tells numba where to keep compiled code

# isort: split
from llvmlite import ir
from numba import extending, types
from numba.extending import lower_builtin, models, register_model, type_callable
from numba.np.arrayobj import make_array

Quad = Any  # a register
QUAD = 4
_REGISTER, _INDEX = ir.VectorType(ir.DoubleType(), QUAD), ir.IntType(32)
_ALIGNED = 8  # bytes: numbers lie anywhere
_intrinsic: Any = extending.intrinsic  # its type hints say that the compiler's own argument is the caller's


class _QuadType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Quad")


@register_model(_QuadType)
class _QuadModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _QuadType) -> None:
        super().__init__(manager, kind, _REGISTER)


_quad = _QuadType()


def _operator(function: Any, instruction: str) -> None:
    """`function` of two registers is this instruction of LLVM."""

    @type_callable(function)
    def typed(context: Any) -> Any:
        return lambda a, b: _quad if a is _quad and b is _quad else None

    @lower_builtin(function, _QuadType, _QuadType)
    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


_operator(operator.add, "fadd")
_operator(operator.mul, "fmul")


@_intrinsic
def quad(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """These four numbers."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _joined(builder, args)

    return _quad(*[types.float64] * QUAD), code


@_intrinsic
def spread(typing: Any, number: Any) -> Any:
    """One number four times."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _joined(builder, [args[0]] * QUAD)

    return _quad(types.float64), code


@_intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """The numbers from `at` on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature, args), align=_ALIGNED)

    return _quad(array, types.intp), code


@_intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Puts them there."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature, args), align=_ALIGNED)
        return context.get_dummy_value()

    return types.void(array, types.intp, _quad), code


def _joined(builder: Any, numbers: Any) -> Any:
    register = ir.Constant(_REGISTER, ir.Undefined)
    for k, number in enumerate(numbers):
        register = builder.insert_element(register, number, ir.Constant(_INDEX, k))
    return register


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = make_array(signature.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), _REGISTER.as_pointer())
