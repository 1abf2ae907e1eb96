"""Features: declared once, finite, scale-free, and what they say of a move is what the cost model says."""

from __future__ import annotations

import dataclasses
import re
import time

import numpy as np
import pytest

from tests.unit.small_worlds import LINE, line, random_hosts, state_of, state_with
from twin.costs import evaluate
from twin.feasibility import feasible_moves
from twin.features import (
    GLOBAL_FEATURES,
    PAIR_FEATURES,
    SCHEMA_HASH,
    SERVER_FEATURES,
    VNF_FEATURES,
    Observation,
    encode,
)
from twin.forecast import Forecast
from twin.routing import configured_routes
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.state import NetworkState
from twin.trial import try_moves


def forecast_of(state: NetworkState, times: float = 1.0, spread: float = 0.0) -> Forecast:
    offered = np.tile(state.offered_mbps * times, (3, 1))
    return Forecast(offered, offered * spread, "test")


def seen(scenario: Scenario, state: NetworkState, times: float = 1.0) -> Observation:
    mask = feasible_moves(scenario, state, configured_routes(scenario, state.link_up))
    return encode(scenario, state, forecast_of(state, times, 0.25), mask)


def pair(observation: Observation, name: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return observation.pair[:, :, PAIR_FEATURES.index(name)]


@pytest.mark.parametrize("name", ["small", "medium", "abilene"])
def test_shapes_follow_the_declared_names(name: str) -> None:
    scenario = load_scenario(name)
    observation = seen(scenario, state_of(scenario))
    vnfs, servers = len(scenario.vnfs), len(scenario.servers)
    assert observation.vnf.shape == (vnfs, len(VNF_FEATURES))
    assert observation.server.shape == (servers, len(SERVER_FEATURES))
    assert observation.pair.shape == (vnfs, servers, len(PAIR_FEATURES))
    assert observation.glob.shape == (len(GLOBAL_FEATURES),)
    assert observation.mask.shape == (vnfs, servers)
    assert all(part.dtype == np.float32 for part in (observation.vnf, observation.server, observation.pair))


def test_names_are_unique_and_hashed() -> None:
    for names in (VNF_FEATURES, SERVER_FEATURES, PAIR_FEATURES, GLOBAL_FEATURES):
        assert len(set(names)) == len(names)
    assert len(SCHEMA_HASH) == 16


@pytest.mark.parametrize("seed", range(4))
def test_predicted_changes_are_those_of_the_cost_model(seed: int) -> None:
    """Every pair against two whole evaluations, queueing of all other chains included, at high load."""
    scenario, rng = load_scenario("small"), np.random.default_rng(seed)
    routes, hosts = configured_routes(scenario), random_hosts(scenario, rng)
    host = {v.id: Sample(0.0, v.id, Quantity.VNF_HOST, float(hosts[i])) for i, v in enumerate(scenario.vnfs)}
    state = state_with(scenario, rng.uniform(0.5, 8.0, len(scenario.chains)), **host)
    observation, trial = seen(scenario, state), try_moves(scenario, routes, state)
    args = (state.offered_mbps, state.endpoint_switch)
    now = evaluate(scenario, routes, hosts, *args)
    for v, vnf in enumerate(scenario.vnfs):
        for s in range(len(scenario.servers)):
            target = hosts.copy()
            target[v] = s
            after = evaluate(scenario, routes, target, *args)
            delay = after.mean_delay_ms - now.mean_delay_ms
            power = after.total_power_w - now.total_power_w
            assert trial.delay_change_ms[v, s] == pytest.approx(delay, abs=1e-9 * now.mean_delay_ms)
            assert trial.power_change_w[v, s] == pytest.approx(power, abs=1e-9)
            gain = -0.5 * (delay / now.mean_delay_ms + power / now.total_power_w)
            assert pair(observation, "gain")[v, s] == pytest.approx(np.clip(gain, -5, 5), abs=1e-5)
            chain = scenario.chain_index[vnf.chain]
            ratio = after.chain_delay_ms[chain] / scenario.chains[chain].max_delay_ms
            assert pair(observation, "chain_delay_after")[v, s] == pytest.approx(min(ratio, 5.0), rel=1e-5)


def test_the_trial_of_the_newest_state_is_kept_and_no_other() -> None:
    scenario = load_scenario("small")
    routes, state = configured_routes(scenario), state_of(scenario)
    first = try_moves(scenario, routes, state)
    assert try_moves(scenario, routes, state) is first
    busier = try_moves(scenario, routes, dataclasses.replace(state, offered_mbps=2.0 * state.offered_mbps))
    assert (busier.changes["mean_ms"] != first.changes["mean_ms"]).any()
    forecast = try_moves(scenario, routes, state, offered_mbps=2.0 * state.offered_mbps)
    np.testing.assert_array_equal(forecast.changes["chain_ms"], busier.changes["chain_ms"])
    assert try_moves(scenario, routes, state) is not first


def test_where_a_vnf_is_nothing_changes() -> None:
    scenario = load_scenario("medium")
    state = state_of(scenario)
    observation = seen(scenario, state)
    rows = np.arange(len(scenario.vnfs))
    np.testing.assert_array_equal(pair(observation, "present")[rows, state.vnf_server], 1.0)
    assert pair(observation, "present").sum() == len(rows)
    for name in ("delay_change", "power_change", "gain", "gain_forecast", "detour", "wakes", "empties"):
        np.testing.assert_array_equal(pair(observation, name)[rows, state.vnf_server], 0.0)


def test_waking_and_emptying_are_told() -> None:
    observation = seen(line(), state_of(line()))
    np.testing.assert_array_equal(pair(observation, "wakes"), [[0, 0, 1], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(pair(observation, "empties"), [[0, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_a_host_that_is_read_as_asleep_is_not_woken_by_staying() -> None:
    asleep = Sample(0.0, "s1", Quantity.SERVER_AWAKE, 0.0)
    observation = seen(line(), state_with(line(), np.array([4.0, 2.0]), s1=asleep))
    np.testing.assert_array_equal(pair(observation, "wakes")[:, 0], [0, 1, 1])


def test_the_forecast_changes_the_forecast_features_only() -> None:
    scenario = load_scenario("small")
    state = state_of(scenario)
    now, later = seen(scenario, state), seen(scenario, state, times=2.0)
    assert later.vnf[0, VNF_FEATURES.index("forecast_growth")] == pytest.approx(np.log(2.0), abs=1e-4)
    assert later.vnf[0, VNF_FEATURES.index("forecast_spread")] == pytest.approx(0.5, abs=1e-4)
    assert (pair(later, "gain_forecast") != pair(now, "gain_forecast")).any()
    np.testing.assert_array_equal(pair(later, "gain"), pair(now, "gain"))
    cpu, cpu_ahead = (later.server[:, SERVER_FEATURES.index(name)] for name in ("cpu", "forecast_cpu"))
    assert (cpu_ahead[state.hosting] > cpu[state.hosting]).all()


def test_gain_under_the_forecast_is_the_gain_of_that_traffic() -> None:
    scenario = load_scenario("small")
    state = state_of(scenario)
    heavy = dataclasses.replace(state, offered_mbps=state.offered_mbps * 3, link_load_mbps=state.link_load_mbps * 0)
    calm = dataclasses.replace(state, link_load_mbps=state.link_load_mbps * 0)
    expected = pair(seen(scenario, heavy), "gain")
    np.testing.assert_allclose(pair(seen(scenario, calm, times=3.0), "gain_forecast"), expected, atol=1e-6)


@pytest.mark.parametrize("offered", [0.0, 1e-9, 1e3])
def test_features_are_finite_and_bounded_whatever_is_read(offered: float) -> None:
    scenario = line()
    cut = {
        "link": Sample(0.0, "b-c", Quantity.LINK_UP, 0.0),
        "cpu": Sample(0.0, "s1", Quantity.SERVER_CPU, 1e9),
        "delay": Sample(0.0, "one", Quantity.CHAIN_DELAY, 1e9),
        "load": Sample(0.0, "a-b", Quantity.LINK_LOAD_FORWARD, 1e9),
    }
    observation = seen(scenario, state_with(scenario, np.array([offered, offered]), **cut), times=1e6)
    for part in (observation.vnf, observation.server, observation.pair, observation.glob):
        assert np.isfinite(part).all()
        assert np.abs(part).max() <= 5.0


def test_features_do_not_depend_on_the_unit_of_size() -> None:
    """A fifth of the traffic on a fifth of the capacity in packets of a fifth looks the same."""
    fifth = {"mean_mbps": 0.2, "bandwidth_mbps": 0.2, "packet_bytes": 0.2, "cpu_per_mbps": 5.0}

    def scaled(found: re.Match[str]) -> str:
        return f"{found[1]}: {float(found[2]) * fifth[found[1]]:g}"

    less = line(re.sub(rf"({'|'.join(fifth)}): ([\d.]+)", scaled, LINE))
    assert less.chains[0].packet_bytes == 200
    here, there = seen(line(), state_of(line())), seen(less, state_of(less))
    for part in ("vnf", "server", "pair", "glob"):
        np.testing.assert_allclose(getattr(there, part), getattr(here, part), atol=1e-5)


def test_order_of_servers_is_the_order_of_rows() -> None:
    lines = LINE.splitlines()
    at = next(i for i, text in enumerate(lines) if "id: s1" in text)
    swapped = line("\n".join([*lines[:at], lines[at + 2], lines[at + 1], lines[at], *lines[at + 3 :]]))
    here, there = seen(line(), state_of(line())), seen(swapped, state_of(swapped))
    np.testing.assert_array_equal(there.server, here.server[[2, 1, 0]])
    np.testing.assert_array_equal(there.pair, here.pair[:, [2, 1, 0]])
    np.testing.assert_array_equal(there.vnf, here.vnf)
    np.testing.assert_allclose(there.glob, here.glob, rtol=1e-6)


def test_encoding_medium_takes_no_longer_than_a_few_milliseconds() -> None:
    scenario = load_scenario("medium")
    state = state_of(scenario)
    mask = feasible_moves(scenario, state, configured_routes(scenario))
    encode(scenario, state, forecast_of(state, 1.1), mask)
    began = time.process_time()
    for _ in range(50):
        encode(scenario, state, forecast_of(state, 1.1), mask)
    assert (time.process_time() - began) / 50 < 0.005
