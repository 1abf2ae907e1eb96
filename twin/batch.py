"""The arrays of `twin.fast.BatchSim`: one row per instance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twin.model import Model, Work, work
from twin.move_kernels import COLUMNS
from twin.slot_kernels import MoveCost
from twin.state import BoolArray, FloatArray, IntArray


class Settings(NamedTuple):
    """What stays the same for all instances."""

    cost: MoveCost
    cpu_limit: float
    link_limit: float
    cooldown_s: float
    illegal_penalty: float
    randomise: bool
    slots: int
    start_slots: int
    forecast_slots: int
    forecast_error: float
    features: bool


class Batch(NamedTuple):
    """State of B instances; what is `seen` was read at the end of the last slot."""

    seed: IntArray  # [B] of the present episode
    first_seed: IntArray  # [B]
    episode: IntArray  # [B]
    slot: IntArray  # [B] the next one, counted from time 0
    left: IntArray  # [B] slots until the episode ends
    scale: FloatArray  # [B, C] of traffic
    hosts: IntArray  # [B, V]
    first_hosts: IntArray  # [B, V] the never-move reference
    idle_s: FloatArray  # [B, S] since the server hosts nothing; inf: asleep from the start
    ends: IntArray  # [B, E]
    moved_s: FloatArray  # [B, V] time of the VNF's last move
    offered: FloatArray  # [B, C] seen
    cores: FloatArray  # [B, S] seen
    vnf_cores: FloatArray  # [B, V] seen
    power_w: FloatArray  # [B, S] seen
    awake: BoolArray  # [B, S] seen
    chain_ms: FloatArray  # [B, C] seen
    link_mbps: FloatArray  # [B, 2L] seen
    forecast: FloatArray  # [B, C]
    spread: FloatArray  # [B, C]


class Results(NamedTuple):
    """What one slot brought, per instance [B]."""

    reward: FloatArray
    delay_ms: FloatArray
    delay0_ms: FloatArray
    energy_j: FloatArray
    energy0_j: FloatArray
    moved: BoolArray
    illegal: BoolArray
    late_chains: IntArray
    done: BoolArray


class Scratch(NamedTuple):
    """Work space of one thread."""

    w: Work
    spare: Work
    changes: FloatArray  # [V, S, 7]
    spare_changes: FloatArray  # [V, S, 7]
    codes: IntArray  # [V, S]
    old_cores: FloatArray  # [S]
    old_hosted: IntArray  # [S]
    next_offered: FloatArray  # [C]
    never: BoolArray  # [max(S, C)] False: no reading is stale
    zeros: FloatArray  # [max(S, C)] ages and losses
    up: BoolArray  # [S] True
    blocked: IntArray  # [V]
    background: FloatArray  # [2L]


def new_batch(m: Model, batch: int, seed: int) -> Batch:
    """Arrays for `batch` instances, to be filled by a reset."""
    servers, vnfs, chains = len(m.t.cpu_cores), len(m.t.vnf_chain), len(m.hops_ms)
    ends, links = m.first_down - m.first_up, len(m.background)
    counts = [np.zeros(batch, dtype=np.int64) for _ in range(3)]
    return Batch(
        seed=np.zeros(batch, dtype=np.int64),
        first_seed=seed + np.arange(batch, dtype=np.int64),
        episode=counts[0],
        slot=counts[1],
        left=counts[2],
        scale=np.ones((batch, chains)),
        hosts=np.zeros((batch, vnfs), dtype=np.int64),
        first_hosts=np.zeros((batch, vnfs), dtype=np.int64),
        idle_s=np.zeros((batch, servers)),
        ends=np.zeros((batch, ends), dtype=np.int64),
        moved_s=np.zeros((batch, vnfs)),
        offered=np.zeros((batch, chains)),
        cores=np.zeros((batch, servers)),
        vnf_cores=np.zeros((batch, vnfs)),
        power_w=np.zeros((batch, servers)),
        awake=np.zeros((batch, servers), dtype=np.bool_),
        chain_ms=np.zeros((batch, chains)),
        link_mbps=np.zeros((batch, links)),
        forecast=np.zeros((batch, chains)),
        spread=np.zeros((batch, chains)),
    )


def new_results(batch: int) -> Results:
    return Results(
        reward=np.zeros(batch),
        delay_ms=np.zeros(batch),
        delay0_ms=np.zeros(batch),
        energy_j=np.zeros(batch),
        energy0_j=np.zeros(batch),
        moved=np.zeros(batch, dtype=np.bool_),
        illegal=np.zeros(batch, dtype=np.bool_),
        late_chains=np.zeros(batch, dtype=np.int64),
        done=np.zeros(batch, dtype=np.bool_),
    )


def new_scratch(m: Model) -> Scratch:
    servers, vnfs, chains = len(m.t.cpu_cores), len(m.t.vnf_chain), len(m.hops_ms)
    return Scratch(
        w=work(m),
        spare=work(m),
        changes=np.zeros((vnfs, servers, COLUMNS)),
        spare_changes=np.zeros((vnfs, servers, COLUMNS)),
        codes=np.zeros((vnfs, servers), dtype=np.int64),
        old_cores=np.zeros(servers),
        old_hosted=np.zeros(servers, dtype=np.int64),
        next_offered=np.zeros(chains),
        never=np.zeros(max(servers, chains), dtype=np.bool_),
        zeros=np.zeros(max(servers, chains)),
        up=np.ones(servers, dtype=np.bool_),
        blocked=np.zeros(vnfs, dtype=np.int64),
        background=np.zeros(len(m.background)),
    )
