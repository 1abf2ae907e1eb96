"""Registers, tiles and sheets of compiled code do what numpy does."""

from __future__ import annotations

import numpy as np
import pytest

from agent.lanes import LANES, Float32Array, greater, less, load, spread, store, total, where_above, where_equal
from agent.space import IndexArray, sheet, space
from agent.tiles import product, product_added
from twin.compiled import compiled_fused

_ONE = np.float32(1.0)


@compiled_fused
def _registers(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
    x, y = load(a, 1), load(b, 0)
    store(out, 0, x + y)
    store(out, LANES, x - y * x)
    store(out, 2 * LANES, greater(x, y))
    store(out, 3 * LANES, less(x, y))
    store(out, 4 * LANES, where_above(x, y, x))
    store(out, 5 * LANES, where_equal(x, y, x))
    store(out, 6 * LANES, spread(total(x)))
    store(out, 7 * LANES, x / (y * y + spread(_ONE)))


@compiled_fused
def _products(a: Float32Array, b: Float32Array, whole: Float32Array, grown: Float32Array) -> None:
    product(a, b, whole)
    product_added(a, b, grown)


@compiled_fused
def _gathered(a: Float32Array, b: Float32Array, grown: Float32Array) -> None:
    product_added(a.T, b, grown)


@compiled_fused
def _filled(numbers: Float32Array, plan: IndexArray) -> None:
    for n in range(len(plan)):
        here = sheet(numbers, plan, n)
        for i in range(here.shape[0]):
            for j in range(here.shape[1]):
                here[i, j] += np.float32(100 * n + 10 * i + j)


def _drawn(*shape: int) -> Float32Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_registers() -> None:
    a, b, out = _drawn(LANES + 1), _drawn(LANES), np.zeros(8 * LANES, dtype=np.float32)
    b[3] = a[4]
    _registers(a, b, out)
    x = a[1:]
    rows = [x + b, x - b * x, np.maximum(x, b), np.minimum(x, b), np.where(x > b, x, 0), np.where(x == b, x, 0)]
    np.testing.assert_allclose(
        out.reshape(8, LANES), [*rows, np.full(LANES, x.sum()), x / (b * b + 1)], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 16), (7, 5, 16), (8, 3, 32), (13, 40, 48), (16, 0, 16)])
def test_products_of_odd_sizes(rows: int, inner: int, columns: int) -> None:
    """Rows below, at and above a tile; nothing to sum up; beyond the result nothing is touched."""
    a, b = _drawn(rows, inner), _drawn(inner, columns)
    whole, grown = np.ones((rows + 1, columns), dtype=np.float32), np.ones((rows + 1, columns), dtype=np.float32)
    _products(a, b, whole[:rows], grown[:rows])
    np.testing.assert_allclose(whole[:rows], a @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grown[:rows], 1.0 + a @ b, rtol=1e-4, atol=1e-5)
    assert (whole[rows] == 1.0).all()
    assert (grown[rows] == 1.0).all()
    turned = np.zeros((inner, columns), dtype=np.float32)
    _gathered(a, whole[:rows], turned)
    np.testing.assert_allclose(turned, a.T @ whole[:rows], rtol=1e-4, atol=1e-4)


def test_sheets_do_not_overlap_and_begin_at_lines() -> None:
    numbers, plan = space(("a", "b", "c"), c=(1, 40), a=(3, 5), b=(2, 16))
    _filled(numbers, plan)
    for n, (begin, rows, columns) in enumerate(plan):
        found = numbers[begin : begin + rows * columns].reshape(rows, columns)
        np.testing.assert_array_equal(found, 100 * n + 10 * np.arange(rows)[:, None] + np.arange(columns))
        assert numbers[begin:].ctypes.data % 64 == 0
    with pytest.raises(KeyError):
        space(("a",), b=(1, 1))
