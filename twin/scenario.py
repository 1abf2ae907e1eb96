"""The scenario as values: network, services, traffic and objective.

These types say what a scenario file means once it has been read and found sound (`twin.scenario_file`
reads it). The simulator, the emulator and the controller are three readers of the same values.
Units are in the names: `_ms _s _mbps _w _j _mb`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from twin.migration_cost import MigrationCost
from twin.move_limits import MoveLimits

Tier = Literal["edge", "core"]
MAX_CHAINS = 126  # 7 bits of the steering tag, 0 and 127 kept free (docs/steering.md)
MAX_VNFS = 7  # forward segments 0..7 of the tag's 4 bits, 8..15 for replies


@dataclass(frozen=True, slots=True)
class Objective:
    """Weights of the two reductions: τ1 (delay) and τ2 (energy), each in [0, 1]. Source: paper."""

    delay: float = 0.5
    energy: float = 0.5


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Power of a server (docs/model.md, "Energy"). Source: ours."""

    sleep_w: float = 10.0
    idle_w: float = 90.0
    peak_w: float = 150.0
    wake_s: float = 1.0
    wake_j: float = 150.0
    sleep_after_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Switch:
    id: str
    dpid: int


@dataclass(frozen=True, slots=True)
class WiredPort:
    """A switch port that is cabled to a server for one VNF: `network` is what the engine calls the cable's end."""

    port: int
    network: str


@dataclass(frozen=True, slots=True)
class Server:
    """A place where VNFs run.

    The rest is how a controller reaches it, empty where only the model is wanted: `engine` is the container engine
    (`unix://`, `ssh://`, `tcp://`, or `process:` for processes in namespaces), `engine_tls` its folder of PEM files,
    `bridge` and `ovsdb` the Open vSwitch bridge and database its VNFs' ports are added to, `ports` those that they get
    where none can be added, `cgroup` the parent control group that caps the server.
    """

    id: str
    tier: Tier
    at: str
    cpu_cores: float
    memory_mb: float
    power: PowerModel
    engine: str = ""
    bridge: str = ""
    ovsdb: str = ""
    cgroup: str = ""
    engine_tls: str = ""
    ports: tuple[WiredPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A full-duplex link between two switches; `delay_ms` is propagation, one way. `name`: what people call it."""

    a: str
    b: str
    bandwidth_mbps: float
    delay_ms: float
    name: str = ""

    @property
    def id(self) -> str:
        return f"{self.a}-{self.b}"


@dataclass(frozen=True, slots=True)
class Access:
    """The link by which a server or an endpoint joins its switch."""

    bandwidth_mbps: float = 1000.0
    delay_ms: float = 0.1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A user or a service. `port` is its switch port where it is known beforehand (0: learnt)."""

    id: str
    at: str
    ip: str
    mac: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class VnfType:
    """What a VNF asks: CPU in cores = cpu_base + cpu_per_mbps · offered traffic in Mbit/s.

    The last three say how it may be moved (`twin.move_modes`).
    """

    name: str
    cpu_base: float
    cpu_per_mbps: float
    memory_mb: float
    state_mb: float
    service_ms: float
    function: str = ""
    image: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    stateless: bool = False
    move: str = "auto"
    allow_cold: bool = False


@dataclass(frozen=True, slots=True)
class ConstantTraffic:
    mean_mbps: float


@dataclass(frozen=True, slots=True)
class DiurnalTraffic:
    """A day of `day_s`: mean · (1 + swing · sin(2π(t/day_s + phase))) with relative Gaussian `noise`."""

    mean_mbps: float
    swing: float
    day_s: float
    noise: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True, slots=True)
class BurstTraffic:
    """`mean_mbps`, raised to `burst_mbps` for `length_s` at seeded random times, on average one in `every_s`."""

    mean_mbps: float
    burst_mbps: float
    every_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class TraceTraffic:
    """Offered traffic as steps: (time_s, mbps), sorted by time; the first value holds before its time."""

    file: Path
    points: tuple[tuple[float, float], ...]


