"""Simulated telemetry: what a poller reads of the simulated network, with its noise and gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twin.costs import Costs, server_power_w, vnf_cpu_cores
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.tables import tables


@dataclass(frozen=True, slots=True)
class Noise:
    """How readings differ from the truth: relative and, for delays, absolute standard deviation; share missing."""

    relative: float = 0.02
    delay_ms: float = 0.1
    missing: float = 0.01


EXACT = Noise(0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Reading:
    """The true network at one moment; rows follow the scenario's order."""

    scenario: Scenario
    hosts: IntArray
    costs: Costs
    offered_mbps: FloatArray
    endpoint_switch: IntArray
    awake: BoolArray
    server_up: BoolArray
    link_up: BoolArray


_RELATIVE = {
    Quantity.SERVER_CPU,
    Quantity.VNF_CPU,
    Quantity.LINK_LOAD_FORWARD,
    Quantity.LINK_LOAD_BACKWARD,
    Quantity.CHAIN_OFFERED,
}
_DELAYS = {Quantity.LINK_DELAY, Quantity.CHAIN_DELAY}


def samples_of(reading: Reading, at_s: float, noise: Noise, seed: Sequence[int]) -> list[Sample]:
    """One poll. The noise depends on `seed` alone; what cannot be read (a chain without a route) is left out."""
    rng = np.random.default_rng(list(seed))
    samples: list[Sample] = []
    for quantity, values in _values(reading).items():
        noisy = _noisy(values, quantity, noise, rng)
        missing = rng.random(len(values)) < noise.missing
        ids = _ids(reading.scenario, quantity)
        samples += [
            Sample(at_s, subject, quantity, float(value))
            for subject, value, gone in zip(ids, noisy, missing, strict=True)
            if not gone and np.isfinite(value)
        ]
    return samples


def _noisy(values: FloatArray, quantity: Quantity, noise: Noise, rng: np.random.Generator) -> FloatArray:
    error = rng.standard_normal(len(values))
    if quantity in _RELATIVE:
        return np.maximum(values * (1.0 + noise.relative * error), 0.0)
    if quantity in _DELAYS:
        return np.maximum(values + noise.delay_ms * error, 0.0)
    return values


def _ids(scenario: Scenario, quantity: Quantity) -> list[str]:
    rows: Mapping[str, Mapping[str, int]] = {
        "server": scenario.server_index,
        "vnf": scenario.vnf_index,
        "link": scenario.link_index,
        "endpoint": scenario.endpoint_index,
        "chain": scenario.chain_index,
    }
    return list(rows[quantity.value.split("_")[0]])


def _values(reading: Reading) -> dict[Quantity, FloatArray]:
    """The true value of every quantity."""
    scenario, costs, hosts = reading.scenario, reading.costs, reading.hosts
    t = tables(scenario)
    cores = np.where(reading.server_up, costs.server_cpu * t.cpu_cores, 0.0)
    memory = np.bincount(hosts, weights=t.vnf_memory_mb, minlength=len(cores))
    load = costs.link_utilisation * t.bandwidth_mbps[:, None]
    return {
        Quantity.SERVER_UP: reading.server_up.astype(np.float64),
        Quantity.SERVER_CPU: cores,
        Quantity.SERVER_MEMORY: memory.astype(np.float64),
        Quantity.SERVER_AWAKE: reading.awake.astype(np.float64),
        Quantity.SERVER_POWER: server_power_w(t, cores / t.cpu_cores, reading.awake),
        Quantity.VNF_CPU: vnf_cpu_cores(scenario, reading.offered_mbps),
        Quantity.VNF_MEMORY: t.vnf_memory_mb,
        Quantity.VNF_HOST: hosts.astype(np.float64),
        Quantity.LINK_UP: reading.link_up.astype(np.float64),
        Quantity.LINK_DELAY: np.array([link.delay_ms for link in scenario.links]),
        Quantity.LINK_LOAD_FORWARD: load[:, 0],
        Quantity.LINK_LOAD_BACKWARD: load[:, 1],
        Quantity.ENDPOINT_SWITCH: reading.endpoint_switch.astype(np.float64),
        Quantity.CHAIN_OFFERED: reading.offered_mbps,
        Quantity.CHAIN_DELAY: costs.chain_delay_ms,
        Quantity.CHAIN_LOSS: (~np.isfinite(costs.chain_delay_ms)).astype(np.float64),
    }
