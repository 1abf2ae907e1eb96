"""What a restarted controller reads from the switches is what was installed, also in the midst of a plan."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.flow_rule import PopTag
from controller.readback import installed_steerings
from controller.rules import chain_rules
from tests.fakes.fabric import forward_packet
from tests.property.test_plan_prefixes import Case, cases

many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(case=cases)
def test_installed_chains_are_read_back_whole(case: Case) -> None:
    wanted = {2: case.other} | ({1: case.before} if case.before else {})
    assert installed_steerings(case.fabric(case.before).rules, case.adjacency) == wanted


@many
@given(case=cases, share=st.floats(0, 1))
def test_in_the_midst_of_a_plan_the_way_of_new_packets_is_read(case: Case, share: float) -> None:
    plan, fabric = case.plan(), case.fabric(case.before)
    trial = case.trial(fabric)
    trial.run(plan.steps[: round(share * len(plan.steps))])
    found = installed_steerings(fabric.rules, case.adjacency)
    for steering in found.values():
        arrival = fabric.deliver(forward_packet(steering.flow, steering.stops[0]))
        assert arrival.kind == "port"
        assert arrival.packet.at == steering.stops[-1]
        assert chain_rules(steering, case.adjacency) <= fabric.rules
    if case.before and case.after:
        assert set(found) == {1, 2}


@many
@given(case=cases, data=st.data())
def test_a_chain_with_a_rule_missing_is_not_taken_for_whole(case: Case, data: st.DataObject) -> None:
    fabric = case.fabric(None)
    needed = sorted((r for r in chain_rules(case.other, case.adjacency) if r.priority != 200), key=repr)
    lost = data.draw(st.sampled_from(needed))
    fabric.delete([lost])
    if PopTag() not in lost.actions:
        fabric.add([replace(lost, actions=())])
    for steering in installed_steerings(fabric.rules, case.adjacency).values():
        assert chain_rules(steering, case.adjacency) <= fabric.rules
