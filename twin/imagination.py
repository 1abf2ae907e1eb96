"""What moves lead to in the next slots, on the model: roll-outs from one state under traffic that may come."""

from __future__ import annotations

from dataclasses import astuple
from typing import NamedTuple

import numpy as np

from twin.migration_cost import MigrationCost
from twin.model import changes, work
from twin.move_modes import move_costs
from twin.period_kernels import Slots, imagine
from twin.scenario import Scenario
from twin.search import Search
from twin.search_kernels import PLANNED, Level, Worth
from twin.slot_kernels import MOVE_COST, Powered
from twin.state import FloatArray, IntArray, NetworkState
from twin.tables import initial_hosts


class Tail(NamedTuple):
    """How roll-outs go on: moves must repay within `payback_slots`; the end counts as `slots` more at its settled λ."""

    payback_slots: float = 10.0
    slots: float = 10.0


class RollOuts(NamedTuple):
    """`values` [K, N]: λ summed over H slots and the tail; `taken` [K, H, 2]: the steps that each way came to."""

    values: FloatArray
    taken: IntArray


def roll_out(
    scenario: Scenario,
    state: NetworkState,
    found: Search,
    traffic_mbps: FloatArray,
    ways: IntArray,
    *,
    tail: Tail,
    migration: MigrationCost | None = None,
) -> RollOuts:
    """What each way [K, H, 2] leads to under each traffic of [N, H, C].

    A step is (VNF row, server row), (STAY, 0), or (FREE, 0): the best single move, if one repays. The first step must
    be feasible; a later one that is not when its slot comes is FREE. `taken` is under the last traffic.
    """
    m = found.model
    worth = Worth(found.per_ms, found.per_w, tail.payback_slots, found.move_price, found.wake_price)
    at = Level(np.empty_like(found.seen.hosts), work(m), changes(m), np.zeros((0, 0), dtype=np.bool_))
    seen = found.seen._replace(servers=found.seen.servers.copy(), background=m.quiet)
    out = RollOuts(np.zeros((len(ways), len(traffic_mbps))), np.zeros_like(ways))
    imagine(
        m, seen, worth, found.bounds, slots_of(scenario, idle_since(state), migration),
        np.ascontiguousarray(traffic_mbps, dtype=np.float64), np.ascontiguousarray(ways), tail.slots,
        at, np.zeros(1, dtype=PLANNED), out.taken, out.values,
    )  # fmt: skip
    return out


def slots_of(scenario: Scenario, idle_s: FloatArray, migration: MigrationCost | None = None) -> Slots:
    """What slots of a scenario need, with fresh room; servers have hosted nothing since `idle_s` [S]."""
    servers, vnfs = len(scenario.servers), len(scenario.vnfs)
    return Slots(
        costs=np.array([astuple(cost) for cost in move_costs(scenario, migration)], dtype=MOVE_COST),
        first_hosts=initial_hosts(scenario),
        idle_s=idle_s,
        now_idle_s=np.zeros(servers),
        old=Powered(np.zeros(servers, dtype=np.int64), np.zeros(servers)),
        new=Powered(np.zeros(servers, dtype=np.int64), np.zeros(servers)),
        codes=np.zeros((vnfs, servers), dtype=np.int64),
    )


def idle_since(state: NetworkState) -> FloatArray:
    """Seconds [S] since servers host nothing: one that is awake has just become idle, one that sleeps long ago."""
    result: FloatArray = np.where(state.hosting | state.awake, 0.0, np.inf)
    return result
