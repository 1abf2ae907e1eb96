"""Servers, endpoints, chains and traffic for an imported network, by stated rules and a seed.

Source: ours (docs/scenario.md, "Importing"). The numbers stand at the lines below.
1. Where a cable's delay is not known, it is that of the great circle between its ends; a site without a position is
   in the middle of its neighbours. Where nothing tells, it is the default; so is an unknown capacity.
2. Everything is put into the largest connected part of the network.
3. Chains carry the largest demands of the file; where it has none, pairs of sites and their weights are drawn.
4. Core servers stand at the sites with the highest betweenness (by delay), edge servers at the ends of chains and then
   at sites drawn from the rest, up to a limit.
5. Each chain has two to four different VNFs, drawn; a diurnal load whose phase follows the longitude of its source.
6. All rates are scaled by one factor, so that mean CPU demand is the stated share of all servers' CPU, unless a link
   would then carry more than the stated share of its capacity with every chain on its direct path.
7. The placement to start from spreads the load: each VNF goes where the CPU is used least.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import yaml

from twin.errors import InputError
from twin.importers.geography import delay_ms, middle
from twin.importers.topology import Cable, Demand, Topology, unique_ids
from twin.scenario import MAX_CHAINS, Scenario
from twin.scenario_file import parse_scenario

# cores and MB; state and service times as in the shipped scenarios
_TYPES: dict[str, dict[str, float]] = {
    "firewall": {"cpu_base": 0.05, "cpu_per_mbps": 0.005, "memory_mb": 64, "state_mb": 0.5, "service_ms": 0.1},
    "nat": {"cpu_base": 0.05, "cpu_per_mbps": 0.008, "memory_mb": 64, "state_mb": 4, "service_ms": 0.15},
    "monitor": {"cpu_base": 0.05, "cpu_per_mbps": 0.012, "memory_mb": 128, "state_mb": 16, "service_ms": 0.25},
    "balancer": {"cpu_base": 0.05, "cpu_per_mbps": 0.008, "memory_mb": 64, "state_mb": 1, "service_ms": 0.1},
}
_EDGE = {"tier": "edge", "cpu_cores": 2, "memory_mb": 2048}
_CORE = {"tier": "core", "cpu_cores": 8, "memory_mb": 16384, "power": {"idle_w": 120, "peak_w": 220}}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the rules may be told. `demands` is an SNDlib demand matrix to use instead of the file's own."""

    chains: int = 8
    core_share: float = 0.2  # of the sites
    edge_servers: int = 24  # at most
    default_bandwidth_mbps: float = 1000.0
    default_delay_ms: float = 2.0
    cpu_load: float = 0.35  # mean demand / CPU of all servers
    link_load: float = 0.3  # of a link, with every chain on its direct path
    period_s: float = 5.0
    day_s: float = 1200.0
    demands: Path | None = None


@dataclass(frozen=True, slots=True)
class _Chain:
    """A chain before it has its rate: ends, VNF types and weight relative to the others."""

    source: str
    target: str
    types: tuple[str, ...]
    weight: float


def furnish(topology: Topology, file: Path, *, seed: int, options: ImportOptions) -> Scenario:
    """The scenario of a topology. InputError where the rules can't be met (no two sites joined, too many chains)."""
    if not 1 <= options.chains <= MAX_CHAINS:
        raise InputError(f"{options.chains} chains asked for; from 1 to {MAX_CHAINS} are possible")
    rng = np.random.default_rng(seed)
    cables = _known_cables(topology, options)
    graph = _largest_part(topology, cables)
    chains = _chains(topology, graph, options, rng)
    cores, edges = _server_sites(graph, chains, options, rng)
    servers = [(site, _CORE) for site in cores] + [(site, _EDGE) for site in edges]
    chains = _scaled(chains, graph, sum(float(str(kind["cpu_cores"])) for _, kind in servers), options)
    ids = unique_ids(topology.sites)
    phases = _phases(topology, rng)
    document = {
        "schema": 1,
        "name": re.sub(r"[^a-z0-9]+", "-", topology.name.lower()).strip("-") or "imported",
        "period_s": options.period_s,
        "switches": [ids[site.key] for site in topology.sites],
        "servers": [{"id": f"s_{ids[site]}", "at": ids[site], **kind} for site, kind in servers],
        "links": [_link(cable, ids) for cable in cables],
        "endpoints": [{"id": f"u_{ids[s]}", "at": ids[s]} for s in _ends(chains)],
        "vnf_types": {name: _TYPES[name] for name in _TYPES if any(name in chain.types for chain in chains)},
        "chains": [_entry(chain, n, graph, ids, phases, options) for n, chain in enumerate(chains, 1)],
        "placement": _spread(chains, {f"s_{ids[site]}": float(str(kind["cpu_cores"])) for site, kind in servers}),
    }
    return replace(parse_scenario(yaml.safe_dump(document, sort_keys=False), file), source=None)


