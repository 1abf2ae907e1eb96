"""Compiled life of one instance: reset, one control period, observation."""

from __future__ import annotations

import math

from twin.batch import Batch, Scratch, Settings
from twin.compiled import compiled, inner
from twin.feature_kernels import Sheets, model_seen, write_features
from twin.kernels import active_w, copy, late_chains, measure, settled_power_w
from twin.model import Model, Record, Records, Seen
from twin.move_kernels import trial_moves, trial_one
from twin.refusal_kernels import COOLDOWN, FEASIBLE, refuse_all, refuse_one
from twin.slot_kernels import is_awake, move_j, move_s, slot_j
from twin.state import BoolArray, IntArray
from twin.traffic_kernels import Profiles, locate, normal, offer, uniform

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
    measure(m, seen.hosts[b], seen.offered_mbps[b], seen.ends[b], m.quiet, x.w)
    read(m, batch, x, b)


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
        x.old_cores[s] = 0.0
        x.old[s].memory_mb = 0.0
    for v in range(len(hosts)):
        vnf = m.vnfs[v]
        need = vnf.cpu_base + vnf.cpu_per_mbps * p.mean_mbps[vnf.chain] * batch.scale[b, vnf.chain]
        start = int(servers * uniform(seed, v, 0, _HOST))
        for k in range(servers):
            s = (start + k) % servers
            fits = x.old_cores[s] + need <= 0.7 * g.bounds.cpu * m.servers[s].cores
            if fits and x.old[s].memory_mb + vnf.memory_mb <= m.servers[s].memory_mb:
                hosts[v] = s
                break
        x.old_cores[hosts[v]] += need
        x.old[hosts[v]].memory_mb += vnf.memory_mb


@inner
def read(m: Model, batch: Batch, x: Scratch, b: int) -> None:
    """What is seen of the network that `x.w` holds."""
    for s in range(len(m.servers)):
        seen = batch.seen.servers[b, s]
        seen.cores = x.w.passed[m.cpu + s].load
        seen.memory_mb = x.w.servers[s].memory_mb
        seen.awake = is_awake(m, x.w.servers[s].vnfs, batch.idle_s[b, s], s)
        seen.power_w = active_w(m, s, seen.cores) if seen.awake else m.servers[s].sleep_w
    for v in range(len(m.vnfs)):
        offered = batch.seen.offered_mbps[b, m.vnfs[v].chain]
        batch.seen.vnfs[b, v].cores = m.vnfs[v].cpu_base + m.vnfs[v].cpu_per_mbps * offered
    for c in range(len(m.chains)):
        batch.seen.chains[b, c].delay_ms = x.w.chains[c].delay_ms
    for i in range(m.access):
        batch.seen.link_mbps[b, i] = x.w.passed[i].load


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
    seen = seen_by(m, p, g, batch, b)
    model_seen(m, seen, x.w)
    trial_one(m, seen.hosts, seen.offered_mbps, seen.ends, v, s, x.w, x.changes)
    return refuse_one(m, seen, g.bounds, x.changes, x.w, v, s) == FEASIBLE


@inner
def step_one(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, out: Record, b: int, v: int, s: int) -> None:
    """One control period of instance b, in which VNF v moves to server s (v < 0: none), into the RESULT `out`."""
    row, period_s, hosts, ends = batch.instances[b], p.period_s, batch.seen.hosts[b], batch.seen.ends[b]
    now_s, offered, given = row.slot * period_s, batch.seen.offered_mbps[b], batch.given_mbps.shape[1] > 0
    if given:
        copy(batch.given_mbps[b, row.slot], offered)
    else:
        offer(p, row.seed, batch.scale[b], now_s + 0.5 * period_s, offered)
    out.delay0_ms = measure(m, batch.first_hosts[b], offered, ends, m.quiet, x.w)
    out.energy0_j = settled_power_w(m, x.w) * period_s
    old_ms, switched_s, extra_ms, extra_j = 0.0, 0.0, 0.0, 0.0
    if v >= 0:
        old_ms = measure(m, hosts, offered, ends, m.quiet, x.w)
        wake_s = 0.0 if is_awake(m, x.w.servers[s].vnfs, batch.idle_s[b, s], s) else m.servers[s].wake_s
        switched_s = move_s(m, g.costs, v, wake_s)
        extra_j = move_j(m, g.costs, v, switched_s)
        extra_ms = x.w.chains[m.vnfs[v].chain].weight * g.costs[v].silence_ms ** 2 / (2000.0 * period_s)
        _keep(m, x)
        hosts[v] = s
        batch.moved_s[b, v] = now_s
    new_ms = measure(m, hosts, offered, ends, m.quiet, x.w)
    if v < 0:
        _keep(m, x)
    out.delay_ms = (switched_s * old_ms + (period_s - switched_s) * new_ms) / period_s + extra_ms
    out.energy_j = extra_j + slot_j(m, x.old, x.old_cores, x.w, switched_s, batch.idle_s[b])
    delta = (out.delay0_ms - out.delay_ms) / out.delay0_ms
    eta = (out.energy0_j - out.energy_j) / out.energy0_j
    out.reward = m.tau_delay * delta + m.tau_energy * eta
    out.late_chains = late_chains(m, x.w)
    out.moved = v >= 0
    read(m, batch, x, b)
    row.slot += 1
    row.left -= 1
    out.done = row.left <= 0
    if not given:  # with given traffic endpoints stay where they were seen
        locate(p, row.slot * period_s, ends)


@inner
def _keep(m: Model, x: Scratch) -> None:
    for s in range(len(m.servers)):
        x.old[s].vnfs = x.w.servers[s].vnfs
        x.old_cores[s] = x.w.passed[m.cpu + s].load


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
    for b in range(len(batch.instances)):
        measure(truth, batch.seen.hosts[b], batch.seen.offered_mbps[b], batch.seen.ends[b], truth.quiet, x.w)
        read(truth, batch, x, b)
        observe_one(belief, p, g, batch, x, sheets, mask, b)


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
    for b in range(len(actions)):
        if actions[b] == REST:
            continue
        if actions[b] == RESET:
            reset_one(truth, p, home, g, batch, x, b)
        else:
            v, s, out = -1, 0, results[b]
            out.illegal = 0
            if actions[b] > 0:
                v, s = (actions[b] - 1) // servers, (actions[b] - 1) % servers
                allowed = mask[b, v, s] if g.features else legal(belief, p, g, batch, x, b, v, s)
                if not allowed:
                    v, out.illegal = -1, 1
            step_one(truth, p, g, batch, x, out, b, v, s)
            out.reward -= g.illegal_penalty * out.illegal
        if g.features:
            observe_one(belief, p, g, batch, x, sheets, mask, b)
