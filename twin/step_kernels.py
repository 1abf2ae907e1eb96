"""Compiled life of one instance: reset, one control period, observation."""

from __future__ import annotations

import math

from twin.batch import Batch, Scratch, Settings
from twin.compiled import compiled, inner
from twin.feature_kernels import Sheets, model_seen, write_features
from twin.kernels import copy
from twin.legal_kernels import harms, harms_as_modelled, is_as_modelled, may_enter, seen_by
from twin.model import Model, Record, Records
from twin.move_kernels import trial_moves
from twin.refusal_kernels import FEASIBLE, refuse_all
from twin.slot_kernels import Powered, is_awake, move_j, move_s, slot_j
from twin.state import BoolArray, IntArray
from twin.traffic_kernels import Profiles, locate, normal, offer, roams, uniform
from twin.wave_kernels import offer_all
from twin.way_kernels import (
    FIRST,
    NEVER,
    NEW,
    NOW,
    OLD,
    Course,
    lay_out,
    mean_ms,
    measure_four,
    of,
    settled_w,
    share_out,
    take_over,
    trace,
    trace_chain,
)

# Streams of random numbers that traffic does not use
_START, _SCALE, _KEEP, _HOST, _ERROR = 11, 12, 13, 14, 16
_SEED_SPAN = 4.0e18
_NEVER_S = -1e300
RESET, REST = -1, -2  # in place of an action


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
    _hold(m, batch, b)
    copy(batch.seen.offered_mbps[b], x.seen_mbps)
    measure_four(m, _course(batch, x, b, -1, 0), x.lanes)
    read(m, batch, x, b, OLD)


@inner
def _course(batch: Batch, x: Scratch, b: int, v: int, s: int) -> Course:
    """Instance b, and where VNF v is to move to."""
    ways, first, seen = of(batch.ways, b, NOW), of(batch.ways, b, FIRST), batch.seen
    return Course(seen.hosts[b], batch.first_hosts[b], ways, first, x.tried, x.seen_mbps, seen.offered_mbps[b], v, s)


@inner
def retrace(m: Model, batch: Batch, b: int) -> None:
    """What chains pass in both placements, endpoints being where they are now."""
    trace(m, batch.first_hosts[b], batch.seen.ends[b], of(batch.ways, b, FIRST))
    trace(m, batch.seen.hosts[b], batch.seen.ends[b], of(batch.ways, b, NOW))


@inner
def _hold(m: Model, batch: Batch, b: int) -> None:
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


@inner
def step_one(
    m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, out: Record, b: int, v: int, s: int, judge: bool
) -> None:
    """One control period of instance b, in which VNF v moves to server s (v < 0: none), into the RESULT `out`.

    With `judge` a move that harms by what was read is illegal: nothing moves.
    """
    row, seen, given = batch.instances[b], batch.seen, batch.given_mbps.shape[1] > 0
    copy(seen.offered_mbps[b], x.seen_mbps)
    for c in range(len(m.chains)):
        seen.offered_mbps[b, c] = batch.given_mbps[b, row.slot, c] if given else batch.coming_mbps[c, b]
    if v >= 0:
        host = seen.hosts[b, v]
        seen.hosts[b, v] = s
        trace_chain(m, seen.hosts[b], seen.ends[b], m.vnfs[v].chain, x.tried, 0)
        seen.hosts[b, v] = host
    measure_four(m, _course(batch, x, b, v, s), x.lanes)
    if v >= 0 and judge:
        for c in range(len(m.chains)):
            x.before_ms[c] = seen.chains[b, c].delay_ms
        if harms(m, g, seen.link_mbps[b], x.before_ms, x.lanes):
            v, out.illegal = -1, 1
    _account(m, p, g, batch, x, out, b, v, s)
    read(m, batch, x, b, NEW if v >= 0 else OLD)
    row.slot += 1
    row.left -= 1
    out.done = row.left <= 0
    if not given and roams(p, row.slot):  # with given traffic endpoints stay where they were seen
        locate(p, row.slot * p.period_s, seen.ends[b])
        retrace(m, batch, b)


@inner
def _account(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, out: Record, b: int, v: int, s: int) -> None:
    """What the period cost, by the lanes; carries the move out."""
    lanes, ways, period_s, lane = x.lanes, of(batch.ways, b, NOW), p.period_s, NEW if v >= 0 else OLD
    share_out(batch.seen.offered_mbps[b], lanes)
    out.delay0_ms = mean_ms(lanes, NEVER)
    out.energy0_j = settled_w(m, of(batch.ways, b, FIRST), lanes, NEVER) * period_s
    switched_s, extra_ms, extra_j = 0.0, 0.0, 0.0
    copy(ways.vnfs, x.vnfs)
    if v >= 0:
        wake_s = 0.0 if is_awake(m, ways.vnfs[s], batch.idle_s[b, s], s) else m.servers[s].wake_s
        switched_s = move_s(m, g.costs, v, wake_s)
        extra_j = move_j(m, g.costs, v, switched_s)
        extra_ms = lanes.share[m.vnfs[v].chain] * g.costs[v].silence_ms ** 2 / (2000.0 * period_s)
        _move(m, batch, x, b, v, s)
        batch.moved_s[b, v] = batch.instances[b].slot * period_s
    old_ms, new_ms = mean_ms(lanes, OLD), mean_ms(lanes, lane)
    out.delay_ms = (switched_s * old_ms + (period_s - switched_s) * new_ms) / period_s + extra_ms
    before, now = Powered(x.vnfs, lanes.awake_w[:, OLD]), Powered(ways.vnfs, lanes.awake_w[:, lane])
    out.energy_j = extra_j + slot_j(m, before, now, switched_s, batch.idle_s[b])
    delta = (out.delay0_ms - out.delay_ms) / out.delay0_ms
    eta = (out.energy0_j - out.energy_j) / out.energy0_j
    out.reward = m.tau_delay * delta + m.tau_energy * eta
    out.moved = v >= 0
    out.late_chains = 0
    for c in range(len(m.chains)):
        out.late_chains += lanes.delay_ms[c, lane] > m.chains[c].max_delay_ms


