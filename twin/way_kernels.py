"""Compiled costs of placements whose ways are known: `twin.kernels.measure` without looking up a route.

What a chain passes depends on where its VNFs and its endpoints are, and on nothing else. It is listed once (`trace`),
and anew only for a chain whose VNF moved or where a user roamed; what is left of a measurement are sums over short
lists and one pass over all resources, in vector registers. Lists are in the order in which `measure` passes, so
loads are the same bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twin.compiled import inner
from twin.costs import KNEE, UNREACHABLE_MS
from twin.kernels import route_ms
from twin.model import Model
from twin.passer_kernels import stop
from twin.state import FloatArray, IntArray

_SLOPE = 1.0 / (1.0 - KNEE) ** 2
FIRST, NOW = 0, 1  # of an instance's placements: the never-move reference, the present one


class Ways(NamedTuple):
    """A placement, traced. Before the axes named here there may be others: one per placement."""

    passed: npt.NDArray[np.uint32]  # [C, P] chain c passes the resources passed[c, :count[c]], processors left out
    count: IntArray  # [C]
    fixed_ms: FloatArray  # [C] propagation and hops of fixed delay
    vnfs: IntArray  # [S] how many each server hosts


class Lanes(NamedTuple):
    """A measured placement, and what the model says of resources and servers, each in an array of its own."""

    scale: FloatArray  # [R] of the model
    per_load: FloatArray  # [R] 1 / capacity
    idle_w: FloatArray  # [S]
    span_w: FloatArray  # [S] from idle to peak
    load: FloatArray  # [R] what was measured: load,
    unit_ms: FloatArray  # [R] scale · slowdown at this load,
    delay_ms: FloatArray  # [C] E2E delay, `UNREACHABLE_MS` at most,
    share: FloatArray  # [C] each chain's part of all traffic,
    awake_w: FloatArray  # [S] and what a server draws that is awake


def new_ways(m: Model, *shape: int) -> Ways:
    """Room for placements of this shape."""
    servers, chains, stops = len(m.servers), len(m.chains), int((m.chains["last"] - m.chains["first"]).max())
    longest = int(np.diff(m.route_first).max())
    return Ways(
        passed=np.zeros((*shape, chains, 2 + stops + (stops + 1) * longest), dtype=np.uint32),
        count=np.zeros((*shape, chains), dtype=np.int64),
        fixed_ms=np.zeros((*shape, chains)),
        vnfs=np.zeros((*shape, servers), dtype=np.int64),
    )


def new_lanes(m: Model) -> Lanes:
    resources, servers, chains = len(m.resources), len(m.servers), len(m.chains)
    sizes = (resources, resources, servers, servers, resources, resources, chains, chains, servers)
    return Lanes(*(np.zeros(size) for size in sizes))


@inner
def of(ways: Ways, b: int, k: int) -> Ways:
    """Placement k of instance b."""
    return Ways(ways.passed[b, k], ways.count[b, k], ways.fixed_ms[b, k], ways.vnfs[b, k])


@inner
def lay_out(m: Model, lanes: Lanes) -> None:
    """What the model says of resources and servers."""
    for i in range(len(m.resources)):
        lanes.scale[i] = m.resources[i].scale
        lanes.per_load[i] = 1.0 / m.resources[i].capacity
    for s in range(len(m.servers)):
        lanes.idle_w[s] = m.servers[s].idle_w
        lanes.span_w[s] = m.servers[s].peak_w - m.servers[s].idle_w


@inner
def trace(m: Model, hosts: IntArray, ends: IntArray, ways: Ways) -> None:
    """Lists what all chains pass, and counts VNFs."""
    for s in range(len(ways.vnfs)):
        ways.vnfs[s] = 0
    for v in range(len(hosts)):
        ways.vnfs[hosts[v]] += 1
    for c in range(len(m.chains)):
        trace_chain(m, hosts, ends, c, ways)


@inner
def trace_chain(m: Model, hosts: IntArray, ends: IntArray, c: int, ways: Ways) -> None:
    """Lists what one chain passes."""
    chain, passed, count, fixed_ms = m.chains[c], ways.passed[c], 2, m.chains[c].hops_ms
    passed[0], passed[1] = m.up + chain.ingress, m.down + chain.egress
    at = stop(m, hosts, ends, c, chain.first - 1)
    for v in range(chain.first, chain.last + 1):
        to = stop(m, hosts, ends, c, v)
        fixed_ms += route_ms(m, at, to)
        row = at * len(m.route_ms) + to
        for k in range(m.route_first[row], m.route_first[row + 1]):
            passed[count] = m.route_links[k]
            count += 1
        if v < chain.last:
            passed[count] = m.access + hosts[v]
            count += 1
        at = to
    ways.count[c] = count
    ways.fixed_ms[c] = fixed_ms


@inner
def set_aside(ways: Ways, c: int, aside: npt.NDArray[np.uint32]) -> int:
    """Copies what chain c passes: how many."""
    count = ways.count[c]
    for k in range(count):
        aside[k] = ways.passed[c, k]
    return int(count)


@inner
def take_back(ways: Ways, c: int, aside: npt.NDArray[np.uint32], count: int, fixed_ms: float) -> None:
    """Chain c passes again what was set aside."""
    for k in range(count):
        ways.passed[c, k] = aside[k]
    ways.count[c], ways.fixed_ms[c] = count, fixed_ms


@inner
def share_out(offered_mbps: FloatArray, lanes: Lanes) -> None:
    """The chains' weights in the mean delay."""
    all_mbps = 0.0
    for c in range(len(offered_mbps)):
        all_mbps += offered_mbps[c]
    for c in range(len(offered_mbps)):
        lanes.share[c] = offered_mbps[c] / all_mbps if all_mbps > 0.0 else 1.0 / len(offered_mbps)


