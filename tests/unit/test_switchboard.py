"""Barriers, errors and departures of switches, with a switch that answers only when the test says so."""

from __future__ import annotations

import struct

import eventlet
import pytest

from controller.flow_rule import FlowRule, Match
from controller.openflow import (
    HEAD_BYTES,
    add_rule,
    barrier_request,
    delete_rule,
    describe,
    modify_rule,
    port_desc_request,
)
from controller.openflow_replies import SwitchError
from controller.switchboard import BarrierLate, Switchboard, SwitchGone, SwitchRefused
from controller.tags import Cookie, Role


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


def test_a_refusal_says_which_rule_it_was(board: Switchboard, line: Line) -> None:
    rule = FlowRule("s1", 1, 100, Match(vlan=101), (), None, Cookie(Role.PATH, 3, 2, 1).value)
    board.send("s1", (delete_rule(rule), add_rule(rule)))
    board.error("s1", SwitchError(line.xids[1], 5, 1))
    eventlet.spawn(_answer_soon, board, line)
    with pytest.raises(SwitchRefused) as caught:
        board.barrier(("s1",), timeout_s=1.0)
    assert str(caught.value) == (
        "switch s1 refused to add the path rule in table 1 of chain 3, segment 2, generation 1: "
        f"FLOW_MOD_FAILED TABLE_FULL (message {line.xids[1]})"
    )
    assert board.refused_total == {"TABLE_FULL": 1}


def test_a_refusal_is_told_before_a_silence(board: Switchboard, line: Line) -> None:
    """And it is told once: the next barrier of the same green thread is about other messages."""
    board.connected("s2", Line())
    board.send("s1", (port_desc_request(),))
    board.error("s1", SwitchError(line.xids[0], 5, 1))
    with pytest.raises(SwitchRefused):
        board.barrier(("s1", "s2"), timeout_s=0.02)
    with pytest.raises(BarrierLate) as late:
        board.barrier(("s2", "s1"), timeout_s=0.02)
    assert late.value.switches == ("s2", "s1")
    assert board.late_total == {"s1": 1, "s2": 1}


def test_an_answer_that_comes_too_late_is_nobodys(board: Switchboard, line: Line) -> None:
    with pytest.raises(BarrierLate):
        board.barrier(("s1",), timeout_s=0.01)
    late = line.xids[-1]
    waiting = eventlet.spawn(board.barrier, ("s1",), timeout_s=1.0)
    eventlet.sleep(0)
    board.barrier_replied("s1", late)
    eventlet.sleep(0)
    assert not waiting.dead
    board.barrier_replied("s1", line.xids[-1])
    waiting.wait()


def test_a_switch_is_asked_for_its_rules(board: Switchboard, line: Line) -> None:
    asked = eventlet.spawn(board.rules, "s1", timeout_s=1.0)
    eventlet.sleep(0)
    board.rules_told("s1", 0, ())  # those of a poll
    board.rules_told("s1", line.xids[-1], ())
    assert asked.wait() == frozenset()
    with pytest.raises(BarrierLate, match="s1 did not answer for its rules"):
        board.rules("s1", timeout_s=0.01)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (add_rule(FlowRule("s1", 0, 1, Match(), (), None, Cookie(Role.BASE).value)), "to add a base rule in table 0"),
        (modify_rule(FlowRule("s1", 0, 1, Match(), (), None, 5)), "to modify a rule in table 0"),
        (
            modify_rule(FlowRule("s1", 0, 1, Match(), (), None, Cookie(Role.VNF, 7, 2).value)),
            "to modify the vnf rule in table 0 of chain 7, segment 2",
        ),
        (barrier_request(), "a barrier request"),
        (port_desc_request(), "a request for statistics"),
        (b"\4\0\0\10\0\0\0\0", "a message of type 0"),
    ],
)
def test_what_a_message_was_to_do(message: bytes, says: str) -> None:
    assert describe(message[:HEAD_BYTES]) == says
