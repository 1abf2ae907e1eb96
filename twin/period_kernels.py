"""Compiled control periods on their own: what a slot costs that starts from a placement, for planning ahead.

The physics are those of `twin.simulator.TwinWorld`; a test holds them to the batched simulator's.
"""

from __future__ import annotations

from typing import NamedTuple

from twin.compiled import compiled, inner
from twin.kernels import copy, measure, settled_power_w
from twin.model import Bounds, Model, Records, Seen, Work
from twin.move_kernels import trial_moves
from twin.refusal_kernels import FEASIBLE, refuse_all, refuse_one
from twin.search_kernels import Level, Worth, best_above, look, seen_from
from twin.slot_kernels import Powered, is_awake, move_j, move_s, power, slot_j
from twin.state import BoolArray, FloatArray, IntArray

STAY, FREE = -1, -2  # in place of a VNF: nothing moves; the best single move


class Slots(NamedTuple):
    """What slots need besides the model, and room to live them in."""

    costs: Records  # [V] MOVE_COST
    first_hosts: IntArray  # [V] the never-move reference
    idle_s: FloatArray  # [S] since when servers host nothing, at the start of the first slot
    now_idle_s: FloatArray  # [S] scratch
    old: Powered  # scratch
    new: Powered  # scratch
    codes: IntArray  # [V, S] scratch


@inner
def live(
    m: Model,
    g: Slots,
    hosts: IntArray,
    offered: FloatArray,
    ends: IntArray,
    idle_s: FloatArray,
    v: int,
    s: int,
    w: Work,
) -> float:
    """λ of one slot in which VNF v moves to server s (v < 0: none); carries `hosts` and `idle_s` on."""
    delay0_ms = measure(m, g.first_hosts, offered, ends, m.quiet, w)
    energy0_j = settled_power_w(m, w) * m.period_s
    old_ms = measure(m, hosts, offered, ends, m.quiet, w)
    new_ms, switched_s, extra_ms, extra_j = old_ms, 0.0, 0.0, 0.0
    if v >= 0:
        wake_s = 0.0 if is_awake(m, w.servers[s].vnfs, idle_s[s], s) else m.servers[s].wake_s
        switched_s = move_s(m, g.costs, v, wake_s)
        extra_j = move_j(m, g.costs, v, switched_s)
        extra_ms = w.chains[m.vnfs[v].chain].weight * g.costs[v].silence_ms ** 2 / (2000.0 * m.period_s)
    power(m, w, g.old)
    if v >= 0:
        hosts[v] = s
        new_ms = measure(m, hosts, offered, ends, m.quiet, w)
    delay_ms = (switched_s * old_ms + (m.period_s - switched_s) * new_ms) / m.period_s + extra_ms
    power(m, w, g.new)
    energy_j = extra_j + slot_j(m, g.old, g.new, switched_s, idle_s)
    return m.tau_delay * (delay0_ms - delay_ms) / delay0_ms + m.tau_energy * (energy0_j - energy_j) / energy0_j


@inner
def settled(m: Model, g: Slots, hosts: IntArray, offered: FloatArray, ends: IntArray, w: Work) -> float:
    """λ per slot of a placement that stays, once every server without a VNF sleeps."""
    delay0_ms = measure(m, g.first_hosts, offered, ends, m.quiet, w)
    power0_w = settled_power_w(m, w)
    delay_ms = measure(m, hosts, offered, ends, m.quiet, w)
    power_w = settled_power_w(m, w)
    return m.tau_delay * (delay0_ms - delay_ms) / delay0_ms + m.tau_energy * (power0_w - power_w) / power0_w


