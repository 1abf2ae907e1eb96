"""The shape of plans, their undo and their JSON; that they lose nothing is shown in tests/property."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.flow_rule import FlowRule
from controller.plan import DRAIN_MS, MigrationPlan, PastNoReturn, plan_change, plan_migration, undo
from controller.plan_json import from_json, plan_from_json, to_json
from controller.rules import chain_rules
from controller.steering import Adjacency, Attachment, ChainSteering, SteeringError, steer
from controller.steps import (
    Barrier,
    ConfirmPath,
    CopyState,
    DeleteRules,
    Drain,
    InstallEntries,
    InstallRules,
    StartVnf,
    Step,
    StopVnf,
    SwapEntry,
    TakeOver,
)
from controller.tags import RETURN_SEGMENT
from tests.unit.test_rules import FLOW, LINE, chain
from twin.errors import InputError

A, B, C = Attachment("a", 10), Attachment("b", 11), Attachment("c", 10)
MOVED = Attachment("c", 12)
RING: Adjacency = {**LINE, ("a", "c"): 3, ("c", "a"): 3}
START = StartVnf("web.firewall", "e2", "web-firewall-2", standby=True)


def kinds(steps: tuple[Step, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


def rules_in(steps: tuple[Step, ...], kind: type[Any]) -> set[FlowRule]:
    return {rule for step in steps if isinstance(step, kind) for rule in step.rules}


def test_the_same_placement_needs_no_plan() -> None:
    before = chain(A, B, C).with_generation(1, 1)
    assert plan_change(before, chain(A, B, C), LINE) == MigrationPlan((), before)
    assert plan_migration(START, "old", before, chain(A, B, C), LINE).steps == ()


def test_a_move_makes_swaps_one_entry_drains_and_breaks() -> None:
    before = chain(A, B, C)
    plan = plan_migration(START, "web-firewall-1", before, chain(A, MOVED, C), LINE, drain_ms=150)
    assert kinds(plan.steps) == [
        *("StartVnf", "CopyState", "InstallRules", "Barrier", "TakeOver", "SwapEntry", "Barrier"),
        *("Drain", "DeleteRules", "Barrier", "StopVnf"),
    ]
    assert plan.steps[1] == CopyState("web.firewall", "web-firewall-1", "web-firewall-2")
    assert plan.steps[4] == TakeOver("web.firewall", "web-firewall-1", "web-firewall-2")
    assert plan.steps[3] == Barrier(("a", "b", "c"))
    swap = plan.steps[5]
    assert isinstance(swap, SwapEntry)
    assert swap.old.key == swap.new.key
    assert plan.steps[7] == Drain(150)
    assert plan.steps[-1] == StopVnf("web.firewall", "web-firewall-1")
    assert plan.after is not None
    assert [s.generation for s in (*plan.after.segments, plan.after.back)] == [1, 1, 0]
    assert not {r.key for r in rules_in(plan.steps, InstallRules)} & {r.key for r in chain_rules(before, LINE)}


def test_a_confirmed_move_proves_the_way_before_it_is_used_and_its_use_before_the_old_one_goes() -> None:
    before = chain(A, B, C)
    plan = plan_migration(START, "web-firewall-1", before, chain(A, MOVED, C), LINE, confirm=True)
    assert kinds(plan.steps) == [
        *("StartVnf", "CopyState", "InstallRules", "InstallRules", "Barrier", "InstallRules", "Barrier", "ConfirmPath"),
        "TakeOver",
        *("SwapEntry", "Barrier", "ConfirmPath", "Drain", "DeleteRules", "Barrier", "StopVnf"),
    ]
    early, late = (step.proofs for step in plan.steps if isinstance(step, ConfirmPath))
    assert [(p.switch, p.caught_at) for p in early] == [("a", "c"), ("c", "c"), ("c", "c"), ("a", "a")]
    assert (early[2].in_port, early[2].like.ip_dscp) == (MOVED.port, 61)
    (swap,) = (step for step in plan.steps if isinstance(step, SwapEntry))
    assert [(p.switch, p.in_port) for p in late] == [(swap.new.switch, swap.new.match.in_port)]
    captures = rules_in(plan.steps[5:6], InstallRules)
    assert captures <= rules_in(plan.steps, DeleteRules)
    held = rules_in(plan.steps[2:3], InstallRules)
    assert {rule.key for rule in held} == {rule.key for rule in captures if rule.match.ip_dscp == 60}
    assert not any(rule.actions for rule in held)
    assert rules_in(undo(plan, plan.no_return), DeleteRules) >= captures
    assert plan.after == plan_migration(START, "web-firewall-1", before, chain(A, MOVED, C), LINE).after


def test_each_run_of_changes_has_one_swap() -> None:
    stops = [A, *(Attachment("b", 20 + i) for i in range(5)), C]
    after = [*stops]
    after[1], after[2], after[4] = Attachment("a", 31), Attachment("a", 32), Attachment("a", 34)
    plan = plan_change(chain(*stops), chain(*after), LINE)
    assert sum(isinstance(step, SwapEntry) for step in plan.steps) == 2
    assert plan.after is not None
    assert [s.generation for s in plan.after.segments] == [1, 1, 1, 1, 1, 0]


def test_generations_of_a_second_move_go_back() -> None:
    first = plan_change(chain(A, B, C), chain(A, MOVED, C), LINE).after
    assert first is not None
    second = plan_change(first, chain(A, B, C), LINE).after
    assert second == chain(A, B, C)


def test_a_new_chain_is_opened_last_and_a_removed_one_closed_first() -> None:
    steering = chain(A, B, C)
    install, remove = plan_change(None, steering, LINE).steps, plan_change(steering, None, LINE).steps
    assert kinds(install) == ["InstallRules", "Barrier", "InstallEntries", "Barrier"]
    assert kinds(remove) == ["DeleteRules", "Barrier", "Drain", "DeleteRules", "Barrier"]
    assert rules_in(install, InstallRules) | rules_in(install, InstallEntries) == chain_rules(steering, LINE)
    assert rules_in(remove, DeleteRules) == chain_rules(steering, LINE)
    first = remove[0]
    assert isinstance(first, DeleteRules)
    assert set(first.rules) == rules_in(install, InstallEntries)


def test_a_roaming_user_is_let_in_beside_its_old_port() -> None:
    plan = plan_change(chain(A, B, C), chain(Attachment("b", 15), B, C), LINE)
    assert kinds(plan.steps) == [
        *("InstallRules", "Barrier", "InstallEntries", "Barrier", "SwapEntry", "Barrier"),
        *("Drain", "DeleteRules", "Barrier", "Drain", "DeleteRules", "Barrier"),
    ]
    (opened,) = rules_in(plan.steps, InstallEntries)
    assert (opened.switch, opened.match.in_port) == ("b", 15)


def test_a_link_is_routed_around_with_the_same_stops() -> None:
    def around(a: str, b: str) -> tuple[str, ...]:
        return {("a", "b"): ("a", "c", "b"), ("b", "a"): ("b", "c", "a"), ("c", "a"): ("c", "b", "a")}.get(
            (a, b), (a, b)
        )

    before = steer(1, FLOW, (A, B, C), lambda a, b: (a, b))
    plan = plan_change(before, steer(1, FLOW, (A, B, C), around), RING)
    assert sum(isinstance(step, SwapEntry) for step in plan.steps) == 2  # segment 0 and the way back
    assert plan.after is not None
    assert [plan.after.segment(n).generation for n in (0, 1, RETURN_SEGMENT)] == [1, 0, 1]


def test_an_undo_takes_back_what_was_begun_and_no_more() -> None:
    plan = plan_migration(START, "old", chain(A, B, C), chain(A, MOVED, C), LINE)
    installed = plan.steps[2]
    assert isinstance(installed, InstallRules)
    stop, hand_back = StopVnf(START.vnf, START.instance), TakeOver(START.vnf, START.instance, "old")
    removed = (DeleteRules(installed.rules), Barrier(("a", "b", "c")))
    assert plan.no_return == 5
    assert undo(plan, 0) == ()
    assert undo(plan, 1) == (stop,)
    assert undo(plan, 2) == (stop,)
    assert undo(plan, 4) == (*removed, stop)
    assert undo(plan, 5) == (hand_back, Drain(DRAIN_MS), *removed, stop)


@pytest.mark.parametrize("begun", [6, 8, 11])
def test_there_is_no_way_back_once_packets_may_take_the_new_one(begun: int) -> None:
    plan = plan_migration(START, "old", chain(A, B, C), chain(A, MOVED, C), LINE)
    with pytest.raises(PastNoReturn, match="step 6 of 11"):
        undo(plan, begun)


def test_a_plan_without_point_of_no_return_can_be_undone_whole() -> None:
    plan = MigrationPlan((InstallRules(()),), None)
    assert undo(plan, 1) == (DeleteRules(()), Barrier(()))
    assert plan_change(chain(A, B, C), None, LINE).no_return == 0
    assert plan_change(None, chain(A, B, C), LINE).no_return == 4


def test_an_undo_closes_new_entries_before_it_takes_away_where_they_lead() -> None:
    plan = plan_change(None, chain(A, B, C), LINE)
    assert kinds(undo(plan, 4)) == ["DeleteRules", "Barrier", "Drain", "DeleteRules", "Barrier"]
    moved = plan_migration(START, "old", chain(A, B, C), chain(Attachment("b", 15), MOVED, C), LINE)
    names = kinds(moved.steps)
    assert names.index("TakeOver") < names.index("InstallEntries") < moved.no_return == names.index("SwapEntry")


def test_what_does_not_fit_together_is_refused() -> None:
    before = chain(A, B, C)
    with pytest.raises(SteeringError, match="not the same chain"):
        plan_change(before, chain(A, B, C, number=2), LINE)
    with pytest.raises(SteeringError, match="not the same chain"):
        plan_change(before, chain(A, C), LINE)
    with pytest.raises(SteeringError, match="that of another VNF"):
        plan_change(chain(A, B, MOVED, C), chain(A, MOVED, B, C), LINE)


def plans() -> list[MigrationPlan]:
    before: ChainSteering = chain(A, B, C)
    return [
        plan_migration(START, "old", before, chain(A, MOVED, C), LINE),
        plan_migration(START, "old", before, chain(A, MOVED, C), LINE, confirm=True),
        plan_change(before, None, LINE),
        plan_change(None, before, LINE),
        plan_change(before, chain(Attachment("b", 15), B, C), LINE),
    ]


@pytest.mark.parametrize("plan", plans(), ids=range(5))
def test_a_plan_survives_the_journal(plan: MigrationPlan) -> None:
    assert plan_from_json(json.loads(json.dumps(to_json(plan)))) == plan
    for step in plan.steps:
        assert from_json(json.loads(json.dumps(to_json(step)))) == step


@pytest.mark.parametrize(
    "broken", [{"is": "Drain"}, {"is": "os"}, {"wait_ms": 1}, {"is": "Vlan", "value": "x"}, {"is": "Drain", "s": 1}]
)
def test_broken_json_is_an_input_error(broken: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a plan"):
        from_json(broken)


def test_only_a_plan_is_a_plan() -> None:
    with pytest.raises(InputError, match="not a plan: Drain"):
        plan_from_json(to_json(Drain(1.0)))
    with pytest.raises(TypeError, match="not part of a plan"):
        to_json(object())
