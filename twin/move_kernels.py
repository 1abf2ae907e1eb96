"""Compiled trial of every single move: exact change of delay and power, and what it asks of links and other chains.

1. What one more passage of a link by a chain changes is worked out once per link and chain (`w.joins`).
2. Taking a VNF off its host gives its own links back; there a passage more undoes what leaving did.
3. The two new segments over a switch are then a sum over their links, shared by all servers at that switch. No link is
   passed by both: a shortest way out and back never turns round on itself, since both directions of a link are alike.
4. A server adds its access link and its processor.

Fields of a `twin.model.CHANGE`: `mean_ms` change of the traffic-weighted mean delay, `chain_ms` delay of the VNF's
chain after the move, `power_w` change of total power once settled, `detour_ms` change of propagation, `strain` of the
other chains (`twin.passer_kernels`: up to 1 none becomes late), `link` greatest utilisation on the VNF's two segments
after the move, `fuller` the same of those links only that get fuller (inf: there is no route).
"""

from __future__ import annotations

import math

from twin.compiled import compiled, inner
from twin.costs import UNREACHABLE_MS
from twin.kernels import active_w, route_ms, slowdown1
from twin.model import Model, Record, Records, Work
from twin.passer_kernels import drop_own, index_passers, stop, take_own, tightness
from twin.state import FloatArray, IntArray

_ROUNDING_MBPS = 1e-9  # less is no traffic


@compiled
def trial_moves(m: Model, hosts: IntArray, offered_mbps: FloatArray, ends: IntArray, w: Work, changes: Records) -> None:
    """Fills `changes` [V, S] for every move; `w` must hold this placement as `measure` left it."""
    index_passers(m, hosts, ends, w)
    _forget_sites(w)
    for c in range(len(m.chains)):
        count = take_own(m, hosts, ends, c, w)
        for i in range(m.cpu):
            _join_link(m, w, c, i, offered_mbps[c])  # 1
        for v in range(m.chains[c].first, m.chains[c].last):
            _trial_vnf(m, hosts, offered_mbps[c], ends, v, w, changes[v])
        drop_own(w, count)


@inner
def _forget_sites(w: Work) -> None:
    for n in range(len(w.sites)):
        w.sites[n].vnf = -1


@inner
def _join_link(m: Model, w: Work, c: int, i: int, offered: float) -> None:
    """What one more passage of link i by chain c changes."""
    row, join, kbit, rise = w.passed[i], w.joins[i], m.chains[c].packet_kbit, rise_ms(m, w, i, offered)
    own_ms = kbit * (row.unit_ms + rise)
    join.mean_ms = row.weighted * rise + w.chains[c].weight * own_ms
    join.own_ms = row.own * rise + own_ms
    join.strain = rise * tightness(w, i, c)
    join.link = (row.load + offered) / m.resources[i].capacity
    join.fuller = join.link if offered > _ROUNDING_MBPS else 0.0


@inner
def _join_route(m: Model, w: Work, c: int, a: int, b: int, offered: float) -> None:
    at = a * len(m.route_ms) + b
    for k in range(m.route_first[at], m.route_first[at + 1]):
        _join_link(m, w, c, m.route_links[k], offered)


@inner
def _trial_vnf(m: Model, hosts: IntArray, offered: float, ends: IntArray, v: int, w: Work, changes: Records) -> None:
    """The moves of VNF v into `changes` [S]."""
    c, host, vnf = m.vnfs[v].chain, hosts[v], m.vnfs[v]
    before, at, after = stop(m, hosts, ends, c, v - 1), m.servers[host].switch, stop(m, hosts, ends, c, v + 1)
    cores, chain_ms = vnf.cpu_base + vnf.cpu_per_mbps * offered, w.chains[c].delay_ms
    left_w, fixed_ms = _leaving_w(m, w, host, cores), route_ms(m, before, at) + route_ms(m, at, after)
    mean_ms, own_ms, stay_link = _leave(m, w, v, host, before, at, after, offered, cores)  # 2
    for s in range(len(w.servers)):
        out, k = changes[s], m.servers[s].site
        site = w.sites[k]
        if s == host:
            _unchanged(out, chain_ms, stay_link)
            continue
        if site.vnf != v:
            _join_site(m, w, m.to_site[before, k], m.from_site[after, k], site)  # 3
            site.vnf = v
        out.detour_ms = site.fixed_ms - fixed_ms
        out.mean_ms = mean_ms + site.mean_ms + w.chains[c].weight * out.detour_ms
        out.chain_ms = chain_ms + own_ms + site.own_ms + out.detour_ms
        out.power_w = left_w + _joining_w(m, w, s, cores)
        out.strain = site.strain
        out.link = site.link
        out.fuller = site.fuller
        _join_server(m, w, v, s, cores, out)  # 4
    for a, b in ((before, at), (at, after)):
        _join_route(m, w, c, a, b, offered)


