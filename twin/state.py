"""`NetworkState`: what is known of the network at one moment, and the builder that makes it from samples.

The eight components of the paper's state are ξ `awake`, ψ `hosting`, ρ `server_cpu`, ι `server_memory`,
φ `server_power_w`, ϱ `server_delay_ms`, ϖ `placement` and ς `vnf_cpu_cores`/`vnf_memory_mb`. The others, and the
age of every reading, are ours (docs/model.md, "State").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twin.samples import Quantity, Sample
from twin.scenario import Placement, Scenario

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NetworkState:
    """The observed network. Rows follow the scenario's order: S servers, L links, C chains, V VNFs, E endpoints.

    Utilisations are shares of capacity (1.0 is full, more is overload). `link_load_mbps` is [L, 2]: a to b, b to a.
    `age_s[quantity]` holds, per subject, seconds since its last reading (`inf`: never read).
    """

    at_s: float
    placement: Placement
    awake: BoolArray
    hosting: BoolArray
    server_up: BoolArray
    server_cpu: FloatArray
    server_memory: FloatArray
    server_power_w: FloatArray
    server_delay_ms: FloatArray
    vnf_cpu_cores: FloatArray
    vnf_memory_mb: FloatArray
    vnf_server: IntArray
    link_up: BoolArray
    link_delay_ms: FloatArray
    link_load_mbps: FloatArray
    endpoint_switch: IntArray
    offered_mbps: FloatArray
    chain_delay_ms: FloatArray
    chain_loss: FloatArray
    age_s: Mapping[Quantity, FloatArray]

    def stale(self, quantity: Quantity, *, limit_s: float) -> BoolArray:
        """Which subjects of a quantity have no reading younger than `limit_s`."""
        result: BoolArray = self.age_s[quantity] > limit_s
        return result


class StateBuilder:
    """Keeps the newest sample of every (subject, quantity) and builds a `NetworkState` from them.

    The same samples in the same order give the same state bit for bit, live or replayed. What was never read has the
    scenario's value (configured link delay, initial placement, mean of the traffic's profile) and an infinite age, so
    that a caller can tell. Samples of unknown subjects or of places that the scenario has not, and those that are not
    finite, are counted in `ignored`.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.ignored = 0
        self._index = _subjects(scenario)
        self._values = {q: _defaults(scenario, q) for q in Quantity}
        self._read_at = {q: np.full(len(self._index[q]), -np.inf) for q in Quantity}
        self._places = {Quantity.VNF_HOST: len(scenario.servers), Quantity.ENDPOINT_SWITCH: len(scenario.switches)}

    def add(self, samples: Iterable[Sample]) -> None:
        """Takes samples in; an older reading never replaces a newer one."""
        for sample in samples:
            row = self._index[sample.quantity].get(sample.subject)
            if row is None or not self._sound(sample):
                self.ignored += 1
            elif sample.at_s >= self._read_at[sample.quantity][row]:
                self._values[sample.quantity][row] = sample.value
                self._read_at[sample.quantity][row] = sample.at_s

    def _sound(self, sample: Sample) -> bool:
        if not math.isfinite(sample.value):
            return False
        return sample.quantity not in self._places or 0 <= sample.value < self._places[sample.quantity]

    def build(self, now_s: float) -> NetworkState:
        """The state at `now_s` (seconds on the samples' clock)."""
        from twin.costs import server_delay_ms  # costs read the state's types

        scenario, value = self.scenario, {q: v.copy() for q, v in self._values.items()}
        vnf_server = value[Quantity.VNF_HOST].astype(np.int64)
        cores = np.array([s.cpu_cores for s in scenario.servers])
        memory = np.array([s.memory_mb for s in scenario.servers])
        cpu = value[Quantity.SERVER_CPU] / cores
        hosting = np.bincount(vnf_server, minlength=len(cores)).astype(bool)
        return NetworkState(
            at_s=now_s,
            placement=Placement({vnf.id: scenario.servers[vnf_server[i]].id for i, vnf in enumerate(scenario.vnfs)}),
            awake=value[Quantity.SERVER_AWAKE] > 0.5,
            hosting=hosting,
            server_up=value[Quantity.SERVER_UP] > 0.5,
            server_cpu=cpu,
            server_memory=value[Quantity.SERVER_MEMORY] / memory,
            server_power_w=value[Quantity.SERVER_POWER],
            server_delay_ms=server_delay_ms(scenario, cpu, vnf_server),
            vnf_cpu_cores=value[Quantity.VNF_CPU],
            vnf_memory_mb=value[Quantity.VNF_MEMORY],
            vnf_server=vnf_server,
            link_up=value[Quantity.LINK_UP] > 0.5,
            link_delay_ms=value[Quantity.LINK_DELAY],
            link_load_mbps=np.stack(
                [value[Quantity.LINK_LOAD_FORWARD], value[Quantity.LINK_LOAD_BACKWARD]], axis=1
            ).reshape(-1, 2),
            endpoint_switch=value[Quantity.ENDPOINT_SWITCH].astype(np.int64),
            offered_mbps=value[Quantity.CHAIN_OFFERED],
            chain_delay_ms=value[Quantity.CHAIN_DELAY],
            chain_loss=value[Quantity.CHAIN_LOSS],
            age_s={q: now_s - at for q, at in self._read_at.items()},
        )


