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
from twin.state import FloatArray
from twin.traffic_kernels import Profiles, roams
from twin.way_kernels import JUDGED, Lanes

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
def is_as_modelled(p: Profiles, g: Settings, batch: Batch, b: int) -> bool:
    """Is what was read what the model says? So it is where the world is as believed and no user roamed since."""
    row = batch.instances[b]
    return bool(g.known and not (roams(p, row.slot) and row.left < g.slots))


@inner
def may_enter(m: Model, p: Profiles, g: Settings, batch: Batch, b: int, v: int, s: int) -> bool:
    """Is VNF v elsewhere and free to go, is server s within reach, and has it room by what was read?"""
    seen = batch.seen
    if seen.hosts[b, v] == s or batch.instances[b].slot * p.period_s - batch.moved_s[b, v] < g.cooldown_s:
        return False
    server, vnf, c, to = seen.servers[b, s], seen.vnfs[b, v], m.vnfs[v].chain, m.servers[s].switch
    if (server.memory_mb + vnf.memory_mb) / m.servers[s].memory_mb > 1.0:
        return False
    if (server.cores + vnf.cores) / m.servers[s].cores > g.bounds.cpu:
        return False
    before, after = (
        stop(m, seen.hosts[b], seen.ends[b], c, v - 1),
        stop(m, seen.hosts[b], seen.ends[b], c, v + 1),
    )
    return math.isfinite(m.route_ms[before, to]) and math.isfinite(m.route_ms[to, after])


@inner
def harms(m: Model, g: Settings, before_mbps: FloatArray, before_ms: FloatArray, after: Lanes) -> bool:
    """Is a link fuller than it was and may be, or a chain late that was in time, in the lane JUDGED?"""
    for i in range(m.access):
        fuller = after.load[i, JUDGED] > before_mbps[i] + _ROUNDING_MBPS
        if fuller and after.load[i, JUDGED] / m.resources[i].capacity > g.bounds.link:
            return True
    late = False
    for c in range(len(m.chains)):
        late = late or before_ms[c] <= m.chains[c].max_delay_ms < after.delay_ms[c, JUDGED]
    return late


@inner
def harms_as_modelled(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int, v: int, s: int) -> bool:
    """The same where what was read is not what the model says, so that there is load that is not ours; room too."""
    seen = seen_by(m, p, g, batch, b)
    model_seen(m, seen, x.w)
    if memory_after(m, x.w, seen, v, s) > 1.0 or cpu_after(m, x.w, seen, v, s) > g.bounds.cpu:
        return True
    host = seen.hosts[v]
    seen.hosts[v] = s
    measure(m, seen.hosts, seen.offered_mbps, seen.ends, seen.background, x.spare)
    seen.hosts[v] = host
    for i in range(m.access):
        x.before_mbps[i] = x.w.passed[i].load
        x.lanes.load[i, JUDGED] = x.spare.passed[i].load
    for c in range(len(m.chains)):
        x.before_ms[c] = x.w.chains[c].delay_ms
        x.lanes.delay_ms[c, JUDGED] = x.spare.chains[c].delay_ms
    return harms(m, g, x.before_mbps, x.before_ms, x.lanes)
