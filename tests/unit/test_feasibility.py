"""Feasibility: every refusal has its cause, and mask and verdict are one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.unit.small_worlds import LINE, line, random_hosts, state_of, state_with
from twin import refusal_kernels
from twin.costs import evaluate
from twin.feasibility import Limits, Refusal, feasible_moves, refusals, verdict
from twin.routing import configured_routes
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.state import NetworkState

CALM = np.array([4.0, 2.0])


def judge(scenario: Scenario, state: NetworkState, vnf: str, target: str, limits: Limits | None = None) -> str:
    routes = configured_routes(scenario, state.link_up)
    return verdict(vnf, target, scenario, state, routes, limits or Limits()).reason


def test_compiled_codes_are_the_rows_of_the_refusals() -> None:
    codes = {name: value for name, value in vars(refusal_kernels).items() if name in Refusal.__members__}
    assert len(codes) == len(Refusal) - 2  # all but the two that are found before any array is read
    assert all(tuple(Refusal)[value].name == name for name, value in codes.items())


def test_a_move_that_nothing_forbids_is_allowed() -> None:
    scenario = line()
    found = verdict("one.nat", "s3", scenario, state_of(scenario), configured_routes(scenario))
    assert found.allowed
    assert found.reason == ""


@pytest.mark.parametrize(
    ("vnf", "target", "reason"),
    [("one.x", "s1", "unknown_vnf"), ("one.nat", "s9", "unknown_server"), ("one.nat", "s2", "same_server")],
)
def test_unknown_and_empty_moves_are_refused_not_raised(vnf: str, target: str, reason: str) -> None:
    scenario = line()
    assert judge(scenario, state_of(scenario), vnf, target) == reason


def test_memory_is_what_the_server_has() -> None:
    scenario = line()
    state = state_of(scenario)
    assert judge(scenario, state, "one.firewall", "s3") == ""
    full = Sample(0.0, "s3", Quantity.SERVER_MEMORY, 40.0)
    assert judge(scenario, state_with(scenario, CALM, s3=full), "one.firewall", "s3") == "memory_full"


def test_cpu_keeps_its_head_room_by_model_and_by_reading() -> None:
    scenario = line()
    assert judge(scenario, state_of(scenario), "one.nat", "s1") == ""  # 0.5 + 0.3 of 1 core
    assert judge(scenario, state_of(scenario), "one.nat", "s1", Limits(cpu=0.79)) == "cpu_full"
    busy = Sample(0.0, "s1", Quantity.SERVER_CPU, 0.65)
    assert judge(scenario, state_with(scenario, CALM, s1=busy), "one.nat", "s1") == "cpu_full"
    thirsty = Sample(0.0, "one.nat", Quantity.VNF_CPU, 0.45)
    assert judge(scenario, state_with(scenario, CALM, nat=thirsty), "one.nat", "s1") == "cpu_full"


def test_a_server_that_is_down_takes_nothing() -> None:
    scenario = line()
    down = Sample(0.0, "s3", Quantity.SERVER_UP, 0.0)
    state = state_with(scenario, CALM, s3=down)
    assert judge(scenario, state, "one.nat", "s3") == "server_down"
    assert judge(scenario, state, "one.nat", "s1") == ""


def test_a_link_must_not_be_filled() -> None:
    """With its VNFs at b, chain one loads link a-b once; the way back to a would carry it twice more."""
    scenario = line()
    offered = np.array([0.1, 4.0])
    loaded = Sample(0.0, "a-b", Quantity.LINK_LOAD_FORWARD, 0.0)
    assert judge(scenario, state_with(scenario, offered, x=loaded), "two.firewall", "s1") == ""
    busy = Sample(0.0, "b-c", Quantity.LINK_LOAD_FORWARD, 19.0)
    detour = line(LINE.replace("at: b, cpu_cores: 2, memory_mb: 80", "at: c, cpu_cores: 2, memory_mb: 80"))
    assert judge(detour, state_with(detour, CALM, x=busy), "two.firewall", "s3") == ""
    assert judge(detour, state_with(detour, np.array([9.3, 1.0])), "one.firewall", "s2", Limits(cpu=9.0)) == ""
    shuttle = state_with(detour, np.array([0.1, 9.0]))
    assert judge(detour, shuttle, "one.nat", "s1", Limits(cpu=9.0, link=0.005)) == ""


def test_a_link_that_gets_fuller_than_its_limit_refuses() -> None:
    """VNF nat on s1 leaves a-b as loaded as before; on s3 at c, firewall brings chain one over b-c three times."""
    detour = line(LINE.replace("at: b, cpu_cores: 2, memory_mb: 80", "at: c, cpu_cores: 2, memory_mb: 80"))
    state = state_with(detour, np.array([8.0, 0.1]))
    assert judge(detour, state, "one.firewall", "s3", Limits(cpu=9.0, link=0.75)) == "link_full"  # 16 of 20 Mbit/s
    assert judge(detour, state, "one.firewall", "s3", Limits(cpu=9.0, link=0.85)) == ""
    assert judge(detour, state, "one.nat", "s3", Limits(cpu=9.0, link=0.3)) == ""  # as loaded as it is already


def test_load_of_others_on_a_link_counts() -> None:
    detour = line(LINE.replace("at: b, cpu_cores: 2, memory_mb: 80", "at: c, cpu_cores: 2, memory_mb: 80"))
    crowd = Sample(0.0, "b-c", Quantity.LINK_LOAD_FORWARD, 16.0)
    assert judge(detour, state_with(detour, CALM, x=crowd), "one.firewall", "s3", Limits(cpu=9.0)) == "link_full"


def test_a_chain_in_time_must_stay_in_time() -> None:
    tight = line(LINE.replace("max_delay_ms: 60, packet_bytes: 1000", "max_delay_ms: 14, packet_bytes: 1000"))
    assert judge(tight, state_of(tight), "one.nat", "s1") == "delay_exceeded"
    assert judge(tight, state_of(tight), "one.nat", "s3") == ""


def test_a_chain_that_is_late_already_may_move() -> None:
    late = line(LINE.replace("max_delay_ms: 60, packet_bytes: 1000", "max_delay_ms: 12, packet_bytes: 1000"))
    assert judge(late, state_of(late), "one.nat", "s1") == ""


def test_no_move_makes_another_chain_late() -> None:
    """Chain two is on s2 with little room; chain one's firewall would slow s2 down."""
    tight = LINE.replace("max_delay_ms: 60, packet_bytes: 500", "max_delay_ms: 8.0, packet_bytes: 500")
    scenario = line(tight)
    routes, state = configured_routes(scenario), state_of(scenario)
    hosts = state.vnf_server.copy()
    before = evaluate(scenario, routes, hosts, state.offered_mbps, state.endpoint_switch).chain_delay_ms[1]
    hosts[0] = 1
    after = evaluate(scenario, routes, hosts, state.offered_mbps, state.endpoint_switch).chain_delay_ms[1]
    assert before < 8.0 < after
    assert judge(scenario, state, "one.firewall", "s2") == "delay_exceeded"
    assert judge(scenario, state, "one.firewall", "s3") == ""


