"""Compiled estimates of whole plans: what several moves bring together of which the first alone may bring nothing.

An awake server draws nearly as much power with one VNF as with five, and a chain that is moved hop by hop goes to and
fro in between, so the gain of a single move says little where only the last of several pays. Three kinds of plans are
tried, each at once and whole:

1. a *run*, neighbours of a chain, goes to one server (every run of every chain to every server);
2. *merge*: all that a server hosts goes to one other;
3. *emptying*: each *block* of it, a run that stands there together, goes where it does best among servers that host,
   the hungriest first, since it fits on the fewest.

Changes of processing, propagation and power are exact; links stay as loaded as they are. Source: ours (docs/model.md,
"Features").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twin.compiled import inner
from twin.kernels import active_w, mean_delay_ms, route_ms, settled_power_w, slowdown1
from twin.model import Model, Records, Seen, Work, record
from twin.passer_kernels import stop
from twin.state import FloatArray, IntArray

NEVER = -5.0  # the gain of a plan that there is not
_CPU = 0.9  # most utilisation that a plan may lead to (`twin.feasibility.Limits`)
LEAVING = record("vnfs", "cores weighted memory_mb mean_ms power_w")
RUN = record("", "cores weighted memory_mb links_ms leave_ms leave_w")
BLOCK = record("first placed to", "cores weighted memory_mb best")
ARRIVED = record("", "cores weighted memory_mb")


class Plans(NamedTuple):
    """Work space of one thread, and what was found; gains are in λ per slot, relative to the present state."""

    there: FloatArray  # [N, K] sum of `unit_ms` from a switch to a site
    back: FloatArray  # [N, K] from a site to a switch
    leaving: Records  # [S] LEAVING: what a run takes off each server
    one: Records  # [1] RUN: the run that is being tried
    links: FloatArray  # [S, S] change of the mean delay on links if all goes from a server to another
    blocks: Records  # [V] BLOCK at a block's first VNF, `first` at every VNF; `to`, `best`: where an emptying puts it
    way: FloatArray  # [V, S] gain on links if a block goes to a server, at the block's first VNF
    join: FloatArray  # [V, S] gain of that in all, if nothing else comes
    arrived: Records  # [S] ARRIVED: what an emptying has put there
    free: FloatArray  # [S] gain of the server's falling asleep, its VNFs gone to nowhere
    emptying: FloatArray  # [S] gain of the best way to empty a server (`NEVER`: it hosts nothing)
    run: FloatArray  # [V, S] best run with this VNF to this server
    merge: FloatArray  # [S, S]


def plans(m: Model) -> Plans:
    """Fresh work space."""
    nodes, sites, servers, vnfs = len(m.route_ms), m.to_site.shape[1], len(m.servers), len(m.vnfs)
    return Plans(
        there=np.zeros((nodes, sites)),
        back=np.zeros((nodes, sites)),
        leaving=np.zeros(servers, dtype=LEAVING),
        one=np.zeros(1, dtype=RUN),
        links=np.zeros((servers, servers)),
        blocks=np.zeros(vnfs, dtype=BLOCK),
        way=np.zeros((vnfs, servers)),
        join=np.zeros((vnfs, servers)),
        arrived=np.zeros(servers, dtype=ARRIVED),
        free=np.zeros(servers),
        emptying=np.zeros(servers),
        run=np.zeros((vnfs, servers)),
        merge=np.zeros((servers, servers)),
    )


@inner
def try_plans(m: Model, seen: Seen, offered: FloatArray, w: Work, p: Plans) -> None:
    """Fills `p`; `w` must hold the present placement under `offered` [C] as `measure` left it."""
    per_ms, per_w = m.tau_delay / mean_delay_ms(w), m.tau_energy / settled_power_w(m, w)
    _sum_ways(m, w, p)
    p.links[:] = 0.0
    p.run[:] = NEVER
    for s in range(len(m.servers)):
        row = w.passed[m.cpu + s]
        saved_w = active_w(m, s, row.load) - m.servers[s].sleep_w
        p.free[s] = per_ms * row.weighted * row.unit_ms + per_w * saved_w
    for c in range(len(m.chains)):
        for v in range(m.chains[c].first, m.chains[c].last):
            _try_runs(m, seen, offered[c], c, v, per_ms, per_w, w, p)  # 1, and the blocks of 3
    for h in range(len(m.servers)):
        p.emptying[h] = _empty(m, seen, h, per_ms, per_w, w, p)  # 3
        for s in range(len(m.servers)):
            p.merge[h, s] = _merge(m, seen, h, s, per_ms, per_w, w, p)  # 2


@inner
def _sum_ways(m: Model, w: Work, p: Plans) -> None:
    for n in range(len(p.there)):
        for k in range(p.there.shape[1]):
            way, units = m.to_site[n, k], 0.0
            for i in range(way.first, way.last):
                units += w.passed[m.way_links[i]].unit_ms
            p.there[n, k] = units
            way, units = m.from_site[n, k], 0.0
            for i in range(way.first, way.last):
                units += w.passed[m.way_links[i]].unit_ms
            p.back[n, k] = units


@inner
def _try_runs(
    m: Model, seen: Seen, offered: float, c: int, i: int, per_ms: float, per_w: float, w: Work, p: Plans
) -> None:
    """All runs of chain c that begin with VNF i."""
    hosts, ends, chain, run = seen.hosts, seen.ends, m.chains[c], p.one[0]
    before, weight = stop(m, hosts, ends, c, i - 1), w.chains[c].weight
    run.cores, run.weighted, run.memory_mb, run.links_ms, run.leave_ms, run.leave_w = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    at, block = before, i == chain.first or hosts[i - 1] != hosts[i]
    for j in range(i, chain.last):
        h, after = hosts[j], stop(m, hosts, ends, c, j + 1)
        block = block and h == hosts[i]
        _extend(m, offered, weight, j, h, at, chain.packet_kbit, w, p)
        at = m.servers[h].switch
        passes_kbit = (j - i + 1) * chain.packet_kbit
        out_ms = route_ms(m, at, after) + chain.packet_kbit * p.back[after, m.servers[h].site]
        whole = block and (j + 1 == chain.last or hosts[j + 1] != h)
        for s in range(len(m.servers)):
            site = m.servers[s].site
            to = m.servers[s].switch
            new_ms = route_ms(m, before, to) + route_ms(m, to, after)
            new_ms += chain.packet_kbit * (p.there[before, site] + p.back[after, site])
            new_ms += passes_kbit * w.passed[m.access + s].unit_ms
            links_ms = weight * (new_ms - run.links_ms - out_ms)
            _try_run(m, seen, i, j, s, links_ms, per_ms, per_w, w, p)
            if whole:
                p.links[h, s] += links_ms
                p.way[i, s] = -per_ms * links_ms
                p.join[i, s] = NEVER
                if s != h:
                    joined = _joined(m, seen, s, run.cores, run.weighted, run.memory_mb, per_ms, per_w, w)
                    p.join[i, s] = joined if joined <= NEVER else joined + p.way[i, s]
        if whole:
            row = p.blocks[i]
            row.cores, row.weighted, row.memory_mb = run.cores, run.weighted, run.memory_mb
            for k in range(i, j + 1):
                p.blocks[k].first = i
    for j in range(i, chain.last):
        row = p.leaving[hosts[j]]
        row.vnfs, row.cores, row.weighted, row.memory_mb, row.mean_ms, row.power_w = 0, 0.0, 0.0, 0.0, 0.0, 0.0


@inner
def _extend(m: Model, offered: float, weight: float, j: int, h: int, at: int, kbit: float, w: Work, p: Plans) -> None:
    """VNF j of server h becomes the run's last."""
    run, row, vnf, there = p.one[0], p.leaving[h], m.vnfs[j], w.passed[m.cpu + h]
    cores, weighted = vnf.cpu_base + vnf.cpu_per_mbps * offered, weight * vnf.service_ms
    run.cores += cores
    run.weighted += weighted
    run.memory_mb += vnf.memory_mb
    run.links_ms += route_ms(m, at, m.servers[h].switch) + kbit * p.there[at, m.servers[h].site]
    run.links_ms += kbit * w.passed[m.access + h].unit_ms
    run.leave_ms -= row.mean_ms
    run.leave_w -= row.power_w
    row.vnfs += 1
    row.cores += cores
    row.weighted += weighted
    row.memory_mb += vnf.memory_mb
    rest_ms = slowdown1((there.load - row.cores) / m.servers[h].cores) * m.resources[m.cpu + h].scale
    row.mean_ms = (there.weighted - row.weighted) * rest_ms - there.weighted * there.unit_ms
    rest_w = m.servers[h].sleep_w if row.vnfs == w.servers[h].vnfs else active_w(m, h, there.load - row.cores)
    row.power_w = rest_w - active_w(m, h, there.load)
    run.leave_ms += row.mean_ms
    run.leave_w += row.power_w


