"""The arrays of `twin.fast.BatchSim`: one row per instance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twin.model import (
    SEEN_CHAIN,
    SEEN_SERVER,
    SEEN_VNF,
    Bounds,
    Model,
    Records,
    Seen,
    Work,
    changes,
    record,
    work,
)
from twin.plan_kernels import Plans, plans
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.tables import initial_hosts
from twin.traffic_kernels import Profiles, profiles
from twin.way_kernels import Lanes, Ways, new_lanes, new_ways


class Settings(NamedTuple):
    """What stays the same for all instances."""

    costs: Records  # [V] MOVE_COST
    bounds: Bounds
    cooldown_s: float
    illegal_penalty: float
    randomise: bool
    slots: int
    start_slots: int
    forecast_slots: int
    forecast_error: float
    smoothing: float
    features: bool
    known: bool  # is what features and feasibility believe the world as it is?


INSTANCE = record("seed first_seed episode slot left", "")
_FLAGS = [(name, np.bool_) for name in ("moved", "illegal", "done")]
RESULT = np.dtype(record("late_chains", "reward delay_ms delay0_ms energy_j energy0_j").descr + _FLAGS, align=True)


class Batch(NamedTuple):
    """State of B instances; what is `seen` was read at the end of the last slot."""

    instances: Records  # [B] INSTANCE: `slot` is the next one from time 0, `left` those until the episode ends
    scale: FloatArray  # [B, C] of traffic
    first_hosts: IntArray  # [B, V] the never-move reference
    moved_s: FloatArray  # [B, V] time of the VNF's last move
    idle_s: FloatArray  # [B, S] since the server hosts nothing; inf: asleep from the start
    seen: Seen  # with a leading axis B, but for `background`, which is scratch
    given_mbps: FloatArray  # [B, H, C] traffic of the next H slots; H = 0: by the scenario's profiles
    ways: Ways  # [B, 2] of `first_hosts` and of the present placement; follow from the above
    coming_mbps: FloatArray  # [C, B] scratch: traffic of the next slot


class Scratch(NamedTuple):
    """Work space of one thread."""

    w: Work
    spare: Work
    changes: Records  # [V, S] CHANGE
    spare_changes: Records  # [V, S] CHANGE
    plans: Plans
    codes: IntArray  # [V, S]
    lanes: Lanes
    tried: Ways  # row 0: what the chain of the VNF that moves passes after that
    vnfs: IntArray  # [S] hosted before a move
    seen_mbps: FloatArray  # [C]
    before_mbps: FloatArray  # [2L]
    before_ms: FloatArray  # [C]
    held_cores: FloatArray  # [S]
    held_mb: FloatArray  # [S]
    next_mbps: FloatArray  # [C]


class Life(NamedTuple):
    """All that a control period of B instances works on."""

    belief: Model  # what features and feasibility go by
    truth: Model
    profiles: Profiles
    home: IntArray  # [V] the scenario's own placement
    settings: Settings
    batch: Batch
    scratch: Scratch
    mask: BoolArray  # [B, V, S]
    results: Records  # [B] RESULT


def new_batch(m: Model, batch: int, seed: int, *, truth: Model, given_slots: int = 0) -> Batch:
    """Arrays for `batch` instances of the network `truth` that is believed to be `m`, to be filled by a reset."""
    servers, vnfs, chains = len(m.servers), len(m.vnfs), len(m.chains)
    instances = np.zeros(batch, dtype=INSTANCE)
    instances["first_seed"] = seed + np.arange(batch)
    seen = Seen(
        hosts=np.zeros((batch, vnfs), dtype=np.int64),
        ends=np.zeros((batch, m.down - m.up), dtype=np.int64),
        offered_mbps=np.zeros((batch, chains)),
        forecast_mbps=np.zeros((batch, chains)),
        link_mbps=np.zeros((batch, m.access)),
        background=np.zeros(m.access),
        servers=np.zeros((batch, servers), dtype=SEEN_SERVER),
        vnfs=np.zeros((batch, vnfs), dtype=SEEN_VNF),
        chains=np.zeros((batch, chains), dtype=SEEN_CHAIN),
    )
    seen.servers["up"] = 1
    seen.vnfs["memory_mb"] = m.vnfs["memory_mb"]
    return Batch(
        instances=instances,
        scale=np.ones((batch, chains)),
        first_hosts=np.zeros((batch, vnfs), dtype=np.int64),
        moved_s=np.zeros((batch, vnfs)),
        idle_s=np.zeros((batch, servers)),
        seen=seen,
        given_mbps=np.zeros((batch, given_slots, chains)),
        ways=new_ways(truth, batch, 2),
        coming_mbps=np.zeros((chains, batch)),
    )


def new_scratch(m: Model, truth: Model) -> Scratch:
    return Scratch(
        w=work(m),
        spare=work(m),
        changes=changes(m),
        spare_changes=changes(m),
        plans=plans(m),
        codes=np.zeros((len(m.vnfs), len(m.servers)), dtype=np.int64),
        lanes=new_lanes(m),
        tried=new_ways(truth),
        vnfs=np.zeros(len(m.servers), dtype=np.int64),
        seen_mbps=np.zeros(len(m.chains)),
        before_mbps=np.zeros(m.access),
        before_ms=np.zeros(len(m.chains)),
        held_cores=np.zeros(len(m.servers)),
        held_mb=np.zeros(len(m.servers)),
        next_mbps=np.zeros(len(m.chains)),
    )


def new_life(
    scenario: Scenario, settings: Settings, batch: Batch, *, belief: Model, truth: Model, world: Scenario
) -> Life:
    """All of these instances; traffic and endpoints are those of the scenario `world`."""
    size, vnfs, servers = len(batch.instances), len(scenario.vnfs), len(scenario.servers)
    return Life(
        belief=belief,
        truth=truth,
        profiles=profiles(world),
        home=initial_hosts(scenario),
        settings=settings,
        batch=batch,
        scratch=new_scratch(belief, truth),
        mask=np.zeros((size, vnfs, servers), dtype=np.bool_),
        results=np.zeros(size, dtype=RESULT),
    )
