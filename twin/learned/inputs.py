"""What the twin's networks see and what they are to predict, from a recording and the calibrated cost model.

The names below are their only declaration; `TWIN_SCHEMA` stands in every checkpoint. Rows are chains, servers or
directed links, all by the same weights, so that a twin fits scenarios of any size. Source: ours (docs/twin.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twin.bulk import Bulk
from twin.bulk_kernels import Measures
from twin.learned.calibration import Calibration, filled
from twin.learned.recording import Recording
from twin.move_modes import move_costs
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.tables import tables
from twin.traffic import mean_mbps

HORIZON = 4  # slots; further ahead a forecast adds nothing (docs/model.md, "Forecast")
CHAIN_INPUTS = (
    "offered_level",  # log(offered / mean of the file's profile)
    "offered_change",  # log(offered / offered in the slot before)
    "offered_read",  # 1 where offered was read in this slot
    "delay_ratio",  # log(measured / modelled delay), 0 where not read
    "delay_read",
    "cpu_ratio",  # log(measured / modelled CPU of its VNFs), 0 where one was not read
    "power_ratio",  # log(measured / modelled power of all servers), the same for all chains
    "worst_cpu",  # greatest modelled utilisation of a server of the chain
    "worst_link",  # and of a link on its way
    "moved",  # a VNF of the chain changed its server with this slot
)
CONTEXTS: Mapping[str, tuple[str, ...]] = {
    # of the slot that is predicted, all by the cost model; `ahead` is slots ahead / HORIZON
    "delay": ("delay", "processing_share", "worst_cpu", "worst_link", "offered_level", "ahead"),
    "server_cpu": ("cpu", "vnf_share", "ahead"),
    "server_memory": ("memory", "vnf_share", "ahead"),
    "link": ("utilisation", "ahead"),
    "energy": ("cpu", "hosting_share", "awake_share", "ahead"),
}
CORRECTED = tuple(CONTEXTS)  # heads that predict log(measured / modelled)
HEADS = ("traffic", "traffic_ahead", *CORRECTED)
_SCHEMA = ("3", *CHAIN_INPUTS, *(f"{head}:{' '.join(names)}" for head, names in CONTEXTS.items()), str(HORIZON))
TWIN_SCHEMA = hashlib.sha256(" ".join(_SCHEMA).encode()).hexdigest()[:16]

LEVEL_LIMIT = 4.0  # log offered / mean beyond this says "nothing" or "far too much", not how far
RATIO_LIMIT = 2.0
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Sequence:
    """A recording as the networks see it; `filled_mbps` [T, C] is the traffic with gaps closed.

    `inputs` [T, C, F]. `contexts` and `targets` by head: [T, N, Fh] and [T, N] (NaN: not read), N rows of chains,
    servers, links or 1. `pools` [T, N, C] say whose hidden state a row of servers or links hears, by shares.
    """

    recording: Recording
    filled_mbps: FloatArray
    levels: FloatArray
    inputs: FloatArray
    contexts: Mapping[str, FloatArray]
    targets: Mapping[str, FloatArray]
    pools: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.recording)


class Encoder:
    """Encodes recordings of one scenario, under one calibration."""

    def __init__(self, scenario: Scenario, calibration: Calibration) -> None:
        self.scenario, self.calibration = scenario, calibration
        self.calibrated = calibration.apply(scenario)
        self.bulk = Bulk(self.calibrated, calibration.background_mbps)
        self.mean_mbps = np.maximum(np.array([mean_mbps(c.traffic) for c in scenario.chains]), _TINY)

    def levels(self, offered_mbps: FloatArray) -> FloatArray:
        """log(offered / the file's mean), limited; the same shape."""
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.log(np.maximum(offered_mbps, 0.0) / self.mean_mbps)
        result: FloatArray = np.clip(level, -LEVEL_LIMIT, LEVEL_LIMIT)
        return result

    def offered(self, levels: FloatArray) -> FloatArray:
        """Mbit/s of levels; what is at the lower limit is nothing."""
        result: FloatArray = np.where(levels <= -LEVEL_LIMIT + _TINY, 0.0, np.exp(levels) * self.mean_mbps)
        return result

    def sequence(self, recording: Recording) -> Sequence:
        """Inputs, contexts and targets of every slot, the cost model fed with the traffic that was measured."""
        offered = filled(recording.offered_mbps)
        modelled = self.bulk.measure(recording.hosts, recording.ends, offered)
        awake = expected_awake(self.scenario, recording.hosts, recording.awake[0])
        levels = self.levels(offered)
        return Sequence(
            recording=recording,
            filled_mbps=offered,
            levels=levels,
            inputs=self.inputs(recording, levels, modelled, chain_moved(self.scenario, recording.hosts)),
            contexts=self.contexts(recording.hosts, offered, modelled, awake),
            targets=self._targets(recording, modelled, awake),
            pools=self.pools(recording.hosts, modelled),
        )

    def contexts(
        self, hosts: IntArray, offered_mbps: FloatArray, modelled: Measures, awake: BoolArray
    ) -> dict[str, FloatArray]:
        """By head [B, N, Fh], `ahead` left at 0."""
        t = tables(self.scenario)
        share = _hosted(hosts, len(t.cpu_cores)) / hosts.shape[1]
        cpu = modelled.cores / t.cpu_cores
        processing = np.add.reduceat(modelled.vnf_ms, t.chain_first[:-1], axis=1)
        columns = {
            "delay": (
                np.log(np.maximum(modelled.chain_delay_ms, _TINY) / t.max_delay_ms),
                processing / np.maximum(modelled.chain_delay_ms, _TINY),
                modelled.worst_cpu, modelled.worst_link, self.levels(offered_mbps),
            ),
            "server_cpu": (cpu, share),
            "server_memory": (modelled.memory_mb / t.memory_mb, share),
            "link": (modelled.link_mbps / np.repeat(t.bandwidth_mbps, 2),),
            "energy": tuple(v.mean(axis=1, keepdims=True) for v in (cpu, share > 0.0, awake)),
        }  # fmt: skip
        return {head: _context(*values) for head, values in columns.items()}

    def pools(self, hosts: IntArray, modelled: Measures) -> dict[str, FloatArray]:
        """Shares [B, N, C] of the chains in each server and each link."""
        t = tables(self.scenario)
        size, chains = len(t.cpu_cores), len(t.ingress)
        at = np.zeros((len(hosts), size, chains))
        np.add.at(at, (np.arange(len(hosts))[:, None], hosts, t.vnf_chain[None, :]), 1.0)
        return {"server": _shares(at), "link": _shares(modelled.crossed)}

    def _targets(self, recording: Recording, modelled: Measures, awake: BoolArray) -> dict[str, FloatArray]:
        power = self.bulk.power_w(modelled, awake)
        total = np.where(np.isfinite(recording.power_w).all(axis=1), recording.power_w.sum(axis=1), np.nan)
        return {
            "delay": _log_ratio(recording.delay_ms, modelled.chain_delay_ms),
            "server_cpu": _log_ratio(recording.cores, modelled.cores),
            "server_memory": _log_ratio(recording.memory_mb, modelled.memory_mb),
            "link": _log_ratio(recording.link_mbps, modelled.link_mbps),
            "energy": _log_ratio(total[:, None], power.sum(axis=1, keepdims=True)),
        }

    def inputs(self, recording: Recording, levels: FloatArray, modelled: Measures, moved: FloatArray) -> FloatArray:
        """`CHAIN_INPUTS` of every slot of a recording, [T, C, F]; also of a recording of one slot, when live."""
        t = tables(self.calibrated)
        asked = t.cpu_base + t.cpu_per_mbps * self.offered(levels)[:, t.vnf_chain]
        first = t.chain_first[:-1]
        used, needed = (np.add.reduceat(v, first, axis=1) for v in (recording.vnf_cores, asked))
        power = self.bulk.power_w(modelled, recording.awake).sum(axis=1, keepdims=True)
        placed = Placed(
            delay_ratio=_log_ratio(recording.delay_ms, modelled.chain_delay_ms),
            cpu_ratio=_log_ratio(used, needed),
            power_ratio=np.repeat(_log_ratio(recording.power_w.sum(axis=1, keepdims=True), power), len(first), axis=1),
            worst_cpu=modelled.worst_cpu,
            worst_link=modelled.worst_link,
            moved=moved,
        )
        return chain_inputs(levels, np.isfinite(recording.offered_mbps), placed)


class Placed(NamedTuple):
    """The inputs that depend on the placement, all [T, C]; NaN: not read."""

    delay_ratio: FloatArray
    cpu_ratio: FloatArray
    power_ratio: FloatArray
    worst_cpu: FloatArray
    worst_link: FloatArray
    moved: FloatArray


def chain_inputs(levels: FloatArray, read: BoolArray, placed: Placed | None) -> FloatArray:
    """`CHAIN_INPUTS` of T slots, [T, C, F]; without `placed` what depends on placement is 0, as in training now and
    then."""
    inputs = np.zeros((*levels.shape, len(CHAIN_INPUTS)))
    inputs[..., 0] = levels
    inputs[1:, ..., 1] = np.diff(levels, axis=0)
    inputs[..., 2] = read
    if placed is not None:
        inputs[..., 3] = np.nan_to_num(placed.delay_ratio)
        inputs[..., 4] = np.isfinite(placed.delay_ratio)
        inputs[..., 5] = np.nan_to_num(placed.cpu_ratio)
        inputs[..., 6] = np.nan_to_num(placed.power_ratio)
        inputs[..., 7] = np.minimum(placed.worst_cpu, 2.0)
        inputs[..., 8] = np.minimum(placed.worst_link, 2.0)
        inputs[..., 9] = placed.moved
    return inputs


PLACED = slice(3, len(CHAIN_INPUTS))  # the inputs that depend on the placement


def chain_moved(scenario: Scenario, hosts: IntArray) -> FloatArray:
    """1 for the chains [T, C] of which a VNF changed its server since the slot before."""
    t = tables(scenario)
    changed = np.zeros(hosts.shape)
    changed[1:] = hosts[1:] != hosts[:-1]
    result: FloatArray = np.minimum(np.add.reduceat(changed, t.chain_first[:-1], axis=1), 1.0)
    return result


def expected_awake(scenario: Scenario, hosts: IntArray, awake_first: BoolArray) -> BoolArray:
    """Which servers are awake at the end of each slot [T, S], from the placement alone: known, not learned."""
    t = tables(scenario)
    move_s = float(np.median([c.duration_s for c in move_costs(scenario, None)]))
    hosting = _hosted(hosts, len(t.cpu_cores)) > 0.0
    idle_s = np.where(awake_first, 0.0, np.inf)
    awake = np.zeros_like(hosting)
    for row in range(len(hosts)):
        left = row > 0 and hosting[row - 1] & ~hosting[row]
        idle_s = np.where(hosting[row], 0.0, idle_s + t.period_s - np.where(left, min(move_s, t.period_s), 0.0))
        awake[row] = hosting[row] | (idle_s < t.sleep_after_s)
    return awake


def _hosted(hosts: IntArray, servers: int) -> FloatArray:
    """How many VNFs each server hosts [B, S]."""
    count = np.zeros((len(hosts), servers))
    np.add.at(count, (np.arange(len(hosts))[:, None], hosts), 1.0)
    return count


def _context(*columns: FloatArray) -> FloatArray:
    return np.stack([*columns, np.zeros(columns[0].shape)], axis=-1).astype(np.float64)


def _shares(counts: FloatArray) -> FloatArray:
    result: FloatArray = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1.0)
    return result


def _log_ratio(measured: FloatArray, modelled: FloatArray) -> FloatArray:
    """log(measured / modelled), limited; NaN where one of them is nothing or was not read."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(measured / modelled)
    sound = (measured > _TINY) & (modelled > _TINY) & np.isfinite(ratio)
    return np.where(sound, np.clip(ratio, -RATIO_LIMIT, RATIO_LIMIT), np.nan)