@inner
def _joined(
    m: Model, seen: Seen, s: int, cores: float, weighted: float, memory_mb: float, per_ms: float, per_w: float, w: Work
) -> float:
    """Gain at server s of what joins it; `NEVER` where it has no room."""
    row, server = w.passed[m.cpu + s], m.servers[s]
    load = row.load + cores
    if load > _CPU * server.cores or w.servers[s].memory_mb + memory_mb > server.memory_mb or not seen.servers[s].up:
        return NEVER
    unit_ms = m.resources[m.cpu + s].scale * slowdown1(load / server.cores)
    mean_ms = row.weighted * (unit_ms - row.unit_ms) + weighted * unit_ms
    now_w = active_w(m, s, row.load) if w.servers[s].vnfs > 0 else server.sleep_w
    return float(-(per_ms * mean_ms + per_w * (active_w(m, s, load) - now_w)))


@inner
def _try_run(
    m: Model, seen: Seen, i: int, j: int, s: int, links_ms: float, per_ms: float, per_w: float, w: Work, p: Plans
) -> None:
    run, own = p.one[0], p.leaving[s]
    if own.vnfs == j - i + 1:
        return
    joined = _joined(
        m, seen, s, run.cores - own.cores, run.weighted - own.weighted, run.memory_mb - own.memory_mb, per_ms, per_w, w,
    )  # fmt: skip
    if joined <= NEVER:
        return
    left = per_ms * (links_ms + run.leave_ms - own.mean_ms) + per_w * (run.leave_w - own.power_w)
    for v in range(i, j + 1):
        p.run[v, s] = max(p.run[v, s], joined - left)


