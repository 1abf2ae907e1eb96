"""Delay, power and the objective, by the formulas of docs/model.md ("Delay", "Energy", "Objective").

One cost model for everything: the reward in training, the expected gauge when live, the features of every possible
move. This file is the readable form in numpy; `twin.kernels` holds the same compiled, and tests hold them together.
Source: paper (the objective); ours (the formulas of delay and energy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.tables import Tables, tables

KNEE = 0.95  # utilisation above which 1/(1-u) goes on as its tangent, so that overload is finite and ordered
UNREACHABLE_MS = 10_000.0  # what scoring charges for a chain that no route carries; `evaluate` itself says inf


@dataclass(frozen=True, eq=False)
class Costs:
    """Modelled delay and power of one placement under one traffic.

    `chain_delay_ms` [C] (inf: no route), `mean_delay_ms` weighted by traffic, `server_cpu` [S] and `link_utilisation`
    [L, 2] as shares of capacity, `power_w` [S] and `total_power_w`.
    """

    chain_delay_ms: FloatArray
    mean_delay_ms: float
    server_cpu: FloatArray
    link_utilisation: FloatArray
    power_w: FloatArray
    total_power_w: float


def slowdown(utilisation: FloatArray) -> FloatArray:
    """1 / (1 - u), continued above `KNEE` as its tangent."""
    below = 1.0 / (1.0 - np.clip(utilisation, 0.0, KNEE))
    return below + np.maximum(utilisation - KNEE, 0.0) / (1.0 - KNEE) ** 2


def vnf_cpu_cores(scenario: Scenario, offered_mbps: FloatArray) -> FloatArray:
    """CPU demand [V] in cores under offered traffic [C]."""
    t = tables(scenario)
    return t.cpu_base + t.cpu_per_mbps * offered_mbps[t.vnf_chain]


def server_delay_ms(scenario: Scenario, cpu_utilisation: FloatArray, vnf_server: IntArray) -> FloatArray:
    """Mean processing delay [S] of each server's VNFs, 0 where it hosts none."""
    service_ms, size = tables(scenario).service_ms, len(scenario.servers)
    hosted = np.bincount(vnf_server, minlength=size)
    total = np.bincount(vnf_server, weights=service_ms, minlength=size)
    return total / np.maximum(hosted, 1) * slowdown(cpu_utilisation)


def traffic_weights(offered_mbps: FloatArray) -> FloatArray:
    """Share of each chain in the mean delay [C]; equal shares where nothing is offered."""
    total = offered_mbps.sum()
    return offered_mbps / total if total > 0.0 else np.full(len(offered_mbps), 1.0 / max(len(offered_mbps), 1))


def evaluate(
    scenario: Scenario,
    routes: Routes,
    vnf_server: IntArray,
    offered_mbps: FloatArray,
    endpoint_switch: IntArray,
    *,
    background_mbps: FloatArray | None = None,
    awake: BoolArray | None = None,
) -> Costs:
    """Costs of a placement [V] under traffic [C] with the endpoints at their switches [E].

    `background_mbps` [L, 2] is load that is not ours. `awake` [S] says which servers draw more than sleep power;
    default: those that host a VNF, which is where every placement settles.
    """
    t = tables(scenario)
    stops = _Stops(t, vnf_server, endpoint_switch)
    crossed = routes.incidence(stops.start, stops.end)
    utilisation = _link_utilisation(t, stops, crossed, offered_mbps, background_mbps)
    cpu = _sums(vnf_server, vnf_cpu_cores(scenario, offered_mbps), len(t.cpu_cores)) / t.cpu_cores
    chain_delay = (
        _travel_ms(t, routes, stops, crossed, utilisation)
        + _access_ms(t, vnf_server, offered_mbps, endpoint_switch)
        + _sums(t.vnf_chain, t.service_ms * slowdown(cpu)[vnf_server], len(offered_mbps))
    )
    power = server_power_w(t, cpu, np.bincount(vnf_server, minlength=len(cpu)) > 0 if awake is None else awake)
    return Costs(
        chain_delay_ms=chain_delay,
        mean_delay_ms=_mean(chain_delay, traffic_weights(offered_mbps)),
        server_cpu=cpu,
        link_utilisation=utilisation.reshape(-1, 2),
        power_w=power,
        total_power_w=float(power.sum()),
    )


