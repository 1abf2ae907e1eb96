"""What a restarted controller reads from the switches is what was installed, also in the midst of a plan."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.flow_rule import PopTag
from controller.plan import plan_change
from controller.plan_json import from_json, to_json
from controller.readback import installed_steerings, unread_chains
from controller.rules import chain_rules
from controller.steps import SwapEntry
from controller.tags import FIRST_RETURN_SEGMENT, parse_cookie
from tests.fakes.fabric import forward_packet, reply_packet
from tests.property.test_plan_prefixes import Case, cases
from twin.rewrites import positions

many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(case=cases)
def test_installed_chains_are_read_back_whole(case: Case) -> None:
    wanted = {2: case.other} | ({1: case.before} if case.before else {})
    assert installed_steerings(case.fabric(case.before).rules, case.adjacency) == wanted


@many
@given(case=cases, unheard=st.integers(0, 10**6))
def test_a_chain_over_a_link_that_is_not_known_yet_is_told_as_unread(case: Case, unheard: int) -> None:
    """Not as a chain that is not there: its rules carry packets."""
    rules = case.fabric(case.before).rules
    directions = sorted(case.adjacency)
    known = {ends: case.adjacency[ends] for ends in directions if ends != directions[unheard % len(directions)]}
    found = installed_steerings(rules, known)
    assert unread_chains(rules, found) == set(installed_steerings(rules, case.adjacency)) - set(found)


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
        seen = positions(case.services[steering.chain])[-1]
        reply = fabric.deliver(reply_packet(steering.flow, steering.stops[-1], seen))
        assert (reply.kind, reply.packet.at) == ("port", steering.stops[0])
    if case.before and case.after:
        assert set(found) == {1, 2}


@many
@given(seed=st.integers(0, 2**31), vnfs=st.integers(1, 4), back_first=st.booleans())
def test_a_move_of_which_one_direction_is_switched_over_is_read_with_both(
    seed: int, vnfs: int, back_first: bool
) -> None:
    case = Case(seed, vnfs, "move", two_way=True)
    before, plan, fabric = case.before, case.plan(), case.fabric(case.before)
    assert before is not None
    assert plan.after is not None
    first, second = (s for s in plan.steps if isinstance(s, SwapEntry))
    chosen = first if _is_back(first) == back_first else second
    case.trial(fabric).run([*plan.steps[: plan.no_return], chosen])
    (there, back) = (before.vnfs, plan.after.vnfs) if back_first else (plan.after.vnfs, before.vnfs)
    found = installed_steerings(fabric.rules, case.adjacency)[1]
    assert (found.vnfs, found.back_vnfs) == (there, back)
    assert found.ports == {*before.vnfs, *plan.after.vnfs}
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


def _is_back(step: SwapEntry) -> bool:
    cookie = parse_cookie(step.new.cookie)
    return cookie is not None and cookie.segment >= FIRST_RETURN_SEGMENT


@many
@given(case=cases, share=st.floats(0, 1), forward=st.booleans())
def test_what_was_read_in_the_midst_can_be_planned_from(case: Case, share: float, forward: bool) -> None:
    """Either way: on to what was wanted, or back to what was."""
    plan, fabric = case.plan(), case.fabric(case.before)
    target = plan.after if forward else case.before
    case.trial(fabric).run(plan.steps[: round(share * len(plan.steps))])
    found = installed_steerings(fabric.rules, case.adjacency).get(1)
    case.before, case.after = found, target
    alien = fabric.rules - case.fabric(found).rules
    fabric.delete(alien)
    onward = plan_change(found, target, case.adjacency)
    case.trial(fabric).run(onward.steps)
    assert fabric.rules == case.fabric(onward.after).rules


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
