"""Compiled trial of every single move: exact change of delay and power, and why a move is refused.

Removing a VNF and adding it elsewhere touches few resources, so a trial sums the change of those and undoes it.
Servers at one switch share the trial of the routes to that switch.
"""

from __future__ import annotations

import numpy as np

from twin.compiled import compiled
from twin.kernels import active_w, route_ms, slowdown1
from twin.model import Model, Work
from twin.state import FloatArray, IntArray

# Columns of the array of changes [V, S, 7]
MEAN_MS = 0  # change of the traffic-weighted mean delay
CHAIN_MS = 1  # delay of the moved VNF's chain after the move
POWER_W = 2  # change of total power once settled
LINK = 3  # greatest utilisation on the VNF's two segments after the move
DETOUR_MS = 4  # change of propagation
OTHERS_MS = 5  # no other chain gets slower by more than this
BLOCKED = 6  # 0, or 1: no route, or 2: a link above its limit
COLUMNS = 7
NO_ROUTE = 1.0
LINK_OVER = 2.0
_ROUNDING = 1e-9


@compiled
def _shift(
    m: Model, w: Work, i: int, sign: float, demand: float, amount: float, share: float
) -> tuple[float, float, float]:
    """Adds (or takes away) one passage of resource i: change in ms of the mean, of the own chain, of all others."""
    before = w.unit_ms[i] if w.load[i] == w.base[i] else m.scale[i] * slowdown1(w.load[i] / m.capacity[i])
    w.load[i] += sign * demand
    after = m.scale[i] * slowdown1(w.load[i] / m.capacity[i])
    mean_ms = (w.weighted[i] + sign * share * amount) * after - w.weighted[i] * before
    own_ms = (w.own[i] + sign * amount) * after - w.own[i] * before
    others_ms = (w.total[i] - w.own[i]) * (after - before)
    w.weighted[i] += sign * share * amount
    w.total[i] += sign * amount
    w.own[i] += sign * amount
    return mean_ms, own_ms, others_ms


@compiled
def _save(w: Work, k: int, i: int) -> None:
    w.undo_at[k] = i
    w.undo[k, 0], w.undo[k, 1], w.undo[k, 2], w.undo[k, 3] = w.load[i], w.weighted[i], w.total[i], w.own[i]


@compiled
def _restore(w: Work, saved: int) -> None:
    for k in range(saved - 1, -1, -1):
        i = w.undo_at[k]
        w.load[i], w.weighted[i], w.total[i], w.own[i] = w.undo[k, 0], w.undo[k, 1], w.undo[k, 2], w.undo[k, 3]


@compiled
def _stop(m: Model, hosts: IntArray, ends: IntArray, c: int, v: int) -> int:
    """The switch of stop v of chain c: a VNF's, or the ingress' before and the egress' after the VNFs."""
    if v < m.t.chain_first[c]:
        return int(ends[m.t.ingress[c]])
    if v >= m.t.chain_first[c + 1]:
        return int(ends[m.t.egress[c]])
    return int(m.t.server_switch[hosts[v]])


@compiled
def _own_chain(m: Model, hosts: IntArray, ends: IntArray, c: int, w: Work) -> None:
    """What chain c alone passes of every resource."""
    w.own[:] = 0.0
    kbit = m.t.packet_kbit[c]
    first, last = m.t.chain_first[c], m.t.chain_first[c + 1]
    for v in range(first, last + 1):
        at = _stop(m, hosts, ends, c, v - 1) * len(m.route_ms) + _stop(m, hosts, ends, c, v)
        for k in range(m.route_first[at], m.route_first[at + 1]):
            w.own[m.route_links[k]] += kbit
        if v < last:
            w.own[m.first_access + hosts[v]] += kbit
            w.own[m.first_cpu + hosts[v]] += m.t.service_ms[v]


@compiled
def trial_moves(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    link_limit: float,
    w: Work,
    changes: FloatArray,
) -> None:
    """Fills `changes` [V, S, 7] for every move; `w` must hold this placement as `measure` left it."""
    chain = -1
    w.site_of[:] = -1
    for v in range(len(hosts)):
        if m.t.vnf_chain[v] != chain:
            chain = m.t.vnf_chain[v]
            _own_chain(m, hosts, ends, chain, w)
        trial_vnf(m, hosts, offered_mbps, ends, link_limit, v, 0, len(w.hosted), w, changes[v])


@compiled
def trial_one(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    link_limit: float,
    v: int,
    s: int,
    w: Work,
    changes: FloatArray,
) -> None:
    """As `trial_moves` for the one move of v to s."""
    w.site_of[:] = -1
    _own_chain(m, hosts, ends, m.t.vnf_chain[v], w)
    trial_vnf(m, hosts, offered_mbps, ends, link_limit, v, s, s + 1, w, changes[v])


