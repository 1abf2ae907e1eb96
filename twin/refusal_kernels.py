"""Compiled feasibility: the refusal of every move from a trial of all moves and from what was read."""

from __future__ import annotations

import math

from twin.compiled import compiled, inner
from twin.model import Bounds, Model, Records, Seen, Work
from twin.move_kernels import rise_ms
from twin.passer_kernels import late_by, slow, stop
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
def refuse_all(m: Model, seen: Seen, bounds: Bounds, changes: Records, w: Work, codes: IntArray) -> None:
    """Fills `codes` [V, S]; `w` and `changes` must hold this placement and the trial of its moves."""
    for v in range(len(seen.hosts)):
        for s in range(len(w.servers)):
            codes[v, s] = refuse_one(m, seen, bounds, changes, w, v, s)


@inner
def refuse_one(m: Model, seen: Seen, bounds: Bounds, changes: Records, w: Work, v: int, s: int) -> int:
    """The code of one move."""
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
    if cpu_after(m, w, seen, v, s) > bounds.cpu:
        return CPU_FULL
    if change.fuller == math.inf:
        return UNREACHABLE
    if change.fuller > bounds.link:
        return LINK_FULL
    if w.chains[c].delay_ms <= m.chains[c].max_delay_ms < change.chain_ms:
        return DELAY_EXCEEDED
    if change.strain > 1.0 and _others_late(m, seen, w, v, s):
        return DELAY_EXCEEDED
    return FEASIBLE


@inner
def _others_late(m: Model, seen: Seen, w: Work, v: int, s: int) -> bool:
    """Does a chain become late that is not late now? Looks at those that pass what gets slower or faster."""
    c, host, late = m.vnfs[v].chain, seen.hosts[v], False
    offered = seen.offered_mbps[c]
    count = _touched_links(m, seen, w, c, v, s)
    for k in range(count):
        row = w.passed[w.listed[k]]
        if row.own != 0.0:
            slow(w, w.listed[k], rise_ms(m, w, w.listed[k], row.own * offered))
        row.own = 0.0
    cores = m.vnfs[v].cpu_base + m.vnfs[v].cpu_per_mbps * offered
    for i, demand in ((m.access + s, offered), (m.access + host, -offered), (m.cpu + s, cores), (m.cpu + host, -cores)):
        slow(w, i, rise_ms(m, w, i, demand))
        w.listed[count] = i
        count += 1
    for k in range(count):
        late = late_by(w, w.listed[k], c) or late
    return late


@inner
def _touched_links(m: Model, seen: Seen, w: Work, c: int, v: int, s: int) -> int:
    """Lists the links of the old and the new segments; `own` is by how many passages more (or fewer) of chain c."""
    before, after = stop(m, seen.hosts, seen.ends, c, v - 1), stop(m, seen.hosts, seen.ends, c, v + 1)
    count = 0
    for to, more in ((m.servers[seen.hosts[v]].switch, -1.0), (m.servers[s].switch, 1.0)):
        for a, b in ((before, to), (to, after)):
            at = a * len(m.route_ms) + b
            for k in range(m.route_first[at], m.route_first[at + 1]):
                row = w.passed[m.route_links[k]]
                if row.own == 0.0:
                    w.listed[count] = m.route_links[k]
                    count += 1
                row.own += more
    return count
