"""Work space of compiled code: many small sheets in one array, since Python hands over one array sooner than twenty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agent.lanes import LANES, Float32Array, emitted

# isort: split
from numba import types
from numba.np.arrayobj import make_array, populate_array

IndexArray = npt.NDArray[np.int64]
_LINE = 16  # numbers in a line of the processor's cache, where each sheet begins


class Space(NamedTuple):
    """`plan` [N, 3]: where each sheet begins in `numbers`, its rows and its columns."""

    numbers: Float32Array
    plan: IndexArray


def space(names: Sequence[str], **shapes: tuple[int, int]) -> Space:
    """Sheets of these (rows, columns) in the order of `names`, filled with zeros. A register may be read beyond the end
    of a sheet. KeyError where a shape is missing."""
    plan, begin = [], 0
    for name in names:
        rows, columns = shapes[name]
        plan.append((begin, rows, columns))
        begin += -(-rows * columns // _LINE) * _LINE
    numbers = np.zeros(begin + LANES + _LINE, dtype=np.float32)
    ahead = -(numbers.ctypes.data // numbers.itemsize) % _LINE
    return Space(numbers[ahead:], np.array(plan, dtype=np.int64))


@emitted
def sheet(typing: Any, numbers: Any, plan: Any, number: Any) -> Any:
    """One of them, [rows, columns]; without a count of references, which compiled code here does not keep."""
    kind = types.Array(numbers.dtype, 2, "C")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, places = (
            make_array(k)(context, builder, v).data for k, v in zip(signature.args[:2], args[:2], strict=True)
        )
        first = builder.mul(args[2], context.get_constant(types.intp, 3))
        found = [builder.gep(places, [builder.add(first, context.get_constant(types.intp, k))]) for k in range(3)]
        begin, rows, columns = (builder.load(place) for place in found)
        item = context.get_constant(types.intp, 4)
        array = make_array(kind)(context, builder)
        populate_array(
            array,
            data=builder.gep(data, [begin]),
            shape=(rows, columns),
            strides=(builder.mul(columns, item), item),
            itemsize=item,
            meminfo=None,
        )
        return array._getvalue()

    return kind(numbers, plan, types.intp), code
