"""Compiled costs of placements whose ways are known: `twin.kernels.measure` without looking up a route.

1. What a chain passes depends on where its VNFs and its endpoints are, and on nothing else. It is listed once
   (`trace`), and anew only for a chain whose VNF moves or where a user roamed.
2. What is left of a measurement are sums over short lists and one pass over all resources, without a branch.
3. A control period asks for four of them that have most lists in common: the never-move reference, the placement
   before a move and after it, and, to judge the move, after it under the traffic that was seen. They are measured
   together, side by side in the lanes of one vector register.

Lists are in the order in which `measure` passes, so loads are the same bit for bit.
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
from twin.quad_kernels import QUAD, Quad, load, quad, spread, store
from twin.state import FloatArray, IntArray

FIRST, NOW = 0, 1  # of an instance's placements: the never-move reference, the present one
OLD, JUDGED, NEW, NEVER = 0, 1, 2, 3  # lanes: before the move, after it under the traffic seen, after it; reference
_SLOPE = 1.0 / (1.0 - KNEE) ** 2


class Ways(NamedTuple):
    """A placement, traced. Before the axes named here there may be others: one per placement."""

    passed: npt.NDArray[np.uint32]  # [C, P] chain c passes the resources passed[c, :length[c]], processors left out
    length: IntArray  # [C]
    fixed_ms: FloatArray  # [C] propagation and hops of fixed delay
    vnfs: IntArray  # [S] how many each server hosts


class Lanes(NamedTuple):
    """Four measured placements side by side, and what the model says of resources and servers, once per lane.

    Resources and servers lie in one array without rows, so that one loop passes them all.
    """

    scale: FloatArray  # [4R] of the model
    per_load: FloatArray  # [4R] 1 / capacity
    idle_w: FloatArray  # [4S]
    span_w: FloatArray  # [4S] from idle to peak
    all_load: FloatArray  # [4R] what was measured: load,
    all_unit_ms: FloatArray  # [4R] scale · slowdown at this load,
    all_awake_w: FloatArray  # [4S] what a server draws that is awake,
    load: FloatArray  # [R, 4] the same as rows
    awake_w: FloatArray  # [S, 4]
    delay_ms: FloatArray  # [C + 1, 4] and the chains' E2E delay, `UNREACHABLE_MS` at most
    all_delay_ms: FloatArray  # [4C + 4]
    share: FloatArray  # [C] each chain's part of all traffic


def new_ways(m: Model, *shape: int) -> Ways:
    """Room for placements of this shape."""
    servers, chains, stops = len(m.servers), len(m.chains), int((m.chains["last"] - m.chains["first"]).max())
    longest = int(np.diff(m.route_first).max())
    return Ways(
        passed=np.zeros((*shape, chains, 2 + stops + (stops + 1) * longest), dtype=np.uint32),
        length=np.zeros((*shape, chains), dtype=np.int64),
        fixed_ms=np.zeros((*shape, chains)),
        vnfs=np.zeros((*shape, servers), dtype=np.int64),
    )


def new_lanes(m: Model) -> Lanes:
    resources, servers, chains = QUAD * len(m.resources), QUAD * len(m.servers), len(m.chains)
    load_mbps, unit_ms, awake_w = np.zeros(resources), np.zeros(resources), np.zeros(servers)
    delay_ms = np.zeros(QUAD * (chains + 1))
    return Lanes(
        scale=np.zeros(resources),
        per_load=np.zeros(resources),
        idle_w=np.zeros(servers),
        span_w=np.zeros(servers),
        all_load=load_mbps,
        all_unit_ms=unit_ms,
        all_awake_w=awake_w,
        load=load_mbps.reshape(-1, QUAD),
        awake_w=awake_w.reshape(-1, QUAD),
        delay_ms=delay_ms.reshape(-1, QUAD),
        all_delay_ms=delay_ms,
        share=np.zeros(chains),
    )


@inner
def lay_out(m: Model, lanes: Lanes) -> None:
    """What the model says of resources and servers."""
    for i in range(len(lanes.scale)):
        lanes.scale[i] = m.resources[i // QUAD].scale
        lanes.per_load[i] = 1.0 / m.resources[i // QUAD].capacity
    for i in range(len(lanes.idle_w)):
        server = m.servers[i // QUAD]
        lanes.idle_w[i] = server.idle_w
        lanes.span_w[i] = server.peak_w - server.idle_w


@inner
def of(ways: Ways, b: int, k: int) -> Ways:
    """Placement k of instance b."""
    return Ways(ways.passed[b, k], ways.length[b, k], ways.fixed_ms[b, k], ways.vnfs[b, k])


@inner
def trace(m: Model, hosts: IntArray, ends: IntArray, ways: Ways) -> None:
    """Lists what all chains pass, and counts VNFs."""
    for s in range(len(ways.vnfs)):
        ways.vnfs[s] = 0
    for v in range(len(hosts)):
        ways.vnfs[hosts[v]] += 1
    for c in range(len(m.chains)):
        trace_chain(m, hosts, ends, c, ways, c)


@inner
def trace_chain(m: Model, hosts: IntArray, ends: IntArray, c: int, ways: Ways, row: int) -> None:
    """Lists what chain c passes in this row of `ways`."""
    chain, passed, count, fixed_ms = m.chains[c], ways.passed[row], 2, m.chains[c].hops_ms
    passed[0], passed[1] = m.up + chain.ingress, m.down + chain.egress
    at = stop(m, hosts, ends, c, chain.first - 1)
    for v in range(chain.first, chain.last + 1):
        to = stop(m, hosts, ends, c, v)
        fixed_ms += route_ms(m, at, to)
        way = at * len(m.route_ms) + to
        for k in range(m.route_first[way], m.route_first[way + 1]):
            passed[count] = m.route_links[k]
            count += 1
        if v < chain.last:
            passed[count] = m.access + hosts[v]
            count += 1
        at = to
    ways.length[row] = count
    ways.fixed_ms[row] = fixed_ms


@inner
def take_over(tried: Ways, ways: Ways, c: int) -> None:
    """Chain c passes from now on what row 0 of `tried` lists."""
    for k in range(tried.length[0]):
        ways.passed[c, k] = tried.passed[0, k]
    ways.length[c], ways.fixed_ms[c] = tried.length[0], tried.fixed_ms[0]


@inner
def share_out(offered_mbps: FloatArray, lanes: Lanes) -> None:
    """The chains' weights in the mean delay."""
    all_mbps = 0.0
    for c in range(len(offered_mbps)):
        all_mbps += offered_mbps[c]
    for c in range(len(offered_mbps)):
        lanes.share[c] = offered_mbps[c] / all_mbps if all_mbps > 0.0 else 1.0 / len(offered_mbps)


