"""Routes: lowest delay, one tie-break, nothing flaps, nothing is computed twice."""

from __future__ import annotations

import dataclasses

import networkx as nx
import numpy as np
import pytest

from agent.a2c_policy import load_policy
from agent.decision import View
from tests.unit.small_worlds import LINE, line, state_of
from twin import routing
from twin.feasibility import feasible_moves
from twin.forecast import PersistenceForecaster
from twin.routing import Router, configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario


def square(*delays_ms: float) -> Scenario:
    """Switches a, b, c, d in a ring: two ways from a to c."""
    text = LINE[: LINE.index("links:")].replace("[a, b, c]", "[a, b, c, d]")
    ends = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"))
    links = "".join(
        f"  - {{a: {a}, b: {b}, bandwidth_mbps: 10, delay_ms: {ms}}}\n"
        for (a, b), ms in zip(ends, delays_ms, strict=True)
    )
    return line(text + "links:\n" + links + LINE[LINE.index("access:") :])


def test_the_path_of_lowest_delay_is_taken() -> None:
    assert configured_routes(square(1, 1, 5, 1)).path(0, 2) == (0, 1, 2)
    assert configured_routes(square(5, 5, 1, 1)).path(0, 2) == (0, 3, 2)


def test_of_equal_paths_the_one_over_lower_indices_is_taken() -> None:
    routes = configured_routes(square(1, 1, 1, 1))
    assert routes.path(0, 2) == (0, 1, 2)
    assert routes.path(1, 3) == (1, 0, 3)


def test_of_equal_delays_the_fewest_hops_are_taken() -> None:
    routes = configured_routes(square(3, 1, 1, 1))
    assert routes.delay_ms[0, 1] == 3.0
    assert routes.path(0, 1) == (0, 1)


def test_directed_links_are_those_of_the_path() -> None:
    routes = configured_routes(line())
    assert list(routes.links(0, 2)) == [0, 2]
    assert list(routes.links(2, 0)) == [3, 1]
    assert list(routes.links(1, 1)) == []


def test_incidence_concatenates_the_links_of_segments() -> None:
    links, segment = configured_routes(line()).incidence(np.array([0, 1, 2]), np.array([2, 1, 1]))
    assert list(links) == [0, 2, 3]
    assert list(segment) == [0, 0, 2]


def test_where_no_route_is_the_delay_is_infinite_and_the_pair_is_named() -> None:
    scenario = line()
    routes = configured_routes(scenario, np.array([True, False]))
    assert np.isinf(routes.delay_ms[0, 2])
    assert routes.path(0, 2) == ()
    assert list(routes.links(0, 2)) == []
    assert routes.unreachable([0, 1, 2]) == ("b", "c")
    assert routes.unreachable([0, 1, 0]) is None


@pytest.mark.parametrize("name", ["small", "medium", "abilene"])
def test_delays_agree_with_networkx(name: str) -> None:
    scenario = load_scenario(name)
    graph: nx.Graph[str] = nx.Graph()
    for link in scenario.links:
        graph.add_edge(link.a, link.b, weight=link.delay_ms)
    known = dict(nx.all_pairs_dijkstra_path_length(graph))
    routes = configured_routes(scenario)
    for a, start in enumerate(scenario.switches):
        for b, end in enumerate(scenario.switches):
            assert routes.delay_ms[a, b] == pytest.approx(known[start.id][end.id], abs=1e-5)
            walked = sum(scenario.links[i // 2].delay_ms for i in routes.links(a, b))
            assert routes.delay_ms[a, b] == pytest.approx(walked, abs=1e-5)


def test_the_same_links_and_delays_are_not_computed_again() -> None:
    router = Router(line())
    first = router.routes()
    assert router.routes(np.array([True, True]), np.array([2.3, 3.4])) is first
    assert router.routes(np.array([True, False])) is not first
    assert router.routes(np.array([True, True])) is first


def test_noise_of_measured_delays_never_changes_a_route() -> None:
    scenario, rng = square(2, 2, 2.2, 2.2), np.random.default_rng(0)
    router = Router(scenario)
    configured = router.configured_ms
    first = router.routes()
    assert all(router.routes(None, configured + rng.normal(0, 0.25, 4)) is first for _ in range(500))


def test_a_delay_that_really_changed_is_routed_around_and_given_up_with_hysteresis() -> None:
    router = Router(square(2, 2, 2.2, 2.2))
    assert router.routes().path(0, 2) == (0, 1, 2)
    assert router.routes(None, np.array([6.0, 2.0, 2.2, 2.2])).path(0, 2) == (0, 3, 2)
    assert router.routes(None, np.array([2.8, 2.0, 2.2, 2.2])).path(0, 2) == (0, 3, 2)
    assert router.in_use_ms[0] == 2.8
    assert router.routes(None, np.array([2.4, 2.0, 2.2, 2.2])).path(0, 2) == (0, 1, 2)
    assert router.in_use_ms[0] == 2.0


def test_a_reading_that_is_not_a_number_is_not_taken() -> None:
    router = Router(line())
    first = router.routes()
    assert router.routes(None, np.array([np.nan, np.inf])) is first


def test_decisions_compute_routes_once_per_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mask, features and prediction of a decision look routes up, and what hangs on them, whoever's router it is."""
    scenario, policy, forecaster = load_scenario("small"), load_policy("small"), PersistenceForecaster()
    computed = list[Scenario]()
    compute = routing.compute_routes

    def counted(of: Scenario, *links: np.ndarray) -> routing.Routes:
        computed.append(of)
        return compute(of, *links)

    monkeypatch.setattr(routing, "compute_routes", counted)
    state = state_of(scenario)
    cut = dataclasses.replace(state, link_up=np.arange(len(scenario.links)) > 0)
    for expected, seen in ((1, state), (1, dataclasses.replace(state)), (2, cut), (2, state)):
        forecaster.observe(seen)
        mask = feasible_moves(scenario, seen, Router(scenario).routes(seen.link_up, seen.link_delay_ms))
        policy.decide(View(scenario, seen, forecaster.forecast(4), mask))
        assert len(computed) == expected


def test_routers_of_one_scenario_share_routes_and_others_do_not() -> None:
    scenario, other = load_scenario("small"), load_scenario("small")
    assert Router(scenario).routes() is Router(scenario).routes() is configured_routes(scenario)
    assert Router(other).routes() is not Router(scenario).routes()
