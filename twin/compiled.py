"""`compiled` and `inner`: numba's compiler under typed names, so that compiled functions keep their types.

Compiled code is kept in a folder named after a hash of all sources that take part: numba itself looks only at the file
of the function that is called, and would go on using an old copy of what that one calls from other files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_HERE = Path(__file__).parent
_SOURCES = ("compiled.py", "costs.py", "model.py", "batch.py", "handed.py", "routing.py", "*kernels.py")
_BESIDE = ("lanes.py", "tiles.py", "*space.py", "*kernels.py")  # of the folder `agent`, where that is installed


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    here = [path for pattern in _SOURCES for path in _HERE.glob(pattern)]
    beside = [path for pattern in _BESIDE for path in (_HERE.parent / "agent").glob(pattern)]
    for path in sorted(here) + sorted(beside):
        digest.update(path.read_bytes())
    own = _HERE / "__pycache__"
    root = own if os.access(own if own.exists() else _HERE, os.W_OK) else Path.home() / ".cache" / "vnftwin"
    return root / f"compiled-{digest.hexdigest()[:12]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_folder()))  # read by numba when it is imported

import numba  # noqa: E402
import numba.extending  # noqa: E402

_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
_FUSED = {"contract", "reassoc", "nsz", "nnan", "ninf"}
_jit: Any = numba.njit  # its type hints lack the options used here


def _cast(source: Any, target: Any) -> Any:
    """Compiled code that takes the bits of one type for those of another."""

    def typed(_: object, value: object) -> object:
        del value
        return target(source), lambda context, builder, _, given: builder.bitcast(
            given[0], context.get_value_type(target)
        )

    return numba.extending.intrinsic(typed)


_bits, _float = _cast(numba.float64, numba.uint64), _cast(numba.uint64, numba.float64)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles at the first call and keeps the result on disk; releases the GIL while it runs.

    Without reference counting (`_nrt`): such functions write arrays but make none, and compile and run faster.
    """
    return _compile(function)


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, for functions that only compiled ones call, which halves compiling.

    They have no entry from Python: to call one from there crashes the process. They are built into their callers: a
    call would copy every field of its tuples of arrays, some hundreds, which was most of the time of all kernels.
    """
    return _compile(function, **_INNER)


def compiled_fused(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, for float32 networks: multiply-adds may be fused and sums reordered, to fill vector registers.
    Their numbers must be finite.
    """
    return _compile(function, fastmath=_FUSED)


def inner_fused(function: Callable[P, R]) -> Callable[P, R]:
    """As `inner`, with the freedom of `compiled_fused`."""
    return _compile(function, fastmath=_FUSED, **_INNER)


def _compile(function: Callable[P, R], **options: object) -> Callable[P, R]:
    """Where no folder can be written (a user without a home) the result is kept in memory only."""
    options = {"nogil": True, "_nrt": False, **options}
    try:
        return cast(Callable[P, R], _jit(cache=True, error_model="numpy", **options)(function))
    except RuntimeError:  # numba: "no locator available"
        return cast(Callable[P, R], _jit(error_model="numpy", **options)(function))


@inner
def mantissa(value: float) -> float:
    """Of a positive normal number, from 1 up to 2."""
    return float(_float((_bits(value) & np.uint64(0xFFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000)))


@inner
def exponent(value: float) -> float:
    """Of two, of a positive normal number."""
    return float(_bits(value) >> np.uint64(52)) - 1023.0