def test_no_move_makes_another_chain_late_by_queueing_on_a_link() -> None:
    """Over s3 at c, chain one comes back over b-c in the direction of chain two; no server of that is touched."""
    text = LINE.replace("at: b, cpu_cores: 2, memory_mb: 80", "at: c, cpu_cores: 2, memory_mb: 80")
    offered, routes = np.array([8.0, 2.0]), configured_routes(line(text))
    ends = np.array([0, 2])
    before, after = (
        evaluate(line(text), routes, np.array(hosts), offered, ends).chain_delay_ms[1]
        for hosts in ([0, 1, 1], [2, 1, 1])
    )
    assert before < after
    tight = line(
        text.replace("max_delay_ms: 60, packet_bytes: 500", f"max_delay_ms: {(before + after) / 2}, packet_bytes: 500")
    )
    assert judge(tight, state_with(tight, offered), "one.firewall", "s3", Limits(cpu=9.0)) == "delay_exceeded"
    assert judge(line(text), state_with(line(text), offered), "one.firewall", "s3", Limits(cpu=9.0)) == ""


def test_a_server_cut_off_is_unreachable() -> None:
    scenario = line(LINE.replace("at: b, cpu_cores: 2, memory_mb: 80", "at: c, cpu_cores: 2, memory_mb: 80"))
    cut = Sample(0.0, "b-c", Quantity.LINK_UP, 0.0)
    assert judge(scenario, state_with(scenario, CALM, x=cut), "one.nat", "s3") == "unreachable"


