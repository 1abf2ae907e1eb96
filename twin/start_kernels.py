"""Compiled start of an instance's episode, and what is read of it: before the first slot and after every other."""

from __future__ import annotations

import math

from twin.batch import Batch, Scratch, Settings
from twin.compiled import inner
from twin.kernels import copy
from twin.model import Model
from twin.slot_kernels import is_awake
from twin.state import IntArray
from twin.traffic_kernels import Profiles, locate, offer, uniform
from twin.way_kernels import FIRST, NOW, OLD, Course, measure_four, of, trace

# Streams of random numbers that traffic does not use
_START, _SCALE, _KEEP, _HOST = 11, 12, 13, 14
_SEED_SPAN = 4.0e18
_NEVER_S = -1e300


@inner
def reset_one(m: Model, p: Profiles, home: IntArray, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """Starts the next episode of instance b: its time, traffic, placement, and what is seen before the first slot."""
    row, seen = batch.instances[b], batch.seen
    row.seed = row.first_seed + row.episode * len(batch.instances)
    row.slot = 0
    batch.scale[b] = 1.0
    copy(home, batch.first_hosts[b])
    if g.randomise:
        _randomise(m, p, g, batch, x, b)
    row.episode += 1
    row.left = g.slots
    copy(batch.first_hosts[b], seen.hosts[b])
    batch.moved_s[b] = _NEVER_S
    batch.idle_s[b] = math.inf
    now_s = row.slot * p.period_s
    locate(p, now_s, seen.ends[b])
    offer(p, row.seed, batch.scale[b], now_s - 0.5 * p.period_s, seen.offered_mbps[b])
    look_around(m, batch, x, b)


@inner
def look_around(m: Model, batch: Batch, x: Scratch, b: int) -> None:
    """Traces both placements of instance b, and reads the network before the first slot."""
    retrace(m, batch, b)
    hold(m, batch, b)
    copy(batch.seen.offered_mbps[b], x.seen_mbps)
    measure_four(m, course(batch, x, b, -1, 0), x.lanes)
    read(m, batch, x, b, OLD)


@inner
def course(batch: Batch, x: Scratch, b: int, v: int, s: int) -> Course:
    """Instance b, and where VNF v is to move to."""
    ways, first, seen = of(batch.ways, b, NOW), of(batch.ways, b, FIRST), batch.seen
    return Course(seen.hosts[b], batch.first_hosts[b], ways, first, x.tried, x.seen_mbps, seen.offered_mbps[b], v, s)


@inner
def retrace(m: Model, batch: Batch, b: int) -> None:
    """What chains pass in both placements, endpoints being where they are now."""
    trace(m, batch.first_hosts[b], batch.seen.ends[b], of(batch.ways, b, FIRST))
    trace(m, batch.seen.hosts[b], batch.seen.ends[b], of(batch.ways, b, NOW))


@inner
def hold(m: Model, batch: Batch, b: int) -> None:
    """The memory that VNFs take of their servers."""
    for s in range(len(m.servers)):
        batch.seen.servers[b, s].memory_mb = 0.0
    for v in range(len(m.vnfs)):
        batch.seen.servers[b, batch.seen.hosts[b, v]].memory_mb += m.vnfs[v].memory_mb


@inner
def _randomise(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """Another seed, start, scale of traffic, and in three of four episodes another placement."""
    row = batch.instances[b]
    row.seed = int(_SEED_SPAN * uniform(row.first_seed, 0, row.episode, _START))
    row.slot = int(g.start_slots * uniform(row.seed, 1, 0, _START))
    for c in range(len(m.chains)):
        batch.scale[b, c] = 0.7 + 0.6 * uniform(row.seed, c, 0, _SCALE)
    if uniform(row.seed, 0, 0, _KEEP) > 0.25:
        _place(m, p, g, batch, x, b)


@inner
def _place(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """A random placement that mean traffic does not overload; a VNF that fits nowhere keeps its server."""
    hosts, seed, servers = batch.first_hosts[b], batch.instances[b].seed, len(m.servers)
    for s in range(servers):
        x.held_cores[s] = 0.0
        x.held_mb[s] = 0.0
    for v in range(len(hosts)):
        vnf = m.vnfs[v]
        need = vnf.cpu_base + vnf.cpu_per_mbps * p.mean_mbps[vnf.chain] * batch.scale[b, vnf.chain]
        start = int(servers * uniform(seed, v, 0, _HOST))
        for k in range(servers):
            s = (start + k) % servers
            fits = x.held_cores[s] + need <= 0.7 * g.bounds.cpu * m.servers[s].cores
            if fits and x.held_mb[s] + vnf.memory_mb <= m.servers[s].memory_mb:
                hosts[v] = s
                break
        x.held_cores[hosts[v]] += need
        x.held_mb[hosts[v]] += vnf.memory_mb


@inner
def read(m: Model, batch: Batch, x: Scratch, b: int, lane: int) -> None:
    """What is seen of the network that was measured in this lane; memory is what it was."""
    lanes, vnfs = x.lanes, batch.ways.vnfs[b, NOW]
    for s in range(len(m.servers)):
        seen = batch.seen.servers[b, s]
        seen.cores = lanes.load[m.cpu + s, lane]
        seen.awake = is_awake(m, vnfs[s], batch.idle_s[b, s], s)
        seen.power_w = lanes.awake_w[s, lane] if seen.awake else m.servers[s].sleep_w
    for v in range(len(m.vnfs)):
        offered = batch.seen.offered_mbps[b, m.vnfs[v].chain]
        batch.seen.vnfs[b, v].cores = m.vnfs[v].cpu_base + m.vnfs[v].cpu_per_mbps * offered
    for c in range(len(m.chains)):
        batch.seen.chains[b, c].delay_ms = lanes.delay_ms[c, lane]
    for i in range(m.access):
        batch.seen.link_mbps[b, i] = lanes.load[i, lane]
