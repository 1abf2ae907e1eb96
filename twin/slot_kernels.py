"""Compiled physics of one control period: delay and energy of a placement, of a move, of sleeping and waking."""

from __future__ import annotations

from typing import NamedTuple

from twin.compiled import inner
from twin.kernels import active_w
from twin.model import Model, Records, Work, record
from twin.state import FloatArray, IntArray

# `twin.migration_cost.MigrationCost` of each VNF.
MOVE_COST = record("", "duration_s silence_ms extra_power_w transfer_mbps transfer_j_per_mb")


class Powered(NamedTuple):
    """The servers under a placement: how many VNFs each hosts, and what it draws while awake."""

    vnfs: IntArray  # [S]
    awake_w: FloatArray  # [S]


@inner
def power(m: Model, w: Work, out: Powered) -> None:
    """That of the placement that `w` has measured."""
    for s in range(len(m.servers)):
        out.vnfs[s] = w.servers[s].vnfs
        out.awake_w[s] = active_w(m, s, w.passed[m.cpu + s].load)


@inner
def move_s(m: Model, costs: Records, v: int, wake_s: float) -> float:
    """How long moving VNF v lasts, at most a control period: until then its packets take the old way."""
    lasts_s = wake_s + costs[v].duration_s + 8.0 * m.vnfs[v].state_mb / costs[v].transfer_mbps
    return float(min(lasts_s, m.period_s))


@inner
def move_j(m: Model, costs: Records, v: int, lasts_s: float) -> float:
    """Extra energy of a move."""
    return float(2.0 * costs[v].extra_power_w * lasts_s + costs[v].transfer_j_per_mb * m.vnfs[v].state_mb)


@inner
def is_awake(m: Model, hosted: int, idle_s: float, s: int) -> bool:
    """A server sleeps once it has hosted nothing for its hold time."""
    return bool(hosted > 0 or idle_s < m.servers[s].sleep_after_s)


@inner
def slot_j(m: Model, old: Powered, new: Powered, switched_s: float, idle_s: FloatArray) -> float:
    """Energy of all servers in a slot, whose placement changes `switched_s` after its start; carries `idle_s` [S] on.

    The cases are those of `twin.simulator.TwinWorld`.
    """
    total_j, rest_s = 0.0, m.period_s - switched_s
    for s in range(len(idle_s)):
        if new.vnfs[s] > 0:
            if not is_awake(m, old.vnfs[s], idle_s[s], s):
                total_j += m.servers[s].wake_j
            total_j += switched_s * old.awake_w[s] + rest_s * new.awake_w[s]
            idle_s[s] = 0.0
        elif old.vnfs[s] > 0:
            total_j += switched_s * old.awake_w[s] + _idle_j(m, s, 0.0, rest_s)
            idle_s[s] = rest_s
        else:
            total_j += _idle_j(m, s, idle_s[s], m.period_s)
            idle_s[s] += m.period_s
    return total_j


@inner
def _idle_j(m: Model, s: int, idle_s: float, lasts_s: float) -> float:
    """Energy of a server without VNFs over `lasts_s`: awake for the rest of its hold time, then asleep."""
    awake_s = min(max(m.servers[s].sleep_after_s - idle_s, 0.0), lasts_s)
    return float(awake_s * m.servers[s].idle_w + (lasts_s - awake_s) * m.servers[s].sleep_w)
