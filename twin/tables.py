"""`Tables`: a scenario as arrays, for costs, kernels and features. Rows follow the scenario's order."""

from __future__ import annotations

import weakref
from typing import NamedTuple

import numpy as np

from twin.scenario import Scenario
from twin.state import FloatArray, IntArray


class Tables(NamedTuple):
    """S servers, V VNFs, C chains, L links, E endpoints; chain c's VNFs are rows chain_first[c]:chain_first[c+1]."""

    period_s: float
    tau_delay: float
    tau_energy: float
    access_mbps: float
    access_delay_ms: float
    server_switch: IntArray  # [S]
    server_core: FloatArray  # [S] 1 core tier, 0 edge tier
    cpu_cores: FloatArray  # [S]
    memory_mb: FloatArray  # [S]
    sleep_w: FloatArray  # [S]
    idle_w: FloatArray  # [S]
    peak_w: FloatArray  # [S]
    wake_s: FloatArray  # [S]
    wake_j: FloatArray  # [S]
    sleep_after_s: FloatArray  # [S]
    vnf_chain: IntArray  # [V]
    cpu_base: FloatArray  # [V] cores
    cpu_per_mbps: FloatArray  # [V] cores per Mbit/s
    vnf_memory_mb: FloatArray  # [V]
    state_mb: FloatArray  # [V]
    service_ms: FloatArray  # [V]
    chain_first: IntArray  # [C + 1]
    ingress: IntArray  # [C] endpoint
    egress: IntArray  # [C] endpoint
    max_delay_ms: FloatArray  # [C]
    packet_kbit: FloatArray  # [C]; kbit / (Mbit/s) is ms
    bandwidth_mbps: FloatArray  # [L]


_KNOWN: dict[int, Tables] = {}


def tables(scenario: Scenario) -> Tables:
    """The scenario's arrays, built once per scenario."""
    key = id(scenario)
    if key not in _KNOWN:
        _KNOWN[key] = _build(scenario)
        weakref.finalize(scenario, _KNOWN.pop, key, None)
    return _KNOWN[key]


def _floats(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _ints(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def _build(scenario: Scenario) -> Tables:
    servers, vnfs, chains = scenario.servers, scenario.vnfs, scenario.chains
    power = [server.power for server in servers]
    return Tables(
        period_s=float(scenario.period_s),
        tau_delay=float(scenario.objective.delay),
        tau_energy=float(scenario.objective.energy),
        access_mbps=float(scenario.access.bandwidth_mbps),
        access_delay_ms=float(scenario.access.delay_ms),
        server_switch=_ints([scenario.switch_index[s.at] for s in servers]),
        server_core=_floats([float(s.tier == "core") for s in servers]),
        cpu_cores=_floats([s.cpu_cores for s in servers]),
        memory_mb=_floats([s.memory_mb for s in servers]),
        sleep_w=_floats([p.sleep_w for p in power]),
        idle_w=_floats([p.idle_w for p in power]),
        peak_w=_floats([p.peak_w for p in power]),
        wake_s=_floats([p.wake_s for p in power]),
        wake_j=_floats([p.wake_j for p in power]),
        sleep_after_s=_floats([p.sleep_after_s for p in power]),
        vnf_chain=_ints([scenario.chain_index[v.chain] for v in vnfs]),
        cpu_base=_floats([v.type.cpu_base for v in vnfs]),
        cpu_per_mbps=_floats([v.type.cpu_per_mbps for v in vnfs]),
        vnf_memory_mb=_floats([v.type.memory_mb for v in vnfs]),
        state_mb=_floats([v.type.state_mb for v in vnfs]),
        service_ms=_floats([v.type.service_ms for v in vnfs]),
        chain_first=np.cumsum([0, *(len(c.vnfs) for c in chains)]).astype(np.int64),
        ingress=_ints([scenario.endpoint_index[c.ingress] for c in chains]),
        egress=_ints([scenario.endpoint_index[c.egress] for c in chains]),
        max_delay_ms=_floats([c.max_delay_ms for c in chains]),
        packet_kbit=_floats([c.packet_bytes * 8e-3 for c in chains]),
        bandwidth_mbps=_floats([link.bandwidth_mbps for link in scenario.links]),
    )


def initial_hosts(scenario: Scenario) -> IntArray:
    """The scenario's placement as server rows [V]."""
    return _ints([scenario.server_index[scenario.placement[v.id]] for v in scenario.vnfs])


def configured_switches(scenario: Scenario) -> IntArray:
    """Where the endpoints are by the scenario, before any of them roams, as switch rows [E]."""
    return _ints([scenario.switch_index[e.at] for e in scenario.endpoints])


def endpoint_switches(scenario: Scenario, t_s: float) -> IntArray:
    """Where the endpoints are at `t_s` by the scenario's list of roams, as switch rows [E]."""
    rows = configured_switches(scenario)
    for roam in sorted(scenario.moves, key=lambda m: m.at_s):
        if roam.at_s <= t_s:
            rows[scenario.endpoint_index[roam.endpoint]] = scenario.switch_index[roam.to]
    return rows
