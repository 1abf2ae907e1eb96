"""Compiled trial of every single move: exact change of delay and power, and whether its links carry it.

Removing a VNF and adding it elsewhere touches few resources, so a trial sums the change of those and undoes it.
Servers at one switch share the trial of the routes to that switch.

Columns of a `twin.model.CHANGE`: `mean_ms` change of the traffic-weighted mean delay, `chain_ms` delay of the VNF's
chain after the move, `power_w` change of total power once settled, `link` greatest utilisation on the VNF's two
segments after the move, `detour_ms` change of propagation, `others_ms` no other chain gets slower by more than this,
`blocked` 0, NO_ROUTE or LINK_OVER.
"""

from __future__ import annotations

import math

from twin.compiled import compiled, inner
from twin.kernels import active_w, route_ms, slowdown1
from twin.model import Model, Record, Records, Work
from twin.state import FloatArray, IntArray

NO_ROUTE = 1
LINK_OVER = 2
_ROUNDING = 1e-9


@inner
def _shift(
    m: Model, w: Work, i: int, sign: float, demand: float, amount: float, share: float
) -> tuple[float, float, float]:
    """Adds (or takes away) one passage of resource i: change in ms of the mean, of the own chain, of all others."""
    row, resource = w.passed[i], m.resources[i]
    before = row.unit_ms if row.load == row.base else resource.scale * slowdown1(row.load / resource.capacity)
    row.load += sign * demand
    after = resource.scale * slowdown1(row.load / resource.capacity)
    mean_ms = (row.weighted + sign * share * amount) * after - row.weighted * before
    own_ms = (row.own + sign * amount) * after - row.own * before
    others_ms = (row.total - row.own) * (after - before)
    row.weighted += sign * share * amount
    row.total += sign * amount
    row.own += sign * amount
    return mean_ms, own_ms, others_ms


@inner
def _save(w: Work, k: int, i: int) -> None:
    undo, row = w.undo[k], w.passed[i]
    undo.at = i
    undo.load = row.load
    undo.weighted = row.weighted
    undo.total = row.total
    undo.own = row.own


@inner
def _restore(w: Work, first: int, last: int) -> None:
    for k in range(last - 1, first - 1, -1):
        undo = w.undo[k]
        row = w.passed[undo.at]
        row.load = undo.load
        row.weighted = undo.weighted
        row.total = undo.total
        row.own = undo.own


@inner
def _stop(m: Model, hosts: IntArray, ends: IntArray, c: int, v: int) -> int:
    """The switch of stop v of chain c: a VNF's, or the ingress' before and the egress' after the VNFs."""
    chain = m.chains[c]
    if v < chain.first:
        return int(ends[chain.ingress])
    if v >= chain.last:
        return int(ends[chain.egress])
    return int(m.servers[hosts[v]].switch)


@inner
def _own_chain(m: Model, hosts: IntArray, ends: IntArray, c: int, w: Work) -> None:
    """What chain c alone passes of every resource."""
    for i in range(len(w.passed)):
        w.passed[i].own = 0.0
    chain = m.chains[c]
    for v in range(chain.first, chain.last + 1):
        at = _stop(m, hosts, ends, c, v - 1) * len(m.route_ms) + _stop(m, hosts, ends, c, v)
        for k in range(m.route_first[at], m.route_first[at + 1]):
            w.passed[m.route_links[k]].own += chain.packet_kbit
        if v < chain.last:
            w.passed[m.access + hosts[v]].own += chain.packet_kbit
            w.passed[m.cpu + hosts[v]].own += m.vnfs[v].service_ms


@inner
def _forget_sites(w: Work) -> None:
    for n in range(len(w.sites)):
        w.sites[n].vnf = -1


@compiled
def trial_moves(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    link_limit: float,
    w: Work,
    changes: Records,
) -> None:
    """Fills `changes` [V, S] for every move; `w` must hold this placement as `measure` left it."""
    chain = -1
    _forget_sites(w)
    for v in range(len(hosts)):
        if m.vnfs[v].chain != chain:
            chain = m.vnfs[v].chain
            _own_chain(m, hosts, ends, chain, w)
        _trial_vnf(m, hosts, offered_mbps, ends, link_limit, v, 0, len(w.servers), w, changes[v])


@inner
def trial_one(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    link_limit: float,
    v: int,
    s: int,
    w: Work,
    changes: Records,
) -> None:
    """As `trial_moves` for the one move of v to s."""
    _forget_sites(w)
    _own_chain(m, hosts, ends, m.vnfs[v].chain, w)
    _trial_vnf(m, hosts, offered_mbps, ends, link_limit, v, s, s + 1, w, changes[v])


@inner
def _trial_vnf(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    link_limit: float,
    v: int,
    first: int,
    last: int,
    w: Work,
    changes: Records,
) -> None:
    """The moves of VNF v to servers first..last-1, into `changes` [S]."""
    c, host, vnf = m.vnfs[v].chain, hosts[v], m.vnfs[v]
    before, after = _stop(m, hosts, ends, c, v - 1), _stop(m, hosts, ends, c, v + 1)
    offered, share, chain_ms = offered_mbps[c], w.chains[c].weight, w.chains[c].delay_ms
    cores = vnf.cpu_base + vnf.cpu_per_mbps * offered
    left_w = _leaving_w(m, w, host, cores)
    mean_ms, own_ms, removed, stay_link = _leave(m, w, v, host, before, after, offered, cores)
    at = m.servers[host].switch
    fixed_ms = route_ms(m, before, at) + route_ms(m, at, after)
    for s in range(first, last):
        out = changes[s]
        if s == host:
            _unchanged(out, chain_ms, stay_link)
            continue
        site = w.sites[m.servers[s].switch]
        if site.vnf != v:
            _join_site(m, w, before, m.servers[s].switch, after, offered, c, share, link_limit, removed)
            site.vnf = v
        joined_mean, joined_own, joined_others = _join_server(m, w, v, s, offered, cores, share)
        out.detour_ms = site.fixed_ms - fixed_ms
        out.mean_ms = mean_ms + site.mean_ms + joined_mean + share * out.detour_ms
        out.chain_ms = chain_ms + own_ms + site.own_ms + joined_own + out.detour_ms
        out.power_w = left_w + _joining_w(m, w, s, cores)
        out.link = site.link
        out.blocked = site.blocked
        out.others_ms = site.others_ms + joined_others
    _restore(w, 0, removed)


