"""Compiled costs: `twin.costs.evaluate` on the arrays of `twin.model`, about a microsecond for a medium network."""

from __future__ import annotations

from twin.compiled import compiled
from twin.costs import KNEE, UNREACHABLE_MS
from twin.model import Model, Work
from twin.state import FloatArray, IntArray

_SLOPE = 1.0 / (1.0 - KNEE) ** 2


@compiled
def slowdown1(utilisation: float) -> float:
    """`twin.costs.slowdown` of one number."""
    if utilisation <= KNEE:
        return 1.0 / (1.0 - utilisation)
    return 1.0 / (1.0 - KNEE) + (utilisation - KNEE) * _SLOPE


@compiled
def measure(
    m: Model, hosts: IntArray, offered_mbps: FloatArray, ends: IntArray, background: FloatArray, w: Work
) -> float:
    """Fills the work space for one placement and returns the mean delay in ms; no route counts `UNREACHABLE_MS`."""
    _clear(m, background, w)
    _weigh(offered_mbps, w.weight)
    _pass_chains(m, hosts, offered_mbps, ends, w)
    for i in range(len(m.capacity)):
        w.unit_ms[i] = m.scale[i] * slowdown1(w.load[i] / m.capacity[i])
        w.base[i] = w.load[i]
    return _chain_delays(m, hosts, ends, w)


@compiled
def _clear(m: Model, background: FloatArray, w: Work) -> None:
    w.load[:] = 0.0
    w.load[: len(background)] = background
    w.weighted[:] = 0.0
    w.total[:] = 0.0
    w.hosted[:] = 0
    w.memory_mb[:] = 0.0


@compiled
def _weigh(offered_mbps: FloatArray, weight: FloatArray) -> None:
    total = offered_mbps.sum()
    for c in range(len(weight)):
        weight[c] = offered_mbps[c] / total if total > 0.0 else 1.0 / len(weight)


@compiled
def _pass_chains(m: Model, hosts: IntArray, offered_mbps: FloatArray, ends: IntArray, w: Work) -> None:
    t = m.t
    for c in range(len(t.ingress)):
        offered, share, kbit = offered_mbps[c], w.weight[c], t.packet_kbit[c]
        _add(w, m.first_up + t.ingress[c], offered, kbit, share)
        _add(w, m.first_down + t.egress[c], offered, kbit, share)
        at = ends[t.ingress[c]]
        for v in range(t.chain_first[c], t.chain_first[c + 1]):
            s = hosts[v]
            _add_route(m, w, at, t.server_switch[s], offered, kbit, share)
            at = t.server_switch[s]
            _add(w, m.first_access + s, offered, kbit, share)
            _add(w, m.first_cpu + s, t.cpu_base[v] + t.cpu_per_mbps[v] * offered, t.service_ms[v], share)
            w.hosted[s] += 1
            w.memory_mb[s] += t.vnf_memory_mb[v]
        _add_route(m, w, at, ends[t.egress[c]], offered, kbit, share)


@compiled
def _add(w: Work, i: int, demand: float, amount: float, share: float) -> None:
    w.load[i] += demand
    w.weighted[i] += share * amount
    w.total[i] += amount


@compiled
def _add_route(m: Model, w: Work, a: int, b: int, demand: float, amount: float, share: float) -> None:
    at = a * len(m.route_ms) + b
    for k in range(m.route_first[at], m.route_first[at + 1]):
        _add(w, m.route_links[k], demand, amount, share)


@compiled
def route_ms(m: Model, a: int, b: int) -> float:
    """Propagation from switch a to b, `UNREACHABLE_MS` where there is no route."""
    return float(min(m.route_ms[a, b], UNREACHABLE_MS))


@compiled
def _route_units(m: Model, w: Work, a: int, b: int) -> float:
    at, units = a * len(m.route_ms) + b, 0.0
    for k in range(m.route_first[at], m.route_first[at + 1]):
        units += w.unit_ms[m.route_links[k]]
    return units


@compiled
def _chain_delays(m: Model, hosts: IntArray, ends: IntArray, w: Work) -> float:
    t, mean_ms = m.t, 0.0
    for c in range(len(t.ingress)):
        at, fixed_ms = ends[t.ingress[c]], m.hops_ms[c]
        units = w.unit_ms[m.first_up + t.ingress[c]] + w.unit_ms[m.first_down + t.egress[c]]
        for v in range(t.chain_first[c], t.chain_first[c + 1]):
            s = hosts[v]
            to = t.server_switch[s]
            fixed_ms += route_ms(m, at, to) + t.service_ms[v] * w.unit_ms[m.first_cpu + s]
            units += _route_units(m, w, at, to) + w.unit_ms[m.first_access + s]
            at = to
        to = ends[t.egress[c]]
        fixed_ms += route_ms(m, at, to)
        units += _route_units(m, w, at, to)
        w.chain_ms[c] = min(fixed_ms + units * t.packet_kbit[c], UNREACHABLE_MS)
        mean_ms += w.chain_ms[c] * w.weight[c]
    return mean_ms


@compiled
def active_w(m: Model, s: int, cores: float) -> float:
    """Power of an awake server with `cores` in use."""
    share = min(max(cores / m.t.cpu_cores[s], 0.0), 1.0)
    return float(m.t.idle_w[s] + (m.t.peak_w[s] - m.t.idle_w[s]) * share)


@compiled
def settled_power_w(m: Model, w: Work) -> float:
    """Total power of the measured placement once every server without a VNF sleeps."""
    total_w = 0.0
    for s in range(len(w.hosted)):
        total_w += active_w(m, s, w.load[m.first_cpu + s]) if w.hosted[s] > 0 else m.t.sleep_w[s]
    return total_w


@compiled
def late_chains(m: Model, w: Work) -> int:
    """How many chains are above their tolerable delay."""
    late = 0
    for c in range(len(w.chain_ms)):
        late += w.chain_ms[c] > m.t.max_delay_ms[c]
    return late
