"""Delay, power and the objective, by hand; and the compiled form against the readable one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.small_worlds import line, random_hosts
from twin.costs import (
    UNREACHABLE_MS,
    evaluate,
    reward,
    scored_delay_ms,
    server_delay_ms,
    slowdown,
    traffic_weights,
)
from twin.kernels import measure, settled_power_w
from twin.migration_cost import MigrationCost
from twin.model import model, work
from twin.routing import configured_routes
from twin.scenario_file import load_scenario
from twin.tables import endpoint_switches, initial_hosts

OFFERED = np.array([4.0, 2.0])


def test_delay_of_a_chain_is_the_sum_of_its_parts() -> None:
    """Chain one: u at a → f on s1 at a → g on s2 at b → w at c, 4 Mbit/s, packets of 8 kbit."""
    scenario = line()
    costs = evaluate(scenario, configured_routes(scenario), initial_hosts(scenario), OFFERED, np.array([0, 2]))
    ab, bc = 4 / 10, 4 / 20  # link utilisation in its direction
    links = (2 + 8 / 10 / (1 - ab)) + (3 + 8 / 20 / (1 - bc))
    access = 6 * 0.1 + 8 / 1000 * (2 / (1 - 4 / 1000) + 2 / (1 - 4 / 1000) + 2 / (1 - 6 / 1000))
    processing = 1 / (1 - 0.5) + 2 / (1 - (0.3 + 0.3) / 2)
    assert costs.chain_delay_ms[0] == pytest.approx(links + access + processing, rel=1e-12)


def test_utilisation_and_power_follow_the_placement() -> None:
    scenario = line()
    costs = evaluate(scenario, configured_routes(scenario), initial_hosts(scenario), OFFERED, np.array([0, 2]))
    np.testing.assert_allclose(costs.server_cpu, [0.5, 0.3, 0.0])
    np.testing.assert_allclose(costs.link_utilisation, [[0.4, 0.2], [0.2, 0.1]])
    np.testing.assert_allclose(costs.power_w, [150.0, 130.0, 10.0])
    assert costs.total_power_w == pytest.approx(290.0)


def test_the_mean_delay_is_weighted_by_traffic() -> None:
    scenario = line()
    costs = evaluate(scenario, configured_routes(scenario), initial_hosts(scenario), OFFERED, np.array([0, 2]))
    assert costs.mean_delay_ms == pytest.approx((4 * costs.chain_delay_ms[0] + 2 * costs.chain_delay_ms[1]) / 6)


def test_without_traffic_every_chain_weighs_the_same() -> None:
    np.testing.assert_array_equal(traffic_weights(np.zeros(4)), np.full(4, 0.25))


def test_overload_is_finite_ordered_and_continuous() -> None:
    u = np.linspace(0.0, 4.0, 4001)
    values = slowdown(u)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    assert slowdown(np.array([0.5]))[0] == 2.0
    assert slowdown(np.array([0.95 - 1e-9, 0.95 + 1e-9])) == pytest.approx([20.0, 20.0], rel=1e-6)
    assert slowdown(np.array([1.05]))[0] == pytest.approx(20.0 + 0.1 * 400.0)


def test_power_stays_within_its_peak_under_overload() -> None:
    scenario = line()
    costs = evaluate(scenario, configured_routes(scenario), np.array([0, 0, 0]), OFFERED * 10, np.array([0, 2]))
    assert costs.server_cpu[0] > 1.0
    assert costs.power_w[0] == 200.0


def test_a_chain_without_a_route_is_infinite_and_scored_finite() -> None:
    scenario = line()
    routes = configured_routes(scenario, np.array([True, False]))
    costs = evaluate(scenario, routes, initial_hosts(scenario), OFFERED, np.array([0, 2]))
    assert np.isinf(costs.chain_delay_ms).all()
    assert np.isinf(costs.mean_delay_ms)
    assert scored_delay_ms(costs, OFFERED) == pytest.approx(UNREACHABLE_MS)


def test_a_silent_chain_without_a_route_does_not_count() -> None:
    scenario = line()
    routes = configured_routes(scenario, np.array([True, False]))
    costs = evaluate(scenario, routes, initial_hosts(scenario), np.array([0.0, 0.0]), np.array([0, 0]))
    assert np.isfinite(costs.mean_delay_ms)


def test_load_that_is_not_ours_queues_our_packets() -> None:
    scenario = line()
    args = (scenario, configured_routes(scenario), initial_hosts(scenario), OFFERED, np.array([0, 2]))
    alone = evaluate(*args)
    crowded = evaluate(*args, background_mbps=np.array([[5.0, 0.0], [0.0, 0.0]]))
    assert crowded.link_utilisation[0, 0] == pytest.approx(0.9)
    assert crowded.chain_delay_ms[0] == pytest.approx(alone.chain_delay_ms[0] + 0.8 * (1 / 0.1 - 1 / 0.6))


def test_awake_servers_without_vnfs_draw_idle_power() -> None:
    scenario = line()
    awake = np.array([True, True, True])
    costs = evaluate(
        scenario, configured_routes(scenario), initial_hosts(scenario), OFFERED, np.array([0, 2]), awake=awake
    )
    assert costs.power_w[2] == 100.0


def test_processing_delay_of_a_server_is_the_mean_of_its_vnfs() -> None:
    delays = server_delay_ms(line(), np.array([0.5, 0.3, 0.0]), np.array([0, 1, 1]))
    np.testing.assert_allclose(delays, [2.0, 1.5 / 0.7, 0.0])


def test_reward_is_the_weighted_sum_of_both_reductions() -> None:
    value = reward(line(), delay_ms=8.0, delay0_ms=10.0, energy_j=150.0, energy0_j=100.0)
    assert value == pytest.approx(0.5 * 0.2 - 0.5 * 0.5)


def test_a_move_costs_time_energy_and_a_moment_of_silence() -> None:
    cost = MigrationCost(duration_s=1.0, silence_ms=10.0, extra_power_w=5.0, transfer_mbps=200.0, transfer_j_per_mb=0.1)
    assert cost.move_s(state_mb=5.0, wake_s=2.0) == pytest.approx(3.2)
    assert cost.energy_j(3.2, state_mb=5.0) == pytest.approx(32.5)
    assert cost.delay_ms(period_s=4.0) == pytest.approx(100 / 8000)


@pytest.mark.parametrize("name", ["small", "medium", "abilene"])
@pytest.mark.parametrize("load", [0.0, 1.0, 20.0])
def test_the_compiled_form_agrees(name: str, load: float) -> None:
    scenario, rng = load_scenario(name), np.random.default_rng(3)
    for up in (np.ones(len(scenario.links), dtype=np.bool_), rng.random(len(scenario.links)) < 0.7):
        routes = configured_routes(scenario, up)
        m, ends = model(scenario, routes), endpoint_switches(scenario, 1e9)
        w = work(m)
        for _ in range(20):
            hosts, offered = random_hosts(scenario, rng), load * rng.random(len(scenario.chains))
            background = rng.random(m.access)
            costs = evaluate(scenario, routes, hosts, offered, ends, background_mbps=background.reshape(-1, 2))
            mean_ms = measure(m, hosts, offered, ends, background, w)
            assert mean_ms == pytest.approx(scored_delay_ms(costs, offered), rel=1e-9)
            np.testing.assert_allclose(w.chains["delay_ms"], np.minimum(costs.chain_delay_ms, UNREACHABLE_MS))
            assert settled_power_w(m, w) == pytest.approx(costs.total_power_w, rel=1e-9)
