"""Medians of a few runs, with what is known of them without believing in any distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from twin.state import FloatArray

RESAMPLED = 10_000


class Middle(NamedTuple):
    """A median, or a ratio of medians, and its interval of about 95 %; inf where a run never came to an end."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float]) -> Middle:
    """The interval of order statistics: the k-th smallest to the k-th largest value, k as large as at least 95 % allow
    (the number of values below the median is binomial). With fewer than six values: the smallest and the largest.

    ValueError for none.
    """
    if not values:
        raise ValueError("no values")
    ordered, n = sorted(values), len(values)
    cut = max(int(binom.ppf(0.025, n, 0.5)) - 1, 0)
    return Middle(float(_medians(np.array([ordered]))[0]), ordered[cut], ordered[n - 1 - cut])


def ratio_interval(values: Sequence[float], of: Sequence[float], rng: np.random.Generator) -> Middle:
    """median(values) / median(of), by the percentile bootstrap: both drawn again, with replacement."""
    above, below = (_medians(rng.choice(row, (RESAMPLED, len(row)))) for row in (list(values), list(of)))
    drawn = np.sort(_ratios(above, below))
    edge = int(0.025 * RESAMPLED)
    middle = _ratios(_medians(np.array([values])), _medians(np.array([of])))
    return Middle(float(middle[0]), float(drawn[edge]), float(drawn[-1 - edge]))


def _medians(rows: FloatArray) -> FloatArray:
    """Of each row; the mean of the middle two is inf where one of them is."""
    ordered = np.sort(rows, axis=1)
    count = ordered.shape[1]
    result: FloatArray = 0.5 * (ordered[:, (count - 1) // 2] + ordered[:, count // 2])
    return result


def _ratios(above: FloatArray, below: FloatArray) -> FloatArray:
    """1 where neither came to an end: nan would vanish in sorting, and neither is better."""
    neither = np.isinf(above) & np.isinf(below)
    return np.where(neither, 1.0, np.where(neither, 1.0, above) / np.where(neither, 1.0, below))