@inner
def _move(m: Model, batch: Batch, x: Scratch, b: int, v: int, s: int) -> None:
    hosts, ways = batch.seen.hosts[b], of(batch.ways, b, NOW)
    ways.vnfs[hosts[v]] -= 1
    ways.vnfs[s] += 1
    hosts[v] = s
    take_over(x.tried, ways, m.vnfs[v].chain)
    _hold(m, batch, b)


@inner
def look_ahead(p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """The forecast: the past smoothed, or the mean of the next slots' true traffic with a relative error."""
    row, forecast = batch.instances[b], batch.seen.forecast_mbps[b]
    if g.forecast_slots == 0:
        weight = 1.0 if row.left == g.slots else g.smoothing
        for c in range(len(forecast)):
            forecast[c] += weight * (batch.seen.offered_mbps[b, c] - forecast[c])
        return
    forecast[:] = 0.0
    for k in range(g.forecast_slots):
        if batch.given_mbps.shape[1] > 0:
            copy(batch.given_mbps[b, min(row.slot + k, batch.given_mbps.shape[1] - 1)], x.next_mbps)
        else:
            offer(p, row.seed, batch.scale[b], (row.slot + k + 0.5) * p.period_s, x.next_mbps)
        for c in range(len(forecast)):
            forecast[c] += x.next_mbps[c] / g.forecast_slots
    if g.forecast_error > 0.0:
        for c in range(len(forecast)):
            batch.seen.chains[b, c].spread_mbps = g.forecast_error * forecast[c]
            forecast[c] *= math.exp(g.forecast_error * normal(row.seed, c, row.slot, _ERROR))


@inner
def observe_one(
    m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, sheets: Sheets, mask: BoolArray, b: int
) -> None:
    """Mask and features of instance b, on the model `m` of the scenario file."""
    look_ahead(p, g, batch, x, b)
    seen = seen_by(m, p, g, batch, b)
    model_seen(m, seen, x.w)
    trial_moves(m, seen.hosts, seen.offered_mbps, seen.ends, x.w, x.changes)
    refuse_all(m, seen, g.bounds, x.changes, x.w, x.codes)
    for v in range(len(m.vnfs)):
        for s in range(len(m.servers)):
            mask[b, v, s] = x.codes[v, s] == FEASIBLE
    rows = Sheets(sheets.vnf[b], sheets.server[b], sheets.pair[b], sheets.glob[b])
    write_features(m, seen, mask[b], x.changes, x.w, x.spare, x.spare_changes, rows)


@compiled
def begin(
    belief: Model,
    truth: Model,
    p: Profiles,
    g: Settings,
    batch: Batch,
    x: Scratch,
    sheets: Sheets,
    mask: BoolArray,
) -> None:
    """Every instance is seen as it would read where its placement, traffic and endpoints have been written."""
    lay_out(truth, x.lanes)
    for b in range(len(batch.instances)):
        look_around(truth, batch, x, b)
        observe_one(belief, p, g, batch, x, sheets, mask, b)


@compiled
def retrace_all(m: Model, batch: Batch) -> None:
    """Traces every instance anew where placements and endpoints have been written."""
    for b in range(len(batch.instances)):
        retrace(m, batch, b)


@compiled
def run(
    belief: Model,
    truth: Model,
    p: Profiles,
    home: IntArray,
    g: Settings,
    batch: Batch,
    x: Scratch,
    sheets: Sheets,
    mask: BoolArray,
    actions: IntArray,
    results: Records,
) -> None:
    """Every instance lives one control period, or is reset where its action is RESET, or rests where it is REST."""
    servers = len(belief.servers)
    lay_out(truth, x.lanes)
    if batch.given_mbps.shape[1] == 0:
        offer_all(p, batch)
    for b in range(len(actions)):
        if actions[b] == REST:
            continue
        if actions[b] == RESET:
            reset_one(truth, p, home, g, batch, x, b)
        else:
            v, s, out = -1, 0, results[b]
            out.illegal, judge = 0, False
            if actions[b] > 0:
                v, s = (actions[b] - 1) // servers, (actions[b] - 1) % servers
                if g.features:
                    out.illegal = not mask[b, v, s]
                else:
                    judge = is_as_modelled(p, g, batch, b)
                    out.illegal = not may_enter(belief, p, g, batch, b, v, s) or (
                        not judge and harms_as_modelled(belief, p, g, batch, x, b, v, s)
                    )
                if out.illegal:
                    v = -1
            step_one(truth, p, g, batch, x, out, b, v, s, judge)
            out.reward -= g.illegal_penalty * out.illegal
        if g.features:
            observe_one(belief, p, g, batch, x, sheets, mask, b)
