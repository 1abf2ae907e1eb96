"""Small networks drawn at random: to train a policy that has to serve any network, and to compare on many.

A ring of switches with chords and a server at each; every fourth server is a core one, with twice the cores and more
power. Chains of VNFs in a random order run between random switches, under constant or diurnal traffic. Start: every VNF
on a random server that has room. Source: ours (docs/agent.md, "Constant traffic").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin.scenario import (
    Access,
    ConstantTraffic,
    DiurnalTraffic,
    Endpoint,
    Flow,
    Link,
    Objective,
    Placement,
    PowerModel,
    Scenario,
    Server,
    ServiceChain,
    Switch,
    Traffic,
    Vnf,
    VnfType,
)

CORE_EVERY = 4
_LINK_MBPS, _DAY_S = 40.0, 1200.0
_CHORDS = ((0, 2), (1, 3))  # quarters of the ring that a link joins
_PORT = 5001
_FULL = 0.8  # share of a server's CPU that the first placement takes at most
_EDGE_POWER, _CORE_POWER = PowerModel(), PowerModel(idle_w=120.0, peak_w=220.0)
TYPES = (
    VnfType("firewall", 0.005, 0.015, 32.0, 0.5, 0.10, "firewall"),
    VnfType("nat", 0.005, 0.020, 48.0, 4.0, 0.15, "nat"),
    VnfType("monitor", 0.005, 0.035, 96.0, 16.0, 0.25, "monitor"),
    VnfType("balancer", 0.005, 0.020, 32.0, 1.0, 0.10, "balancer"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How large a drawn network is: `servers` switches with a server each, `chains` of `vnfs` VNFs (at most four);
    `room` scales the cores: at 1 mean demand is about a third of them."""

    servers: int = 8
    chains: int = 4
    vnfs: int = 3
    room: float = 1.0

    @property
    def edge_cores(self) -> float:
        return 0.18 * self.room * (self.chains * self.vnfs / 12.0) * (8.0 / self.servers)


def drawn_network(size: Size, rng: np.random.Generator, *, diurnal: bool = False) -> Scenario:
    """A network of that size. ValueError where its VNFs do not fit: more `room` is needed."""
    names = [f"s{i}" for i in range(size.servers)]
    mbps = rng.uniform(1.2, 3.0, size=size.chains)
    chains = tuple(_chain(c, float(mbps[c]), size, rng, diurnal) for c in range(size.chains))
    servers = tuple(_server(i, size) for i in range(size.servers))
    ends = [f"{kind}{c}" for c in range(size.chains) for kind in "uw"]
    return Scenario(
        name="drawn",
        period_s=5.0,
        objective=Objective(),
        switches=tuple(Switch(name, 1 + i) for i, name in enumerate(names)),
        servers=servers,
        links=_links(size.servers, rng),
        access=Access(),
        endpoints=tuple(Endpoint(end, names[int(rng.integers(size.servers))], "", "") for end in ends),
        chains=chains,
        placement=_placement(chains, mbps, servers, rng),
    )


def drawn_networks(size: Size, count: int, rng: np.random.Generator, *, diurnal: bool = False) -> list[Scenario]:
    """`count` networks of that size; one whose VNFs do not fit is drawn again."""
    found = list[Scenario]()
    while len(found) < count:
        try:
            found.append(drawn_network(size, rng, diurnal=diurnal))
        except ValueError:  # servers that are full by chance
            continue
    return found


def _server(i: int, size: Size) -> Server:
    if i % CORE_EVERY == 0:
        return Server(f"m{i}", "core", f"s{i}", 2.0 * size.edge_cores, 512.0, _CORE_POWER)
    return Server(f"m{i}", "edge", f"s{i}", size.edge_cores, 512.0, _EDGE_POWER)


def _links(count: int, rng: np.random.Generator) -> tuple[Link, ...]:
    pairs = [(i, (i + 1) % count) for i in range(count)]
    if count >= 8:
        pairs += [(a * count // 4, b * count // 4) for a, b in _CHORDS]
    return tuple(Link(f"s{a}", f"s{b}", _LINK_MBPS, float(rng.integers(1, 7))) for a, b in pairs)


def _chain(c: int, mbps: float, size: Size, rng: np.random.Generator, diurnal: bool) -> ServiceChain:
    name = f"c{c}"
    kinds = [TYPES[k] for k in rng.permutation(len(TYPES))[: size.vnfs]]
    traffic: Traffic = ConstantTraffic(mbps)
    if diurnal:
        traffic = DiurnalTraffic(mbps, swing=0.6, day_s=_DAY_S, noise=0.08, phase=float(rng.random()))
    return ServiceChain(
        id=name, number=1 + c, ingress=f"u{c}", egress=f"w{c}",
        vnfs=tuple(Vnf(f"{name}.{kind.name}", name, i, kind) for i, kind in enumerate(kinds)),
        max_delay_ms=500.0, packet_bytes=1000, traffic=traffic, flow=Flow("", "", "udp", _PORT + c),
    )  # fmt: skip


def _placement(
    chains: tuple[ServiceChain, ...], mbps: np.ndarray, servers: tuple[Server, ...], rng: np.random.Generator
) -> Placement:
    free = np.array([_FULL * server.cpu_cores for server in servers])
    hosts = {}
    for chain, offered in zip(chains, mbps, strict=True):
        for vnf in chain.vnfs:
            need = vnf.type.cpu_base + vnf.type.cpu_per_mbps * offered
            fits = np.flatnonzero(free >= need)
            if not fits.size:
                raise ValueError(f"{vnf.id} fits nowhere: room {free.max():.3f} cores, it needs {need:.3f}")
            s = int(rng.choice(fits))
            free[s] -= need
            hosts[vnf.id] = servers[s].id
    return Placement(hosts)
