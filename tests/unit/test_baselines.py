"""What each baseline does on the small scenario, checked against the cost model itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.baselines import BASELINE_NAMES, GreedyPolicy, RandomPolicy, ThresholdPolicy, make_policy
from agent.decision import Move, Stay, View
from agent.lookahead import Lookahead, reason
from twin.costs import evaluate, scored_delay_ms
from twin.errors import InputError
from twin.feasibility import feasible_moves
from twin.forecast import PersistenceForecaster
from twin.routing import Router
from twin.samples import Quantity, Sample
from twin.scenario import Placement, Scenario
from twin.scenario_file import load_scenario
from twin.state import StateBuilder


def view_of(scenario: Scenario, *samples: Sample) -> View:
    builder = StateBuilder(scenario)
    builder.add(samples)
    state = builder.build(0.0)
    forecaster = PersistenceForecaster()
    forecaster.observe(state)
    return View(scenario, state, forecaster.forecast(3), feasible_moves(scenario, state, Router(scenario).routes()))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("small")


@pytest.fixture
def view(scenario: Scenario) -> View:
    return view_of(scenario)


def _scores(view: View, vnf_server: np.ndarray) -> tuple[float, float]:
    """(delay, power) by the cost model."""
    state = view.state
    routes = Router(view.scenario).routes()
    costs = evaluate(view.scenario, routes, vnf_server, state.offered_mbps, state.endpoint_switch)
    return scored_delay_ms(costs, state.offered_mbps), costs.total_power_w


def _gain(view: View, vnf: int, server: int) -> float:
    delay, power = _scores(view, view.state.vnf_server)
    after = view.state.vnf_server.copy()
    after[vnf] = server
    delay_after, power_after = _scores(view, after)
    weights = view.scenario.objective
    return weights.delay * (1 - delay_after / delay) + weights.energy * (1 - power_after / power)


def _rows(view: View, move: Move) -> tuple[int, int]:
    return view.scenario.vnf_index[move.vnf], view.scenario.server_index[move.target]


def test_stay_stays(view: View) -> None:
    assert isinstance(make_policy("stay").decide(view), Stay)


def test_random_draws_every_legal_action_and_no_other(view: View) -> None:
    policy = RandomPolicy(seed=1)
    drawn = [policy.decide(view) for _ in range(1500)]
    moves = {_rows(view, d) for d in drawn if isinstance(d, Move)}
    assert moves == set(zip(*np.nonzero(view.mask), strict=True))
    assert any(isinstance(d, Stay) for d in drawn)


def test_random_repeats_itself_from_its_seed(view: View) -> None:
    one, other = ([RandomPolicy(seed=s).decide(view) for _ in range(1)] for s in (3, 3))
    assert one == other


def test_greedy_takes_the_best_move_of_all(view: View) -> None:
    """Every feasible move is tried in the cost model; with a long payback the move's own cost is no matter."""
    move = GreedyPolicy(payback_slots=1e6).decide(view)
    assert isinstance(move, Move)
    gains = {(int(v), int(s)): _gain(view, int(v), int(s)) for v, s in zip(*np.nonzero(view.mask), strict=True)}
    assert gains[_rows(view, move)] == pytest.approx(max(gains.values()), abs=1e-5)


def test_greedy_stays_when_nothing_repays_the_move(view: View) -> None:
    assert isinstance(GreedyPolicy(payback_slots=1e-3).decide(view), Stay)


def test_greedy_charges_waking_to_the_move_that_wakes(scenario: Scenario) -> None:
    view = view_of(scenario, *(Sample(0.0, v.id, Quantity.VNF_HOST, 4.0) for v in scenario.vnfs))
    asleep = view_of(
        scenario,
        *(Sample(0.0, v.id, Quantity.VNF_HOST, 4.0) for v in scenario.vnfs),
        *(Sample(0.0, s.id, Quantity.SERVER_AWAKE, float(s.id == "c1")) for s in scenario.servers),
        *(Sample(0.0, s.id, Quantity.SERVER_POWER, 100.0) for s in scenario.servers),
    )
    greedy = GreedyPolicy(payback_slots=0.0)
    wake_j, slot_j = scenario.servers[0].power.wake_j, 600.0 * scenario.period_s
    assert (asleep.mask[:, 0] & view.mask[:, 0]).any()
    cost = -greedy.net_gain(asleep)[asleep.mask[:, 0], 0]
    assert (cost > scenario.objective.energy * wake_j / slot_j).all()