class Course(NamedTuple):
    """What is to be measured of an instance: two traced placements, and a third where `vnf` is on `server`."""

    hosts: IntArray  # [V]
    first_hosts: IntArray  # [V]
    ways: Ways
    first: Ways
    tried: Ways  # row 0: what the VNF's chain passes after the move
    seen_mbps: FloatArray  # [C] the traffic that was seen
    offered_mbps: FloatArray  # [C] the traffic of the period
    vnf: int  # -1: none moves
    server: int


@inner
def measure_four(m: Model, course: Course, lanes: Lanes) -> None:
    """Fills loads, delays and power of all lanes; where nothing moves, NEW is as OLD is."""
    moved = m.vnfs[course.vnf].chain if course.vnf >= 0 else -1
    for i in range(len(lanes.all_load)):
        lanes.all_load[i] = 0.0
    for c in range(len(m.chains)):
        _load_lanes(m, course, lanes, c, c == moved)
    _slow_down(lanes)
    first, last = QUAD * m.cpu, QUAD * m.cpu + len(lanes.all_awake_w)
    cores, per_core = lanes.all_load[first:last], lanes.per_load[first:last]
    for i in range(len(lanes.all_awake_w)):
        used = cores[i] * per_core[i]
        lanes.all_awake_w[i] = lanes.idle_w[i] + lanes.span_w[i] * (used if used < 1.0 else 1.0)
    for c in range(len(m.chains)):
        _delay_lanes(m, course, lanes, c, c == moved)
    for i in range(len(lanes.all_delay_ms)):
        delay_ms = lanes.all_delay_ms[i]
        lanes.all_delay_ms[i] = delay_ms if delay_ms < UNREACHABLE_MS else UNREACHABLE_MS


@inner
def _slow_down(lanes: Lanes) -> None:
    """`twin.kernels.slowdown1` of all loads, without a branch. One division serves two, since it costs most."""
    half = len(lanes.all_load) // 2
    for i in range(half):
        one, other = lanes.all_load[i] * lanes.per_load[i], lanes.all_load[half + i] * lanes.per_load[half + i]
        below, other_below = (one if one < KNEE else KNEE), (other if other < KNEE else KNEE)
        rest, other_rest = 1.0 - below, 1.0 - other_below
        both = 1.0 / (rest * other_rest)
        lanes.all_unit_ms[i] = lanes.scale[i] * (both * other_rest + (one - below) * _SLOPE)
        lanes.all_unit_ms[half + i] = lanes.scale[half + i] * (both * rest + (other - other_below) * _SLOPE)


