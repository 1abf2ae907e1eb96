"""Plans of moves by checkpoint and cold: their shape, their undo, and their JSON."""

from __future__ import annotations

import json

import pytest

from controller.plan import MigrationPlan, PastNoReturn, plan_checkpoint, plan_cold, undo
from controller.plan_json import plan_from_json, to_json
from controller.steps import Checkpoint, Halt, InstallRules, Restore, StartVnf, StopVnf, SwapEntry
from tests.unit.test_plan import MOVED, A, B, C
from tests.unit.test_rules import LINE, chain

BEFORE, AFTER = chain(A, B, C), chain(A, MOVED, C)
PLACE = StartVnf("web.nat", "e2", "new", hollow=True)
CHECKPOINT = plan_checkpoint(PLACE, "old", BEFORE, AFTER, LINE)
COLD = plan_cold(Halt("web.nat", "e1", "old"), StartVnf("web.nat", "e2", "new"), BEFORE, AFTER, LINE)


def _names(steps: tuple[object, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_a_process_is_restored_before_packets_are_sent_to_it_and_dumped_when_all_is_ready() -> None:
    assert _names(CHECKPOINT.steps) == [
        *("StartVnf", "InstallRules", "Barrier", "Checkpoint", "Restore", "SwapEntry", "Barrier"),
        *("Drain", "DeleteRules", "Barrier", "StopVnf"),
    ]
    assert CHECKPOINT.steps[3:5] == (Checkpoint("web.nat", "old"), Restore("web.nat", "old", "new"))
    assert CHECKPOINT.steps[-1] == StopVnf("web.nat", "old")
    assert isinstance(CHECKPOINT.steps[CHECKPOINT.no_return], SwapEntry)


def test_undone_a_checkpoint_is_brought_back_where_it_was_and_never_runs_twice() -> None:
    stop, back = StopVnf("web.nat", "new"), Restore("web.nat", "old", "old")
    installed = CHECKPOINT.steps[1]
    assert isinstance(installed, InstallRules)
    assert undo(CHECKPOINT, 1) == (stop,)
    assert undo(CHECKPOINT, 4)[0] == back
    assert undo(CHECKPOINT, 5)[:2] == (stop, back)
    assert undo(CHECKPOINT, 5)[-1] == stop
    with pytest.raises(PastNoReturn):
        undo(CHECKPOINT, 6)


def test_a_cold_move_ends_the_old_one_first_and_undone_starts_it_anew() -> None:
    assert _names(COLD.steps) == [
        *("Halt", "StartVnf", "InstallRules", "Barrier", "SwapEntry", "Barrier", "Drain", "DeleteRules", "Barrier")
    ]
    assert undo(COLD, 1) == (StartVnf("web.nat", "e1", "old"),)
    assert undo(COLD, 4)[-2:] == (StopVnf("web.nat", "new"), StartVnf("web.nat", "e1", "old"))


@pytest.mark.parametrize("plan", [CHECKPOINT, COLD])
def test_both_survive_the_journal(plan: MigrationPlan) -> None:
    assert plan_from_json(json.loads(json.dumps(to_json(plan)))) == plan