def test_greedy_never_moves_where_the_mask_forbids(view: View) -> None:
    nothing = replace(view, mask=np.zeros_like(view.mask))
    assert isinstance(GreedyPolicy(payback_slots=1e6).decide(nothing), Stay)
    one = np.zeros_like(view.mask)
    v, s = np.argwhere(view.mask)[0]
    one[v, s] = True
    decision = GreedyPolicy(payback_slots=1e6).decide(replace(view, mask=one))
    assert isinstance(decision, Stay) or _rows(view, decision) == (v, s)


def test_threshold_unloads_the_hottest_server(scenario: Scenario) -> None:
    view = view_of(scenario, Sample(0.0, "e2", Quantity.SERVER_CPU, 0.095))
    move = ThresholdPolicy(limit=0.7).decide(view)
    assert isinstance(move, Move)
    assert scenario.placement[move.vnf] == "e2"
    on_host = [i for i, v in enumerate(scenario.vnfs) if scenario.placement[v.id] == "e2"]
    movable = [i for i in on_host if view.mask[i].any()]
    assert scenario.vnf_index[move.vnf] == max(movable, key=lambda i: view.state.vnf_cpu_cores[i])


def test_threshold_stays_below_its_limit(view: View) -> None:
    decision = ThresholdPolicy(limit=0.7).decide(view)
    assert isinstance(decision, Stay)
    assert "70%" in decision.reason


def test_threshold_stays_where_nothing_can_leave(scenario: Scenario) -> None:
    view = view_of(scenario, Sample(0.0, "e2", Quantity.SERVER_CPU, 0.095))
    decision = ThresholdPolicy().decide(replace(view, mask=np.zeros_like(view.mask)))
    assert decision == Stay("nothing can leave e2")


def test_predictions_are_the_cost_models(view: View) -> None:
    move = GreedyPolicy(payback_slots=1e6).decide(view)
    assert isinstance(move, Move)
    after = view.state.vnf_server.copy()
    vnf, server = _rows(view, move)
    after[vnf] = server
    p = move.prediction
    assert (p.delay_now_ms, p.power_now_w) == pytest.approx(_scores(view, view.state.vnf_server))
    assert (p.delay_after_ms, p.power_after_w) == pytest.approx(_scores(view, after))


def test_reasons_say_what_is_freed_and_woken(scenario: Scenario) -> None:
    first = scenario.vnfs[0].id
    everything_on_c1 = Placement({v.id: "e1" if v.id == first else "c1" for v in scenario.vnfs})
    hosts = [Sample(0.0, v, Quantity.VNF_HOST, scenario.server_index[s]) for v, s in everything_on_c1.hosts.items()]
    view = view_of(scenario, *hosts)
    lookahead = Lookahead()
    freeing = reason(view, 0, 4, lookahead.prediction(view, 0, 4))
    assert "frees e1" in freeing
    assert "wakes" not in freeing
    waking = reason(view, 1, 2, lookahead.prediction(view, 1, 2))
    assert "wakes e3" in waking
    assert "frees" not in waking
    assert "% delay" in waking
    assert " W" in waking


def test_every_name_makes_a_policy_and_no_other_does() -> None:
    assert [make_policy(name).name for name in BASELINE_NAMES] == list(BASELINE_NAMES)
    with pytest.raises(InputError, match="unknown baseline 'best'"):
        make_policy("best")


def test_a_server_that_keeps_one_vnf_is_not_freed(scenario: Scenario) -> None:
    hosts = [Sample(0.0, v.id, Quantity.VNF_HOST, 0.0 if i < 2 else 4.0) for i, v in enumerate(scenario.vnfs)]
    view = view_of(scenario, *hosts)
    assert "frees" not in reason(view, 0, 4, Lookahead().prediction(view, 0, 4))


def test_threshold_goes_only_where_the_mask_allows(scenario: Scenario) -> None:
    view = view_of(scenario, Sample(0.0, "e2", Quantity.SERVER_CPU, 0.095))
    vnf = scenario.vnf_index["video.monitor"]
    assert scenario.placement["video.monitor"] == "e2"
    for server in np.flatnonzero(view.mask[vnf]):
        only = np.zeros_like(view.mask)
        only[vnf, server] = True
        move = ThresholdPolicy().decide(replace(view, mask=only))
        assert isinstance(move, Move)
        assert (move.vnf, move.target) == ("video.monitor", scenario.servers[int(server)].id)