Traffic = ConstantTraffic | DiurnalTraffic | BurstTraffic | TraceTraffic


@dataclass(frozen=True, slots=True)
class Vnf:
    """One VNF of one chain. Its id is CHAIN.TYPE, or CHAIN.TYPE.N (N from 1) where the type repeats in its chain."""

    id: str
    chain: str
    index: int
    type: VnfType


@dataclass(frozen=True, slots=True)
class Flow:
    """What classifies a chain's packets at the ingress. `any`: all IPv4; the port is that of its own traffic then."""

    src_ip: str
    dst_ip: str
    proto: Literal["udp", "tcp", "any"]
    dst_port: int


@dataclass(frozen=True, slots=True)
class ServiceChain:
    """A VNF-FG: ordered VNFs between two endpoints. `number` (1..126) is its part of the steering tag.

    `two_way`: replies pass the VNFs in reverse order; else they go straight back.
    """

    id: str
    number: int
    ingress: str
    egress: str
    vnfs: tuple[Vnf, ...]
    max_delay_ms: float
    packet_bytes: int
    traffic: Traffic
    flow: Flow
    two_way: bool = False


@dataclass(frozen=True, slots=True)
class Roam:
    """A user that changes its switch at a time of the scenario."""

    endpoint: str
    at_s: float
    to: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Which server hosts each VNF; every VNF of the scenario has exactly one."""

    hosts: Mapping[str, str]

    def __getitem__(self, vnf: str) -> str:
        return self.hosts[vnf]

    def move(self, vnf: str, target: str) -> Placement:
        """The placement after one move; the old one is left as it was. KeyError for an unknown VNF."""
        if vnf not in self.hosts:
            raise KeyError(vnf)
        return replace(self, hosts={**self.hosts, vnf: target})


@dataclass(frozen=True)
class Scenario:
    """A whole scenario. The order of every tuple is the order in the file and the order of every array."""

    name: str
    period_s: float
    objective: Objective
    switches: tuple[Switch, ...]
    servers: tuple[Server, ...]
    links: tuple[Link, ...]
    access: Access
    endpoints: tuple[Endpoint, ...]
    chains: tuple[ServiceChain, ...]
    placement: Placement
    moves: tuple[Roam, ...] = ()
    migration: Mapping[str, MigrationCost] = field(default_factory=dict)  # by mode, where it is not the default
    limits: MoveLimits = field(default_factory=MoveLimits)
    source: Path | None = None

    @cached_property
    def vnfs(self) -> tuple[Vnf, ...]:
        """All VNFs, chain by chain in chain order: the row order of every per-VNF array."""
        return tuple(vnf for chain in self.chains for vnf in chain.vnfs)

    @cached_property
    def server_index(self) -> Mapping[str, int]:
        return {server.id: i for i, server in enumerate(self.servers)}

    @cached_property
    def switch_index(self) -> Mapping[str, int]:
        return {switch.id: i for i, switch in enumerate(self.switches)}

    @cached_property
    def vnf_index(self) -> Mapping[str, int]:
        return {vnf.id: i for i, vnf in enumerate(self.vnfs)}

    @cached_property
    def chain_index(self) -> Mapping[str, int]:
        return {chain.id: i for i, chain in enumerate(self.chains)}

    @cached_property
    def endpoint_index(self) -> Mapping[str, int]:
        return {endpoint.id: i for i, endpoint in enumerate(self.endpoints)}

    @cached_property
    def link_index(self) -> Mapping[str, int]:
        return {link.id: i for i, link in enumerate(self.links)}

    def server(self, name: str) -> Server:
        return self.servers[self.server_index[name]]

    def vnf(self, name: str) -> Vnf:
        return self.vnfs[self.vnf_index[name]]

    def chain(self, name: str) -> ServiceChain:
        return self.chains[self.chain_index[name]]

    def endpoint(self, name: str) -> Endpoint:
        return self.endpoints[self.endpoint_index[name]]

    def switch(self, name: str) -> Switch:
        return self.switches[self.switch_index[name]]
