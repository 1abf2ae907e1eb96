"""What must hold between the parts of a scenario: references, uniqueness, reachability, capacity; and the placement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import networkx as nx

from twin.reply_checks import check_replies, overlap
from twin.scenario import Placement, Scenario, Server, Vnf
from twin.scenario_nodes import Findings, did_you_mean
from twin.traffic import mean_mbps

_TOLERANCE = 1e-9  # sums of shares that fill a server exactly are not refused for a rounding error


def check(scenario: Scenario, findings: Findings) -> None:
    """Notes everything that does not fit together."""
    _references(scenario, findings)
    _uniqueness(scenario, findings)
    _reachability(scenario, findings)
    check_replies(scenario, findings)


def _references(scenario: Scenario, findings: Findings) -> None:
    """1. Every name that is used is defined."""
    switches = {switch.id for switch in scenario.switches}
    endpoints = {endpoint.id for endpoint in scenario.endpoints}
    servers = {server.id for server in scenario.servers}
    uses: list[tuple[str, str, str, Collection[str], str]] = []  # subject, key, name, known names, what they are
    uses += [(f"server {s.id}", "at", s.at, switches, "switch") for s in scenario.servers]
    uses += [(f"endpoint {e.id}", "at", e.at, switches, "switch") for e in scenario.endpoints]
    for link in scenario.links:
        uses += [(f"link {link.id}", key, name, switches, "switch") for key, name in (("a", link.a), ("b", link.b))]
    for chain in scenario.chains:
        ends = (("from", chain.ingress), ("to", chain.egress))
        uses += [(f"chain {chain.id}", key, name, endpoints, "endpoint") for key, name in ends]
        hosts = [scenario.placement.hosts.get(vnf.id, "") for vnf in chain.vnfs]
        uses += [("placement", chain.id, host, servers, "server") for host in hosts]
    for place, roam in enumerate(scenario.moves, 1):
        uses.append((f"moves[{place}]", "endpoint", roam.endpoint, endpoints, "endpoint"))
        uses.append((f"moves[{place}]", "to", roam.to, switches, "switch"))
    for subject, key, name, known, kind in uses:
        if name and name not in known:
            findings.about(subject, key, f"{key}: unknown {kind} '{name}'{did_you_mean(name, known)}")


def _uniqueness(scenario: Scenario, findings: Findings) -> None:
    """2. Addresses, datapath ids and flows belong to one object each (ids are looked at while reading)."""
    endpoints = scenario.endpoints
    _unique(findings, "dpid", [(f"switch {s.id}", f"{s.dpid:#x}" if s.dpid > 0 else "") for s in scenario.switches])
    _unique(findings, "ip", [(f"endpoint {e.id}", e.ip) for e in endpoints])
    _unique(findings, "mac", [(f"endpoint {e.id}", e.mac) for e in endpoints])
    _unique(findings, "port", _ports(scenario))
    _unique(findings, "ports", _networks(scenario))
    _flows_apart(scenario, findings)


def _ports(scenario: Scenario) -> list[tuple[str, str]]:
    """Every switch port that the file names, by whom: a VNF's belongs to no endpoint and to one server."""
    named = [(f"endpoint {e.id}", f"{e.port} of {e.at}" if e.port > 0 else "") for e in scenario.endpoints]
    for server in scenario.servers:
        named += [(f"server {server.id} ports[{n}]", f"{w.port} of {server.at}") for n, w in enumerate(server.ports, 1)]
    return named


def _networks(scenario: Scenario) -> list[tuple[str, str]]:
    named: list[tuple[str, str]] = []
    for server in scenario.servers:
        engine = f" of {server.engine}" if server.engine else f" of {server.id}"
        named += [(f"server {server.id} ports[{n}]", w.network + engine) for n, w in enumerate(server.ports, 1)]
    return named


def _flows_apart(scenario: Scenario, findings: Findings) -> None:
    chains = [c for c in scenario.chains if c.flow.src_ip and c.flow.dst_ip and c.flow.dst_port > 0]
    for one, other in combinations(chains, 2):
        mine, theirs = one.flow, other.flow
        if (mine.src_ip, mine.dst_ip) == (theirs.src_ip, theirs.dst_ip) and overlap(mine, theirs):
            words = f"flow {theirs.src_ip} -> {theirs.dst_ip} {theirs.proto} {theirs.dst_port}"
            findings.about(f"chain {other.id}", "flow", f"{words} is that of chain {one.id} already")


def _unique(findings: Findings, key: str, values: Iterable[tuple[str, str]]) -> None:
    owners: dict[str, str] = {}
    for subject, value in values:
        owner = owners.setdefault(value, subject) if value else subject
        if owner != subject:
            findings.about(subject, key, f"{key} {value} is that of {owner} already")


def _reachability(scenario: Scenario, findings: Findings) -> None:
    """3. Everything hangs together: what is not in the largest connected part of the network can't be reached."""
    graph = nx.Graph((link.a, link.b) for link in scenario.links)
    graph.add_nodes_from(switch.id for switch in scenario.switches)
    parts = sorted(nx.connected_components(graph), key=len, reverse=True)
    known = {switch.id for switch in scenario.switches}
    lost = {name for part in parts[1:] for name in part} & known
    places = [(f"server {s.id}", "at", s.at) for s in scenario.servers]
    places += [(f"endpoint {e.id}", "at", e.at) for e in scenario.endpoints]
    places += [(f"moves[{place}]", "to", roam.to) for place, roam in enumerate(scenario.moves, 1)]
    for subject, key, switch in places:
        if switch in lost:
            findings.about(subject, key, f"can't be reached: no path of links joins switch '{switch}' to the others")