@inner
def _unchanged(out: Record, chain_ms: float, link: float) -> None:
    out.detour_ms = 0.0
    out.mean_ms = 0.0
    out.chain_ms = chain_ms
    out.power_w = 0.0
    out.link = link
    out.blocked = 0
    out.others_ms = 0.0


@inner
def _leave(
    m: Model, w: Work, v: int, host: int, before: int, after: int, offered: float, cores: float
) -> tuple[float, float, int, float]:
    """Takes VNF v off its host: change of the mean and of its chain in ms, how much to undo, its links' utilisation."""
    c = m.vnfs[v].chain
    kbit, share, at = m.chains[c].packet_kbit, w.chains[c].weight, m.servers[host].switch
    mean_ms, own_ms, saved, link = 0.0, 0.0, 0, 0.0
    for a, b in ((before, at), (at, after)):
        row = a * len(m.route_ms) + b
        for k in range(m.route_first[row], m.route_first[row + 1]):
            i = m.route_links[k]
            link = max(link, w.passed[i].base / m.resources[i].capacity)
            _save(w, saved, i)
            saved += 1
            mean, own, _ = _shift(m, w, i, -1.0, offered, kbit, share)
            mean_ms, own_ms = mean_ms + mean, own_ms + own
    for i, demand, amount in ((m.access + host, offered, kbit), (m.cpu + host, cores, m.vnfs[v].service_ms)):
        _save(w, saved, i)
        saved += 1
        mean, own, _ = _shift(m, w, i, -1.0, demand, amount, share)
        mean_ms, own_ms = mean_ms + mean, own_ms + own
    return mean_ms, own_ms, saved, link


@inner
def _join_site(
    m: Model,
    w: Work,
    before: int,
    to: int,
    after: int,
    offered: float,
    c: int,
    share: float,
    link_limit: float,
    saved: int,
) -> None:
    """The two new segments over switch `to`, into the work space's row of that switch; the loads stay as they were."""
    mean_ms, own_ms, others_ms, link, blocked, top = 0.0, 0.0, 0.0, 0.0, 0, saved
    for a, b in ((before, to), (to, after)):
        at = a * len(m.route_ms) + b
        if not math.isfinite(m.route_ms[a, b]):
            blocked = NO_ROUTE
        for k in range(m.route_first[at], m.route_first[at + 1]):
            i = m.route_links[k]
            _save(w, top, i)
            top += 1
            mean, own, others = _shift(m, w, i, 1.0, offered, m.chains[c].packet_kbit, share)
            mean_ms, own_ms, others_ms = mean_ms + mean, own_ms + own, others_ms + others
            used = w.passed[i].load / m.resources[i].capacity
            link = max(link, used)
            if blocked == 0 and used > link_limit and w.passed[i].load > w.passed[i].base + _ROUNDING:
                blocked = LINK_OVER
    site = w.sites[to]
    site.mean_ms = mean_ms
    site.own_ms = own_ms
    site.others_ms = others_ms
    site.fixed_ms = route_ms(m, before, to) + route_ms(m, to, after)
    site.link = link
    site.blocked = blocked
    _restore(w, saved, top)


@inner
def _join_server(
    m: Model, w: Work, v: int, s: int, offered: float, cores: float, share: float
) -> tuple[float, float, float]:
    """Change in ms of the mean, the own chain and all others by v's access link and processor at server s."""
    kbit = m.chains[m.vnfs[v].chain].packet_kbit
    mean_ms, own_ms, others_ms = 0.0, 0.0, 0.0
    for i, demand, amount in ((m.access + s, offered, kbit), (m.cpu + s, cores, m.vnfs[v].service_ms)):
        row, resource = w.passed[i], m.resources[i]
        after = resource.scale * slowdown1((row.load + demand) / resource.capacity)
        mean_ms += (row.weighted + share * amount) * after - row.weighted * row.unit_ms
        own_ms += (row.own + amount) * after - row.own * row.unit_ms
        others_ms += (row.total - row.own) * (after - row.unit_ms)
    return mean_ms, own_ms, others_ms


@inner
def _leaving_w(m: Model, w: Work, host: int, cores: float) -> float:
    used = w.passed[m.cpu + host].load
    rest_w = active_w(m, host, used - cores) if w.servers[host].vnfs > 1 else m.servers[host].sleep_w
    return float(rest_w - active_w(m, host, used))


@inner
def _joining_w(m: Model, w: Work, s: int, cores: float) -> float:
    used = w.passed[m.cpu + s].load
    present_w = active_w(m, s, used) if w.servers[s].vnfs > 0 else m.servers[s].sleep_w
    return float(active_w(m, s, used + cores) - present_w)
