"""Planners against brute force: local search, the exact optimum, the clairvoyant, and the refinements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from agent.a2c_policy import load_policy, named_policy
from agent.clairvoyant import ClairvoyantPolicy, SmallNetwork, clairvoyant_values, run_ahead
from agent.decision import Move, Policy, Stay, View
from agent.iterated import kicked
from agent.optimum import optimum
from agent.planners import SearchPolicy, first_step, moved_to, way_to
from agent.refined import LookAheadPolicy, PolishedPolicy, sampled
from agent.rollout import play
from tests.unit.small_worlds import LINE, line, random_hosts, state_with
from twin.errors import InputError
from twin.fast import BatchSim
from twin.feasibility import feasible_moves
from twin.forecast import Forecast, PersistenceForecaster, SmoothedForecaster
from twin.imagination import Tail, roll_out
from twin.period_kernels import STAY
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.search import Search, search
from twin.simulator import TwinWorld
from twin.state import IntArray, NetworkState, StateBuilder, placed
from twin.telemetry import EXACT

PROMPT = LINE.replace("sleep_after_s: 6", "sleep_after_s: 0.5").replace(
    "{profile: constant, mean_mbps: 4}", "{profile: diurnal, mean_mbps: 4, swing: 0.6, day_s: 40, noise: 0.1}"
)


@pytest.fixture(scope="module")
def tiny() -> Scenario:
    return line()


@pytest.fixture(scope="module")
def small() -> Scenario:
    return load_scenario("small")


def _state(scenario: Scenario, hosts: IntArray | None = None) -> NetworkState:
    world = TwinWorld(scenario, seed=1, noise=EXACT)
    builder = StateBuilder(scenario)
    builder.add(world.observe(0.0))
    state = builder.build(0.0)
    if hosts is None:
        return state
    names = [scenario.servers[s].id for s in hosts]
    return placed(scenario, state, {vnf.id: name for vnf, name in zip(scenario.vnfs, names, strict=True)})


def _view(scenario: Scenario, hosts: IntArray | None = None) -> View:
    state, forecaster = _state(scenario, hosts), PersistenceForecaster()
    forecaster.observe(state)
    mask = feasible_moves(scenario, state, configured_routes(scenario))
    return View(scenario, state, forecaster.forecast(4), mask)


def _search(scenario: Scenario, hosts: IntArray | None = None) -> Search:
    return search(scenario, configured_routes(scenario), _state(scenario, hosts))


def _placements(scenario: Scenario) -> Iterator[IntArray]:
    for rows in itertools.product(range(len(scenario.servers)), repeat=len(scenario.vnfs)):
        yield np.array(rows, dtype=np.int64)


def _fits(found: Search, hosts: IntArray) -> bool:
    """CPU and memory by hand; the links of these scenarios are wide enough for anything."""
    m, offered = found.model, found.seen.offered_mbps
    cores = m.vnfs["cpu_base"] + m.vnfs["cpu_per_mbps"] * offered[m.vnfs["chain"]]
    used = np.bincount(hosts, weights=cores, minlength=len(m.servers))
    held = np.bincount(hosts, weights=m.vnfs["memory_mb"], minlength=len(m.servers))
    return bool((used <= found.bounds.cpu * m.servers["cores"]).all() and (held <= m.servers["memory_mb"]).all())


@pytest.mark.parametrize("seed", range(6))
def test_local_search_is_never_worse_than_its_start(small: Scenario, seed: int) -> None:
    found, start = _search(small), random_hosts(small, np.random.default_rng(seed))
    one, two = found.settle(start, deep=False), found.settle(start)
    assert found.cost(one) <= found.cost(start)
    assert found.cost(two) <= found.cost(start)


def test_local_search_stops_only_where_no_single_move_helps(tiny: Scenario) -> None:
    found = _search(tiny)
    end = found.settle(found.seen.hosts, deep=False)
    assert not found.plan(np.zeros((3, 3), dtype=np.bool_), payback_slots=10.0)
    for v in range(3):
        for s in range(3):
            after = end.copy()
            after[v] = s
            assert not _fits(found, after) or found.cost(after) >= found.cost(end) - 1e-9


def test_two_moves_find_what_one_does_not(tiny: Scenario) -> None:
    found = _search(tiny)
    best = min((found.cost(h) for h in _placements(tiny) if _fits(found, h)), default=np.inf)
    assert found.cost(found.settle(found.seen.hosts)) == pytest.approx(best, rel=1e-9)


def test_the_milp_equals_brute_force(tiny: Scenario) -> None:
    found = _search(tiny)
    brute = min(found.cost(h) for h in _placements(tiny) if _fits(found, h))
    best = optimum(found)
    assert best.cost == pytest.approx(brute, rel=1e-4)
    assert best.bound <= best.cost <= found.cost(found.settle(found.seen.hosts)) + 1e-12


def test_the_milps_bound_is_the_true_cost_where_links_are_quiet(small: Scenario) -> None:
    """Columns, flows and fixed parts together make up the whole cost: the gap that is left is queueing alone."""
    found = _search(small)
    best = optimum(found)
    assert best.cost * (1.0 - 1e-4) <= best.bound <= best.cost
    assert _fits(found, best.hosts)


def test_a_network_too_large_for_the_optimum_is_an_error() -> None:
    medium = load_scenario("medium")
    with pytest.raises(InputError, match="small networks"):
        optimum(_search(medium))


@pytest.fixture(scope="module")
def network() -> SmallNetwork:
    return SmallNetwork(line(PROMPT))


def test_the_clairvoyant_equals_brute_force(network: SmallNetwork) -> None:
    scenario = network.scenario
    traffic, ends = run_ahead(scenario, seed=5, slots=3)
    values = clairvoyant_values(network, traffic, ends)
    rewards = [network.rewards(traffic[1 + t], ends[1 + t]) for t in range(3)]
    legal = [network.legal(traffic[t], ends[1 + t]) for t in range(3)]
    best = -np.inf
    for way in itertools.product(range(network.successor.shape[1]), repeat=3):
        place, total = network.first_row, 0.0
        for t, action in enumerate(way):
            if not legal[t][place, action]:
                break
            total += rewards[t][place, action]
            place = int(network.successor[place, action])
        else:
            best = max(best, total)
    assert values[0][network.first_row].max() == pytest.approx(best, abs=1e-12)


def test_the_clairvoyant_gets_what_it_foresaw(network: SmallNetwork) -> None:
    policy = ClairvoyantPolicy(network.scenario, seed=7, slots=8, network=network)
    foreseen = clairvoyant_values(network, *run_ahead(network.scenario, seed=7, slots=8))[0][network.first_row].max()
    world = TwinWorld(network.scenario, seed=7, noise=EXACT, poll_s=network.scenario.period_s)
    played = list(play(world, policy, slots=8, clock=lambda: 0.0))
    assert sum(slot.outcome.reward for slot in played) == pytest.approx(foreseen, rel=1e-6)
    for name in ("stay", "greedy", "local-search"):
        world = TwinWorld(network.scenario, seed=7, noise=EXACT, poll_s=network.scenario.period_s)
        other = list(play(world, named_policy(name, network.scenario), slots=8, clock=lambda: 0.0))
        assert sum(slot.outcome.reward for slot in other) <= foreseen + 1e-9


def test_networks_that_no_clairvoyant_can_value_are_an_error(small: Scenario, tiny: Scenario) -> None:
    with pytest.raises(InputError, match="placements"):
        SmallNetwork(small)
    with pytest.raises(InputError, match="sleep_after_s"):
        SmallNetwork(tiny)


@pytest.mark.parametrize("action", [0, 3, 17, 41])
def test_a_rolled_out_slot_is_the_simulators(small: Scenario, action: int) -> None:
    sim = BatchSim(small, 1, seed=4, randomise=False, slots=8)
    sim.reset()
    state = _state(small)
    _, reward, _, info = sim.step(np.array([action]))
    stays = action == 0 or info["illegal"][0]
    ways = np.array([[(STAY, 0) if stays else divmod(action - 1, len(small.servers))]])
    traffic = sim.offered_mbps[:, None, :]
    found = search(small, configured_routes(small), state)
    value = roll_out(small, state, found, traffic, ways, tail=Tail(slots=0.0)).values
    assert value[0, 0] == pytest.approx(float(reward[0]) + 0.1 * info["illegal"][0], abs=1e-6)


def test_without_spread_the_forecast_is_one_future_and_with_it_draws_keep_the_mean() -> None:
    mean = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert sampled(Forecast(mean, np.zeros_like(mean), "x"), horizon=3)[0].tolist() == [[1, 2], [3, 4], [3, 4]]
    drawn = sampled(Forecast(mean, np.full_like(mean, 0.1), "x"), horizon=2)
    assert drawn.shape == (8, 2, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), mean)


def _policies(scenario: Scenario) -> list[Policy]:
    actor = load_policy("small")
    return [
        SearchPolicy(),
        SearchPolicy("greedy-forecast", deep=False, forecast=True),
        PolishedPolicy(actor),
        LookAheadPolicy(actor.name, actor.function),
        named_policy("exact", scenario),
    ]


def test_no_planner_ever_wants_what_is_not_feasible(small: Scenario) -> None:
    rng = np.random.default_rng(2)
    for policy in _policies(small):
        for _ in range(4):
            view = _view(small, random_hosts(small, rng))
            mask = view.mask & (rng.random(view.mask.shape) < 0.5)
            decision = policy.decide(View(small, view.state, view.forecast, mask))
            if isinstance(decision, Move):
                assert mask[small.vnf_index[decision.vnf], small.server_index[decision.target]], policy.name
        none = View(small, view.state, view.forecast, np.zeros_like(view.mask))
        assert isinstance(policy.decide(none), Stay), policy.name


def test_polish_stays_where_nothing_better_is_known_and_goes_on_where_the_policy_stops(small: Scenario) -> None:
    found = _search(small)
    best = kicked(found, found.settle(found.seen.hosts), kicks=500, rng=np.random.default_rng(3))
    assert isinstance(PolishedPolicy(named_policy("stay", small)).decide(_view(small, best)), Stay)
    assert isinstance(PolishedPolicy(named_policy("stay", small)).decide(_view(small)), Move)


def test_kicks_never_lead_to_a_worse_or_forbidden_placement(small: Scenario) -> None:
    found = _search(small)
    start = found.settle(found.seen.hosts)
    best = kicked(found, start, kicks=50, rng=np.random.default_rng(1))
    assert found.cost(best) <= found.cost(start)
    assert _fits(found, best)
    assert optimum(found).cost <= found.cost(best) * (1.0 + 1e-9)


def test_the_way_to_a_placement_leads_there(small: Scenario) -> None:
    found = _search(small)
    target = found.settle(found.seen.hosts)
    hosts = found.seen.hosts.copy()
    for move in way_to(found, target, most=100):
        hosts[move.vnf] = move.server
    assert hosts.tolist() == target.tolist()


def test_where_no_step_on_the_way_is_feasible_another_server_makes_room(small: Scenario) -> None:
    view = _view(small)
    found = _search(small)
    target = kicked(found, found.settle(found.seen.hosts), kicks=50, rng=np.random.default_rng(1))
    on_the_way = np.zeros_like(view.mask)
    for vnf in np.flatnonzero(found.seen.hosts != target):
        on_the_way[vnf, target[vnf]] = True
    direct = first_step(view, found, target, 1e3)
    assert direct is not None
    assert on_the_way[direct.vnf, direct.server]
    blocked = View(small, view.state, view.forecast, view.mask & ~on_the_way)
    aside = first_step(blocked, found, target, 1e3)
    assert aside is not None
    assert blocked.mask[aside.vnf, aside.server]
    hosts, way = moved_to(found.seen.hosts, aside.vnf, aside.server), np.flatnonzero(found.seen.hosts != target)
    assert aside.vnf in way
    assert any(found.fits(moved_to(hosts, int(v), int(target[v]))) for v in way if v != aside.vnf)
    assert first_step(blocked, found, target, 0.0) is None


def test_refinements_have_names_that_a_user_may_give(small: Scenario) -> None:
    assert named_policy("a2c+polish", small).name == "a2c+polish"
    assert named_policy("small+look-ahead", small).name == "a2c+look-ahead"
    assert named_policy("greedy+polish", small).name == "greedy+polish"
    for wrong in ("greedy+look-ahead", "a2c+shine", "a2c+polish+polish+"):
        with pytest.raises(InputError):
            named_policy(wrong, small)


def test_the_smoothed_forecast_follows_the_readings_a_part_of_the_way(tiny: Scenario) -> None:
    forecaster = SmoothedForecaster(weight=0.25)
    with pytest.raises(RuntimeError):
        forecaster.forecast(2)
    for mbps in (4.0, 8.0):
        forecaster.observe(state_with(tiny, np.array([mbps, 2.0])))
    found = forecaster.forecast(2)
    assert found.offered_mbps.tolist() == [[5.0, 2.0], [5.0, 2.0]]
    assert not found.spread_mbps.any()
