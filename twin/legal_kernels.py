"""Compiled: whether one move of one instance is feasible, without a trial of all moves.

The placement is measured as it would be after the move, and compared with what it is: is a link fuller than it may be,
is a chain late that was in time? A test holds the answer to the mask of all moves (`twin.refusal_kernels`).
"""

from __future__ import annotations

import math

from twin.batch import Batch, Scratch, Settings
from twin.compiled import inner
from twin.feature_kernels import model_seen
from twin.kernels import measure
from twin.model import Model, Seen
from twin.passer_kernels import stop
from twin.refusal_kernels import COOLDOWN, FEASIBLE, cpu_after, memory_after
from twin.state import FloatArray, IntArray
from twin.traffic_kernels import Profiles, roams
from twin.way_kernels import NOW, Lanes, measure_ways, of, set_aside, take_back, trace_chain

_ROUNDING_MBPS = 1e-9  # less is no traffic


@inner
def seen_by(m: Model, p: Profiles, g: Settings, batch: Batch, b: int) -> Seen:
    """What instance b shows, all of it fresh, with the VNFs that are cooling down."""
    now_s, all_seen = batch.instances[b].slot * p.period_s, batch.seen
    for v in range(len(m.vnfs)):
        cooling = now_s - batch.moved_s[b, v] < g.cooldown_s
        all_seen.vnfs[b, v].blocked = COOLDOWN if cooling else FEASIBLE
    return Seen(
        all_seen.hosts[b],
        all_seen.ends[b],
        all_seen.offered_mbps[b],
        all_seen.forecast_mbps[b],
        all_seen.link_mbps[b],
        all_seen.background,
        all_seen.servers[b],
        all_seen.vnfs[b],
        all_seen.chains[b],
    )


@inner
def legal(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int, v: int, s: int) -> bool:
    """Is this one move feasible by what is seen?"""
    row, seen = batch.instances[b], batch.seen
    if seen.hosts[b, v] == s or row.slot * p.period_s - batch.moved_s[b, v] < g.cooldown_s:
        return False
    if not _reachable(m, seen.hosts[b], seen.ends[b], v, s):
        return False
    if g.known and not (roams(p, row.slot) and row.left < g.slots):
        return _legal_as_read(m, g, batch, x, b, v, s)
    return _legal_as_modelled(m, g, seen_by(m, p, g, batch, b), x, v, s)


@inner
def _reachable(m: Model, hosts: IntArray, ends: IntArray, v: int, s: int) -> bool:
    c, to = m.vnfs[v].chain, m.servers[s].switch
    there, back = m.route_ms[stop(m, hosts, ends, c, v - 1), to], m.route_ms[to, stop(m, hosts, ends, c, v + 1)]
    return math.isfinite(there) and math.isfinite(back)


@inner
def _legal_as_read(m: Model, g: Settings, batch: Batch, x: Scratch, b: int, v: int, s: int) -> bool:
    """Where the world is as believed and no user roamed since it was read, the reading is what the model says."""
    server, vnf, c, hosts = batch.seen.servers[b, s], batch.seen.vnfs[b, v], m.vnfs[v].chain, batch.seen.hosts[b]
    if (server.memory_mb + vnf.memory_mb) / m.servers[s].memory_mb > 1.0:
        return False
    if (server.cores + vnf.cores) / m.servers[s].cores > g.bounds.cpu:
        return False
    for d in range(len(m.chains)):
        x.before_ms[d] = batch.seen.chains[b, d].delay_ms
    ways, host = of(batch.ways, b, NOW), hosts[v]
    count, fixed_ms = set_aside(ways, c, x.aside), ways.fixed_ms[c]
    hosts[v] = s
    trace_chain(m, hosts, batch.seen.ends[b], c, ways)
    measure_ways(m, ways, hosts, batch.seen.offered_mbps[b], x.lanes)
    hosts[v] = host
    take_back(ways, c, x.aside, count, fixed_ms)
    return not _harms(m, g, batch.seen.link_mbps[b], x.before_ms, x.lanes)


@inner
def _legal_as_modelled(m: Model, g: Settings, seen: Seen, x: Scratch, v: int, s: int) -> bool:
    """Where what was read is not what the model says, both placements are measured, with the load that is not ours."""
    model_seen(m, seen, x.w)
    if memory_after(m, x.w, seen, v, s) > 1.0 or cpu_after(m, x.w, seen, v, s) > g.bounds.cpu:
        return False
    host = seen.hosts[v]
    seen.hosts[v] = s
    measure(m, seen.hosts, seen.offered_mbps, seen.ends, seen.background, x.spare)
    seen.hosts[v] = host
    for i in range(m.access):
        x.before_mbps[i] = x.w.passed[i].load
        x.lanes.load[i] = x.spare.passed[i].load
    for c in range(len(m.chains)):
        x.before_ms[c] = x.w.chains[c].delay_ms
        x.lanes.delay_ms[c] = x.spare.chains[c].delay_ms
    return not _harms(m, g, x.before_mbps, x.before_ms, x.lanes)


@inner
def _harms(m: Model, g: Settings, before_mbps: FloatArray, before_ms: FloatArray, after: Lanes) -> bool:
    """Is a link fuller than it was and may be, or a chain late that was in time?"""
    for i in range(m.access):
        fuller = after.load[i] > before_mbps[i] + _ROUNDING_MBPS
        if fuller and after.load[i] / m.resources[i].capacity > g.bounds.link:
            return True
    late = False
    for c in range(len(m.chains)):
        late = late or before_ms[c] <= m.chains[c].max_delay_ms < after.delay_ms[c]
    return late
