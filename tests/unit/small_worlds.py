"""Scenarios for tests of the model: one small enough to compute by hand, and states of any scenario."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.scenario_file import parse_scenario
from twin.simulator import TwinWorld
from twin.state import FloatArray, NetworkState, StateBuilder
from twin.telemetry import EXACT

LINE = """
schema: 1
name: line
period_s: 4
objective: {delay: 0.5, energy: 0.5}
power: {sleep_w: 10, idle_w: 100, peak_w: 200, wake_s: 1, wake_j: 150, sleep_after_s: 6}
switches: [a, b, c]
servers:
  - {id: s1, tier: edge, at: a, cpu_cores: 1, memory_mb: 100}
  - {id: s2, tier: core, at: b, cpu_cores: 2, memory_mb: 200}
  - {id: s3, tier: core, at: b, cpu_cores: 2, memory_mb: 80}
links:
  - {a: a, b: b, bandwidth_mbps: 10, delay_ms: 2}
  - {a: b, b: c, bandwidth_mbps: 20, delay_ms: 3}
access: {bandwidth_mbps: 1000, delay_ms: 0.1}
endpoints:
  - {id: u, at: a}
  - {id: w, at: c}
vnf_types:
  firewall: {cpu_base: 0.1, cpu_per_mbps: 0.1, memory_mb: 50, state_mb: 1, service_ms: 1}
  nat: {cpu_base: 0.1, cpu_per_mbps: 0.05, memory_mb: 50, state_mb: 5, service_ms: 2}
chains:
  - {id: one, from: u, to: w, vnfs: [firewall, nat], max_delay_ms: 60, packet_bytes: 1000,
     traffic: {profile: constant, mean_mbps: 4}}
  - {id: two, from: w, to: u, vnfs: [firewall], max_delay_ms: 60, packet_bytes: 500,
     traffic: {profile: constant, mean_mbps: 2}}
placement: {one: [s1, s2], two: [s2]}
"""


def line(text: str = LINE) -> Scenario:
    """Three switches in a line, three servers, two chains of two and one VNFs."""
    return parse_scenario(text, Path("line.yaml"))


def state_of(scenario: Scenario, *, at_s: float = 0.0) -> NetworkState:
    """The state after one exact poll of the scenario as it stands."""
    world = TwinWorld(scenario, seed=1, noise=EXACT)
    builder = StateBuilder(scenario)
    builder.add(world.observe(0.0))
    return builder.build(at_s)


def state_with(scenario: Scenario, offered_mbps: FloatArray, **read: Sample) -> NetworkState:
    """The state when the chains offer this much and nothing else was read, but for the samples given."""
    builder = StateBuilder(scenario)
    builder.add(
        Sample(0.0, chain.id, Quantity.CHAIN_OFFERED, float(mbps))
        for chain, mbps in zip(scenario.chains, offered_mbps, strict=True)
    )
    builder.add(read.values())
    return builder.build(0.0)


def random_hosts(scenario: Scenario, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Any placement, feasible or not."""
    return rng.integers(0, len(scenario.servers), len(scenario.vnfs))
