"""Compiled costs: `twin.costs.evaluate` on the arrays of `twin.model`, about a microsecond for a medium network."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from twin.compiled import compiled, inner
from twin.costs import KNEE, UNREACHABLE_MS
from twin.model import Model, Work
from twin.state import FloatArray, IntArray

T = TypeVar("T", np.float64, np.int64)
_SLOPE = 1.0 / (1.0 - KNEE) ** 2


@inner
def copy(source: npt.NDArray[T], target: npt.NDArray[T]) -> None:
    """The source into the first places of the target (a slice assignment would need memory of its own)."""
    for i in range(len(source)):
        target[i] = source[i]


@inner
def total(values: FloatArray) -> float:
    """The sum (numpy's own needs memory)."""
    result = 0.0
    for i in range(len(values)):
        result += values[i]
    return result


@inner
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
    _clear(background, w)
    _weigh(offered_mbps, w)
    _pass_chains(m, hosts, offered_mbps, ends, w)
    for i in range(len(m.resources)):
        row = w.passed[i]
        row.unit_ms = m.resources[i].scale * slowdown1(row.load / m.resources[i].capacity)
    return _chain_delays(m, hosts, ends, w)


@inner
def _clear(background: FloatArray, w: Work) -> None:
    for i in range(len(w.passed)):
        row = w.passed[i]
        row.load = background[i] if i < len(background) else 0.0
        row.weighted = 0.0
    for s in range(len(w.servers)):
        w.servers[s].vnfs = 0
        w.servers[s].memory_mb = 0.0


@inner
def _weigh(offered_mbps: FloatArray, w: Work) -> None:
    all_mbps = total(offered_mbps)
    for c in range(len(w.chains)):
        w.chains[c].weight = offered_mbps[c] / all_mbps if all_mbps > 0.0 else 1.0 / len(w.chains)


@inner
def _pass_chains(m: Model, hosts: IntArray, offered_mbps: FloatArray, ends: IntArray, w: Work) -> None:
    for c in range(len(m.chains)):
        chain, share, offered = m.chains[c], w.chains[c].weight, offered_mbps[c]
        _add(w, m.up + chain.ingress, offered, chain.packet_kbit, share)
        _add(w, m.down + chain.egress, offered, chain.packet_kbit, share)
        at = ends[chain.ingress]
        for v in range(chain.first, chain.last):
            s, vnf = hosts[v], m.vnfs[v]
            to = m.servers[s].switch
            _add_route(m, w, at, to, offered, chain.packet_kbit, share)
            _add(w, m.access + s, offered, chain.packet_kbit, share)
            _add(w, m.cpu + s, vnf.cpu_base + vnf.cpu_per_mbps * offered, vnf.service_ms, share)
            w.servers[s].vnfs += 1
            w.servers[s].memory_mb += vnf.memory_mb
            at = to
        _add_route(m, w, at, ends[chain.egress], offered, chain.packet_kbit, share)


@inner
def _add(w: Work, i: int, demand: float, amount: float, share: float) -> None:
    row = w.passed[i]
    row.load += demand
    row.weighted += share * amount


@inner
def _add_route(m: Model, w: Work, a: int, b: int, demand: float, amount: float, share: float) -> None:
    at = a * len(m.route_ms) + b
    for k in range(m.route_first[at], m.route_first[at + 1]):
        _add(w, m.route_links[k], demand, amount, share)


@inner
def route_ms(m: Model, a: int, b: int) -> float:
    """Propagation from switch a to b, `UNREACHABLE_MS` where there is no route."""
    return float(min(m.route_ms[a, b], UNREACHABLE_MS))


@inner
def _route_units(m: Model, w: Work, a: int, b: int) -> float:
    at, units = a * len(m.route_ms) + b, 0.0
    for k in range(m.route_first[at], m.route_first[at + 1]):
        units += w.passed[m.route_links[k]].unit_ms
    return units


@inner
def _chain_delays(m: Model, hosts: IntArray, ends: IntArray, w: Work) -> float:
    mean_ms = 0.0
    for c in range(len(m.chains)):
        chain = m.chains[c]
        at, fixed_ms = ends[chain.ingress], chain.hops_ms
        units = w.passed[m.up + chain.ingress].unit_ms + w.passed[m.down + chain.egress].unit_ms
        for v in range(chain.first, chain.last):
            s = hosts[v]
            to = m.servers[s].switch
            fixed_ms += route_ms(m, at, to) + m.vnfs[v].service_ms * w.passed[m.cpu + s].unit_ms
            units += _route_units(m, w, at, to) + w.passed[m.access + s].unit_ms
            at = to
        to = ends[chain.egress]
        fixed_ms += route_ms(m, at, to)
        units += _route_units(m, w, at, to)
        w.chains[c].delay_ms = min(fixed_ms + units * chain.packet_kbit, UNREACHABLE_MS)
        mean_ms += w.chains[c].delay_ms * w.chains[c].weight
    return mean_ms


@inner
def mean_delay_ms(w: Work) -> float:
    """The mean delay that `measure` returned."""
    mean_ms = 0.0
    for c in range(len(w.chains)):
        mean_ms += w.chains[c].delay_ms * w.chains[c].weight
    return mean_ms


@inner
def active_w(m: Model, s: int, cores: float) -> float:
    """Power of an awake server with `cores` in use."""
    server = m.servers[s]
    share = min(max(cores / server.cores, 0.0), 1.0)
    return float(server.idle_w + (server.peak_w - server.idle_w) * share)


@compiled
def settled_power_w(m: Model, w: Work) -> float:
    """Total power of the measured placement once every server without a VNF sleeps."""
    power_w = 0.0
    for s in range(len(w.servers)):
        if w.servers[s].vnfs > 0:
            power_w += active_w(m, s, w.passed[m.cpu + s].load)
        else:
            power_w += m.servers[s].sleep_w
    return power_w


@inner
def late_chains(m: Model, w: Work) -> int:
    """How many chains are above their tolerable delay."""
    late = 0
    for c in range(len(w.chains)):
        late += w.chains[c].delay_ms > m.chains[c].max_delay_ms
    return late
