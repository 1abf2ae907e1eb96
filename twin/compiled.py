"""`compiled`: numba's compiler under a typed name, so that compiled functions keep their types for the checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles at the first call and keeps the result on disk; releases the GIL while it runs.

    Without reference counting (`_nrt`): such functions may write arrays but not make any. With it the many arrays of
    `twin.model` made compiling several times slower, and running too. Where no folder can be written the result is kept
    in memory only.
    """
    try:
        return _compile(function, cache=True)
    except RuntimeError:  # numba: "no locator available", a user without a home on an installation of another's
        return _compile(function, cache=False)


def _compile(function: Callable[P, R], *, cache: bool) -> Callable[P, R]:
    options: dict[str, Any] = {"cache": cache, "nogil": True, "error_model": "numpy", "_nrt": False}
    return cast(Callable[P, R], numba.njit(**options)(function))
