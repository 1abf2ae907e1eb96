"""What must hold of the cost model in any network."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.small_worlds import random_hosts
from twin.costs import evaluate, reward, slowdown
from twin.routing import configured_routes
from twin.scenario_file import load_scenario
from twin.tables import configured_switches

SMALL = load_scenario("small")
ROUTES = configured_routes(SMALL)
ENDS = configured_switches(SMALL)
seeds = st.integers(0, 2**32 - 1)
loads = st.floats(0.0, 50.0)


@given(seeds, loads, st.floats(1.0, 3.0))
@settings(max_examples=150, deadline=None)
def test_more_traffic_never_makes_a_chain_faster_or_a_server_cheaper(seed: int, load: float, times: float) -> None:
    rng = np.random.default_rng(seed)
    hosts, offered = random_hosts(SMALL, rng), load * rng.random(len(SMALL.chains))
    less, more = (evaluate(SMALL, ROUTES, hosts, offered * k, ENDS) for k in (1.0, times))
    assert (more.chain_delay_ms >= less.chain_delay_ms - 1e-9).all()
    assert (more.power_w >= less.power_w - 1e-9).all()
    assert np.isfinite(more.chain_delay_ms).all()


@given(seeds, loads)
@settings(max_examples=150, deadline=None)
def test_a_chain_is_never_faster_than_light_and_idle_servers_allow(seed: int, load: float) -> None:
    rng = np.random.default_rng(seed)
    hosts, offered = random_hosts(SMALL, rng), load * rng.random(len(SMALL.chains))
    costs = evaluate(SMALL, ROUTES, hosts, offered, ENDS)
    for c, chain in enumerate(SMALL.chains):
        ends = [SMALL.switch_index[SMALL.endpoint(e).at] for e in (chain.ingress, chain.egress)]
        service_ms = sum(vnf.type.service_ms for vnf in chain.vnfs)
        assert costs.chain_delay_ms[c] > ROUTES.delay_ms[ends[0], ends[1]] + service_ms


@given(seeds, loads)
@settings(max_examples=100, deadline=None)
def test_traffic_is_conserved_on_the_links(seed: int, load: float) -> None:
    """The load on all links is what each chain offers times the hops it makes."""
    rng = np.random.default_rng(seed)
    hosts, offered = random_hosts(SMALL, rng), load * rng.random(len(SMALL.chains))
    costs = evaluate(SMALL, ROUTES, hosts, offered, ENDS)
    bandwidth = np.array([link.bandwidth_mbps for link in SMALL.links])
    hops = 0.0
    for c, chain in enumerate(SMALL.chains):
        stops = [SMALL.switch_index[SMALL.servers[hosts[SMALL.vnf_index[v.id]]].at] for v in chain.vnfs]
        ends = [SMALL.switch_index[SMALL.endpoint(e).at] for e in (chain.ingress, chain.egress)]
        way = [ends[0], *stops, ends[1]]
        hops += offered[c] * sum(len(ROUTES.path(a, b)) - 1 for a, b in pairwise(way))
    assert np.isclose((costs.link_utilisation * bandwidth[:, None]).sum(), hops)


@given(st.floats(0.0, 10.0), st.floats(0.0, 10.0))
def test_slowdown_never_falls(low: float, step: float) -> None:
    values = slowdown(np.array([low, low + step]))
    assert values[1] >= values[0] >= 1.0


@given(st.floats(1.0, 1e4), st.floats(1.0, 1e4), st.floats(1.0, 1e6), st.floats(1.0, 1e6))
def test_reward_is_bounded_and_has_the_sign_of_the_gain(d: float, d0: float, e: float, e0: float) -> None:
    value = reward(SMALL, delay_ms=d, delay0_ms=d0, energy_j=e, energy0_j=e0)
    assert value < 1.0
    if d <= d0 and e <= e0:
        assert value >= 0.0
    if d >= d0 and e >= e0:
        assert value <= 0.0


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_names_and_order_of_chains_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(SMALL.chains))
    other = dataclasses.replace(SMALL, chains=tuple(SMALL.chains[i] for i in order))
    hosts, offered = random_hosts(SMALL, rng), rng.random(len(SMALL.chains))
    moved = np.array([hosts[SMALL.vnf_index[vnf.id]] for vnf in other.vnfs])
    one = evaluate(SMALL, ROUTES, hosts, offered, ENDS)
    two = evaluate(other, configured_routes(other), moved, offered[order], ENDS)
    assert np.isclose(one.mean_delay_ms, two.mean_delay_ms)
    assert np.isclose(one.total_power_w, two.total_power_w)
    np.testing.assert_allclose(two.chain_delay_ms, one.chain_delay_ms[order])