def _known_cables(topology: Topology, options: ImportOptions) -> tuple[Cable, ...]:
    """1. Every cable with its delay and capacity."""
    positions = {site.key: site.position for site in topology.sites if site.position}
    missing = [site.key for site in topology.sites if not site.position]
    while positions:
        near = {key: [p for c in topology.cables if (p := positions.get(_far(c, key)))] for key in missing}
        found = {key: middle(places) for key, places in near.items() if places}
        if not found:
            break
        positions |= found
        missing = [key for key in missing if key not in found]
    result = []
    for cable in topology.cables:
        a, b = positions.get(cable.a), positions.get(cable.b)
        computed = delay_ms(a, b) if a and b else options.default_delay_ms
        delay = computed if cable.delay_ms is None else cable.delay_ms
        result.append(
            replace(cable, delay_ms=delay, capacity_mbps=cable.capacity_mbps or options.default_bandwidth_mbps)
        )
    return tuple(result)


def _far(cable: Cable, key: str) -> str:
    """The other end of a cable; an empty string where it does not end at `key`."""
    return cable.b if cable.a == key else cable.a if cable.b == key else ""


def _largest_part(topology: Topology, cables: Sequence[Cable]) -> nx.Graph[str]:
    """2. The largest connected part, edges with `delay_ms` and `capacity_mbps`, nodes in the order of the file."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(site.key for site in topology.sites)
    for cable in cables:
        graph.add_edge(cable.a, cable.b, delay_ms=cable.delay_ms, capacity_mbps=cable.capacity_mbps)
    part = max(nx.connected_components(graph), key=len)
    whole: nx.Graph[str] = nx.Graph()
    whole.add_nodes_from(key for key in graph if key in part)
    whole.add_edges_from((a, b, data) for a, b, data in graph.edges(data=True) if a in part)
    return whole


def _chains(
    topology: Topology, graph: nx.Graph[str], options: ImportOptions, rng: np.random.Generator
) -> tuple[_Chain, ...]:
    """3. The ends of the chains, largest first; 5. their VNFs."""
    demands = [
        d for d in topology.demands if d.mbps > 0 and d.source != d.target and {d.source, d.target} <= set(graph)
    ]
    if not demands:
        demands = _drawn(list(graph), options.chains, rng)
    largest = sorted(demands, key=lambda demand: -demand.mbps)[: options.chains]
    return tuple(_Chain(d.source, d.target, _draw_types(rng), d.mbps) for d in largest)


def _drawn(sites: list[str], count: int, rng: np.random.Generator) -> list[Demand]:
    """Different pairs of sites with weights between 0.5 and 1.5."""
    every = len(sites) * (len(sites) - 1)
    picks = rng.choice(every, size=min(count, every), replace=False)
    pairs = [divmod(int(pick), len(sites) - 1) for pick in picks]
    return [Demand(sites[a], sites[b + (b >= a)], float(rng.uniform(0.5, 1.5))) for a, b in pairs]


def _draw_types(rng: np.random.Generator) -> tuple[str, ...]:
    names = list(_TYPES)
    return tuple(names[i] for i in rng.permutation(len(names))[: rng.integers(2, 5)])


def _ends(chains: Sequence[_Chain]) -> list[str]:
    """The sites where chains begin or end, each once, in the order of the chains."""
    return list(dict.fromkeys(site for chain in chains for site in (chain.source, chain.target)))


def _server_sites(
    graph: nx.Graph[str], chains: Sequence[_Chain], options: ImportOptions, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """4. The sites of the core and of the edge servers, each in the order of the file."""
    between = nx.betweenness_centrality(graph, weight="delay_ms")
    ranked = sorted(graph, key=lambda site: -round(between[site], 9))
    core = set(ranked[: max(1, round(options.core_share * len(ranked)))])
    ends = [site for site in _ends(chains) if site not in core]
    others = [site for site in graph if site not in core and site not in ends]
    drawn = [others[i] for i in rng.permutation(len(others))]
    edge = set((ends + drawn)[: options.edge_servers])
    return [site for site in graph if site in core], [site for site in graph if site in edge]


def _scaled(chains: Sequence[_Chain], graph: nx.Graph[str], cores: float, options: ImportOptions) -> tuple[_Chain, ...]:
    """6. The chains with their rates in Mbit/s as weights."""
    base = sum(_TYPES[name]["cpu_base"] for chain in chains for name in chain.types)
    slope = sum(_TYPES[name]["cpu_per_mbps"] * chain.weight for chain in chains for name in chain.types)
    largest_vnf = max(_TYPES[name]["cpu_per_mbps"] * chain.weight for chain in chains for name in chain.types)
    smallest_server = float(str(_EDGE["cpu_cores"]))
    factors = [
        max(0.0, options.cpu_load * cores - base) / slope,
        options.cpu_load * smallest_server / largest_vnf,  # any VNF fits any server
        _link_factor(chains, graph, options.link_load),
    ]
    return tuple(replace(chain, weight=float(f"{chain.weight * min(factors):.4g}")) for chain in chains)


def _link_factor(chains: Sequence[_Chain], graph: nx.Graph[str], share: float) -> float:
    """The factor at which the fullest link carries `share` of its capacity."""
    load: defaultdict[tuple[str, str], float] = defaultdict(float)
    for chain in chains:
        for hop in pairwise(nx.shortest_path(graph, chain.source, chain.target, weight="delay_ms")):
            load[hop] += chain.weight
    return min(share * float(graph.edges[hop]["capacity_mbps"]) / weight for hop, weight in load.items())


def _spread(chains: Sequence[_Chain], cores: Mapping[str, float]) -> dict[str, list[str]]:
    """7. The servers of every chain's VNFs."""
    used = dict.fromkeys(cores, 0.0)
    placement: dict[str, list[str]] = {}
    for number, chain in enumerate(chains, 1):
        for name in chain.types:
            need = _TYPES[name]["cpu_base"] + _TYPES[name]["cpu_per_mbps"] * chain.weight
            server = min(cores, key=lambda key: (used[key] + need) / cores[key])
            used[server] += need
            placement.setdefault(f"chain{number}", []).append(server)
    return placement


