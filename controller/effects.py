"""What came of a move, beside what was predicted of it: means of the network's delay and power before and after.

Source: ours (docs/page.md, "Decisions"). Before: `BEFORE_S` up to the request. After: `AFTER_S` from when the readings
have followed, for delay `DELAY_WAITS_S` after the end, for power `POWER_WAITS_S`, when servers left behind have fallen
asleep. What is read once the next move has been asked for is that one's: the window ends there, and begins earlier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf, isfinite
from statistics import fmean

from controller.accounts import Moment
from controller.records import MigrationRecord, MigrationStatus, Observed

BEFORE_S = 4.0
AFTER_S = 6.0
DELAY_WAITS_S = 2.0
POWER_WAITS_S = 12.0
CLOSED_S = POWER_WAITS_S + AFTER_S  # after the end of a move no later reading is of it
_LEAST_WAIT_S = 1.0  # readings of the last second of a move are of both ways
_KEPT_S = 300.0  # longer than a move and its windows


@dataclass(slots=True)
class Effects:
    """Looks at every reading; `settled` is called once per move, when no later reading will change what was observed.

    Moves in `before_us` are an earlier controller's, whose readings are gone, and whose clock may have been another.
    """

    settled: Callable[[MigrationRecord], None]
    before_us: frozenset[str] = frozenset()
    _moments: deque[Moment] = field(default_factory=deque)
    _open: set[str] = field(default_factory=set)

    def take(self, moment: Moment, records: Collection[MigrationRecord]) -> None:
        """Takes a reading in, in the order of time, and brings `observed` of the moves that it is of up to date."""
        self._moments.append(moment)
        while self._moments[0].at_s < moment.at_s - _KEPT_S:
            self._moments.popleft()
        for record in records:
            if record.status is not MigrationStatus.DONE or record.ended_s is None or record.id in self.before_us:
                continue
            if moment.at_s <= record.ended_s + CLOSED_S:
                self._open.add(record.id)
                record.observed = self._observed(record, record.ended_s, _next_s(record, records))
            elif record.id in self._open:
                self._open.discard(record.id)
                self.settled(record)

    def _observed(self, record: MigrationRecord, ended_s: float, next_s: float) -> Observed:
        before = (record.requested_s - BEFORE_S, record.requested_s)
        delay, power = (_window(ended_s, wait_s, next_s) for wait_s in (DELAY_WAITS_S, POWER_WAITS_S))
        return Observed(
            self._mean(before, _delay_ms), self._mean(delay, _delay_ms),
            self._mean(before, _power_w), self._mean(power, _power_w),
        )  # fmt: skip

    def _mean(self, window: tuple[float, float], value: Callable[[Moment], float]) -> float | None:
        """Mean over the readings of a window, both ends included; None where there is none."""
        begin_s, end_s = window
        values = [value(m) for m in self._moments if begin_s <= m.at_s <= end_s]
        known = [v for v in values if isfinite(v)]
        return round(fmean(known), 3) if known else None


def _window(ended_s: float, wait_s: float, next_s: float) -> tuple[float, float]:
    """From when to when readings count as those after a move that ended at `ended_s`, the next begun at `next_s`."""
    begin_s = min(ended_s + wait_s, max(ended_s + _LEAST_WAIT_S, next_s - AFTER_S))
    return begin_s, min(begin_s + AFTER_S, next_s)


def _next_s(record: MigrationRecord, records: Collection[MigrationRecord]) -> float:
    """When the next move was asked for, infinite where none was."""
    return min((r.requested_s for r in records if r.requested_s > record.requested_s), default=inf)


def _delay_ms(moment: Moment) -> float:
    return moment.delay_ms


def _power_w(moment: Moment) -> float:
    return moment.power_w