@compiled
def trial_vnf(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    link_limit: float,
    v: int,
    first: int,
    last: int,
    w: Work,
    out: FloatArray,
) -> None:
    """The moves of VNF v to servers first..last-1, into `out` [S, 7]."""
    c, host = m.t.vnf_chain[v], hosts[v]
    before, after = _stop(m, hosts, ends, c, v - 1), _stop(m, hosts, ends, c, v + 1)
    offered, kbit, share = offered_mbps[c], m.t.packet_kbit[c], w.weight[c]
    cores = m.t.cpu_base[v] + m.t.cpu_per_mbps[v] * offered
    left_w = _leaving_w(m, w, host, cores)
    mean_ms, own_ms, removed, stay_link = _leave(m, w, v, host, before, after, offered, cores)
    at = m.t.server_switch[host]
    fixed_ms = -route_ms(m, before, at) - route_ms(m, at, after)
    for s in range(first, last):
        if s == host:
            out[s, :] = 0.0
            out[s, CHAIN_MS], out[s, LINK] = w.chain_ms[c], stay_link
            continue
        to = m.t.server_switch[s]
        if w.site_of[to] != v:
            _join_site(m, w, before, to, after, offered, kbit, share, link_limit, removed)
            w.site_of[to] = v
        joined_mean, joined_own, joined_others = _join_server(m, w, v, s, offered, cores, share)
        detour_ms = fixed_ms + w.site[to, 3]
        out[s, MEAN_MS] = mean_ms + w.site[to, 0] + joined_mean + share * detour_ms
        out[s, CHAIN_MS] = w.chain_ms[c] + own_ms + w.site[to, 1] + joined_own + detour_ms
        out[s, POWER_W] = left_w + _joining_w(m, w, s, cores)
        out[s, LINK], out[s, BLOCKED] = w.site[to, 4], w.site[to, 5]
        out[s, DETOUR_MS], out[s, OTHERS_MS] = detour_ms, w.site[to, 2] + joined_others
    _restore(w, removed)


@compiled
def _leave(
    m: Model, w: Work, v: int, host: int, before: int, after: int, offered: float, cores: float
) -> tuple[float, float, int, float]:
    """Takes VNF v off its host: change of the mean and of its chain in ms, how much to undo, its links' utilisation."""
    c = m.t.vnf_chain[v]
    kbit, share, at = m.t.packet_kbit[c], w.weight[c], m.t.server_switch[host]
    mean_ms, own_ms, saved, link = 0.0, 0.0, 0, 0.0
    for a, b in ((before, at), (at, after)):
        row = a * len(m.route_ms) + b
        for k in range(m.route_first[row], m.route_first[row + 1]):
            i = m.route_links[k]
            link = max(link, w.base[i] / m.capacity[i])
            _save(w, saved, i)
            saved += 1
            mean, own, _ = _shift(m, w, i, -1.0, offered, kbit, share)
            mean_ms, own_ms = mean_ms + mean, own_ms + own
    for i, demand, amount in (
        (m.first_access + host, offered, kbit),
        (m.first_cpu + host, cores, m.t.service_ms[v]),
    ):
        _save(w, saved, i)
        saved += 1
        mean, own, _ = _shift(m, w, i, -1.0, demand, amount, share)
        mean_ms, own_ms = mean_ms + mean, own_ms + own
    return mean_ms, own_ms, saved, link


@compiled
def _join_site(
    m: Model,
    w: Work,
    before: int,
    to: int,
    after: int,
    offered: float,
    kbit: float,
    share: float,
    link_limit: float,
    saved: int,
) -> None:
    """The two new segments over switch `to`, into the work space's row of that switch; the loads stay as they were."""
    mean_ms, own_ms, others_ms, link, blocked, top = 0.0, 0.0, 0.0, 0.0, 0.0, saved
    for a, b in ((before, to), (to, after)):
        row = a * len(m.route_ms) + b
        if not np.isfinite(m.route_ms[a, b]):
            blocked = NO_ROUTE
        for k in range(m.route_first[row], m.route_first[row + 1]):
            i = m.route_links[k]
            _save(w, top, i)
            top += 1
            mean, own, others = _shift(m, w, i, 1.0, offered, kbit, share)
            mean_ms, own_ms, others_ms = mean_ms + mean, own_ms + own, others_ms + others
            used = w.load[i] / m.capacity[i]
            link = max(link, used)
            if blocked == 0.0 and used > link_limit and w.load[i] > w.base[i] + _ROUNDING:
                blocked = LINK_OVER
    w.site[to, 0], w.site[to, 1], w.site[to, 2] = mean_ms, own_ms, others_ms
    w.site[to, 3] = route_ms(m, before, to) + route_ms(m, to, after)
    w.site[to, 4], w.site[to, 5] = link, blocked
    for k in range(top - 1, saved - 1, -1):
        i = w.undo_at[k]
        w.load[i], w.weighted[i], w.total[i], w.own[i] = w.undo[k, 0], w.undo[k, 1], w.undo[k, 2], w.undo[k, 3]


@compiled
def _join_server(
    m: Model, w: Work, v: int, s: int, offered: float, cores: float, share: float
) -> tuple[float, float, float]:
    """Change in ms of the mean, the own chain and all others by v's access link and processor at server s."""
    kbit = m.t.packet_kbit[m.t.vnf_chain[v]]
    mean_ms, own_ms, others_ms = 0.0, 0.0, 0.0
    for i, demand, amount in ((m.first_access + s, offered, kbit), (m.first_cpu + s, cores, m.t.service_ms[v])):
        before = w.unit_ms[i]
        after = m.scale[i] * slowdown1((w.load[i] + demand) / m.capacity[i])
        mean_ms += (w.weighted[i] + share * amount) * after - w.weighted[i] * before
        own_ms += (w.own[i] + amount) * after - w.own[i] * before
        others_ms += (w.total[i] - w.own[i]) * (after - before)
    return mean_ms, own_ms, others_ms


@compiled
def _leaving_w(m: Model, w: Work, host: int, cores: float) -> float:
    used = w.load[m.first_cpu + host]
    rest_w = active_w(m, host, used - cores) if w.hosted[host] > 1 else m.t.sleep_w[host]
    return rest_w - active_w(m, host, used)


@compiled
def _joining_w(m: Model, w: Work, s: int, cores: float) -> float:
    used = w.load[m.first_cpu + s]
    present_w = active_w(m, s, used) if w.hosted[s] > 0 else m.t.sleep_w[s]
    return active_w(m, s, used + cores) - present_w
