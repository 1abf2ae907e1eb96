"""Products of small matrices in compiled code: some hundred rows by 32 columns in microseconds, no library's call.

A tile of the result, ROWS rows by WIDE registers of columns, is summed up in registers over all k: each k loads WIDE
registers of b and one number of a per row, which meet in ROWS · WIDE multiply-adds. So many in flight keep the
multipliers of the processor busy; one register wide, the loads cannot keep up. Strides of a are free, so that aᵀ·b
costs nearly the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.lanes import FAST, LANES, REGISTER, Float32Array, emitted, register, spread_number, zeros
from twin.compiled import inner_fused

# isort: split
import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import make_array

# As many as there are registers for
ROWS, WIDE = (8, 2) if llvmlite.binding.get_host_cpu_features().get("avx512f") else (4, 1)
_INDEX, _BYTE, _NUMBER = ir.IntType(64), ir.IntType(8), ir.FloatType()
_ALIGNED = 4


def _tile(rows: int, wide: int, *, add: bool) -> Any:
    """out[at:at + rows, column:column + wide · LANES] becomes a[at:at + rows]·b there, or with `add` grows by it."""

    @emitted
    def tile(typing: Any, out: Any, a: Any, b: Any, at: Any, column: Any) -> Any:
        return types.void(out, a, b, types.intp, types.intp), code

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, a, b = (
            make_array(kind)(context, builder, value) for kind, value in zip(signature.args[:3], args[:3], strict=True)
        )
        at, column = args[3], args[4]
        columns = [builder.add(column, _index(k * LANES)) for k in range(wide)]
        outs = [_place(builder, out, builder.add(at, _index(row)), right) for row in range(rows) for right in columns]
        ins = [_place(builder, a, builder.add(at, _index(row)), _index(0)) for row in range(rows)]
        start = [builder.load(register(builder, place), align=_ALIGNED) if add else zeros() for place in outs]
        weights = [_place(builder, b, _index(0), right) for right in columns]
        sums = _summed(builder, a, b, ins, weights, start)
        for place, value in zip(outs, sums, strict=True):
            builder.store(value, register(builder, place), align=_ALIGNED)
        return context.get_dummy_value()

    return tile


def _summed(builder: Any, a: Any, b: Any, ins: list[Any], weights: list[Any], start: list[Any]) -> list[Any]:
    """The loop over k; row by row one sum per register of weights, in registers all the while."""
    before = builder.block
    loop, after = builder.append_basic_block("k"), builder.append_basic_block("after_k")
    count = cgutils.unpack_tuple(builder, b.shape)[0]
    builder.cbranch(builder.icmp_signed(">", count, _index(0)), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(_INDEX)
    k.add_incoming(_index(0), before)
    sums = [builder.phi(REGISTER) for _ in start]
    places = [_moved(builder, weight, k, _strides(builder, b)[0]) for weight in weights]
    loaded = [builder.load(register(builder, place), align=_ALIGNED) for place in places]
    grown: list[Any] = []
    for place in ins:
        here = builder.bitcast(_moved(builder, place, k, _strides(builder, a)[1]), _NUMBER.as_pointer())
        number = spread_number(builder, builder.load(here, align=_ALIGNED))
        for weight in loaded:
            grown.append(builder.fadd(builder.fmul(number, weight, flags=FAST), sums[len(grown)], flags=FAST))
    following = builder.add(k, _index(1))
    k.add_incoming(following, loop)
    for value, first, last in zip(sums, start, grown, strict=True):
        value.add_incoming(first, before)
        value.add_incoming(last, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    results = [builder.phi(REGISTER) for _ in start]
    for value, first, last in zip(results, start, grown, strict=True):
        value.add_incoming(first, before)
        value.add_incoming(last, loop)
    return results


def _place(builder: Any, array: Any, row: Any, column: Any) -> Any:
    """The address of one number, as of a byte."""
    down, right = _strides(builder, array)
    return _moved(builder, _moved(builder, builder.bitcast(array.data, _BYTE.as_pointer()), row, down), column, right)


def _moved(builder: Any, address: Any, count: Any, stride: Any) -> Any:
    return builder.gep(address, [builder.mul(count, stride)])


def _strides(builder: Any, array: Any) -> Any:
    return cgutils.unpack_tuple(builder, array.strides)


def _index(number: int) -> Any:
    return ir.Constant(_INDEX, number)


def _product(*, add: bool) -> Callable[[Float32Array, Float32Array, Float32Array], None]:
    whole, four, one = (_tile(rows, WIDE, add=add) for rows in (ROWS, 4, 1))
    narrow, least = (_tile(rows, 1, add=add) for rows in (ROWS, 1))

    @inner_fused
    def product(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
        wholes, fours = len(a) // ROWS * ROWS, len(a) // 4 * 4
        wide = out.shape[1] // (WIDE * LANES) * WIDE * LANES
        for column in range(0, wide, WIDE * LANES):
            for at in range(0, wholes, ROWS):
                whole(out, a, b, at, column)
            for at in range(wholes, fours, 4):
                four(out, a, b, at, column)
            for at in range(fours, len(a)):
                one(out, a, b, at, column)
        for column in range(wide, out.shape[1], LANES):
            for at in range(0, wholes, ROWS):
                narrow(out, a, b, at, column)
            for at in range(wholes, len(a)):
                least(out, a, b, at, column)

    return product


product = _product(add=False)  # out = a·b. The width of b is a multiple of LANES, its rows and those of out contiguous
product_added = _product(add=True)  # as `product`, but out grows by a·b
