"""Regression around a belief."""

from __future__ import annotations

import numpy as np

from twin.ridge import ridge


def test_much_data_tell_the_factors_and_no_data_leave_the_belief() -> None:
    rng = np.random.default_rng(0)
    columns, factors, belief = rng.random((500, 2)), np.array([1.4, 0.6]), np.array([1.0, 0.9])
    target = columns @ factors
    target[::5] = np.nan
    np.testing.assert_allclose(ridge(columns, target, around=belief, strength=1e-3), factors, rtol=1e-3)
    np.testing.assert_array_equal(ridge(columns[:0], target[:0], around=belief, strength=1.0), belief)


def test_what_no_row_tells_apart_stays_as_it_was_believed() -> None:
    """Two columns that are always equal: only the sum of their factors is known, the rest is the belief's."""
    rng = np.random.default_rng(0)
    columns = np.repeat(rng.random((200, 1)), 2, axis=1)
    found = ridge(columns, 3.0 * columns[:, 0], around=np.array([1.0, 1.5]), strength=1e-6)
    np.testing.assert_allclose(found, [1.25, 1.75], rtol=1e-4)