def cpu_demand(scenario: Scenario) -> dict[str, float]:
    """CPU of every VNF in cores at the mean of its chain's traffic: cpu_base + cpu_per_mbps · mean."""
    means = {chain.id: mean_mbps(chain.traffic) for chain in scenario.chains}
    return {vnf.id: vnf.type.cpu_base + vnf.type.cpu_per_mbps * means[vnf.chain] for vnf in scenario.vnfs}


class Room:
    """What is left of every server while VNFs are placed."""

    def __init__(self, servers: Sequence[Server], cpu: Mapping[str, float]) -> None:
        self.servers, self.cpu = servers, cpu
        self.cpu_used: defaultdict[str, float] = defaultdict(float)
        self.memory_used: defaultdict[str, float] = defaultdict(float)
        self.ports_used: defaultdict[str, int] = defaultdict(int)

    def put(self, vnf: Vnf, server: str) -> None:
        self.cpu_used[server] += self.cpu[vnf.id]
        self.memory_used[server] += vnf.type.memory_mb
        self.ports_used[server] += 1

    def first(self, vnf: Vnf) -> str:
        """The first server in file order that the VNF fits; an empty string for none. NaN fits everywhere."""
        return next((server.id for server in self.servers if not self.exceeded(server, vnf)), "")

    def exceeded(self, server: Server, vnf: Vnf | None = None) -> bool:
        """Whether the server has too little, for what it hosts and one more VNF."""
        cpu = self.cpu_used[server.id] + (self.cpu[vnf.id] if vnf else 0.0)
        memory = self.memory_used[server.id] + (vnf.type.memory_mb if vnf else 0.0)
        if server.ports and self.ports_used[server.id] + (vnf is not None) > len(server.ports):
            return True
        limit = 1.0 + _TOLERANCE
        return cpu > server.cpu_cores * limit or memory > server.memory_mb * limit


def place(scenario: Scenario, findings: Findings) -> Scenario:
    """The scenario with a server for every VNF: as given, else the first that is feasible in file order.

    1. The given VNFs are put where they belong, and a server that then has too little at mean traffic is noted.
    2. The others follow in file order, each on the first server with room.
    3. Where that does not go up, the largest first; where that does not either, the VNF is noted.
    """
    room = _given(scenario, findings)
    rest = [vnf for vnf in scenario.vnfs if not scenario.placement.hosts.get(vnf.id)]
    hosts, homeless = _first_fit(rest, room)
    if homeless:
        room = _given(scenario, findings)
        hosts, homeless = _first_fit(sorted(rest, key=lambda vnf: -room.cpu[vnf.id]), room)
    for vnf in homeless:
        need = f"{room.cpu[vnf.id]:.3g} cores at mean traffic and {vnf.type.memory_mb:g} MB"
        findings.about(f"chain {vnf.chain}", "vnfs", f"no server has room for {vnf.id} ({need})")
    order = [vnf.id for vnf in scenario.vnfs]
    every = {**scenario.placement.hosts, **hosts}
    return replace(scenario, placement=Placement({name: every.get(name, "") for name in order}))


def _first_fit(vnfs: Iterable[Vnf], room: Room) -> tuple[dict[str, str], list[Vnf]]:
    """Hosts of the VNFs that fitted, and those that did not."""
    hosts: dict[str, str] = {}
    homeless: list[Vnf] = []
    for vnf in vnfs:
        server = room.first(vnf)
        if server:
            hosts[vnf.id] = server
            room.put(vnf, server)
        else:
            homeless.append(vnf)
    return hosts, homeless


def _given(scenario: Scenario, findings: Findings) -> Room:
    """What the given placement leaves; servers that it overloads are noted."""
    room = Room(scenario.servers, cpu_demand(scenario))
    for vnf in scenario.vnfs:
        if scenario.placement.hosts.get(vnf.id):
            room.put(vnf, scenario.placement.hosts[vnf.id])
    crowd = Counter(scenario.placement.hosts.values())
    for server in scenario.servers:
        if room.exceeded(server):
            cpu, memory = room.cpu_used[server.id], room.memory_used[server.id]
            message = (
                f"impossible on server '{server.id}': its {crowd[server.id]} VNFs need {cpu:.3g} cores at mean traffic"
                f" and {memory:g} MB, it has {server.cpu_cores:g} cores and {server.memory_mb:g} MB"
                + (f" and {len(server.ports)} switch ports" if server.ports else "")
            )
            findings.about("placement", _first_chain(scenario, server.id), message)
    return room


def _first_chain(scenario: Scenario, server: str) -> str:
    """The first chain with a VNF on the server: whose line a problem of the server is told at."""
    return next((vnf.chain for vnf in scenario.vnfs if scenario.placement.hosts.get(vnf.id) == server), "")
