"""Compiled feasibility: the refusal of every move from a trial of all moves and from what was read."""

from __future__ import annotations

from twin.compiled import compiled, inner
from twin.kernels import copy, measure
from twin.model import Model, Records, Seen, Work
from twin.move_kernels import LINK_OVER, NO_ROUTE
from twin.state import IntArray

# Rows of `tuple(twin.feasibility.Refusal)`; a test holds them together.
FEASIBLE = -1
SAME_SERVER, IN_FLIGHT, COOLDOWN, STALE_STATE, SERVER_DOWN = 2, 3, 4, 5, 6
MEMORY_FULL, CPU_FULL, UNREACHABLE, LINK_FULL, DELAY_EXCEEDED = 7, 8, 9, 10, 11


@inner
def cpu_after(m: Model, w: Work, seen: Seen, v: int, s: int) -> float:
    """Utilisation of s with v on it, by what was read or what is modelled, whichever is more."""
    modelled = m.vnfs[v].cpu_base + m.vnfs[v].cpu_per_mbps * seen.offered_mbps[m.vnfs[v].chain]
    used = max(seen.servers[s].cores, w.passed[m.cpu + s].load)
    return float((used + max(seen.vnfs[v].cores, modelled)) / m.servers[s].cores)


@inner
def memory_after(m: Model, w: Work, seen: Seen, v: int, s: int) -> float:
    """As `cpu_after`, for memory."""
    used = max(seen.servers[s].memory_mb, w.servers[s].memory_mb)
    return float((used + max(seen.vnfs[v].memory_mb, m.vnfs[v].memory_mb)) / m.servers[s].memory_mb)


@compiled
def refuse_all(m: Model, seen: Seen, cpu_limit: float, changes: Records, w: Work, spare: Work, codes: IntArray) -> None:
    """Fills `codes` [V, S]; `w` and `changes` must hold this placement and the trial of its moves."""
    for v in range(len(seen.hosts)):
        slack_ms = _least_slack(m, w, m.vnfs[v].chain)
        for s in range(len(w.servers)):
            codes[v, s] = refuse_one(m, seen, cpu_limit, changes, w, spare, v, s, slack_ms)


@inner
def refuse_one(
    m: Model,
    seen: Seen,
    cpu_limit: float,
    changes: Records,
    w: Work,
    spare: Work,
    v: int,
    s: int,
    slack_ms: float,
) -> int:
    """The code of one move; `slack_ms` is the least room of the other chains."""
    c, change = m.vnfs[v].chain, changes[v, s]
    if seen.hosts[v] == s:
        return SAME_SERVER
    if seen.vnfs[v].blocked != FEASIBLE:
        return int(seen.vnfs[v].blocked)
    if seen.chains[c].stale or seen.servers[s].stale:
        return STALE_STATE
    if not seen.servers[s].up:
        return SERVER_DOWN
    if memory_after(m, w, seen, v, s) > 1.0:
        return MEMORY_FULL
    if cpu_after(m, w, seen, v, s) > cpu_limit:
        return CPU_FULL
    if change.blocked == NO_ROUTE:
        return UNREACHABLE
    if change.blocked == LINK_OVER:
        return LINK_FULL
    if w.chains[c].delay_ms <= m.chains[c].max_delay_ms < change.chain_ms:
        return DELAY_EXCEEDED
    if change.others_ms > slack_ms and _others_late(m, seen, w, spare, v, s):
        return DELAY_EXCEEDED
    return FEASIBLE


@inner
def _least_slack(m: Model, w: Work, chain: int) -> float:
    """The least room below its tolerable delay of any other chain that is below it."""
    least = 1e300
    for c in range(len(w.chains)):
        room = m.chains[c].max_delay_ms - w.chains[c].delay_ms
        if c != chain and 0.0 <= room < least:
            least = room
    return least


@inner
def slack_of(m: Model, w: Work, v: int) -> float:
    """The least room of the chains that VNF v is not in."""
    return _least_slack(m, w, m.vnfs[v].chain)


@inner
def _others_late(m: Model, seen: Seen, w: Work, spare: Work, v: int, s: int) -> bool:
    """Measures the placement after the move: does a chain become late that is not late now?"""
    copy(seen.hosts, spare.hosts)
    spare.hosts[v] = s
    measure(m, spare.hosts, seen.offered_mbps, seen.ends, seen.background, spare)
    for c in range(len(w.chains)):
        if w.chains[c].delay_ms <= m.chains[c].max_delay_ms < spare.chains[c].delay_ms:
            return True
    return False