def _sums(rows: IntArray, weights: FloatArray, size: int) -> FloatArray:
    """The weights summed per row, [size]."""
    return np.asarray(np.bincount(rows, weights=weights, minlength=size), dtype=np.float64)


class _Stops:
    """The segments of all chains: from switch `start` to switch `end`, of chain `chain`."""

    def __init__(self, t: Tables, vnf_server: IntArray, endpoint_switch: IntArray) -> None:
        at = t.server_switch[vnf_server]
        first = t.chain_first[:-1]
        self.start = np.insert(at, first, endpoint_switch[t.ingress])
        self.end = np.insert(at, t.chain_first[1:], endpoint_switch[t.egress])
        self.chain = np.insert(t.vnf_chain, first, np.arange(len(t.ingress)))


def _link_utilisation(
    t: Tables,
    stops: _Stops,
    crossed: tuple[IntArray, IntArray],
    offered_mbps: FloatArray,
    background_mbps: FloatArray | None,
) -> FloatArray:
    """Utilisation of every directed link [2L]."""
    links, segment = crossed
    load = _sums(links, offered_mbps[stops.chain[segment]], 2 * len(t.bandwidth_mbps))
    if background_mbps is not None:
        load = load + background_mbps.ravel()
    return load / np.repeat(t.bandwidth_mbps, 2)


def _travel_ms(
    t: Tables, routes: Routes, stops: _Stops, crossed: tuple[IntArray, IntArray], utilisation: FloatArray
) -> FloatArray:
    """Delay [C] on the links between switches: propagation, transmission and queueing."""
    links, segment = crossed
    per_kbit = slowdown(utilisation) / np.repeat(t.bandwidth_mbps, 2)
    waiting = t.packet_kbit[stops.chain] * _sums(segment, per_kbit[links], len(stops.start))
    propagation = routes.delay_ms[stops.start, stops.end]
    return _sums(stops.chain, propagation + waiting, len(t.ingress))


def _access_ms(t: Tables, vnf_server: IntArray, offered_mbps: FloatArray, endpoint_switch: IntArray) -> FloatArray:
    """Delay [C] on the links by which servers and endpoints join their switches: two at the ends, two per VNF."""
    into_server = _sums(vnf_server, offered_mbps[t.vnf_chain], len(t.cpu_cores))
    sent = _sums(t.ingress, offered_mbps, len(endpoint_switch))
    received = _sums(t.egress, offered_mbps, len(endpoint_switch))
    at_server = slowdown(into_server / t.access_mbps)[vnf_server]
    at_ends = slowdown(sent / t.access_mbps)[t.ingress] + slowdown(received / t.access_mbps)[t.egress]
    crossings = at_ends + 2.0 * _sums(t.vnf_chain, at_server, len(offered_mbps))
    hops = 2.0 + 2.0 * np.diff(t.chain_first)
    return hops * t.access_delay_ms + t.packet_kbit / t.access_mbps * crossings


def server_power_w(t: Tables, cpu: FloatArray, awake: BoolArray) -> FloatArray:
    """Power [S]: asleep P_sleep, else P_idle + (P_peak - P_idle)·ρ."""
    return np.where(awake, t.idle_w + (t.peak_w - t.idle_w) * np.clip(cpu, 0.0, 1.0), t.sleep_w)


def _mean(chain_delay_ms: FloatArray, weights: FloatArray) -> float:
    return float(np.where(weights > 0.0, chain_delay_ms, 0.0) @ weights)


def scored_delay_ms(costs: Costs, offered_mbps: FloatArray) -> float:
    """The mean delay with `UNREACHABLE_MS` for chains that no route carries: always finite."""
    return _mean(np.minimum(costs.chain_delay_ms, UNREACHABLE_MS), traffic_weights(offered_mbps))


def reward(scenario: Scenario, *, delay_ms: float, delay0_ms: float, energy_j: float, energy0_j: float) -> float:
    """λ = τ1·δ + τ2·η of one slot; δ and η are relative to never having moved. Source: paper; ours: the reference."""
    delta = (delay0_ms - delay_ms) / delay0_ms
    eta = (energy0_j - energy_j) / energy0_j
    return scenario.objective.delay * delta + scenario.objective.energy * eta
