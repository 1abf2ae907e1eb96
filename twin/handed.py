"""`Handed`: what compiled code works on, handed over once and then called by its address.

A simulated network is some 150 arrays. At every call from Python numba reads type, place and shape of each of them
from its object, which costs 20 us, and 100 us where the work in between has emptied the caches: as much as 60 networks'
step. Here that is done once, and what it found is kept as compiled code wants it, in one piece of memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from twin.compiled import compiled  # first, since it tells numba where to keep compiled code

# isort: split
from llvmlite import ir
from numba import extending, typeof, types
from numba.core import cgutils
from numba.extending import NativeValue, models, register_model, unbox
from numba.np.arrayobj import make_array

T = TypeVar("T")
_intrinsic: Any = extending.intrinsic  # its type hints say that the compiler's own argument is the caller's


class Handed(Generic[T]):
    """A tuple of arrays, numbers and further such tuples, as it was when it was handed over; the arrays themselves may
    change. Compiled functions read it by `opened`. Named tuples are to be of this project's modules: their classes
    stand in the index of the compiled code that is kept, which every later process reads."""

    def __init__(self, value: T) -> None:
        self.value = value  # keeps the arrays alive
        self._numba_type_ = _HandedType(typeof(value))
        self._memory = np.zeros(_write(value, np.zeros(0, dtype=np.uint8)), dtype=np.uint8)
        _write(value, self._memory)
        self.address = self._memory.ctypes.data

    def __reduce__(self) -> Any:
        raise TypeError("a copy would work on the arrays of the first")


class _HandedType(types.Type):
    def __init__(self, inside: Any) -> None:
        super().__init__(name=f"Handed({inside})")
        self.inside = inside


@register_model(_HandedType)
class _HandedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _HandedType) -> None:
        super().__init__(manager, kind, ir.IntType(64))


@unbox(_HandedType)
def _address(kind: _HandedType, value: Any, c: Any) -> Any:
    attribute = c.pyapi.object_getattr_string(value, "address")
    address = c.pyapi.long_as_longlong(attribute)
    c.pyapi.decref(attribute)
    return NativeValue(address, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


if TYPE_CHECKING:

    def opened(handed: Handed[T]) -> T:
        """What was handed over; in compiled code only."""
else:

    @extending.intrinsic
    def opened(typing, handed):
        def code(context, builder, signature, args):
            kept = context.get_value_type(handed.inside).as_pointer()
            return builder.load(builder.inttoptr(args[0], kept))

        return handed.inside(handed), code


@_intrinsic
def _put(typing: Any, value: Any, memory: Any) -> Any:
    """Writes the value into memory that is large enough; the size that it needs."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(value)
        size = context.get_constant(types.intp, context.get_abi_sizeof(kind))
        array = make_array(memory)(context, builder, args[1])
        with builder.if_then(builder.icmp_signed(">=", array.nitems, size)):
            builder.store(args[0], builder.bitcast(array.data, kind.as_pointer()))
        return size

    return types.intp(value, memory), code


@compiled
def _write(value: Any, memory: Any) -> int:
    return int(_put(value, memory))
