"""What the past holds against moves: each restraint alone, their order, and who is not held to them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from controller.records import MigrationRecord, MigrationStatus
from controller.thrift import Past, Restraint, gains, rest_s, restraints
from controller.tick import predict
from tests.unit.small_worlds import line, random_hosts, state_of
from twin.move_limits import MoveLimits
from twin.routing import configured_routes
from twin.scenario_file import load_scenario
from twin.state import IntArray, NetworkState, placed

LINE = line()
STATE = state_of(LINE)
OPEN = MoveLimits(0.0, 1000, 1000, 126, -1.0, -1.0, 0.0)  # holds nothing back
TIGHT = MoveLimits(1e6, 1, 1, 1, 0.9, 0.9, 1e6)
DONE, ROLLED_BACK, FAILED = MigrationStatus.DONE, MigrationStatus.ROLLED_BACK, MigrationStatus.FAILED


def moved(
    at_s: float, vnf: str = "one.nat", source: str = "s2", target: str = "s1", status: MigrationStatus = DONE
) -> MigrationRecord:
    return MigrationRecord("m", vnf, source, target, "test", at_s, status=status, ended_s=at_s + 1.0)


def held(limits: MoveLimits, *records: MigrationRecord, now_s: float, gain: float = 0.5) -> IntArray:
    past = Past.of(records, now_s)
    return restraints(limits, past, LINE, STATE, np.full((len(LINE.vnfs), len(LINE.servers)), gain))


def reason(codes: IntArray, vnf: str, target: str) -> str:
    code = int(codes[LINE.vnf_index[vnf], LINE.server_index[target]])
    return "" if code < 0 else tuple(Restraint)[code].value


def test_without_limits_nothing_is_held_back() -> None:
    assert (held(OPEN, moved(0.0), moved(1.0, status=FAILED), now_s=2.0) < 0).all()


def test_a_vnf_that_moved_cools_down_and_no_other_does() -> None:
    limits = replace(OPEN, cooldown_s=10.0)
    codes = held(limits, moved(0.0), now_s=10.9)
    assert {reason(codes, "one.nat", s) for s in ("s1", "s2", "s3")} == {"cooldown"}
    assert reason(codes, "one.firewall", "s2") == ""
    assert (held(limits, moved(0.0), now_s=11.0) < 0).all()


def test_the_budget_is_of_all_moves_that_began_within_a_minute() -> None:
    limits = replace(OPEN, moves_per_minute=2)
    assert (held(limits, moved(0.0), now_s=59.0) < 0).all()
    codes = held(limits, moved(0.0), moved(30.0, "two.firewall", "s2", "s3"), now_s=59.9)
    assert reason(codes, "one.firewall", "s3") == "moves_per_minute"
    assert (held(limits, moved(0.0), moved(30.0, "two.firewall", "s2", "s3"), now_s=60.0) < 0).all()


def test_a_servers_budget_counts_what_leaves_and_what_comes() -> None:
    limits = replace(OPEN, moves_per_server_minute=2)
    codes = held(limits, moved(0.0, source="s2", target="s3"), moved(9.0, source="s3", target="s2"), now_s=20.0)
    assert reason(codes, "one.firewall", "s1") == ""  # from s1, to s1
    assert reason(codes, "one.firewall", "s2") == "moves_per_server_minute"  # to s2
    assert reason(codes, "two.firewall", "s1") == "moves_per_server_minute"  # from s2
    assert (held(limits, moved(0.0), now_s=20.0) < 0).all()


def test_a_restart_on_the_same_server_uses_up_nothing() -> None:
    limits = replace(OPEN, moves_per_minute=1, moves_per_server_minute=1)
    assert (held(limits, moved(0.0, source="s2", target="s2"), now_s=2.0) < 0).all()


def test_moves_under_way_fill_what_may_go_on_side_by_side() -> None:
    limits, open_move = replace(OPEN, max_parallel=1), moved(0.0, status=MigrationStatus.RUNNING)
    open_move.ended_s = None
    assert reason(held(limits, open_move, now_s=500.0), "two.firewall", "s3") == "max_parallel"
    assert Past.of([open_move], 500.0).under_way == {"one.nat": "s1"}
    assert (held(limits, moved(0.0), now_s=500.0) < 0).all()


@pytest.mark.parametrize("status", [ROLLED_BACK, FAILED])
def test_failures_lengthen_the_rest_up_to_a_cap_and_a_success_ends_them(status: MigrationStatus) -> None:
    limits = replace(OPEN, failed_rest_s=10.0)
    failures: list[MigrationRecord] = []
    for expected_s in (10.0, 20.0, 40.0, 80.0, 160.0, 160.0, 160.0):
        failures.append(moved(1000.0 * len(failures), status=status))
        ended_s = failures[-1].ended_s
        assert ended_s is not None
        codes = held(limits, *failures, now_s=ended_s + expected_s - 0.1)
        assert (reason(codes, "one.nat", "s1"), reason(codes, "two.firewall", "s1")) == ("failed_rest", "")
        assert (held(limits, *failures, now_s=ended_s + expected_s) < 0).all()
    again = (*failures, moved(8000.0), moved(9000.0, status=status))
    assert (held(limits, *again, now_s=9011.0) < 0).all()
    assert rest_s(10_000, limits) == 160.0


def test_the_least_gain_is_asked_of_any_move_and_more_of_a_vnf_that_moves_again() -> None:
    limits = replace(OPEN, min_gain=-0.05, min_gain_again=0.01)
    assert (held(limits, now_s=0.0, gain=-0.05) < 0).all()
    assert reason(held(limits, now_s=0.0, gain=-0.06), "one.nat", "s1") == "min_gain"
    codes = held(limits, moved(0.0), now_s=600.0, gain=0.009)
    assert (reason(codes, "one.nat", "s1"), reason(codes, "two.firewall", "s1")) == ("min_gain_again", "")
    assert (held(limits, moved(0.0), now_s=601.0, gain=0.009) < 0).all()
    assert (held(limits, moved(0.0), now_s=600.0, gain=0.01) < 0).all()


def test_the_first_that_applies_is_given_in_the_order_of_the_names() -> None:
    open_move = moved(3.0, "two.firewall", "s2", "s3", MigrationStatus.PENDING)
    open_move.ended_s = None
    records, limits, found = [moved(0.0), moved(1.0, status=FAILED), open_move], TIGHT, []
    for looser in (
        *(replace(OPEN, max_parallel=1), replace(OPEN, cooldown_s=1e6), replace(OPEN, failed_rest_s=1e6)),
        *(replace(OPEN, moves_per_server_minute=1), replace(OPEN, moves_per_minute=1)),
        *(replace(OPEN, min_gain=0.9), replace(OPEN, min_gain_again=0.9)),
    ):
        found.append(reason(held(limits, *records, now_s=5.0, gain=0.1), "one.nat", "s1"))
        assert found[-1] == reason(held(looser, *records, now_s=5.0, gain=0.1), "one.nat", "s1")
        limits = _without(limits, looser)
    assert found == [restraint.value for restraint in Restraint]


def _without(limits: MoveLimits, tight: MoveLimits) -> MoveLimits:
    """The limits, with that one loosened that is tight in `tight`."""
    name = next(f.name for f in fields(MoveLimits) if getattr(tight, f.name) != getattr(OPEN, f.name))
    return replace(limits, **{name: getattr(OPEN, name)})


def test_what_leaves_a_failed_server_is_held_back_by_nothing() -> None:
    down = replace(STATE, server_up=np.array([True, False, True]))  # s2 hosts one.nat and two.firewall
    past = Past.of([moved(0.0), moved(1.0, status=FAILED)], 5.0)
    codes = restraints(TIGHT, past, LINE, down, np.zeros((3, 3)))
    assert [bool((row < 0).all()) for row in codes] == [False, True, True]


def test_times_of_a_clock_that_began_anew_hold_nothing_back() -> None:
    limits = MoveLimits(1e6, 1, 1, 1, -1.0, -1.0, 1e6)
    assert (held(limits, moved(5000.0), moved(6000.0, status=FAILED), now_s=100.0) < 0).all()


def test_gains_are_what_a_prediction_shows() -> None:
    """The restraint asks of the trial of all moves what a person sees of one."""
    scenario = load_scenario("medium")
    state, routes = state_of(scenario), configured_routes(scenario)
    all_gains, rng = gains(scenario, state, routes), np.random.default_rng(5)
    for _ in range(20):
        v, s = int(rng.integers(len(scenario.vnfs))), int(rng.integers(len(scenario.servers)))
        seen = predict(scenario, state, routes, scenario.vnfs[v].id, scenario.servers[s].id)
        delay = 1.0 - seen.delay_after_ms / seen.delay_now_ms
        power = 1.0 - seen.power_after_w / seen.power_now_w
        assert all_gains[v, s] == pytest.approx(0.5 * delay + 0.5 * power, abs=1e-6)


def test_a_placement_that_is_known_replaces_the_one_that_was_read() -> None:
    assert placed(LINE, STATE, dict(LINE.placement.hosts)) is STATE
    hosts = {LINE.vnfs[i].id: LINE.servers[s].id for i, s in enumerate(random_hosts(LINE, np.random.default_rng(3)))}
    there: NetworkState = placed(LINE, STATE, hosts)
    assert dict(there.placement.hosts) == hosts
    assert [LINE.servers[s].id for s in there.vnf_server] == list(hosts.values())
    assert [LINE.servers[s].id for s in np.flatnonzero(there.hosting)] == sorted(set(hosts.values()))
    assert there.server_cpu is STATE.server_cpu
