"""Barriers, errors and departures of switches, with a switch that answers only when the test says so."""

from __future__ import annotations

import struct

import eventlet
import pytest

from controller.openflow import port_desc_request
from controller.openflow_replies import SwitchError
from controller.switchboard import BarrierLate, Switchboard, SwitchGone, SwitchRefused


class Line:
    """What a switch was sent."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def __call__(self, message: bytes) -> None:
        self.messages.append(message)

    @property
    def xids(self) -> list[int]:
        return [struct.unpack_from("!I", message, 4)[0] for message in self.messages]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def board(line: Line) -> Switchboard:
    board = Switchboard()
    board.connected("s1", line)
    return board


def _answer_soon(board: Switchboard, line: Line) -> None:
    eventlet.sleep(0)
    board.barrier_replied("s1", line.xids[-1])


def test_a_barrier_returns_when_it_is_answered(board: Switchboard, line: Line) -> None:
    eventlet.spawn(_answer_soon, board, line)
    board.barrier(("s1",), timeout_s=1.0)
    assert len(line.messages) == 1


def test_an_unanswered_barrier_ends_in_time(board: Switchboard) -> None:
    with pytest.raises(BarrierLate, match="s1"):
        board.barrier(("s1",), timeout_s=0.02)


def test_an_error_is_tied_to_the_barrier_behind_its_message(board: Switchboard, line: Line) -> None:
    board.send("s1", (port_desc_request(),))
    board.error("s1", SwitchError(line.xids[0], 5, 1))
    eventlet.spawn(_answer_soon, board, line)
    with pytest.raises(SwitchRefused, match="TABLE_FULL"):
        board.barrier(("s1",), timeout_s=1.0)
    eventlet.spawn(_answer_soon, board, line)
    board.barrier(("s1",), timeout_s=1.0)  # the error was told once


def test_an_error_is_told_to_the_green_thread_whose_message_it_answers(board: Switchboard, line: Line) -> None:
    """Another plan's barrier on the same switch must not take it away."""
    board.send("s1", (port_desc_request(),))
    board.error("s1", SwitchError(line.xids[0], 5, 1))
    other = eventlet.spawn(board.barrier, ("s1",), timeout_s=1.0)
    eventlet.sleep(0)
    board.barrier_replied("s1", line.xids[-1])
    other.wait()
    eventlet.spawn(_answer_soon, board, line)
    with pytest.raises(SwitchRefused):
        board.barrier(("s1",), timeout_s=1.0)


def test_an_error_that_answers_nothing_of_ours_is_only_counted(board: Switchboard, line: Line) -> None:
    board.error("s1", SwitchError(999_999, 5, 1))
    eventlet.spawn(_answer_soon, board, line)
    board.barrier(("s1",), timeout_s=1.0)
    assert board.errors_total == 1


def test_a_switch_that_leaves_wakes_who_waits(board: Switchboard) -> None:
    eventlet.spawn_after(0.01, board.disconnected, "s1")
    with pytest.raises(SwitchGone, match="s1 left"):
        board.barrier(("s1",), timeout_s=5.0)
    with pytest.raises(SwitchGone):
        board.send("s1", ())


def test_every_message_has_a_number_of_its_own(board: Switchboard, line: Line) -> None:
    board.send("s1", (port_desc_request(),) * 3)
    assert len(set(line.xids)) == 3
    assert 0 not in line.xids