def test_cooldown_and_flight_are_refused() -> None:
    scenario = line()
    routes, state = configured_routes(scenario), dataclasses.replace(state_of(scenario), at_s=20.0)
    limits = Limits(cooldown_s=12.0)
    moved = {"one.nat": 9.0}
    args = (scenario, state, routes, limits)
    assert verdict("one.nat", "s3", *args, moved_at_s=moved).reason == "cooldown"
    assert verdict("one.nat", "s3", *args, moved_at_s={"one.nat": 8.0}).reason == ""
    assert verdict("one.firewall", "s3", *args, moved_at_s=moved).reason == ""
    assert verdict("one.firewall", "s3", *args, in_flight=frozenset({"one"})).reason == "in_flight"
    assert verdict("two.firewall", "s3", *args, in_flight=frozenset({"one"})).reason == ""


def test_old_readings_block_only_what_they_are_needed_for() -> None:
    scenario = line()
    state = state_of(scenario, at_s=13.0)
    limits = Limits(stale_after_s=12.0)
    assert (refusals(scenario, state, configured_routes(scenario), limits) != -1).all()
    assert judge(scenario, state, "one.nat", "s3", limits) == "stale_state"
    ages = {**state.age_s, Quantity.CHAIN_OFFERED: np.array([1.0, 13.0]), Quantity.SERVER_CPU: np.array([1.0, 1, 13])}
    partly = dataclasses.replace(state, age_s=ages)
    assert judge(scenario, partly, "one.nat", "s3", limits) == "stale_state"
    assert judge(scenario, partly, "one.nat", "s1", limits) == ""
    assert judge(scenario, partly, "two.firewall", "s1", limits) == "stale_state"


@pytest.mark.parametrize("name", ["small", "medium"])
def test_mask_and_verdict_are_one(name: str) -> None:
    scenario = load_scenario(name)
    state, routes = state_of(scenario), configured_routes(scenario)
    mask = feasible_moves(scenario, state, routes)
    assert 0 < mask.sum() < mask.size
    for v, vnf in enumerate(scenario.vnfs):
        for s, server in enumerate(scenario.servers):
            assert verdict(vnf.id, server.id, scenario, state, routes).allowed == mask[v, s]


@pytest.mark.parametrize("seed", range(8))
def test_what_the_mask_allows_satisfies_every_constraint(seed: int) -> None:
    """Checked against `evaluate`, which knows nothing of trials: CPU, memory, links and every chain's delay."""
    scenario, rng = load_scenario("small"), np.random.default_rng(seed)
    routes, limits = configured_routes(scenario), Limits()
    hosts, offered = random_hosts(scenario, rng), rng.uniform(0.2, 3.0, len(scenario.chains))
    host = {vnf.id: Sample(0.0, vnf.id, Quantity.VNF_HOST, float(hosts[v])) for v, vnf in enumerate(scenario.vnfs)}
    state = state_with(scenario, offered, **host)
    limit_ms = np.array([chain.max_delay_ms for chain in scenario.chains])
    now = evaluate(scenario, routes, hosts, offered, state.endpoint_switch)
    for (v, s), code in np.ndenumerate(refusals(scenario, state, routes, limits)):
        target = hosts.copy()
        target[v] = s
        after = evaluate(scenario, routes, target, offered, state.endpoint_switch)
        late = ((now.chain_delay_ms <= limit_ms) & (after.chain_delay_ms > limit_ms)).any()
        fuller = after.link_utilisation > np.maximum(limits.link, now.link_utilisation + 1e-9)
        memory = sum(vnf.type.memory_mb for k, vnf in enumerate(scenario.vnfs) if target[k] == s)
        fits = after.server_cpu[s] <= limits.cpu and memory <= scenario.servers[s].memory_mb
        assert (code == -1) == (hosts[v] != s and not late and not fuller.any() and fits), (v, s, code)
