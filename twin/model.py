"""`Model`: a scenario and its routes as the arrays that compiled code reads, and the work space it writes.

Delay is a sum over *resources* that packets pass: 2L directed links, then S access links of servers, S processors,
E access links of endpoints upward and E downward. Passing resource i costs amount · scale · slowdown(load / capacity),
where the amount is a packet's size (kbit) or a VNF's service time (ms). So one loop serves them all.
Rows are records, so that a function takes few arrays and one row lies together in memory.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray
from twin.tables import Tables, tables

Records = npt.NDArray[np.void]
Record = Any  # one row, which compiled code reads and writes by the names of its fields


def record(integers: str, floats: str) -> np.dtype[np.void]:
    """A record of 8-byte numbers by their names."""
    fields = [(name, np.int64) for name in integers.split()] + [(name, np.float64) for name in floats.split()]
    return np.dtype(fields)


SERVER = record("switch site", "core cores memory_mb sleep_w idle_w peak_w wake_s wake_j sleep_after_s")
VNF = record("chain", "cpu_base cpu_per_mbps memory_mb state_mb service_ms")
CHAIN = record("first last ingress egress", "max_delay_ms packet_kbit hops_ms")
RESOURCE = record("", "capacity scale")
WAY = record("first last", "ms")
# What was read, of a state or of an instance of the batched simulator; ages in periods.
SEEN_SERVER = record("awake up stale", "cores memory_mb power_w age")
SEEN_VNF = record("blocked", "cores memory_mb")
SEEN_CHAIN = record("stale", "delay_ms loss age spread_mbps")
# Work: `weighted` are the amounts that pass, each times its chain's traffic weight, `own` those of one chain alone;
# `unit_ms` is scale · slowdown at this load.
PASSED = record("", "load weighted own unit_ms")
HOSTED = record("vnfs", "memory_mb")
WEIGHED = record("", "delay_ms weight room_ms late_ms")
# The index of who passes what (`twin.passer_kernels`): a resource's newest passer, and how tight it is.
TIGHT = record("passer chain", "most next")
PASSER = record("next chain", "amount")
# The trial of moves (`twin.move_kernels`): of one link, of the routes over one switch, of a move.
JOIN = record("", "mean_ms own_ms strain link fuller")
SITE = record("vnf", "mean_ms own_ms fixed_ms strain link fuller")
CHANGE = record("", "mean_ms chain_ms power_w detour_ms strain link fuller")


class Model(NamedTuple):
    """N switches, R resources; rows in the scenario's order. Never written after it was built.

    Sites are the K switches that have servers. Trials of moves ask for little else than ways to and from them, which
    therefore lie together in memory: in a large network that is most of what a trial costs.
    """

    period_s: float
    tau_delay: float
    tau_energy: float
    access: int  # resource of server 0's access link; also the number of directed links
    cpu: int  # resource of server 0's processor
    up: int
    down: int
    greatest_peak_w: float
    all_peaks_w: float
    most_cores: float
    most_mb: float
    mean_cores: float
    mean_limit_ms: float
    mean_link_mbps: float
    servers: Records  # [S] SERVER
    vnfs: Records  # [V] VNF
    chains: Records  # [C] CHAIN
    resources: Records  # [R] RESOURCE
    route_ms: FloatArray  # [N, N], inf where there is no route
    route_first: IntArray  # [N·N + 1]
    route_links: IntArray
    to_site: Records  # [N, K] WAY: from a switch to a site, its links at way_links[first:last]
    from_site: Records  # [N, K] WAY: from a site to a switch
    way_links: npt.NDArray[np.int32]
    quiet: FloatArray  # [2L] zeros: no load but ours


class Work(NamedTuple):
    """Scratch of one thread, and what `twin.kernels.measure` found."""

    passed: Records  # [R] PASSED
    chains: Records  # [C] WEIGHED
    servers: Records  # [S] HOSTED
    tight: Records  # [R] TIGHT
    passers: Records  # [P] PASSER
    listed: IntArray  # resources that one chain passes, or that one move touches
    joins: Records  # [2L + S] JOIN
    sites: Records  # [K] SITE


class Bounds(NamedTuple):
    """Utilisations that a move may lead to."""

    cpu: float
    link: float


class Seen(NamedTuple):
    """What feasibility and features need of a state and a forecast."""

    hosts: IntArray  # [V]
    ends: IntArray  # [E] switches
    offered_mbps: FloatArray  # [C]
    forecast_mbps: FloatArray  # [C]
    link_mbps: FloatArray  # [2L]
    background: FloatArray  # [2L] load that is not ours; written by `twin.feature_kernels.model_seen`
    servers: Records  # [S] SEEN_SERVER
    vnfs: Records  # [V] SEEN_VNF
    chains: Records  # [C] SEEN_CHAIN


_KNOWN: weakref.WeakKeyDictionary[Routes, tuple[Tables, Model]] = weakref.WeakKeyDictionary()


def model(scenario: Scenario, routes: Routes) -> Model:
    """The model of a scenario on these routes, built once per `Routes`."""
    t = tables(scenario)
    known = _KNOWN.get(routes)
    if known is None or known[0] is not t:
        known = _KNOWN[routes] = (t, _build(scenario, t, routes))
    return known[1]


def _records(kind: np.dtype[np.void], columns: dict[str, FloatArray | IntArray]) -> Records:
    rows = np.zeros(len(next(iter(columns.values()))), dtype=kind)
    for name in kind.names or ():
        rows[name] = columns[name]
    return rows


def _build(scenario: Scenario, t: Tables, routes: Routes) -> Model:
    links, servers, ends = 2 * len(scenario.links), len(scenario.servers), len(scenario.endpoints)
    first, crossed = routes.crossed
    sites = np.unique(t.server_switch)
    to_site, from_site, way_links = _ways(routes, sites)
    return Model(
        period_s=t.period_s,
        tau_delay=t.tau_delay,
        tau_energy=t.tau_energy,
        access=links,
        cpu=links + servers,
        up=links + 2 * servers,
        down=links + 2 * servers + ends,
        greatest_peak_w=float(t.peak_w.max()),
        all_peaks_w=float(t.peak_w.sum()),
        most_cores=float(t.cpu_cores.max()),
        most_mb=float(t.memory_mb.max()),
        mean_cores=float(t.cpu_cores.mean()),
        mean_limit_ms=float(t.max_delay_ms.mean()),
        mean_link_mbps=float(t.bandwidth_mbps.mean()) if links else t.access_mbps,
        servers=_server_records(t, sites),
        vnfs=_vnf_records(t),
        chains=_chain_records(t),
        resources=_resource_records(t, ends),
        route_ms=routes.delay_ms,
        route_first=first,
        route_links=crossed,
        to_site=to_site,
        from_site=from_site,
        way_links=way_links,
        quiet=np.zeros(links),
    )


def _ways(routes: Routes, sites: IntArray) -> tuple[Records, Records, npt.NDArray[np.int32]]:
    """Ways [N, K] between all switches and the sites, there and back, and their links."""
    size = len(routes.delay_ms)
    switch, site = np.repeat(np.arange(size), len(sites)), np.tile(sites, size)
    there, back = (_way(routes, a, b, (size, len(sites))) for a, b in ((switch, site), (site, switch)))
    back[0]["first"] += len(there[1])
    back[0]["last"] += len(there[1])
    return there[0], back[0], np.concatenate([there[1], back[1]]).astype(np.int32)


def _way(routes: Routes, a: IntArray, b: IntArray, shape: tuple[int, int]) -> tuple[Records, IntArray]:
    links, segment = routes.incidence(a, b)
    last = np.cumsum(np.bincount(segment, minlength=len(a)))
    columns = {"first": np.concatenate([[0], last[:-1]]), "last": last, "ms": routes.delay_ms[a, b]}
    return _records(WAY, columns).reshape(shape), links


def _server_records(t: Tables, sites: IntArray) -> Records:
    same = {name: getattr(t, name) for name in SERVER.names or () if name in t._fields}
    columns = {**same, "switch": t.server_switch, "site": np.searchsorted(sites, t.server_switch)}
    return _records(SERVER, {**columns, "core": t.server_core, "cores": t.cpu_cores})


def _vnf_records(t: Tables) -> Records:
    same = {name: getattr(t, name) for name in ("cpu_base", "cpu_per_mbps", "state_mb", "service_ms")}
    return _records(VNF, {**same, "chain": t.vnf_chain, "memory_mb": t.vnf_memory_mb})


def _chain_records(t: Tables) -> Records:
    same = {name: getattr(t, name) for name in ("ingress", "egress", "max_delay_ms", "packet_kbit")}
    hops_ms = (2.0 + 2.0 * np.diff(t.chain_first)) * t.access_delay_ms
    return _records(CHAIN, {**same, "first": t.chain_first[:-1], "last": t.chain_first[1:], "hops_ms": hops_ms})


def _resource_records(t: Tables, ends: int) -> Records:
    bandwidth, servers = np.repeat(t.bandwidth_mbps, 2), len(t.cpu_cores)
    access, access_ends = np.full(servers, t.access_mbps), np.full(2 * ends, t.access_mbps)
    capacity = np.concatenate([bandwidth, access, t.cpu_cores, access_ends])
    # A VNF's packets cross its server's access link twice: in and out.
    scale = np.concatenate([1.0 / bandwidth, 2.0 / access, np.ones(servers), 1.0 / access_ends])
    return _records(RESOURCE, {"capacity": capacity, "scale": scale})


def work(m: Model) -> Work:
    """Fresh scratch for one thread."""
    longest, stops = int(np.diff(m.route_first).max()), m.chains["last"] - m.chains["first"]
    crossings = (stops + 1) * longest + 2 * stops
    return Work(
        passed=np.zeros(len(m.resources), dtype=PASSED),
        chains=np.zeros(len(m.chains), dtype=WEIGHED),
        servers=np.zeros(len(m.servers), dtype=HOSTED),
        tight=np.zeros(len(m.resources), dtype=TIGHT),
        passers=np.zeros(int(crossings.sum()), dtype=PASSER),
        listed=np.zeros(int(crossings.max()) + 4 * longest + 4, dtype=np.int64),
        joins=np.zeros(m.cpu, dtype=JOIN),
        sites=np.zeros(m.to_site.shape[1], dtype=SITE),
    )


def changes(m: Model) -> Records:
    """Room for the trial of every move: [V, S] CHANGE."""
    return np.zeros((len(m.vnfs), len(m.servers)), dtype=CHANGE)
