"""Medians, their intervals and their ratios, also where runs never came to an end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.bench.medians import median_interval, ratio_interval


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 1, 1), (5, 1, 5), (9, 2, 8), (10, 2, 9), (20, 6, 15), (30, 10, 21)]
)
def test_the_interval_is_that_of_the_tables_of_order_statistics(count: int, low: int, high: int) -> None:
    found = median_interval([float(value) for value in range(count, 0, -1)])
    assert found == ((count + 1) / 2.0, low, high)


def test_a_median_is_known_while_most_came_to_an_end() -> None:
    assert median_interval([1.0, 2.0, 3.0, math.inf, math.inf]) == (3.0, 1.0, math.inf)
    assert math.isinf(median_interval([1.0, math.inf]).median)
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def test_a_ratio_of_medians_holds_the_true_one_and_knows_what_never_ended() -> None:
    rng = np.random.default_rng(1)
    slow, quick = (list(scale * np.exp(0.3 * rng.standard_normal(40))) for scale in (600.0, 100.0))
    found = ratio_interval(slow, quick, np.random.default_rng(0))
    assert found.low < 6.0 < found.high
    assert found.high < 1.5 * found.low
    never = ratio_interval([math.inf] * 10, quick, np.random.default_rng(0))
    assert math.isinf(never.low)
    assert ratio_interval([math.inf], [math.inf], np.random.default_rng(0)).median == 1.0
