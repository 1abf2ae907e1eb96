"""`Calibration`: the numbers of the scenario file put right by what was measured, in closed form.

Ridge regressions around the file's numbers: what the data do not tell stays as the file says. CPU per VNF, service
time per VNF, power per server and load that is not ours per link are found this way, so that any placement can be
costed with them; what they leave is for the networks. Source: ours (docs/twin.md, "Grey box").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from twin.bulk import Bulk
from twin.learned.recording import Recording
from twin.ridge import ridge
from twin.scenario import Scenario, Server, Vnf
from twin.state import FloatArray
from twin.tables import tables

LEAST, MOST = 0.1, 10.0  # a factor beyond these is a broken meter, not a network
LEAST_MEMORY = 0.002  # files state what a VNF may use; a process that waits for packets needs less than a megabyte
_RIDGE = 1e-2  # weight of the file's number, in squared relative errors
_DELAY_RIDGE = 2e-4  # the same for delays, of which processing may be a hundredth
_BACKGROUND = 0.02  # of the bandwidth: measured load above ours that is less than this is noise


@dataclass(frozen=True, eq=False)
class Calibration:
    """Factors on the scenario's numbers (1: the file is right) and load that is not ours [2L] in Mbit/s."""

    cpu_base: FloatArray  # [V]
    cpu_per_mbps: FloatArray  # [V]
    service_ms: FloatArray  # [V]
    sleep_w: FloatArray  # [S]
    idle_w: FloatArray  # [S]
    dynamic_w: FloatArray  # [S] of peak - idle
    background_mbps: FloatArray  # [2L]
    memory_mb: FloatArray  # [V]

    @staticmethod
    def none(scenario: Scenario) -> Calibration:
        """The file as it stands."""
        vnfs, servers = np.ones(len(scenario.vnfs)), np.ones(len(scenario.servers))
        return Calibration(vnfs, vnfs, vnfs, servers, servers, servers, np.zeros(2 * len(scenario.links)), vnfs)

    def apply(self, scenario: Scenario) -> Scenario:
        """The scenario with these numbers: same objects, so that it can be the `truth` of a simulator."""
        row = scenario.vnf_index
        chains = tuple(
            replace(chain, vnfs=tuple(self._vnf(vnf, row[vnf.id]) for vnf in chain.vnfs)) for chain in scenario.chains
        )
        servers = tuple(self._server(server, s) for s, server in enumerate(scenario.servers))
        return replace(scenario, chains=chains, servers=servers)

    def _vnf(self, vnf: Vnf, v: int) -> Vnf:
        asked = vnf.type
        asked = replace(
            asked,
            cpu_base=asked.cpu_base * float(self.cpu_base[v]),
            cpu_per_mbps=asked.cpu_per_mbps * float(self.cpu_per_mbps[v]),
            memory_mb=asked.memory_mb * float(self.memory_mb[v]),
            service_ms=asked.service_ms * float(self.service_ms[v]),
        )
        return replace(vnf, type=asked)

    def _server(self, server: Server, s: int) -> Server:
        power = server.power
        idle_w = power.idle_w * float(self.idle_w[s])
        dynamic_w = (power.peak_w - power.idle_w) * float(self.dynamic_w[s])
        sleep_w = power.sleep_w * float(self.sleep_w[s])
        return replace(server, power=replace(power, sleep_w=sleep_w, idle_w=idle_w, peak_w=idle_w + dynamic_w))

    def mixed(self, newer: Calibration, share: float) -> Calibration:
        """This one moved towards a newer one by `share`."""
        return Calibration(**{
            f.name: (1.0 - share) * getattr(self, f.name) + share * getattr(newer, f.name) for f in fields(self)
        })  # fmt: skip


def calibrate(scenario: Scenario, recordings: Sequence[Recording]) -> Calibration:
    """What the recordings say of the file's numbers."""
    base, slope = _cpu(scenario, recordings)
    found = replace(Calibration.none(scenario), cpu_base=base, cpu_per_mbps=slope)
    sleep, idle, dynamic = _power(scenario, found, recordings)
    found = replace(found, sleep_w=sleep, idle_w=idle, dynamic_w=dynamic, memory_mb=_memory(scenario, recordings))
    found = replace(found, background_mbps=_background(scenario, found, recordings))
    return replace(found, service_ms=_service(scenario, found, recordings))


def _near_one(columns: FloatArray, target: FloatArray, *, strength: float = _RIDGE, least: float = LEAST) -> FloatArray:
    """Factors near 1; columns and target are relative (errors of equal weight)."""
    return np.clip(ridge(columns, target, around=np.ones(columns.shape[1]), strength=strength), least, MOST)


def _cpu(scenario: Scenario, recordings: Sequence[Recording]) -> tuple[FloatArray, FloatArray]:
    """Factors on base and slope [V] from the CPU that was measured of each VNF."""
    t, vnfs = tables(scenario), len(scenario.vnfs)
    offered = np.concatenate([r.offered_mbps for r in recordings])[:, t.vnf_chain]
    used = np.concatenate([r.vnf_cores for r in recordings])
    base, slope = np.ones(vnfs), np.ones(vnfs)
    for v in range(vnfs):
        scale = max(float(t.cpu_base[v] + t.cpu_per_mbps[v]), 1e-9)
        columns = np.stack([np.full(len(offered), t.cpu_base[v]), t.cpu_per_mbps[v] * offered[:, v]], axis=1)
        base[v], slope[v] = _near_one(columns / scale, used[:, v] / scale)
    return base, slope


