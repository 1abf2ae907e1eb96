"""Compiled life of one instance: reset, one control period, observation."""

from __future__ import annotations

import math

import numpy as np

from twin.batch import Batch, Results, Scratch, Settings
from twin.compiled import compiled
from twin.feature_kernels import Observed, Sheets, find_background, write_features
from twin.kernels import active_w, late_chains, measure, settled_power_w
from twin.model import Model
from twin.move_kernels import trial_moves, trial_one
from twin.refusal_kernels import COOLDOWN, FEASIBLE, Readings, refuse_all, refuse_one
from twin.slot_kernels import is_awake, move_j, move_s, slot_j
from twin.state import BoolArray, IntArray
from twin.traffic_kernels import Profiles, locate, normal, offer, uniform

# Streams of random numbers that traffic does not use
_START, _SCALE, _KEEP, _HOST, _ERROR = 11, 12, 13, 14, 16
_SEED_SPAN = 4.0e18


@compiled
def reset_one(m: Model, p: Profiles, home: IntArray, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """Starts the next episode of instance b: its time, traffic, placement, and what is seen before the first slot."""
    episode, period_s = batch.episode[b], p.period_s
    batch.seed[b] = batch.first_seed[b] + episode * len(batch.seed)
    batch.slot[b] = 0
    batch.scale[b] = 1.0
    batch.first_hosts[b] = home
    if g.randomise:
        batch.seed[b] = int(_SEED_SPAN * uniform(batch.first_seed[b], 0, episode, _START))
        batch.slot[b] = int(g.start_slots * uniform(batch.seed[b], 1, 0, _START))
        for c in range(batch.scale.shape[1]):
            batch.scale[b, c] = 0.7 + 0.6 * uniform(batch.seed[b], c, 0, _SCALE)
        if uniform(batch.seed[b], 0, 0, _KEEP) > 0.25:
            _place(m, p, g, batch, x, b)
    batch.episode[b] += 1
    batch.left[b] = g.slots
    batch.hosts[b] = batch.first_hosts[b]
    batch.moved_s[b] = -1e300
    batch.idle_s[b] = np.inf
    now_s = batch.slot[b] * period_s
    locate(p, now_s, batch.ends[b])
    offer(p, batch.seed[b], batch.scale[b], now_s - 0.5 * period_s, batch.offered[b])
    measure(m, batch.hosts[b], batch.offered[b], batch.ends[b], m.background, x.w)
    read(m, batch, x, b)


@compiled
def _place(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """A random placement that mean traffic does not overload; a VNF that fits nowhere keeps its server."""
    hosts, t = batch.first_hosts[b], m.t
    cores, memory = np.zeros(len(t.cpu_cores)), np.zeros(len(t.cpu_cores))
    for v in range(len(hosts)):
        c = t.vnf_chain[v]
        need = t.cpu_base[v] + t.cpu_per_mbps[v] * p.mean_mbps[c] * batch.scale[b, c]
        start = int(len(cores) * uniform(batch.seed[b], v, 0, _HOST))
        for k in range(len(cores)):
            s = (start + k) % len(cores)
            fits = cores[s] + need <= 0.7 * g.cpu_limit * t.cpu_cores[s]
            if fits and memory[s] + t.vnf_memory_mb[v] <= t.memory_mb[s]:
                hosts[v] = s
                break
        cores[hosts[v]] += need
        memory[hosts[v]] += t.vnf_memory_mb[v]


@compiled
def read(m: Model, batch: Batch, x: Scratch, b: int) -> None:
    """What is seen of the network that `x.w` holds."""
    t = m.t
    for s in range(len(t.cpu_cores)):
        cores = x.w.load[m.first_cpu + s]
        awake = is_awake(m, x.w.hosted[s], batch.idle_s[b, s], s)
        batch.cores[b, s], batch.awake[b, s] = cores, awake
        batch.power_w[b, s] = active_w(m, s, cores) if awake else t.sleep_w[s]
    for v in range(len(t.vnf_chain)):
        batch.vnf_cores[b, v] = t.cpu_base[v] + t.cpu_per_mbps[v] * batch.offered[b, t.vnf_chain[v]]
    batch.chain_ms[b] = x.w.chain_ms
    batch.link_mbps[b] = x.w.load[: m.first_access]


@compiled
def model_seen(m: Model, batch: Batch, x: Scratch, b: int) -> None:
    """Measures what is seen on the model, into `x.w`, with the load that is not ours in `x.background`."""
    hosts, offered, ends = batch.hosts[b], batch.offered[b], batch.ends[b]
    measure(m, hosts, offered, ends, m.background, x.w)
    if find_background(m, x.w, batch.link_mbps[b], x.background):
        measure(m, hosts, offered, ends, x.background, x.w)


@compiled
def legal(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int, v: int, s: int) -> bool:
    """Is this one move feasible by what is seen?"""
    hosts, offered, ends = batch.hosts[b], batch.offered[b], batch.ends[b]
    model_seen(m, batch, x, b)
    trial_one(m, hosts, offered, ends, g.link_limit, v, s, x.w, x.changes)
    seen = readings(m, p, g, batch, x, b)
    code = refuse_one(m, hosts, offered, ends, x.background, seen, g.cpu_limit, x.changes, x.w, x.spare, v, s)
    return code == FEASIBLE


@compiled
def readings(m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int) -> Readings:
    """The instance's readings, all fresh."""
    servers, chains = len(m.t.cpu_cores), len(m.hops_ms)
    now_s = batch.slot[b] * p.period_s
    for v in range(len(x.blocked)):
        x.blocked[v] = COOLDOWN if now_s - batch.moved_s[b, v] < g.cooldown_s else FEASIBLE
    return Readings(
        batch.cores[b],
        x.w.memory_mb,
        batch.vnf_cores[b],
        m.t.vnf_memory_mb,
        x.up,
        x.never[:servers],
        x.never[:chains],
        x.blocked,
    )


@compiled
def step_one(
    m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, out: Results, b: int, v: int, s: int
) -> None:
    """One control period of instance b, in which VNF v moves to server s (v < 0: none)."""
    period_s, hosts, ends, offered = p.period_s, batch.hosts[b], batch.ends[b], batch.offered[b]
    now_s = batch.slot[b] * period_s
    offer(p, batch.seed[b], batch.scale[b], now_s + 0.5 * period_s, offered)
    delay0_ms = measure(m, batch.first_hosts[b], offered, ends, m.background, x.w)
    out.delay0_ms[b], out.energy0_j[b] = delay0_ms, settled_power_w(m, x.w) * period_s
    old_ms, switched_s, extra_ms, extra_j = 0.0, 0.0, 0.0, 0.0
    if v >= 0:
        old_ms = measure(m, hosts, offered, ends, m.background, x.w)
        wake_s = 0.0 if is_awake(m, x.w.hosted[s], batch.idle_s[b, s], s) else m.t.wake_s[s]
        switched_s = move_s(m, g.cost, v, wake_s)
        extra_j = move_j(m, g.cost, v, switched_s)
        extra_ms = x.w.weight[m.t.vnf_chain[v]] * g.cost.silence_ms**2 / (2000.0 * period_s)
        _keep(m, x)
        hosts[v] = s
        batch.moved_s[b, v] = now_s
    new_ms = measure(m, hosts, offered, ends, m.background, x.w)
    if v < 0:
        _keep(m, x)
    out.delay_ms[b] = (switched_s * old_ms + (period_s - switched_s) * new_ms) / period_s + extra_ms
    new_cores = x.w.load[m.first_cpu : m.first_up]
    out.energy_j[b] = extra_j + slot_j(m, x.old_hosted, x.old_cores, x.w.hosted, new_cores, switched_s, batch.idle_s[b])
    delta = (out.delay0_ms[b] - out.delay_ms[b]) / out.delay0_ms[b]
    eta = (out.energy0_j[b] - out.energy_j[b]) / out.energy0_j[b]
    out.reward[b] = m.t.tau_delay * delta + m.t.tau_energy * eta
    out.late_chains[b], out.moved[b] = late_chains(m, x.w), v >= 0
    read(m, batch, x, b)
    batch.slot[b] += 1
    batch.left[b] -= 1
    locate(p, batch.slot[b] * period_s, ends)


@compiled
def _keep(m: Model, x: Scratch) -> None:
    x.old_hosted[:] = x.w.hosted
    x.old_cores[:] = x.w.load[m.first_cpu : m.first_up]


@compiled
def look_ahead(p: Profiles, g: Settings, batch: Batch, x: Scratch, b: int) -> None:
    """The forecast: persistence, or the mean of the next slots' true traffic with a relative error."""
    batch.forecast[b] = batch.offered[b]
    batch.spread[b] = 0.0
    if g.forecast_slots == 0:
        return
    batch.forecast[b] = 0.0
    for k in range(g.forecast_slots):
        mid_s = (batch.slot[b] + k + 0.5) * p.period_s
        offer(p, batch.seed[b], batch.scale[b], mid_s, x.next_offered)
        batch.forecast[b] += x.next_offered / g.forecast_slots
    if g.forecast_error > 0.0:
        for c in range(batch.forecast.shape[1]):
            error = g.forecast_error * normal(batch.seed[b], c, batch.slot[b], _ERROR)
            batch.spread[b, c] = g.forecast_error * batch.forecast[b, c]
            batch.forecast[b, c] *= math.exp(error)


@compiled
def observe_one(
    m: Model, p: Profiles, g: Settings, batch: Batch, x: Scratch, sheets: Sheets, mask: BoolArray, b: int
) -> None:
    """Mask and features of instance b, on the model `m` of the scenario file."""
    hosts, offered, ends = batch.hosts[b], batch.offered[b], batch.ends[b]
    model_seen(m, batch, x, b)
    trial_moves(m, hosts, offered, ends, g.link_limit, x.w, x.changes)
    seen = readings(m, p, g, batch, x, b)
    refuse_all(m, hosts, offered, ends, x.background, seen, g.cpu_limit, x.changes, x.w, x.spare, x.codes)
    for v in range(len(hosts)):
        for s in range(len(x.w.hosted)):
            mask[b, v, s] = x.codes[v, s] == FEASIBLE
    look_ahead(p, g, batch, x, b)
    servers, chains = len(x.w.hosted), len(offered)
    observed = Observed(
        batch.awake[b],
        batch.power_w[b],
        x.zeros[:servers],
        batch.link_mbps[b],
        batch.chain_ms[b],
        x.zeros[:chains],
        x.zeros[:chains],
        batch.forecast[b],
        batch.spread[b],
    )
    rows = Sheets(sheets.vnf[b], sheets.server[b], sheets.pair[b], sheets.glob[b])
    write_features(
        m, hosts, offered, ends, x.background, seen, observed, mask[b], x.changes, x.w, x.spare, x.spare_changes, rows
    )


@compiled
def reset_all(
    belief: Model,
    truth: Model,
    p: Profiles,
    home: IntArray,
    g: Settings,
    batch: Batch,
    x: Scratch,
    sheets: Sheets,
    mask: BoolArray,
    which: BoolArray,
) -> None:
    """Resets and observes the instances that `which` [B] names."""
    for b in range(len(which)):
        if which[b]:
            reset_one(truth, p, home, g, batch, x, b)
            if g.features:
                observe_one(belief, p, g, batch, x, sheets, mask, b)


@compiled
def step_all(
    belief: Model,
    truth: Model,
    p: Profiles,
    g: Settings,
    batch: Batch,
    x: Scratch,
    sheets: Sheets,
    mask: BoolArray,
    actions: IntArray,
    out: Results,
) -> None:
    """One control period of every instance, without the resets."""
    servers = len(belief.t.cpu_cores)
    for b in range(len(actions)):
        v, s = -1, 0
        out.illegal[b] = False
        if actions[b] > 0:
            v, s = (actions[b] - 1) // servers, (actions[b] - 1) % servers
            allowed = mask[b, v, s] if g.features else legal(belief, p, g, batch, x, b, v, s)
            if not allowed:
                v, out.illegal[b] = -1, True
        step_one(truth, p, g, batch, x, out, b, v, s)
        if out.illegal[b]:
            out.reward[b] -= g.illegal_penalty
        out.done[b] = batch.left[b] <= 0
        if g.features:
            observe_one(belief, p, g, batch, x, sheets, mask, b)