@inner
def measure_ways(m: Model, ways: Ways, hosts: IntArray, offered_mbps: FloatArray, lanes: Lanes) -> float:
    """Fills loads, delays and power of a traced placement: its mean delay in ms by the shares that are there."""
    _load(m, ways, hosts, offered_mbps, lanes.load)
    _slow(lanes)
    for s in range(len(lanes.awake_w)):
        used = lanes.load[m.cpu + s] * lanes.per_load[m.cpu + s]
        lanes.awake_w[s] = lanes.idle_w[s] + lanes.span_w[s] * (used if used < 1.0 else 1.0)
    return _delays(m, ways, hosts, lanes)


@inner
def _load(m: Model, ways: Ways, hosts: IntArray, offered_mbps: FloatArray, load: FloatArray) -> None:
    for i in range(len(load)):
        load[i] = 0.0
    for c in range(len(m.chains)):
        passed, offered = ways.passed[c], offered_mbps[c]
        for k in range(ways.count[c]):
            load[passed[k]] += offered
        for v in range(m.chains[c].first, m.chains[c].last):
            load[m.cpu + hosts[v]] += m.vnfs[v].cpu_base + m.vnfs[v].cpu_per_mbps * offered


@inner
def _slow(lanes: Lanes) -> None:
    """`twin.kernels.slowdown1` of every resource, without a branch."""
    for i in range(len(lanes.load)):
        used = lanes.load[i] * lanes.per_load[i]
        below = used if used < KNEE else KNEE
        lanes.unit_ms[i] = lanes.scale[i] * (1.0 / (1.0 - below) + (used - below) * _SLOPE)


@inner
def _delays(m: Model, ways: Ways, hosts: IntArray, lanes: Lanes) -> float:
    mean_ms = 0.0
    for c in range(len(m.chains)):
        passed, units, delay_ms = ways.passed[c], 0.0, ways.fixed_ms[c]
        for k in range(ways.count[c]):
            units += lanes.unit_ms[passed[k]]
        for v in range(m.chains[c].first, m.chains[c].last):
            delay_ms += m.vnfs[v].service_ms * lanes.unit_ms[m.cpu + hosts[v]]
        delay_ms += units * m.chains[c].packet_kbit
        lanes.delay_ms[c] = min(delay_ms, UNREACHABLE_MS)
        mean_ms += lanes.delay_ms[c] * lanes.share[c]
    return mean_ms


@inner
def settled_w(m: Model, ways: Ways, lanes: Lanes) -> float:
    """Total power of the measured placement once every server without a VNF sleeps."""
    power_w = 0.0
    for s in range(len(ways.vnfs)):
        power_w += lanes.awake_w[s] if ways.vnfs[s] > 0 else m.servers[s].sleep_w
    return power_w