@inner
def _load_lanes(m: Model, course: Course, lanes: Lanes, c: int, moves: bool) -> None:
    """Adds what chain c asks of resources in every lane."""
    now, seen, hosts = course.offered_mbps[c], course.seen_mbps[c], course.hosts
    if moves:
        host = hosts[course.vnf]
        _load(m, course.ways, c, c, hosts, lanes, quad(now, 0.0, 0.0, 0.0), quad(1.0, 0.0, 0.0, 0.0))
        hosts[course.vnf] = course.server
        _load(m, course.tried, 0, c, hosts, lanes, quad(0.0, seen, now, 0.0), quad(0.0, 1.0, 1.0, 0.0))
        hosts[course.vnf] = host
    else:
        _load(m, course.ways, c, c, hosts, lanes, quad(now, seen, now, 0.0), quad(1.0, 1.0, 1.0, 0.0))
    _load(m, course.first, c, c, course.first_hosts, lanes, quad(0.0, 0.0, 0.0, now), quad(0.0, 0.0, 0.0, 1.0))


@inner
def _load(m: Model, ways: Ways, row: int, c: int, hosts: IntArray, lanes: Lanes, mbps: Quad, there: Quad) -> None:
    """Adds what chain c asks of resources, by lane: `there` is 1 in the lanes that it is in."""
    passed, all_load = ways.passed[row], lanes.all_load
    for k in range(ways.length[row]):
        at = QUAD * np.int64(passed[k])
        store(all_load, at, load(all_load, at) + mbps)
    for v in range(m.chains[c].first, m.chains[c].last):
        at, vnf = QUAD * (m.cpu + hosts[v]), m.vnfs[v]
        cores = spread(vnf.cpu_base) * there + spread(vnf.cpu_per_mbps) * mbps
        store(all_load, at, load(all_load, at) + cores)


@inner
def _delay_lanes(m: Model, course: Course, lanes: Lanes, c: int, moves: bool) -> None:
    """The delay of chain c in every lane; the row after the last is scratch."""
    hosts, out, all_ms, scratch = course.hosts, lanes.delay_ms, lanes.all_delay_ms, len(m.chains)
    store(all_ms, QUAD * c, _delay(m, course.ways, c, c, hosts, lanes))
    if moves:
        host, old_ms = hosts[course.vnf], out[c, OLD]
        hosts[course.vnf] = course.server
        store(all_ms, QUAD * c, _delay(m, course.tried, 0, c, hosts, lanes))
        hosts[course.vnf], out[c, OLD] = host, old_ms
    store(all_ms, QUAD * scratch, _delay(m, course.first, c, c, course.first_hosts, lanes))
    out[c, NEVER] = out[scratch, NEVER]


@inner
def _delay(m: Model, ways: Ways, row: int, c: int, hosts: IntArray, lanes: Lanes) -> Quad:
    """Delay of chain c in every lane."""
    passed, unit_ms, units = ways.passed[row], lanes.all_unit_ms, spread(0.0)
    for k in range(ways.length[row]):
        units = units + load(unit_ms, QUAD * np.int64(passed[k]))
    delay_ms = spread(ways.fixed_ms[row]) + spread(m.chains[c].packet_kbit) * units
    for v in range(m.chains[c].first, m.chains[c].last):
        delay_ms = delay_ms + spread(m.vnfs[v].service_ms) * load(unit_ms, QUAD * (m.cpu + hosts[v]))
    return delay_ms


@inner
def mean_ms(lanes: Lanes, lane: int) -> float:
    """The mean delay by the shares that are there."""
    result = 0.0
    for c in range(len(lanes.share)):
        result += lanes.delay_ms[c, lane] * lanes.share[c]
    return result


@inner
def settled_w(m: Model, ways: Ways, lanes: Lanes, lane: int) -> float:
    """Total power once every server without a VNF sleeps."""
    power_w = 0.0
    for s in range(len(ways.vnfs)):
        power_w += lanes.awake_w[s, lane] if ways.vnfs[s] > 0 else m.servers[s].sleep_w
    return power_w
