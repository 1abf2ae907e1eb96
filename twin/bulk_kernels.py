"""Compiled: many placements under many traffics measured in one call, for the learned twin (`twin.bulk`)."""

from __future__ import annotations

from typing import NamedTuple

from twin.compiled import compiled, inner
from twin.kernels import measure, slowdown1
from twin.model import Model, Work
from twin.state import FloatArray, IntArray


class Cases(NamedTuple):
    """What is to be measured: B cases."""

    hosts: IntArray  # [B, V]
    ends: IntArray  # [B, E] switches
    offered_mbps: FloatArray  # [B, C]
    background: FloatArray  # [2L] load that is not ours, the same in all


class Measures(NamedTuple):
    """What `measure_all` writes."""

    mean_delay_ms: FloatArray  # [B]
    chain_delay_ms: FloatArray  # [B, C]
    vnf_ms: FloatArray  # [B, V] processing
    cores: FloatArray  # [B, S]
    memory_mb: FloatArray  # [B, S]
    link_mbps: FloatArray  # [B, 2L]
    worst_cpu: FloatArray  # [B, C] greatest utilisation of a server of the chain
    worst_link: FloatArray  # [B, C] and of a link it passes
    crossed: FloatArray  # [B, 2L, C] how often the chain passes the link


@compiled
def measure_all(m: Model, cases: Cases, w: Work, out: Measures) -> None:
    """Measures every case; `out.crossed` must be zeros."""
    for b in range(len(cases.hosts)):
        out.mean_delay_ms[b] = measure(m, cases.hosts[b], cases.offered_mbps[b], cases.ends[b], cases.background, w)
        for s in range(len(m.servers)):
            out.cores[b, s] = w.passed[m.cpu + s].load
            out.memory_mb[b, s] = w.servers[s].memory_mb
        for i in range(m.access):
            out.link_mbps[b, i] = w.passed[i].load
        for c in range(len(m.chains)):
            _read_chain(m, cases, w, out, b, c)


@inner
def _read_chain(m: Model, cases: Cases, w: Work, out: Measures, b: int, c: int) -> None:
    chain = m.chains[c]
    out.chain_delay_ms[b, c] = w.chains[c].delay_ms
    out.worst_cpu[b, c] = 0.0
    out.worst_link[b, c] = 0.0
    at = cases.ends[b, chain.ingress]
    for v in range(chain.first, chain.last):
        s = cases.hosts[b, v]
        cpu = w.passed[m.cpu + s].load / m.resources[m.cpu + s].capacity
        out.vnf_ms[b, v] = m.vnfs[v].service_ms * slowdown1(cpu)
        out.worst_cpu[b, c] = max(out.worst_cpu[b, c], cpu)
        _read_route(m, w, out, b, c, at, m.servers[s].switch)
        at = m.servers[s].switch
    _read_route(m, w, out, b, c, at, cases.ends[b, chain.egress])


@inner
def _read_route(m: Model, w: Work, out: Measures, b: int, c: int, start: int, to: int) -> None:
    at = start * len(m.route_ms) + to
    for k in range(m.route_first[at], m.route_first[at + 1]):
        i = m.route_links[k]
        out.crossed[b, i, c] += 1.0
        out.worst_link[b, c] = max(out.worst_link[b, c], w.passed[i].load / m.resources[i].capacity)
