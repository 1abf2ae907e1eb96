"""Products of small matrices in compiled code: some hundred rows by 32 columns in microseconds, no library's call.

A tile of the result, ROWS rows by one register of columns, is summed up in registers over all k: each k loads one
register of b and multiplies it by one number of a per row. That keeps the multipliers of the processor busy. Strides of
a are free, so that aᵀ·b costs the same.
"""

from __future__ import annotations

from typing import Any

from agent.lanes import FAST, LANES, REGISTER, Float32Array, emitted, register, spread_number, zeros
from twin.compiled import inner_fused

# isort: split
import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import make_array

ROWS = 8 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 4  # as many as there are registers for
_INDEX, _BYTE, _NUMBER = ir.IntType(64), ir.IntType(8), ir.FloatType()
_ALIGNED = 4


def _tile(rows: int, *, add: bool) -> Any:
    """out[at:at + rows, column:column + LANES] becomes a[at:at + rows]·b there, or with `add` grows by it."""

    @emitted
    def tile(typing: Any, out: Any, a: Any, b: Any, at: Any, column: Any) -> Any:
        return types.void(out, a, b, types.intp, types.intp), code

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, a, b = (
            make_array(kind)(context, builder, value) for kind, value in zip(signature.args[:3], args[:3], strict=True)
        )
        at, column = args[3], args[4]
        outs = [_place(builder, out, builder.add(at, _index(row)), column) for row in range(rows)]
        ins = [_place(builder, a, builder.add(at, _index(row)), _index(0)) for row in range(rows)]
        start = [builder.load(register(builder, place), align=_ALIGNED) if add else zeros() for place in outs]
        sums = _summed(builder, a, b, ins, _place(builder, b, _index(0), column), start)
        for place, value in zip(outs, sums, strict=True):
            builder.store(value, register(builder, place), align=_ALIGNED)
        return context.get_dummy_value()

    return tile


def _summed(builder: Any, a: Any, b: Any, ins: list[Any], weights: Any, start: list[Any]) -> list[Any]:
    """The loop over k; one sum per row, in registers all the while."""
    before = builder.block
    loop, after = builder.append_basic_block("k"), builder.append_basic_block("after_k")
    count = cgutils.unpack_tuple(builder, b.shape)[0]
    builder.cbranch(builder.icmp_signed(">", count, _index(0)), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(_INDEX)
    k.add_incoming(_index(0), before)
    sums = [builder.phi(REGISTER) for _ in start]
    weight = builder.load(register(builder, _moved(builder, weights, k, _strides(builder, b)[0])), align=_ALIGNED)
    grown = []
    for place, value in zip(ins, sums, strict=True):
        here = builder.bitcast(_moved(builder, place, k, _strides(builder, a)[1]), _NUMBER.as_pointer())
        times = builder.fmul(spread_number(builder, builder.load(here, align=_ALIGNED)), weight, flags=FAST)
        grown.append(builder.fadd(times, value, flags=FAST))
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


_whole, _single = _tile(ROWS, add=False), _tile(1, add=False)
_whole_added, _single_added = _tile(ROWS, add=True), _tile(1, add=True)
_half, _half_added = _tile(4, add=False), _tile(4, add=True)


@inner_fused
def product(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
    """out = a·b. The width of b is a multiple of LANES, its rows and those of out are contiguous."""
    whole = len(a) // ROWS * ROWS
    fours = len(a) // 4 * 4
    for column in range(0, out.shape[1], LANES):
        for at in range(0, whole, ROWS):
            _whole(out, a, b, at, column)
        for at in range(whole, fours, 4):
            _half(out, a, b, at, column)
        for at in range(fours, len(a)):
            _single(out, a, b, at, column)


@inner_fused
def product_added(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
    """As `product`, but out grows by a·b."""
    whole = len(a) // ROWS * ROWS
    fours = len(a) // 4 * 4
    for column in range(0, out.shape[1], LANES):
        for at in range(0, whole, ROWS):
            _whole_added(out, a, b, at, column)
        for at in range(whole, fours, 4):
            _half_added(out, a, b, at, column)
        for at in range(fours, len(a)):
            _single_added(out, a, b, at, column)
