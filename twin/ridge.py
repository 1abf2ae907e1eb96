"""Linear regression around what is believed already: what the data do not tell stays as it was."""

from __future__ import annotations

import numpy as np

from twin.state import FloatArray


def ridge(columns: FloatArray, target: FloatArray, *, around: FloatArray, strength: float) -> FloatArray:
    """The factors f [K] that minimise |columns @ f − target|² + strength·|f − around|².

    `columns` [N, K] and `target` [N] are in units of their own error; rows with NaN do not count, and without any row
    the result is `around`. With `strength` 1/σ² it is the maximum a posteriori of factors believed to be within σ.
    """
    known = np.isfinite(target) & np.isfinite(columns).all(axis=1)
    a = columns[known]
    rest = target[known] - a @ around
    result: FloatArray = around + np.linalg.solve(a.T @ a + strength * np.eye(a.shape[1]), a.T @ rest)
    return result
