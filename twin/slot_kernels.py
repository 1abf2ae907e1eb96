"""Compiled physics of one control period: delay and energy of a placement, of a move, of sleeping and waking."""

from __future__ import annotations

from typing import NamedTuple

from twin.compiled import compiled
from twin.kernels import active_w
from twin.model import Model
from twin.state import FloatArray, IntArray


class MoveCost(NamedTuple):
    """`twin.costs.MigrationCost` as numbers."""

    duration_s: float
    silence_ms: float
    extra_power_w: float
    transfer_mbps: float
    transfer_j_per_mb: float


@compiled
def move_s(m: Model, cost: MoveCost, v: int, wake_s: float) -> float:
    """How long moving VNF v lasts, at most a control period: until then its packets take the old way."""
    lasts_s = wake_s + cost.duration_s + 8.0 * m.t.state_mb[v] / cost.transfer_mbps
    return float(min(lasts_s, m.t.period_s))


@compiled
def move_j(m: Model, cost: MoveCost, v: int, lasts_s: float) -> float:
    """Extra energy of a move."""
    return float(2.0 * cost.extra_power_w * lasts_s + cost.transfer_j_per_mb * m.t.state_mb[v])


@compiled
def is_awake(m: Model, hosted: int, idle_s: float, s: int) -> bool:
    """A server sleeps once it has hosted nothing for its hold time."""
    return bool(hosted > 0 or idle_s < m.t.sleep_after_s[s])


@compiled
def slot_j(
    m: Model,
    old_hosted: IntArray,
    old_cores: FloatArray,
    new_hosted: IntArray,
    new_cores: FloatArray,
    switched_s: float,
    idle_s: FloatArray,
) -> float:
    """Energy of all servers in a slot whose placement changes `switched_s` after its start; carries `idle_s` [S] on."""
    period_s, total_j = m.t.period_s, 0.0
    rest_s = period_s - switched_s
    for s in range(len(idle_s)):
        if new_hosted[s] > 0:
            if not is_awake(m, old_hosted[s], idle_s[s], s):
                total_j += m.t.wake_j[s]
            total_j += switched_s * active_w(m, s, old_cores[s]) + rest_s * active_w(m, s, new_cores[s])
            idle_s[s] = 0.0
        elif old_hosted[s] > 0:
            total_j += switched_s * active_w(m, s, old_cores[s]) + _idle_j(m, s, 0.0, rest_s)
            idle_s[s] = rest_s
        else:
            total_j += _idle_j(m, s, idle_s[s], period_s)
            idle_s[s] += period_s
    return total_j


@compiled
def _idle_j(m: Model, s: int, idle_s: float, lasts_s: float) -> float:
    """Energy of a server without VNFs over `lasts_s`: awake for the rest of its hold time, then asleep."""
    awake_s = min(max(m.t.sleep_after_s[s] - idle_s, 0.0), lasts_s)
    return float(awake_s * m.t.idle_w[s] + (lasts_s - awake_s) * m.t.sleep_w[s])
