"""`Model`: a scenario and its routes as the arrays that compiled code reads, and the work space it writes.

Delay is a sum over *resources* that packets pass: 2L directed links, then S access links of servers, S processors,
E access links of endpoints upward and E downward. Passing resource i costs amount · scale[i] · slowdown(load[i] /
capacity[i]), where the amount is a packet's size (kbit) or a VNF's service time (ms). So one loop serves them all.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import numpy as np

from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray
from twin.tables import Tables, tables


class Model(NamedTuple):
    """R resources, N switches; the rest as in `Tables`. Never written after it was built."""

    t: Tables
    first_access: int  # resource of server 0's access link
    first_cpu: int
    first_up: int
    first_down: int
    capacity: FloatArray  # [R] Mbit/s, or cores
    scale: FloatArray  # [R] ms per unit of amount when unloaded
    hops_ms: FloatArray  # [C] propagation on the access links of a chain
    route_ms: FloatArray  # [N, N], inf where there is no route
    route_first: IntArray  # [N·N + 1]
    route_links: IntArray
    background: FloatArray  # [2L] Mbit/s that are not ours, of the scenario: zeros


class Work(NamedTuple):
    """Scratch of one thread, and what `twin.kernels.measure` found."""

    load: FloatArray  # [R] Mbit/s, or cores
    weighted: FloatArray  # [R] amounts that pass, each times the traffic weight of its chain
    total: FloatArray  # [R] amounts that pass
    own: FloatArray  # [R] amounts that pass, of the chain in question
    unit_ms: FloatArray  # [R] scale · slowdown at the present load
    base: FloatArray  # [R] load before a trial
    chain_ms: FloatArray  # [C]
    weight: FloatArray  # [C]
    hosted: IntArray  # [S]
    memory_mb: FloatArray  # [S]
    undo_at: IntArray  # [U]
    undo: FloatArray  # [U, 4]
    site: FloatArray  # [N, 6] what a trial found at a switch
    site_of: IntArray  # [N] which VNF's trial that was
    hosts: IntArray  # [V] a trial placement


_KNOWN: weakref.WeakKeyDictionary[Routes, Model] = weakref.WeakKeyDictionary()


def model(scenario: Scenario, routes: Routes) -> Model:
    """The model of a scenario on these routes, built once per `Routes`."""
    known = _KNOWN.get(routes)
    if known is None or known.t is not tables(scenario):
        known = _KNOWN[routes] = _build(scenario, routes)
    return known


def _build(scenario: Scenario, routes: Routes) -> Model:
    t = tables(scenario)
    links, servers, ends = 2 * len(scenario.links), len(scenario.servers), len(scenario.endpoints)
    bandwidth = np.repeat(t.bandwidth_mbps, 2)
    access, access_ends = np.full(servers, t.access_mbps), np.full(2 * ends, t.access_mbps)
    first, crossed = routes.crossed
    return Model(
        t=t,
        first_access=links,
        first_cpu=links + servers,
        first_up=links + 2 * servers,
        first_down=links + 2 * servers + ends,
        capacity=np.concatenate([bandwidth, access, t.cpu_cores, access_ends]),
        scale=np.concatenate([1.0 / bandwidth, 2.0 / access, np.ones(servers), 1.0 / access_ends]),
        hops_ms=(2.0 + 2.0 * np.diff(t.chain_first)) * t.access_delay_ms,
        route_ms=routes.delay_ms,
        route_first=first,
        route_links=crossed,
        background=np.zeros(links),
    )


def work(m: Model) -> Work:
    """Fresh scratch for one thread."""
    size, switches, chains, servers = len(m.capacity), len(m.route_ms), len(m.hops_ms), len(m.t.cpu_cores)
    undos = 4 * switches + 4
    return Work(
        load=np.zeros(size),
        weighted=np.zeros(size),
        total=np.zeros(size),
        own=np.zeros(size),
        unit_ms=np.zeros(size),
        base=np.zeros(size),
        chain_ms=np.zeros(chains),
        weight=np.zeros(chains),
        hosted=np.zeros(servers, dtype=np.int64),
        memory_mb=np.zeros(servers),
        undo_at=np.zeros(undos, dtype=np.int64),
        undo=np.zeros((undos, 4)),
        site=np.zeros((switches, 6)),
        site_of=np.zeros(switches, dtype=np.int64),
        hosts=np.zeros(len(m.t.vnf_chain), dtype=np.int64),
    )