def _phases(topology: Topology, rng: np.random.Generator) -> dict[str, float]:
    """Where in its day each site is at time 0, as a share of the day; drawn where no longitude tells."""
    drawn = {site.key: float(rng.uniform()) for site in topology.sites}
    known = {site.key: site.position.longitude / 360.0 % 1.0 for site in topology.sites if site.position}
    return {key: round(phase, 3) for key, phase in (drawn | known).items()}


def _link(cable: Cable, ids: Mapping[str, str]) -> dict[str, object]:
    entry: dict[str, object] = {"a": ids[cable.a], "b": ids[cable.b]}
    name = {"name": cable.name} if cable.name else {}
    return {**entry, "bandwidth_mbps": cable.capacity_mbps, "delay_ms": cable.delay_ms, **name}


def _entry(
    chain: _Chain,
    number: int,
    graph: nx.Graph[str],
    ids: Mapping[str, str],
    phases: Mapping[str, float],
    options: ImportOptions,
) -> dict[str, object]:
    """A chain of the file; it may take four times the propagation delay of its direct path, and 20 ms."""
    direct_ms = float(nx.shortest_path_length(graph, chain.source, chain.target, weight="delay_ms"))
    traffic = {"profile": "diurnal", "mean_mbps": chain.weight, "swing": 0.5, "day_s": options.day_s, "noise": 0.1}
    return {
        "id": f"chain{number}",
        "from": f"u_{ids[chain.source]}",
        "to": f"u_{ids[chain.target]}",
        "vnfs": list(chain.types),
        "max_delay_ms": round(20 + 4 * direct_ms, 1),
        "packet_bytes": 1000,
        "traffic": {**traffic, "phase": phases[chain.source]},
    }
