"""Port counters are read seldom while something moves, and never for long not at all."""

from __future__ import annotations

from controller.port_polls import SKIPPED, PortPolls


def test_a_move_is_waited_for_and_many_are_not() -> None:
    polls = PortPolls()
    assert [polls.due(moving=moving) for moving in (False, True, False, False)] == [True, False, True, True]
    asked = [polls.due(moving=True) for _ in range(4 * (SKIPPED + 1))]
    assert asked == ([False] * SKIPPED + [True]) * 4