@inner
def _empty(m: Model, seen: Seen, h: int, per_ms: float, per_w: float, w: Work, p: Plans) -> float:
    """Gain of emptying server h: each of its blocks, the hungriest first, where it does best."""
    if w.servers[h].vnfs == 0:
        return NEVER
    for s in range(len(m.servers)):
        row = p.arrived[s]
        row.cores, row.weighted, row.memory_mb = 0.0, 0.0, 0.0
    for v in range(len(m.vnfs)):
        p.blocks[v].placed = seen.hosts[v] != h or p.blocks[v].first != v
    gain = float(p.free[h])
    while gain > NEVER:
        i = _hungriest(p)
        if i < 0:
            return gain
        gain = gain + float(p.blocks[i].best) if _place(m, seen, i, h, per_ms, per_w, w, p) else NEVER
    return gain


@inner
def _hungriest(p: Plans) -> int:
    """The block still to be placed that needs most CPU; -1: none."""
    found, cores = -1, -1.0
    for v in range(len(p.blocks)):
        if not p.blocks[v].placed and p.blocks[v].cores > cores:
            found, cores = v, p.blocks[v].cores
    return found


@inner
def _place(m: Model, seen: Seen, i: int, h: int, per_ms: float, per_w: float, w: Work, p: Plans) -> bool:
    """Puts a block where it does best with what has been put there; False where no server has room."""
    block, at = p.blocks[i], -1
    block.placed, block.best = 1, NEVER
    for s in range(len(m.servers)):
        if s == h or w.servers[s].vnfs == 0:
            continue
        there = p.arrived[s]
        joined = _joined(
            m, seen, s, block.cores + there.cores, block.weighted + there.weighted,
            block.memory_mb + there.memory_mb, per_ms, per_w, w,
        )  # fmt: skip
        if joined <= NEVER:
            continue
        if there.cores > 0.0:
            joined -= _joined(m, seen, s, there.cores, there.weighted, there.memory_mb, per_ms, per_w, w)
        if joined + p.way[i, s] > block.best:
            at, block.best = s, joined + p.way[i, s]
    if at < 0:
        return False
    block.to, there = at, p.arrived[at]
    there.cores += block.cores
    there.weighted += block.weighted
    there.memory_mb += block.memory_mb
    return True


@inner
def _merge(m: Model, seen: Seen, h: int, s: int, per_ms: float, per_w: float, w: Work, p: Plans) -> float:
    if h == s or w.servers[h].vnfs == 0:
        return NEVER
    row = w.passed[m.cpu + h]
    joined = _joined(m, seen, s, row.load, row.weighted, w.servers[h].memory_mb, per_ms, per_w, w)
    return float(NEVER if joined <= NEVER else joined + p.free[h] - per_ms * p.links[h, s])


@inner
def emptied(hosts: IntArray, v: int, s: int, p: Plans) -> float:
    """Gain of emptying v's server if v's block goes to s and the others where they do best."""
    i, emptying = p.blocks[v].first, p.emptying[hosts[v]]
    if emptying <= NEVER or p.join[i, s] <= NEVER:
        return NEVER
    if p.blocks[i].to == s:
        return float(emptying)
    return float(emptying - p.blocks[i].best + p.join[i, s])
