"""What came of a move: windows before and after it, cut where the next one begins, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controller.accounts import Moment
from controller.effects import CLOSED_S, Effects
from controller.records import MigrationRecord, MigrationStatus, Observed
from twin.costs import Costs

NOTHING = Costs(np.zeros(1), 0.0, np.zeros(1), np.zeros((1, 2)), np.zeros(1), 0.0)
Reading = Callable[[float], float]


class Watched:
    """One reading a second of a network of which delay and power are functions of the time."""

    def __init__(self, *moves: MigrationRecord, delay_ms: Reading, power_w: Reading = lambda _s: 100.0) -> None:
        self.moves, self._delay_ms, self._power_w = moves, delay_ms, power_w
        self.settled: list[str] = []
        self.effects = Effects(lambda record: self.settled.append(record.id))

    def until(self, end_s: int, begin_s: int = 0) -> None:
        for t in range(begin_s, end_s + 1):
            moment = Moment(float(t), self._delay_ms(t), self._power_w(t), NOTHING, NOTHING)
            self.effects.take(moment, [move for move in self.moves if move.requested_s <= t])


def move(ident: str, asked_s: float, ended_s: float, status: MigrationStatus = MigrationStatus.DONE) -> MigrationRecord:
    return MigrationRecord(ident, "web1.nat", "c1", "e1", "because", asked_s, status=status, ended_s=ended_s)


def seen(record: MigrationRecord) -> Observed:
    assert record.observed is not None
    return record.observed


def test_means_before_and_after_leave_out_the_move_and_what_follows_it() -> None:
    moved = move("m1", 20.0, 21.0)
    site = Watched(moved, delay_ms=lambda t: 30.0 if t <= 20 else 99.0 if t < 23 or t > 29 else 10.0,
                   power_w=lambda t: 200.0 if t < 33 else 150.0)  # fmt: skip
    site.until(50)
    assert moved.observed == Observed(30.0, 10.0, 200.0, 150.0)


def test_it_is_told_as_it_becomes_known_and_kept_once() -> None:
    moved = move("m1", 20.0, 21.0)
    site = Watched(moved, delay_ms=float)
    site.until(22)
    assert moved.observed == Observed(18.0, None, 100.0, None)
    site.until(24, 23)
    assert seen(moved).delay_after_ms == pytest.approx(23.5)
    site.until(round(21.0 + CLOSED_S), 25)
    assert site.settled == []
    site.until(60, round(22.0 + CLOSED_S))
    assert site.settled == ["m1"]
    assert seen(moved).delay_after_ms == pytest.approx(26.0)


def test_what_comes_after_the_next_move_was_asked_for_is_not_its_own() -> None:
    first, second = move("m1", 20.0, 21.0), move("m2", 26.0, 27.0)
    Watched(first, second, delay_ms=float).until(60)
    assert seen(first).delay_after_ms == pytest.approx(24.0)  # 22 to 26
    assert seen(first).power_after_w == 100.0  # of an earlier window than it would like
    assert seen(second).delay_before_ms == pytest.approx(24.0)


def test_a_move_that_another_follows_at_once_has_no_after() -> None:
    first = move("m1", 20.0, 21.0)
    Watched(first, move("m2", 21.0, 22.0), delay_ms=float).until(60)
    assert (seen(first).delay_after_ms, seen(first).power_after_w) == (None, None)


@pytest.mark.parametrize("status", [MigrationStatus.ROLLED_BACK, MigrationStatus.FAILED])
def test_a_move_that_was_not_made_has_no_effect(status: MigrationStatus) -> None:
    record = move("m1", 20.0, 21.0, status)
    site = Watched(record, delay_ms=float)
    site.until(60)
    assert (record.observed, site.settled) == (None, [])


def test_moves_of_an_earlier_controller_are_left_as_they_were() -> None:
    before = Observed(1.0, 2.0, 3.0, 4.0)
    record = move("m1", 5.0, 6.0)
    record.observed = before
    site = Watched(record, delay_ms=float)
    site.effects.before_us = frozenset({"m1"})
    site.until(60)
    assert (record.observed, site.settled) == (before, [])


def test_seconds_in_which_no_delay_was_read_do_not_count() -> None:
    moved = move("m1", 20.0, 21.0)
    Watched(moved, delay_ms=lambda t: float("nan") if t in (18, 25) else 10.0).until(60)
    assert (seen(moved).delay_before_ms, seen(moved).delay_after_ms) == (10.0, 10.0)
    unread = move("m1", 20.0, 21.0)
    Watched(unread, delay_ms=lambda _t: float("nan")).until(60)
    assert seen(unread).delay_before_ms is None


def test_a_record_comes_back_from_json_as_it_was() -> None:
    record = move("m1", 20.0, 21.0)
    record.observed = Observed(30.0, 10.0, 200.0, None)
    assert MigrationRecord.from_json(record.as_json()) == record
    earlier = {key: value for key, value in record.as_json().items() if key != "observed"}
    assert MigrationRecord.from_json(earlier).observed is None
