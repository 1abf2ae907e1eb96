"""Compiled feasibility: the refusal of every move from a trial of all moves and from what was read."""

from __future__ import annotations

from typing import NamedTuple

from twin.compiled import compiled
from twin.kernels import measure
from twin.model import Model, Work
from twin.move_kernels import BLOCKED, CHAIN_MS, LINK_OVER, NO_ROUTE, OTHERS_MS
from twin.state import BoolArray, FloatArray, IntArray

# Rows of `tuple(twin.feasibility.Refusal)`; a test holds them together.
FEASIBLE = -1
SAME_SERVER, IN_FLIGHT, COOLDOWN, STALE_STATE, SERVER_DOWN = 2, 3, 4, 5, 6
MEMORY_FULL, CPU_FULL, UNREACHABLE, LINK_FULL, DELAY_EXCEEDED = 7, 8, 9, 10, 11


class Readings(NamedTuple):
    """What feasibility needs of a state besides placement and traffic."""

    server_cores: FloatArray  # [S] in use
    server_memory_mb: FloatArray  # [S] in use
    vnf_cores: FloatArray  # [V] in use
    vnf_memory_mb: FloatArray  # [V] in use
    server_up: BoolArray  # [S]
    server_stale: BoolArray  # [S]
    chain_stale: BoolArray  # [C]
    vnf_blocked: IntArray  # [V] IN_FLIGHT, COOLDOWN or FEASIBLE


@compiled
def cpu_after(m: Model, w: Work, read: Readings, offered_mbps: FloatArray, v: int, s: int) -> float:
    """Utilisation of s with v on it, by what was read or what is modelled, whichever is more."""
    modelled = m.t.cpu_base[v] + m.t.cpu_per_mbps[v] * offered_mbps[m.t.vnf_chain[v]]
    used = max(read.server_cores[s], w.load[m.first_cpu + s])
    return float((used + max(read.vnf_cores[v], modelled)) / m.t.cpu_cores[s])


@compiled
def memory_after(m: Model, w: Work, read: Readings, v: int, s: int) -> float:
    """As `cpu_after`, for memory."""
    used = max(read.server_memory_mb[s], w.memory_mb[s])
    return float((used + max(read.vnf_memory_mb[v], m.t.vnf_memory_mb[v])) / m.t.memory_mb[s])


@compiled
def refuse_all(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    background: FloatArray,
    read: Readings,
    cpu_limit: float,
    changes: FloatArray,
    w: Work,
    spare: Work,
    codes: IntArray,
) -> None:
    """Fills `codes` [V, S]; `w` and `changes` must hold this placement and the trial of its moves."""
    for v in range(len(hosts)):
        slack_ms = _least_slack(m, w, m.t.vnf_chain[v])
        for s in range(len(w.hosted)):
            code = refuse_cheap(m, hosts, offered_mbps, read, cpu_limit, changes, w, v, s)
            if code == FEASIBLE and changes[v, s, OTHERS_MS] > slack_ms:
                code = refuse_others(m, hosts, offered_mbps, ends, background, w, spare, v, s)
            codes[v, s] = code


@compiled
def refuse_one(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    background: FloatArray,
    read: Readings,
    cpu_limit: float,
    changes: FloatArray,
    w: Work,
    spare: Work,
    v: int,
    s: int,
) -> int:
    """The code of one move."""
    code = refuse_cheap(m, hosts, offered_mbps, read, cpu_limit, changes, w, v, s)
    if code == FEASIBLE and changes[v, s, OTHERS_MS] > _least_slack(m, w, m.t.vnf_chain[v]):
        return refuse_others(m, hosts, offered_mbps, ends, background, w, spare, v, s)
    return code


@compiled
def refuse_cheap(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    read: Readings,
    cpu_limit: float,
    changes: FloatArray,
    w: Work,
    v: int,
    s: int,
) -> int:
    """Everything but the delay of other chains."""
    c = m.t.vnf_chain[v]
    if hosts[v] == s:
        return SAME_SERVER
    if read.vnf_blocked[v] != FEASIBLE:
        return int(read.vnf_blocked[v])
    if read.chain_stale[c] or read.server_stale[s]:
        return STALE_STATE
    if not read.server_up[s]:
        return SERVER_DOWN
    if memory_after(m, w, read, v, s) > 1.0:
        return MEMORY_FULL
    if cpu_after(m, w, read, offered_mbps, v, s) > cpu_limit:
        return CPU_FULL
    if changes[v, s, BLOCKED] == NO_ROUTE:
        return UNREACHABLE
    if changes[v, s, BLOCKED] == LINK_OVER:
        return LINK_FULL
    if w.chain_ms[c] <= m.t.max_delay_ms[c] < changes[v, s, CHAIN_MS]:
        return DELAY_EXCEEDED
    return FEASIBLE


@compiled
def _least_slack(m: Model, w: Work, chain: int) -> float:
    """The least room below its tolerable delay of any other chain that is below it."""
    least = 1e300
    for c in range(len(w.chain_ms)):
        room = m.t.max_delay_ms[c] - w.chain_ms[c]
        if c != chain and 0.0 <= room < least:
            least = room
    return least


@compiled
def refuse_others(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    background: FloatArray,
    w: Work,
    spare: Work,
    v: int,
    s: int,
) -> int:
    """Measures the placement after the move: does another chain become late that is not late now?"""
    spare.hosts[:] = hosts
    spare.hosts[v] = s
    measure(m, spare.hosts, offered_mbps, ends, background, spare)
    for c in range(len(w.chain_ms)):
        if w.chain_ms[c] <= m.t.max_delay_ms[c] < spare.chain_ms[c]:
            return DELAY_EXCEEDED
    return FEASIBLE
