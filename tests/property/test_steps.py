"""Whatever is done to a batch, each of its steps is what the readable simulator says, and a lone move is judged as the
mask of all moves judges it: in any network, with roaming users, moves that are refused, and worlds unlike their file.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.costs import evaluate
from twin.fast import BatchInfo, BatchSim
from twin.feasibility import Limits
from twin.grown import grown
from twin.routing import configured_routes
from twin.scenario import Roam, Scenario
from twin.simulator import TwinWorld
from twin.state import IntArray
from twin.tables import endpoint_switches, initial_hosts
from twin.telemetry import EXACT
from twin.traffic import TrafficSource

SIZE, SLOTS, STEPS = 3, 13, 40
seeds = st.integers(0, 2**32 - 1)


@cache
def _network(seed: int) -> Scenario:
    """Users roam all the time, and delays may hardly rise above what they are at first."""
    scenario, rng = (
        grown(cores=2 + seed % 2, servers=4 + seed % 3, chains=3 + seed % 3, seed=seed),
        np.random.default_rng(seed),
    )
    ends = [(chain.ingress, chain.egress)[int(rng.integers(2))] for chain in scenario.chains]
    switches = [switch.id for switch in scenario.switches]
    roams = tuple(Roam(end, 4.0 * int(rng.integers(1, SLOTS)), str(rng.choice(switches))) for end in ends)
    routes, offered = configured_routes(scenario), TrafficSource(scenario, 0).offered_mbps(2.0)
    now = evaluate(scenario, routes, initial_hosts(scenario), offered, endpoint_switches(scenario, 0.0))
    limits_ms = now.chain_delay_ms * rng.uniform(0.98, 1.3, len(ends))
    chains = [dataclasses.replace(c, max_delay_ms=float(ms)) for c, ms in zip(scenario.chains, limits_ms, strict=True)]
    return dataclasses.replace(scenario, chains=tuple(chains), moves=roams)


@cache
def _distorted(seed: int) -> Scenario:
    """The same network with other delays of links, and so with other routes."""
    scenario, rng = _network(seed), np.random.default_rng(seed)
    links = [
        dataclasses.replace(link, delay_ms=link.delay_ms * float(rng.uniform(0.2, 5.0))) for link in scenario.links
    ]
    return dataclasses.replace(scenario, links=tuple(links))


def _actions(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], rng: np.random.Generator) -> IntArray:
    """A third feasible moves, a third any, a third stay."""
    legal = mask.reshape(SIZE, -1)
    feasible = 1 + (rng.random(legal.shape) * legal).argmax(axis=1)
    anything = rng.integers(0, 1 + legal.shape[1], SIZE)
    chosen: IntArray = np.choose(rng.integers(0, 3, SIZE), [np.where(legal.any(axis=1), feasible, 0), anything, 0])
    return chosen


class _Readable:
    """The readable simulator in place of one instance, from episode to episode."""

    def __init__(self, scenario: Scenario, truth: Scenario, b: int) -> None:
        self.scenario, self.truth, self.seed, self.left = scenario, truth, b, 0

    def lives(self, action: int, info: BatchInfo, b: int) -> None:
        if self.left == 0:
            self.world = TwinWorld(self.scenario, seed=self.seed, noise=EXACT, truth=self.truth)
            self.world.observe(0.0)
            self.seed, self.left = self.seed + SIZE, SLOTS
        if action > 0 and not info["illegal"][b]:
            v, s = divmod(action - 1, len(self.scenario.servers))
            self.world.execute(self.scenario.vnfs[v].id, self.scenario.servers[s].id)
        self.world.observe(self.world.now_s + self.scenario.period_s)
        self.left -= 1
        slot = self.world.slots[-1]
        assert info["delay_ms"][b] == pytest.approx(slot.delay_ms, rel=1e-9)
        assert info["delay0_ms"][b] == pytest.approx(slot.delay0_ms, rel=1e-9)
        assert info["energy_j"][b] == pytest.approx(slot.energy_j, rel=1e-9)
        assert info["energy0_j"][b] == pytest.approx(slot.energy0_j, rel=1e-9)
        assert info["late_chains"][b] == slot.late_chains
        assert info["moved"][b] == (slot.moved != "")


@given(st.integers(0, 5), st.sampled_from([0.0, 11.0]), st.booleans(), seeds)
@settings(max_examples=12, deadline=None)
def test_a_step_is_what_the_readable_simulator_says(network: int, cooldown_s: float, unlike: bool, seed: int) -> None:
    scenario, rng = _network(network), np.random.default_rng(seed)
    truth = _distorted(network) if unlike else scenario
    limits = Limits(cpu=1.1, link=0.4, cooldown_s=cooldown_s)
    seeing, bare = (
        BatchSim(scenario, SIZE, 0, randomise=False, slots=SLOTS, limits=limits, truth=truth, features=features)
        for features in (True, False)
    )
    readable = [_Readable(scenario, truth, b) for b in range(SIZE)]
    seen = seeing.reset()
    bare.reset()
    for _ in range(STEPS):
        actions = _actions(seen["mask"], rng)
        seen, reward, _, info = seeing.step(actions)
        _, alike, _, judged = bare.step(actions)
        np.testing.assert_array_equal(info["illegal"], judged["illegal"])
        np.testing.assert_allclose(reward, alike, atol=1e-6)
        for b, each in enumerate(readable):
            each.lives(int(actions[b]), info, b)


@given(st.integers(0, 5), seeds)
@settings(max_examples=6, deadline=None)
def test_random_episodes_are_judged_alike_and_go_on_from_what_was_kept(network: int, seed: int) -> None:
    scenario, rng = _network(network), np.random.default_rng(seed)
    limits = Limits(cpu=1.1, link=0.4)
    seeing, bare, other = (
        BatchSim(scenario, SIZE, seed % 1000, slots=SLOTS, limits=limits, features=features)
        for features in (True, False, False)
    )
    seen = seeing.reset()
    bare.reset()
    for k in range(STEPS):
        actions = _actions(seen["mask"], rng)
        if k == STEPS // 2:
            other.restore(bare.state())
        if k >= STEPS // 2:
            kept = other.step(actions)[3]
        seen, _, _, info = seeing.step(actions)
        judged = bare.step(actions)[3]
        np.testing.assert_array_equal(info["illegal"], judged["illegal"])
        np.testing.assert_allclose(info["energy_j"], judged["energy_j"], rtol=1e-12)
        if k >= STEPS // 2:
            np.testing.assert_array_equal(kept["delay_ms"], judged["delay_ms"])
