"""Search among placements on the model: plans of one or two moves, and local search, for planners and polish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twin.feasibility import Limits
from twin.feature_kernels import model_seen
from twin.kernels import measure, settled_power_w
from twin.migration_cost import MigrationCost
from twin.model import Bounds, Model, Seen, changes, model, work
from twin.move_modes import move_costs
from twin.routing import Routes
from twin.scenario import Scenario
from twin.search_kernels import PLANNED, Level, Room, Worth, descend, plan_two
from twin.state import BoolArray, FloatArray, IntArray, NetworkState
from twin.tables import initial_hosts, tables
from twin.trial import see


class PlannedMove(NamedTuple):
    """A move by rows, and what it is worth in λ·slots where it stands in its plan."""

    vnf: int
    server: int
    worth: float


@dataclass(frozen=True, eq=False)
class Search:
    """One state, ready to be searched.

    λ counts as in the objective, relative to the scenario's own placement under the same traffic. Planned placements
    are judged by the model alone; what was read of the present one enters through the mask.
    """

    model: Model
    seen: Seen
    bounds: Bounds
    per_ms: float
    per_w: float
    move_price: FloatArray  # [V] λ·slots
    wake_price: FloatArray  # [S] λ·slots

    def plan(self, mask: BoolArray, *, payback_slots: float, deep: bool = True) -> list[PlannedMove]:
        """The move or, if `deep`, two moves worth most over `payback_slots`; empty where nothing pays.

        The first is one that `mask` [V, S] allows.
        """
        room = self._room(self.seen.hosts)
        room.here.allowed[:] = mask
        worth = Worth(self.per_ms, self.per_w, payback_slots, self.move_price, self.wake_price)
        plan_two(self.model, self.seen, worth, self.bounds, deep, room)
        return [PlannedMove(int(p["vnf"]), int(p["server"]), float(p["worth"])) for p in room.plan[:2] if p["vnf"] >= 0]

    def settle(self, hosts: IntArray, *, deep: bool = True) -> IntArray:
        """The placement [V] that local search reaches from `hosts` when moves cost nothing; never worse."""
        room = self._room(hosts)
        worth = Worth(self.per_ms, self.per_w, 1.0, np.zeros_like(self.move_price), np.zeros_like(self.wake_price))
        descend(self.model, self.seen, worth, self.bounds, deep, 20 * len(hosts), room)
        return room.here.hosts

    def cost(self, hosts: IntArray, offered_mbps: FloatArray | None = None) -> float:
        """τ1·D/D0 + τ2·E/E0 of a settled placement: λ is 1 (or τ1 + τ2) less this."""
        seen, w = self.seen, work(self.model)
        offered = seen.offered_mbps if offered_mbps is None else offered_mbps
        mean_ms = measure(self.model, hosts, offered, seen.ends, seen.background, w)
        return self.per_ms * mean_ms + self.per_w * settled_power_w(self.model, w)

    def fits(self, hosts: IntArray) -> bool:
        """Are CPU, memory and every link within their limits?"""
        m, seen, w = self.model, self.seen, work(self.model)
        measure(m, hosts, seen.offered_mbps, seen.ends, seen.background, w)
        loads, capacity = w.passed["load"], m.resources["capacity"]
        cpu = loads[m.cpu : m.up] <= self.bounds.cpu * capacity[m.cpu : m.up]
        links = loads[: m.access] <= self.bounds.link * capacity[: m.access]
        memory = w.servers["memory_mb"] <= m.servers["memory_mb"]
        return bool(cpu.all() and links.all() and memory.all())

    def _room(self, hosts: IntArray) -> Room:
        m = self.model
        here, there = (
            Level(hosts.copy(), work(m), changes(m), np.zeros((len(m.vnfs), len(m.servers)), dtype=np.bool_))
            for _ in range(2)
        )
        return Room(here, there, np.zeros(3, dtype=PLANNED))


def search(
    scenario: Scenario,
    routes: Routes,
    state: NetworkState,
    *,
    offered_mbps: FloatArray | None = None,
    limits: Limits | None = None,
    migration: MigrationCost | None = None,
) -> Search:
    """The search of one state, under the traffic that was read or under `offered_mbps` [C], such as a forecast."""
    m = model(scenario, routes)
    read = see(scenario, m, state)
    model_seen(m, read, work(m))
    offered = read.offered_mbps if offered_mbps is None else np.asarray(offered_mbps, dtype=np.float64)
    return search_seen(scenario, m, read._replace(offered_mbps=offered), limits=limits, migration=migration)


def search_seen(
    scenario: Scenario, m: Model, read: Seen, *, limits: Limits | None = None, migration: MigrationCost | None = None
) -> Search:
    """The same of what was read as arrays, such as an instance of `twin.fast.BatchSim`; `read.background` must hold
    the load that is not ours."""
    servers, w = read.servers.copy(), work(m)
    servers["cores"] = servers["memory_mb"] = 0.0  # of the present placement; planned ones are modelled
    seen, offered = read._replace(servers=servers), read.offered_mbps
    ms0 = measure(m, initial_hosts(scenario), offered, seen.ends, m.quiet, w)
    w0 = settled_power_w(m, w)
    per_j = m.tau_energy / (w0 * m.period_s)
    move_price, wake_price = _prices(scenario, per_j, migration)
    most = limits or Limits()
    bounds = Bounds(most.cpu, most.link)
    return Search(m, seen, bounds, m.tau_delay / ms0, m.tau_energy / w0, move_price, wake_price)


def _prices(scenario: Scenario, per_j: float, migration: MigrationCost | None) -> tuple[FloatArray, FloatArray]:
    """What each VNF's move and each server's waking cost in energy, as λ·slots."""
    t = tables(scenario)
    costs = zip(move_costs(scenario, migration), t.state_mb, strict=True)
    move_j = np.array([cost.energy_j(cost.move_s(mb, 0.0), mb) for cost, mb in costs])
    return per_j * move_j, per_j * t.wake_j
