"""Networks of any size in the manner of `medium`, made by a rule from a seed: for figures of size and speed.

A ring of core switches with chords, three edge switches at each, links between neighbours' edges; a quarter of the
servers at core switches, the others at edge switches. Chains run from edge to edge, diurnal, every third with a user
that roams. Start: every VNF on a server drawn at random among those with room.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twin.scenario import (
    DiurnalTraffic,
    Endpoint,
    Link,
    Placement,
    Roam,
    Scenario,
    Server,
    ServiceChain,
    Switch,
    Vnf,
    VnfType,
)
from twin.scenario_file import load_scenario

EDGES = 3  # per core switch
VNFS = 4  # per chain
_DAY_S = 1200.0


def grown(*, cores: int, servers: int, chains: int, seed: int = 1) -> Scenario:
    """`cores` core switches (4·`cores` switches in all), `servers` servers, `chains` chains of 4 VNFs."""
    medium, rng = load_scenario("medium"), np.random.default_rng(seed)
    core, edge = [f"core{i}" for i in range(cores)], [f"edge{i}" for i in range(EDGES * cores)]
    hosts = _servers(medium, [*core, *edge], servers, cores, chains)
    services = [_chain(medium, i, rng) for i in range(chains)]
    fields = {
        "name": f"grown-{4 * cores}-{servers}-{chains}",
        "switches": tuple(Switch(name, dpid + 1) for dpid, name in enumerate([*core, *edge])),
        "servers": hosts,
        "links": tuple(_links(core, edge, rng)),
        "endpoints": tuple(Endpoint(f"u{i}", edge[int(rng.integers(len(edge)))], "", "") for i in range(2 * chains)),
        "chains": tuple(services),
        "placement": _placement(services, hosts, rng),
        "moves": tuple(_roams(chains, edge, rng)),
    }
    return replace(medium, **fields)  # type: ignore[arg-type]


def _servers(medium: Scenario, switches: list[str], count: int, cores: int, chains: int) -> tuple[Server, ...]:
    """A quarter of them at core switches, the others at edge switches, in even strides; as large in proportion to their
    VNFs as those of medium, where two run on each."""
    share = max(1.0, VNFS * chains / count / 2.0)
    core, edge = (
        replace(s, cpu_cores=share * s.cpu_cores, memory_mb=share * s.memory_mb)
        for s in (medium.server("c1"), medium.server("e1"))
    )
    of_core = min(cores, count // 4)
    made = [replace(core, id=f"c{i}", at=switches[i * cores // of_core]) for i in range(of_core)]
    edges = switches[cores:]
    rest = count - of_core
    return (*made, *(replace(edge, id=f"e{i}", at=edges[i * len(edges) // rest]) for i in range(rest)))


def _links(core: list[str], edge: list[str], rng: np.random.Generator) -> list[Link]:
    """Each pair of switches at most once."""
    size, found = len(core), {}

    def join(a: str, b: str, mbps: float, low_ms: int, high_ms: int) -> None:
        if a != b and (b, a) not in found:
            found[a, b] = Link(a, b, mbps * max(1.0, size / 8.0), float(rng.integers(low_ms, high_ms)))

    for i in range(size):
        join(core[i], core[(i + 1) % size], 80.0, 4, 7)
        for stride in (size // 3, size // 9, size // 27):  # chords, so that no way is long
            if stride > 1 and i % stride == 0:
                join(core[i], core[(i + stride) % size], 80.0, 6, 9)
        for k in range(EDGES):
            join(edge[EDGES * i + k], core[i], 40.0, 2, 5)
        join(edge[EDGES * i + EDGES - 1], edge[EDGES * (i + 1) % len(edge)], 30.0, 3, 5)
    return list(found.values())


def _chain(medium: Scenario, number: int, rng: np.random.Generator) -> ServiceChain:
    """One of medium's chains with other numbers."""
    like = medium.chains[number % len(medium.chains)]
    name, count = f"chain{number}", dict[str, int]()
    vnfs = [_vnf(name, i, vnf.type, count) for i, vnf in enumerate(like.vnfs)]
    traffic = DiurnalTraffic(
        mean_mbps=float(rng.uniform(1.6, 3.2)), swing=0.6, day_s=_DAY_S, noise=0.08, phase=float(rng.random())
    )
    ends = f"u{2 * number}", f"u{2 * number + 1}"
    return replace(
        like, id=name, number=number + 1, ingress=ends[0], egress=ends[1], vnfs=tuple(vnfs), traffic=traffic,
        max_delay_ms=250.0,
    )  # fmt: skip


def _vnf(chain: str, index: int, kind: VnfType, count: dict[str, int]) -> Vnf:
    count[kind.name] = count.get(kind.name, 0) + 1
    again = f".{count[kind.name]}" if count[kind.name] > 1 else ""
    return Vnf(f"{chain}.{kind.name}{again}", chain, index, kind)


def _placement(chains: list[ServiceChain], servers: tuple[Server, ...], rng: np.random.Generator) -> Placement:
    """Random, each VNF on a server that has room for it under mean traffic."""
    cores, memory, hosts = np.zeros(len(servers)), np.zeros(len(servers)), {}
    for chain in chains:
        assert isinstance(chain.traffic, DiurnalTraffic)
        for vnf in chain.vnfs:
            need = vnf.type.cpu_base + vnf.type.cpu_per_mbps * chain.traffic.mean_mbps
            room = [
                s
                for s, server in enumerate(servers)
                if cores[s] + need <= 0.6 * server.cpu_cores and memory[s] + vnf.type.memory_mb <= server.memory_mb
            ]
            s = int(rng.choice(room))
            cores[s] += need
            memory[s] += vnf.type.memory_mb
            hosts[vnf.id] = servers[s].id
    return Placement(hosts)


def _roams(chains: int, edge: list[str], rng: np.random.Generator) -> list[Roam]:
    """Every third user roams away and back within the day."""
    roams = []
    for i in range(0, chains, 3):
        away, back = sorted(rng.uniform(100.0, _DAY_S - 100.0, 2))
        roams += [Roam(f"u{2 * i}", float(away), edge[int(rng.integers(len(edge)))])]
        roams += [Roam(f"u{2 * i}", float(back), edge[int(rng.integers(len(edge)))])]
    return sorted(roams, key=lambda roam: roam.at_s)
