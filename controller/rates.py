"""From counters to rates: increments that survive wraps, resets, repeats and gaps, and their mean over a window."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

UNSUPPORTED = 2**64 - 1  # what a switch reports for a counter it does not keep (OpenFlow 1.3, 7.3.5.6)
MIN_GAP_S = 0.02  # readings closer than this say nothing of a rate


def increment(before: int, after: int, *, limit: float) -> int:
    """How much a counter grew, or -1 where that cannot be known (it was reset).

    A counter that went down has either wrapped at 32 or 64 bits or begun anew. It counts as wrapped only where the
    growth that this implies is at most `limit`, what could have come at all in that time; so a wrong guess costs
    one missing reading or stays within what is plausible, and is never negative.
    """
    if after >= before:
        return after - before
    for modulus in (2**32, 2**64):
        if before < modulus and after + modulus - before <= limit:
            return after + modulus - before
    return -1


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters as they were at one moment.

    `taken_s` is the reader's clock. `alive_s` is how long the counters exist by the *device's* clock (OpenFlow's
    `duration`), NaN where it says nothing: differences of it are free of the jitter of replies.
    """

    taken_s: float
    alive_s: float
    counters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Interval:
    end_s: float
    length_s: float
    increments: tuple[int, ...]


class RateWindow:
    """Mean rates of a tuple of counters over the newest `window_s` (at least the newest interval), units per second.

    1. A repeated, late or too close reading is dropped; the next one covers its time.
    2. A reading of counters that began anew (they or their age went down, or the age disagrees with our clock) is a
       new base and gives no rate by itself.
    3. An interval that would mean more than `ceiling` per second is dropped: the counter is wrong, not the network.
    """

    def __init__(self, window_s: float, *, ceiling: Sequence[float]) -> None:
        self.window_s = window_s
        self._ceiling = tuple(ceiling)
        self._base: Reading | None = None
        self._intervals: deque[_Interval] = deque()

    @property
    def taken_s(self) -> float:
        """When the newest reading that gave a rate was taken (-inf: there is none)."""
        return self._intervals[-1].end_s if self._intervals else float("-inf")

    def add(self, reading: Reading, *, wrap_ceiling: Sequence[float] = ()) -> bool:
        """Takes a reading in; True when it gave a new rate.

        `wrap_ceiling` (per second, one per counter) decides between wrap and reset where the true bound is known
        and tighter than the ceiling.
        """
        base = self._base
        if base is None:
            self._base = reading
            return False
        waited_s = reading.taken_s - base.taken_s
        grown_s = reading.alive_s - base.alive_s
        length_s = waited_s if math.isnan(grown_s) else grown_s
        if waited_s < 0.0 or 0.0 <= length_s < MIN_GAP_S or _late(reading, grown_s, waited_s):  # 1.
            return False
        self._base = reading
        if length_s < 0.0 or abs(length_s - waited_s) > 1.0 + 0.1 * waited_s:  # 2.
            return False
        return self._add_interval(base, reading, length_s, wrap_ceiling or self._ceiling)

    def _add_interval(self, base: Reading, reading: Reading, length_s: float, wrap: Sequence[float]) -> bool:
        pairs = zip(base.counters, reading.counters, wrap, strict=True)
        increments = tuple(increment(b, a, limit=w * length_s) for b, a, w in pairs)
        if any(i < 0 for i in increments):  # 2.
            return False
        if any(i > c * length_s for i, c in zip(increments, self._ceiling, strict=True)):  # 3.
            return False
        self._intervals.append(_Interval(reading.taken_s, length_s, increments))
        self._forget(reading.taken_s - self.window_s)
        return True

    def _forget(self, start_s: float) -> None:
        """Drops what lies for its greater part before the window."""
        while len(self._intervals) > 1 and self._intervals[0].end_s - self._intervals[0].length_s / 2 <= start_s:
            self._intervals.popleft()

    @property
    def length_s(self) -> float:
        """The time that the window covers now."""
        return sum(interval.length_s for interval in self._intervals)

    def growth(self) -> tuple[int, ...]:
        """How much each counter grew within the window. RuntimeError before there is a rate (see `taken_s`)."""
        if not self._intervals:
            raise RuntimeError("no rate yet: fewer than two readings")
        return tuple(sum(column) for column in zip(*(i.increments for i in self._intervals), strict=True))

    def rates(self) -> tuple[float, ...]:
        """Per second, in the counters' order. RuntimeError before there is one (see `taken_s`)."""
        length_s = self.length_s
        return tuple(total / length_s for total in self.growth())


def _late(reading: Reading, grown_s: float, waited_s: float) -> bool:
    """Is this an answer from before the last one, and not of counters that began anew since?"""
    return grown_s < 0.0 and reading.alive_s > waited_s + 1.0