def _power(
    scenario: Scenario, found: Calibration, recordings: Sequence[Recording]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Factors on sleep, idle and dynamic power [S]."""
    t, servers = tables(scenario), len(scenario.servers)
    power = np.concatenate([r.power_w for r in recordings])
    cpu = np.clip(np.concatenate([r.cores for r in recordings]) / t.cpu_cores, 0.0, 1.0)
    awake = np.concatenate([r.awake for r in recordings]).astype(np.float64)
    factors = np.ones((3, servers))
    for s in range(servers):
        scale = max(float(t.peak_w[s]), 1e-9)
        columns = [(1.0 - awake[:, s]) * t.sleep_w[s], awake[:, s] * t.idle_w[s],
                   awake[:, s] * cpu[:, s] * (t.peak_w[s] - t.idle_w[s])]  # fmt: skip
        factors[:, s] = _near_one(np.stack(columns, axis=1) / scale, power[:, s] / scale)
    return factors[0], factors[1], factors[2]


def _memory(scenario: Scenario, recordings: Sequence[Recording]) -> FloatArray:
    """Factors on memory [V], of each type, from that of the servers, relative to what they would hold by the file."""
    names = sorted({v.type.name for v in scenario.vnfs})
    kinds = np.array([names.index(v.type.name) for v in scenario.vnfs])
    of_type = np.zeros((len(kinds), len(names)))
    of_type[np.arange(len(kinds)), kinds] = tables(scenario).vnf_memory_mb
    rows, targets = [], []
    for r in recordings:
        on = r.hosts[:, None, :] == np.arange(len(scenario.servers))[None, :, None]  # [T, S, V]
        held = on @ of_type
        total = held.sum(axis=2)
        hosting = total > 0.0
        rows.append(held[hosting] / total[hosting][:, None])
        targets.append(r.memory_mb[hosting] / total[hosting])
    result: FloatArray = _near_one(np.concatenate(rows), np.concatenate(targets), least=LEAST_MEMORY)[kinds]
    return result


def _background(scenario: Scenario, found: Calibration, recordings: Sequence[Recording]) -> FloatArray:
    """Median load above our own on every directed link."""
    bulk = Bulk(found.apply(scenario))
    above = [r.link_mbps - bulk.measure(r.hosts, r.ends, filled(r.offered_mbps)).link_mbps for r in recordings]
    rows = np.concatenate(above)
    known = np.isfinite(rows).any(axis=0)
    middle = np.zeros(rows.shape[1])
    middle[known] = np.nanmedian(rows[:, known], axis=0)
    result: FloatArray = np.where(middle > _BACKGROUND * np.repeat(tables(scenario).bandwidth_mbps, 2), middle, 0.0)
    return result


def _service(scenario: Scenario, found: Calibration, recordings: Sequence[Recording]) -> FloatArray:
    """Factors on the VNFs' service times [V] from the delays of their chains.

    Each VNF has the factor of its type and one of its own, of which the ridge makes the second the dearer: what a
    chain's total alone cannot tell apart is laid to the types.
    """
    t = tables(scenario)
    bulk = Bulk(found.apply(scenario), found.background_mbps)
    names = sorted({v.type.name for v in scenario.vnfs})
    types = np.array([names.index(v.type.name) for v in scenario.vnfs])
    rows, targets = [], []
    for r in recordings:
        modelled = bulk.measure(r.hosts, r.ends, filled(r.offered_mbps))
        own = np.zeros((*modelled.chain_delay_ms.shape, len(types)))
        own[:, t.vnf_chain, np.arange(len(types))] = modelled.vnf_ms
        fixed = modelled.chain_delay_ms - own.sum(axis=2)
        by_type = np.stack([own[:, :, types == k].sum(axis=2) for k in range(len(names))], axis=2)
        scale = modelled.chain_delay_ms[:, :, None]
        columns = np.concatenate([by_type, 0.3 * own], axis=2) / scale
        rows.append(columns.reshape(-1, columns.shape[2]))
        # The second set stands around 0, not around 1: it is added to the target as the ridge takes it off again.
        shift = columns[:, :, len(names) :].sum(axis=2)
        targets.append(((r.delay_ms - fixed) / scale[:, :, 0] + shift).ravel())
    factors = _near_one(np.concatenate(rows), np.concatenate(targets), strength=_DELAY_RIDGE)
    kind, own_factor = factors[: len(names)], factors[len(names) :]
    result: FloatArray = np.clip(kind[types] + 0.3 * (own_factor - 1.0), LEAST, MOST)
    return result


def filled(values: FloatArray) -> FloatArray:
    """Each column [T, N] with its last reading where one is missing (the first where none came before; 0 for none)."""
    result = values.copy()
    for row in range(1, len(result)):
        gone = ~np.isfinite(result[row])
        result[row, gone] = result[row - 1, gone]
    for row in range(len(result) - 2, -1, -1):
        gone = ~np.isfinite(result[row])
        result[row, gone] = result[row + 1, gone]
    return np.nan_to_num(result, nan=0.0, posinf=0.0, neginf=0.0)
