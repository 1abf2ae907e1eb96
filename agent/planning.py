"""Planners over a batch of simulated networks, by what the observation's own cost model says."""

from __future__ import annotations

import numpy as np

from twin.fast import BatchObservation
from twin.features import PAIR_FEATURES
from twin.migration_cost import MigrationCost
from twin.move_modes import move_costs
from twin.scenario import Scenario
from twin.state import IntArray
from twin.tables import tables

GAIN, WAKES = (PAIR_FEATURES.index(name) for name in ("gain", "wakes"))
PAYBACK_SLOTS = 10.0


def greedy_actions(scenario: Scenario, seen: BatchObservation, *, migration: MigrationCost | None = None) -> IntArray:
    """`agent.baselines.GreedyPolicy` for a batch: the action [B] of the best single move, or stay."""
    t, glob_power = tables(scenario), 11
    gain, wakes = (seen["pair"][..., i].astype(np.float64) for i in (GAIN, WAKES))
    slot_j = np.maximum(seen["glob"][:, glob_power].astype(np.float64) * float(t.peak_w.sum()), 1.0) * t.period_s
    moves = zip(move_costs(scenario, migration), t.state_mb, strict=True)
    spent_j = np.array([[cost.energy_j(cost.move_s(mb, s), mb) for s in t.wake_s] for cost, mb in moves])
    cost = t.tau_energy * (spent_j + wakes * t.wake_j) / slot_j[:, None, None]
    net = np.where(seen["mask"], PAYBACK_SLOTS * gain - cost, -np.inf).reshape(len(slot_j), -1)
    best = net.argmax(axis=1)
    result: IntArray = np.where(net.max(axis=1) > 0.0, best + 1, 0)
    return result
