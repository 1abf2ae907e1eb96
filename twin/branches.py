"""Branches: many short futures of one network under given traffic, simulated in compiled code.

A branch starts where a network was seen to be (or where its VNFs might have been), is offered a traffic that was
recorded or sampled, and is played on a physics that may differ from the scenario file, such as one identified from
readings. So one recorded window of traffic can be tried under every placement. Endpoints stay where they were seen:
nobody knows who will roam. Source: ours (docs/agent.md, "Synthetic experience").
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np

from twin.batch import Settings, new_batch, new_life
from twin.experience import Starts
from twin.fast import BatchInfo, BatchObservation, Float32Array, happened, observation
from twin.feasibility import Limits
from twin.features import empty_sheets
from twin.handed import Handed
from twin.migration_cost import MigrationCost
from twin.model import Bounds, Model, model
from twin.move_modes import move_costs
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.slot_kernels import MOVE_COST
from twin.state import FloatArray, IntArray
from twin.step_kernels import NONE, begin, run


class Branches:
    """`batch` branches of at most `horizon` slots. Actions and observations are those of `twin.fast.BatchSim`.

    Features and feasibility believe the scenario; delay and energy come from `physics`, which may be exchanged between
    `begin` and the next `begin` (None: the scenario's own). `features=False` leaves the observation untouched.
    """

    def __init__(
        self,
        scenario: Scenario,
        batch: int,
        horizon: int,
        *,
        physics: Model | None = None,
        migration: MigrationCost | None = None,
        limits: Limits | None = None,
        illegal_penalty: float = 0.1,
        features: bool = True,
    ) -> None:
        if batch < 1 or horizon < 1:
            raise ValueError(f"batch and horizon must be at least 1, not {batch} and {horizon}")
        self.scenario, self.size, self.horizon = scenario, batch, horizon
        self.belief = model(scenario, configured_routes(scenario))
        self.physics = physics or self.belief
        settings = _settings(scenario, migration, limits or Limits(), illegal_penalty, horizon, features)
        arrays = new_batch(self.belief, batch, 0, truth=self.physics, given_slots=horizon)
        life = new_life(scenario, settings, arrays, belief=self.belief, truth=self.physics, world=scenario)
        self._handed, self._sheets = Handed(life), empty_sheets(batch, len(scenario.vnfs), len(scenario.servers))

    def begin(self, starts: Starts, traffic_mbps: FloatArray) -> BatchObservation:
        """Starts all branches anew, with `traffic_mbps` [B, horizon, C] in their slots. ValueError for other shapes."""
        life = self._handed.value
        rows, seen, given = life.batch.instances, life.batch.seen, life.batch.given_mbps
        if len(starts) != self.size or traffic_mbps.shape != given.shape:
            raise ValueError(f"{len(starts)} starts, traffic {traffic_mbps.shape}: want {self.size} and {given.shape}")
        given[:] = traffic_mbps
        rows["slot"], rows["left"] = 0, self.horizon
        seen.hosts[:], seen.ends[:], seen.offered_mbps[:] = starts.hosts, starts.ends, starts.offered_mbps
        life.batch.first_hosts[:], life.batch.idle_s[:] = starts.first_hosts, starts.idle_s
        life.batch.moved_s[:] = -starts.since_move_s
        if life.belief is not self.belief or life.truth is not self.physics:
            self._handed = Handed(life._replace(belief=self.belief, truth=self.physics))
        begin(self._handed, self._sheets)
        return self._observation()

    def step(self, actions: IntArray) -> tuple[BatchObservation, Float32Array, BatchInfo]:
        """One slot: (observation after it, reward [B], what happened). ValueError past the horizon, or for an
        action that names nothing."""
        if (self._handed.value.batch.instances["left"] <= 0).any():
            raise ValueError(f"branches end after {self.horizon} slots")
        if run(self._handed, np.ascontiguousarray(actions, dtype=np.int64), 0, self._sheets) == NONE:
            raise ValueError("an action names no VNF and server")
        results = self._handed.value.results.copy()
        return self._observation(), results["reward"].astype(np.float32), happened(results)

    def _observation(self) -> BatchObservation:
        return observation(self._sheets, self._handed.value.mask)


def _settings(
    scenario: Scenario,
    migration: MigrationCost | None,
    limits: Limits,
    illegal_penalty: float,
    horizon: int,
    features: bool,
) -> Settings:
    return Settings(
        costs=np.array([astuple(cost) for cost in move_costs(scenario, migration)], dtype=MOVE_COST),
        bounds=Bounds(limits.cpu, limits.link),
        cooldown_s=limits.cooldown_s,
        illegal_penalty=illegal_penalty,
        randomise=False,
        slots=horizon,
        start_slots=0,
        forecast_slots=0,
        forecast_error=0.0,
        smoothing=1.0,
        features=features,
        known=False,
    )


def random_placements(
    scenario: Scenario, batch: int, rng: np.random.Generator, *, offered_mbps: FloatArray, cpu_limit: float = 0.66
) -> IntArray:
    """`batch` random placements [B, V] that traffic [B, C] does not overload; a VNF that fits nowhere goes anywhere."""
    m = model(scenario, configured_routes(scenario))
    rows, servers = np.arange(batch), len(m.servers)
    cores, memory = np.zeros((batch, servers)), np.zeros((batch, servers))
    hosts = np.zeros((batch, len(m.vnfs)), dtype=np.int64)
    for v, vnf in enumerate(m.vnfs):
        need = vnf["cpu_base"] + vnf["cpu_per_mbps"] * offered_mbps[:, vnf["chain"]]
        fits = cores + need[:, None] <= cpu_limit * m.servers["cores"]
        fits &= memory + vnf["memory_mb"] <= m.servers["memory_mb"]
        hosts[:, v] = (rng.random((batch, servers)) + fits).argmax(axis=1)
        cores[rows, hosts[:, v]] += need
        memory[rows, hosts[:, v]] += vnf["memory_mb"]
    return hosts
