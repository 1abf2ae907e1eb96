"""Small networks for exact comparisons: one to follow through time, and many to place once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from twin.scenario import Objective, Placement, Scenario, Vnf
from twin.scenario_file import parse_scenario

DIURNAL = "{{profile: diurnal, mean_mbps: {mean}, swing: 0.7, day_s: 120, noise: 0.05, phase: {phase}}}"
BURSTS = "{{profile: bursts, mean_mbps: {mean}, burst_mbps: {burst}, every_s: 60, length_s: 20}}"
LOADS = {"low": 1.2, "high": 2.0}  # mean Mbit/s per chain

_TRIANGLE = """
schema: 1
name: {name}
period_s: 5
objective: {{delay: 0.5, energy: 0.5}}
power: {{sleep_w: 10, idle_w: 90, peak_w: 150, wake_s: 0.5, wake_j: 150, sleep_after_s: 0.5}}
switches: [a, b, c]
servers:
  - {{id: e1, tier: edge, at: a, cpu_cores: 0.2, memory_mb: 512}}
  - {{id: e2, tier: edge, at: b, cpu_cores: 0.2, memory_mb: 512}}
  - {{id: c1, tier: core, at: c, cpu_cores: 0.4, memory_mb: 1024, power: {{idle_w: 120, peak_w: 220}}}}
links:
  - {{a: a, b: b, bandwidth_mbps: 40, delay_ms: 3}}
  - {{a: b, b: c, bandwidth_mbps: 40, delay_ms: 4}}
  - {{a: a, b: c, bandwidth_mbps: 40, delay_ms: 5}}
access: {{bandwidth_mbps: 1000, delay_ms: 0.1}}
endpoints: [{{id: u1, at: a}}, {{id: u2, at: b}}, {{id: web, at: c}}]
vnf_types:
  firewall: {{cpu_base: 0.005, cpu_per_mbps: 0.02, memory_mb: 32, state_mb: 0.5, service_ms: 0.5}}
  monitor: {{cpu_base: 0.005, cpu_per_mbps: 0.04, memory_mb: 96, state_mb: 8, service_ms: 1.0}}
chains:
  - {{id: one, from: u1, to: web, vnfs: [firewall, monitor], max_delay_ms: 500, packet_bytes: 1000, traffic: {one}}}
  - {{id: two, from: u2, to: web, vnfs: [firewall, monitor], max_delay_ms: 500, packet_bytes: 1000, traffic: {two}}}
