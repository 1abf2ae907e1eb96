"""Compiled life of a batch: one control period of an instance, and what it shows then."""

from __future__ import annotations

import math

from twin.batch import Batch, Life, Scratch, Settings
from twin.compiled import compiled, inner
from twin.feature_kernels import Sheets, model_seen, write_features
from twin.handed import Handed, opened
from twin.kernels import copy
from twin.legal_kernels import harms, harms_as_modelled, is_as_modelled, may_enter, seen_by
from twin.model import Model, Record
from twin.move_kernels import trial_moves
from twin.refusal_kernels import FEASIBLE, refuse_all
from twin.slot_kernels import Powered, is_awake, move_j, move_s, slot_j
from twin.start_kernels import course, hold, look_around, read, reset_one, retrace
from twin.state import IntArray
from twin.traffic_kernels import Profiles, locate, normal, offer, roams
from twin.wave_kernels import offer_all
from twin.way_kernels import (
    FIRST,
    NEVER,
    NEW,
    NOW,
    OLD,
    lay_out,
    mean_ms,
    measure_four,
    of,
    settled_w,
    share_out,
    take_over,
    trace_chain,
)

RESET, REST = -1, -2  # in place of an action
NONE = -1  # in place of a number of episodes: an action named nothing
_ERROR = 16  # a stream of random numbers that traffic does not use


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
    measure_four(m, course(batch, x, b, v, s), x.lanes)
    if v >= 0 and judge:
        for c in range(len(m.chains)):
            x.before_ms[c] = seen.chains[b, c].delay_ms
        if harms(m, g, seen.link_mbps[b], x.before_ms, x.lanes):
            v, out.illegal = -1, True
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
    hold(m, batch, b)


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
def _observe(life: Life, b: int, out: Sheets) -> None:
    """Mask and features of instance b, on the model of the scenario file."""
    m, p, g, batch, x = life.belief, life.profiles, life.settings, life.batch, life.scratch
    look_ahead(p, g, batch, x, b)
    seen, mask = seen_by(m, p, g, batch, b), life.mask[b]
    model_seen(m, seen, x.w)
    trial_moves(m, seen.hosts, seen.offered_mbps, seen.ends, x.w, x.changes)
    refuse_all(m, seen, g.bounds, x.changes, x.w, x.codes)
    for v in range(len(m.vnfs)):
        for s in range(len(m.servers)):
            mask[v, s] = x.codes[v, s] == FEASIBLE
    rows = Sheets(out.vnf[b], out.server[b], out.pair[b], out.glob[b])
    write_features(m, seen, mask, x.changes, x.w, x.spare, x.spare_changes, x.plans, rows)


@inner
def _live(life: Life, b: int, action: int) -> None:
    """One control period of instance b; an illegal action is a stay with a penalty."""
    m, p, g, batch, x, out = life.belief, life.profiles, life.settings, life.batch, life.scratch, life.results[b]
    v, s, servers, judge = -1, 0, len(m.servers), False
    out.illegal = False
    if action > 0:
        v, s = (action - 1) // servers, (action - 1) % servers
        if g.features:
            out.illegal = not life.mask[b, v, s]
        else:
            judge = is_as_modelled(p, g, batch, b)
            out.illegal = not may_enter(m, p, g, batch, b, v, s) or (
                not judge and harms_as_modelled(m, p, g, batch, x, b, v, s)
            )
        if out.illegal:
            v = -1
    step_one(life.truth, p, g, batch, x, out, b, v, s, judge)
    out.reward -= g.illegal_penalty * out.illegal


@compiled
def begin(handed: Handed[Life], out: Sheets) -> None:
    """Every instance is seen, in `out` [B, ...], as it would read where its placement, traffic and endpoints have been
    written."""
    life = opened(handed)
    lay_out(life.truth, life.scratch.lanes)
    for b in range(len(life.batch.instances)):
        look_around(life.truth, life.batch, life.scratch, b)
        _observe(life, b, out)


@compiled
def retrace_all(handed: Handed[Life]) -> None:
    """Traces every instance anew where placements and endpoints have been written."""
    life = opened(handed)
    for b in range(len(life.batch.instances)):
        retrace(life.truth, life.batch, b)


@compiled
def run(handed: Handed[Life], actions: IntArray, least: int, out: Sheets) -> int:
    """Every instance lives one control period, or is reset where its action is RESET, or rests where it is REST.

    What is seen then is written into `out` [B, ...]. How many episodes ended; `NONE`, and nothing has happened, where
    an action is less than `least` or names no VNF and server.
    """
    life, ended = opened(handed), 0
    for b in range(len(actions)):
        if not least <= actions[b] <= len(life.belief.vnfs) * len(life.belief.servers):
            return NONE
    lay_out(life.truth, life.scratch.lanes)
    if life.batch.given_mbps.shape[1] == 0:
        offer_all(life.profiles, life.batch)
    for b in range(len(actions)):
        if actions[b] == REST:
            continue
        if actions[b] == RESET:
            reset_one(life.truth, life.profiles, life.home, life.settings, life.batch, life.scratch, b)
        else:
            _live(life, b, actions[b])
            ended += life.results[b].done
        if life.settings.features:
            _observe(life, b, out)
    return ended