@inner
def _unchanged(out: Record, chain_ms: float, link: float) -> None:
    out.mean_ms = 0.0
    out.chain_ms = chain_ms
    out.power_w = 0.0
    out.detour_ms = 0.0
    out.strain = 0.0
    out.link = link
    out.fuller = 0.0


@inner
def _leave(
    m: Model, w: Work, v: int, host: int, before: int, at: int, after: int, offered: float, cores: float
) -> tuple[float, float, float]:
    """Takes VNF v off its host: change of the mean and of its chain in ms, and its links' utilisation.

    The joins of the links that it gives back are then the way back to how they are.
    """
    c, link = m.vnfs[v].chain, 0.0
    kbit = m.chains[c].packet_kbit
    mean_ms, own_ms = _leave_resource(m, w, c, m.access + host, offered, kbit)
    mean, own = _leave_resource(m, w, c, m.cpu + host, cores, m.vnfs[v].service_ms)
    mean_ms, own_ms = mean_ms + mean, own_ms + own
    for a, b in ((before, at), (at, after)):
        row = a * len(m.route_ms) + b
        for k in range(m.route_first[row], m.route_first[row + 1]):
            i = m.route_links[k]
            join = w.joins[i]
            mean, own = _leave_resource(m, w, c, i, offered, kbit)
            join.mean_ms, join.own_ms, join.strain, join.fuller = -mean, -own, 0.0, 0.0
            join.link = w.passed[i].load / m.resources[i].capacity
            mean_ms, own_ms, link = mean_ms + mean, own_ms + own, max(link, join.link)
    return mean_ms, own_ms, link


@inner
def _leave_resource(m: Model, w: Work, c: int, i: int, demand: float, amount: float) -> tuple[float, float]:
    """Change in ms of the mean and of chain c by one passage less of resource i."""
    row, rise = w.passed[i], rise_ms(m, w, i, -demand)
    rest_ms = amount * (row.unit_ms + rise)
    return row.weighted * rise - w.chains[c].weight * rest_ms, row.own * rise - rest_ms


@inner
def rise_ms(m: Model, w: Work, i: int, demand: float) -> float:
    """How much slower resource i is under `demand` more load."""
    row, resource = w.passed[i], m.resources[i]
    return float(resource.scale * slowdown1((row.load + demand) / resource.capacity) - row.unit_ms)


@inner
def _join_site(m: Model, w: Work, there: Record, back: Record, site: Record) -> None:
    """The two new segments over a site."""
    mean_ms, own_ms, strain, link, fuller = 0.0, 0.0, 0.0, 0.0, 0.0
    if not (math.isfinite(there.ms) and math.isfinite(back.ms)):
        fuller = math.inf
    for way in (there, back):
        for k in range(way.first, way.last):
            join = w.joins[m.way_links[k]]
            mean_ms += join.mean_ms
            own_ms += join.own_ms
            strain += join.strain
            link = max(link, join.link)
            fuller = max(fuller, join.fuller)
    site.mean_ms = mean_ms
    site.own_ms = own_ms
    site.strain = strain
    site.fixed_ms = min(there.ms, UNREACHABLE_MS) + min(back.ms, UNREACHABLE_MS)
    site.link = link
    site.fuller = fuller


@inner
def _join_server(m: Model, w: Work, v: int, s: int, cores: float, out: Record) -> None:
    """Adds v's access link and processor at server s."""
    c, access, i = m.vnfs[v].chain, w.joins[m.access + s], m.cpu + s
    row, service_ms = w.passed[i], m.vnfs[v].service_ms
    rise = rise_ms(m, w, i, cores)
    own_ms = service_ms * (row.unit_ms + rise)
    out.mean_ms += access.mean_ms + row.weighted * rise + w.chains[c].weight * own_ms
    out.chain_ms += access.own_ms + row.own * rise + own_ms
    out.strain += access.strain + rise * tightness(w, i, c)


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
