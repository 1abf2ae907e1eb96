"""What a trial says of every move is what two whole evaluations say, in any network, and whoever becomes late."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.small_worlds import random_hosts, state_with
from twin.costs import Costs, evaluate
from twin.feasibility import Limits, Refusal, refusals
from twin.grown import grown
from twin.routing import configured_routes
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.state import IntArray, NetworkState
from twin.trial import try_moves

seeds = st.integers(0, 2**32 - 1)
LIMITS = Limits(cpu=1.5, link=1.2)


@cache
def _network(seed: int) -> Scenario:
    return grown(cores=2 + seed % 4, servers=4 + seed % 3, chains=3 + seed % 4, seed=seed)


def _tight(scenario: Scenario, rng: np.random.Generator) -> tuple[Scenario, NetworkState]:
    """A random placement under heavy traffic, and tolerable delays a little above or below the present ones."""
    hosts, offered = random_hosts(scenario, rng), rng.uniform(0.5, 8.0, len(scenario.chains))
    host = {vnf.id: Sample(0.0, vnf.id, Quantity.VNF_HOST, float(hosts[v])) for v, vnf in enumerate(scenario.vnfs)}
    state = state_with(scenario, offered, **host)
    now = _costs(scenario, state, hosts).chain_delay_ms * rng.uniform(0.98, 1.2, len(offered))
    chains = [dataclasses.replace(c, max_delay_ms=float(ms)) for c, ms in zip(scenario.chains, now, strict=True)]
    return dataclasses.replace(scenario, chains=tuple(chains)), state


def _costs(scenario: Scenario, state: NetworkState, hosts: IntArray) -> Costs:
    return evaluate(scenario, configured_routes(scenario), hosts, state.offered_mbps, state.endpoint_switch)


@given(st.integers(0, 11), seeds)
@settings(max_examples=40, deadline=None)
def test_moves_are_what_the_cost_model_says(network: int, seed: int) -> None:
    scenario, state = _tight(_network(network), np.random.default_rng(seed))
    routes, now = configured_routes(scenario), _costs(scenario, state, state.vnf_server)
    codes, trial = refusals(scenario, state, routes, LIMITS), try_moves(scenario, routes, state)
    limit_ms = np.array([chain.max_delay_ms for chain in scenario.chains])
    refused = {Refusal.CPU_FULL, Refusal.MEMORY_FULL, Refusal.SAME_SERVER}
    for (v, s), code in np.ndenumerate(codes):
        hosts = state.vnf_server.copy()
        hosts[v] = s
        after, change = _costs(scenario, state, hosts), trial.changes[v, s]
        assert np.isclose(change["mean_ms"], after.mean_delay_ms - now.mean_delay_ms, atol=1e-9 * now.mean_delay_ms)
        assert np.isclose(change["power_w"], after.total_power_w - now.total_power_w, atol=1e-9 * now.total_power_w)
        own = scenario.chain_index[scenario.vnfs[v].chain]
        assert np.isclose(change["chain_ms"], after.chain_delay_ms[own])
        if code >= 0 and tuple(Refusal)[code] in refused:
            continue
        late = ((now.chain_delay_ms <= limit_ms) & (after.chain_delay_ms > limit_ms)).any()
        fuller = (after.link_utilisation > np.maximum(LIMITS.link, now.link_utilisation + 1e-9)).any()
        expected = Refusal.LINK_FULL if fuller else Refusal.DELAY_EXCEEDED if late else None
        assert (None if code < 0 else tuple(Refusal)[code]) == expected, (v, s)
        others = np.delete(after.chain_delay_ms - now.chain_delay_ms, own)
        room = np.delete(limit_ms - now.chain_delay_ms, own)
        assert change["strain"] > 1.0 or (others <= np.where(room >= 0.0, room, np.inf) + 1e-9).all()