placement: {{one: [e1, e2], two: [c1, e1]}}
"""


def triangle(load: str, traffic: str) -> Scenario:
    """Three servers, two chains of two VNFs (81 placements); `load` low or high, `traffic` diurnal or bursts."""
    mean = LOADS[load]
    if traffic == "diurnal":
        one, two = (DIURNAL.format(mean=mean, phase=phase) for phase in (0.0, 0.3))
    else:
        one = two = BURSTS.format(mean=0.6 * mean, burst=1.9 * mean)
    name = f"{load}-{traffic}"
    return parse_scenario(_TRIANGLE.format(name=name, one=one, two=two), Path(f"{name}.yaml"))


def static_instance(seed: int) -> Scenario:
    """Eight servers at eight switches, four chains of three VNFs under constant traffic, placed at random."""
    rng = np.random.default_rng([4, seed])
    switches = [f"s{i}" for i in range(8)]
    links = [(i, (i + 1) % 8) for i in range(8)] + [(0, 4), (2, 6)]
    kinds = list(_TYPES)
    chains = [[kinds[k] for k in rng.permutation(4)[:3]] for _ in range(4)]
    mbps = rng.uniform(1.2, 3.0, size=4)
    text = "\n".join([
        f"schema: 1\nname: static{seed}\nperiod_s: 5\nobjective: {{delay: 0.5, energy: 0.5}}",
        "power: {sleep_w: 10, idle_w: 90, peak_w: 150, wake_s: 1.0, wake_j: 150, sleep_after_s: 10}",
        f"switches: [{', '.join(switches)}]", "servers:",
        *(_server(i) for i in range(8)), "links:",
        *(f"  - {{a: s{a}, b: s{b}, bandwidth_mbps: 40, delay_ms: {rng.integers(1, 7)}}}" for a, b in links),
        "access: {bandwidth_mbps: 1000, delay_ms: 0.1}", "endpoints:",
        *(f"  - {{id: u{c}, at: s{rng.integers(8)}}}\n  - {{id: w{c}, at: s{rng.integers(8)}}}" for c in range(4)),
        "vnf_types:", *(f"  {kind}: {row}" for kind, row in _TYPES.items()), "chains:",
        *(f"  - {{id: c{c}, from: u{c}, to: w{c}, vnfs: [{', '.join(chains[c])}], max_delay_ms: 500, "
          f"packet_bytes: 1000, traffic: {{profile: constant, mean_mbps: {mbps[c]:.3f}}}}}" for c in range(4)),
        f"placement: {_placement(chains, mbps, rng)}", "",
    ])  # fmt: skip
    return parse_scenario(text, Path(f"static{seed}.yaml"))


def flat_instance(seed: int) -> Scenario:
    """The same network where search is easy (`flat`)."""
    return flat(static_instance(seed), np.random.default_rng([9, seed]))


def flat(like: Scenario, rng: np.random.Generator) -> Scenario:
    """A network where search is easy. Servers draw idle power whether they host anything or not, so that none
    has to be emptied by moves that do not pay; they have two thirds of the cores, and VNFs are forty times as slow, so
    that load matters more than distance. Placed at random with no regard to room: the start is overloaded."""
    servers = tuple(
        replace(s, cpu_cores=s.cpu_cores / 1.5, memory_mb=4096.0, power=replace(s.power, sleep_w=s.power.idle_w))
        for s in like.servers
    )
    chains = tuple(replace(c, max_delay_ms=1e5, vnfs=tuple(_slow(vnf) for vnf in c.vnfs)) for c in like.chains)
    hosts = {vnf.id: servers[int(rng.integers(len(servers)))].id for chain in chains for vnf in chain.vnfs}
    objective = Objective(delay=0.7, energy=0.3)
    return replace(like, servers=servers, chains=chains, placement=Placement(hosts), objective=objective)


def _slow(vnf: Vnf) -> Vnf:
    return replace(vnf, type=replace(vnf.type, service_ms=40.0 * vnf.type.service_ms))


_TYPES = {
    "firewall": "{cpu_base: 0.005, cpu_per_mbps: 0.015, memory_mb: 32, state_mb: 0.5, service_ms: 0.10}",
    "nat": "{cpu_base: 0.005, cpu_per_mbps: 0.020, memory_mb: 48, state_mb: 4, service_ms: 0.15}",
    "monitor": "{cpu_base: 0.005, cpu_per_mbps: 0.035, memory_mb: 96, state_mb: 16, service_ms: 0.25}",
    "balancer": "{cpu_base: 0.005, cpu_per_mbps: 0.020, memory_mb: 32, state_mb: 1, service_ms: 0.10}",
}
_SLOPE = {"firewall": 0.015, "nat": 0.020, "monitor": 0.035, "balancer": 0.020}
_CORES = [0.36, 0.18, 0.18, 0.18, 0.36, 0.18, 0.18, 0.18]


def _server(i: int) -> str:
    core = _CORES[i] > 0.2
    power = ", power: {idle_w: 120, peak_w: 220}" if core else ""
    tier = "core" if core else "edge"
    return f"  - {{id: m{i}, tier: {tier}, at: s{i}, cpu_cores: {_CORES[i]}, memory_mb: 512{power}}}"


def _placement(chains: list[list[str]], mbps: np.ndarray, rng: np.random.Generator) -> str:
    """A random placement that leaves every server below 80 % CPU."""
    free, rows = np.array(_CORES) * 0.8, []
    for c, kinds in enumerate(chains):
        hosts = []
        for kind in kinds:
            need = 0.005 + _SLOPE[kind] * mbps[c]
            host = int(rng.choice(np.flatnonzero(free >= need)))
            free[host] -= need
            hosts.append(f"m{host}")
        rows.append(f"c{c}: [{', '.join(hosts)}]")
    return f"{{{', '.join(rows)}}}"