def placed(scenario: Scenario, state: NetworkState, hosts: Mapping[str, str]) -> NetworkState:
    """The state with the VNFs on these servers, by ids, and all else as it was read; the same one where they are there.

    Placement is known before it is polled again, and a move under way will have its target's room.
    """
    from twin.costs import server_delay_ms  # costs read the state's types

    if all(hosts.get(vnf, server) == server for vnf, server in state.placement.hosts.items()):
        return state
    placement = Placement({vnf: hosts.get(vnf, server) for vnf, server in state.placement.hosts.items()})
    vnf_server = np.array([scenario.server_index[placement[vnf.id]] for vnf in scenario.vnfs], dtype=np.int64)
    return replace(
        state,
        placement=placement,
        vnf_server=vnf_server,
        hosting=np.bincount(vnf_server, minlength=len(scenario.servers)).astype(bool),
        server_delay_ms=server_delay_ms(scenario, state.server_cpu, vnf_server),
    )


def _subjects(scenario: Scenario) -> dict[Quantity, Mapping[str, int]]:
    """Which subjects each quantity is read of, by the first word of its name."""
    by_word: dict[str, Mapping[str, int]] = {
        "server": scenario.server_index,
        "vnf": scenario.vnf_index,
        "link": scenario.link_index,
        "endpoint": scenario.endpoint_index,
        "chain": scenario.chain_index,
    }
    return {q: by_word[q.value.split("_")[0]] for q in Quantity}


def _defaults(scenario: Scenario, quantity: Quantity) -> FloatArray:
    """What is assumed of a quantity that was never read."""
    from twin.traffic import mean_mbps

    servers, vnfs, chains = scenario.servers, scenario.vnfs, scenario.chains
    hosted = {scenario.placement[vnf.id] for vnf in vnfs}
    offered = {chain.id: mean_mbps(chain.traffic) for chain in chains}
    known: dict[Quantity, list[float]] = {
        Quantity.SERVER_UP: [1.0] * len(servers),
        Quantity.SERVER_AWAKE: [float(s.id in hosted) for s in servers],
        Quantity.VNF_HOST: [scenario.server_index[scenario.placement[v.id]] for v in vnfs],
        Quantity.VNF_MEMORY: [v.type.memory_mb for v in vnfs],
        Quantity.VNF_CPU: [v.type.cpu_base + v.type.cpu_per_mbps * offered[v.chain] for v in vnfs],
        Quantity.LINK_UP: [1.0] * len(scenario.links),
        Quantity.LINK_DELAY: [link.delay_ms for link in scenario.links],
        Quantity.ENDPOINT_SWITCH: [scenario.switch_index[e.at] for e in scenario.endpoints],
        Quantity.CHAIN_OFFERED: [offered[c.id] for c in chains],
    }
    rows = len(_subjects(scenario)[quantity])
    return np.array(known.get(quantity, [0.0] * rows), dtype=np.float64)