@compiled
def imagine(
    m: Model,
    seen: Seen,
    worth: Worth,
    bounds: Bounds,
    g: Slots,
    traffic_mbps: FloatArray,
    ways: IntArray,
    tail_slots: float,
    at: Level,
    plan: Records,
    taken: IntArray,
    values: FloatArray,
) -> None:
    """What each of `ways` [K, H, 2] leads to under each of `traffic_mbps` [N, H, C].

    A step of a way is (VNF, server), STAY for the VNF, or FREE: the best single move by what the slot before showed.
    What is not feasible when its slot comes is left to FREE. `values` [K, N] are the λ of H slots and `tail_slots`
    times the λ at which the last placement settles; `taken` [K, H, 2] are the steps under the last traffic.
    """
    horizon, best = traffic_mbps.shape[1], plan[0]
    for k in range(len(ways)):
        for n in range(len(traffic_mbps)):
            copy(seen.hosts, at.hosts)
            copy(g.idle_s, g.now_idle_s)
            total = 0.0
            for t in range(horizon):
                v, s = ways[k, t, 0], ways[k, t, 1]
                if t > 0 and v != STAY:
                    shown = _shown(m, seen, g, traffic_mbps[n, t - 1], at.hosts)
                    look(m, shown, at)
                    if v == FREE or not _may(m, shown, bounds, at, v, s):
                        best.worth = 0.0
                        best_above(m, shown, worth, bounds, at, best)
                        v, s = best.vnf, best.server
                taken[k, t, 0], taken[k, t, 1] = v, s
                total += live(m, g, at.hosts, traffic_mbps[n, t], seen.ends, g.now_idle_s, v, s, at.w)
            total += tail_slots * settled(m, g, at.hosts, traffic_mbps[n, horizon - 1], seen.ends, at.w)
            values[k, n] = total


@inner
def _may(m: Model, shown: Seen, bounds: Bounds, at: Level, v: int, s: int) -> bool:
    return refuse_one(m, shown, bounds, at.changes, at.w, v, s) == FEASIBLE


@inner
def _shown(m: Model, seen: Seen, g: Slots, offered: FloatArray, hosts: IntArray) -> Seen:
    """The state after a slot with this traffic, as planning sees it."""
    for s in range(len(g.now_idle_s)):
        seen.servers[s].awake = g.now_idle_s[s] < m.servers[s].sleep_after_s
    return Seen(
        hosts, seen.ends, offered, offered, seen.link_mbps, seen.background, seen.servers, seen.vnfs, seen.chains
    )


@compiled
def slot_rewards(
    m: Model,
    g: Slots,
    seen: Seen,
    placements: IntArray,
    offered: FloatArray,
    at: Level,
    rewards: FloatArray,
) -> None:
    """λ of one slot from every placement [P, V] with every action [P, 1 + V·S] under traffic `offered` [C].

    Servers without a VNF are asleep at the slot's start. `seen.ends` says where endpoints are.
    """
    servers = len(m.servers)
    for p in range(len(placements)):
        for action in range(rewards.shape[1]):
            v, s = -1, 0
            if action > 0:
                v, s = (action - 1) // servers, (action - 1) % servers
            for i in range(servers):
                g.now_idle_s[i] = 1e300
            copy(placements[p], at.hosts)
            rewards[p, action] = live(m, g, at.hosts, offered, seen.ends, g.now_idle_s, v, s, at.w)


@compiled
def feasible_actions(
    m: Model, g: Slots, seen: Seen, bounds: Bounds, placements: IntArray, at: Level, legal: BoolArray
) -> None:
    """Which actions [P, 1 + V·S] each placement [P, V] may take under the traffic of `seen`; stay always."""
    servers = len(m.servers)
    for p in range(len(placements)):
        copy(placements[p], at.hosts)
        measure(m, at.hosts, seen.offered_mbps, seen.ends, seen.background, at.w)
        trial_moves(m, at.hosts, seen.offered_mbps, seen.ends, at.w, at.changes)
        refuse_all(m, seen_from(seen, at.hosts), bounds, at.changes, at.w, g.codes)
        legal[p, 0] = True
        for v in range(len(at.hosts)):
            for s in range(servers):
                legal[p, 1 + v * servers + s] = g.codes[v, s] == FEASIBLE
