"""The edge-core topology of a scenario, for Mininet: `EdgeCoreTopo`, built without root.

Also a custom file of Mininet's own command, where servers appear as hosts:

    mn --custom mininet_topos/edgecore.py --topo edgecore,small --controller remote --switch ovs,protocols=OpenFlow13

In the test bed servers are no hosts: a VNF's container gets a switch port of its own, later and from the controller.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(inspect.getsourcefile(lambda: 0) or __file__).resolve().parent.parent
_NEEDED = ("numpy", "yaml", "networkx")


def _find_packages() -> None:
    """`mn --custom` executes this file by itself in the system's Python: finds the project and what it needs.

    What the system lacks of them is taken from the project's own environment, if it is of the same Python.
    """
    own = _ROOT / ".venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    lacks = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    for folder in (_ROOT, *([own] if lacks else [])):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        packages = " ".join(f"python3-{name}" for name in _NEEDED)
        sys.exit(f"edgecore.py needs {' and '.join(lacks)} (mend: apt-get install -y {packages})")


_find_packages()

from mininet_topos import stock_mininet  # noqa: E402
from twin.scenario import Endpoint, Link, Scenario  # noqa: E402
from twin.scenario_file import load_scenario  # noqa: E402

INTERFACE_NAME_MAX = 15  # Linux: IFNAMSIZ - 1; a bridge is an interface too


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where an endpoint is plugged in: a switch and the port on it."""

    switch: str
    port: int


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Every switch port of a scenario, known before anything runs.

    `links` has the ports at both ends, in the order of `scenario.links`; `endpoints` where each endpoint is plugged
    in, at home first, then at every switch that it will ever roam to.
    """

    links: tuple[tuple[int, int], ...]
    endpoints: Mapping[str, tuple[Attachment, ...]]


def plan_ports(scenario: Scenario) -> PortPlan:
    """Numbers the ports of each switch from 1: links first, then endpoints, both in the file's order.

    An endpoint whose `port` is given keeps it; nobody else gets that number.
    """
    taken: defaultdict[str, set[int]] = defaultdict(set)
    for endpoint in scenario.endpoints:
        if endpoint.port:
            taken[endpoint.at].add(endpoint.port)

    def next_port(switch: str) -> int:
        port = next(n for n in range(1, 65280) if n not in taken[switch])
        taken[switch].add(port)
        return port

    links = tuple((next_port(link.a), next_port(link.b)) for link in scenario.links)
    return PortPlan(links, {e.id: _attachments(scenario, e, next_port) for e in scenario.endpoints})


def _attachments(scenario: Scenario, endpoint: Endpoint, next_port: Callable[[str], int]) -> tuple[Attachment, ...]:
    away = dict.fromkeys(move.to for move in scenario.moves if move.endpoint == endpoint.id and move.to != endpoint.at)
    home = Attachment(endpoint.at, endpoint.port or next_port(endpoint.at))
    return (home, *(Attachment(switch, next_port(switch)) for switch in away))


def bridge_name(switch: str) -> str:
    """The switch's id, or where that is too long for an interface, its beginning and a checksum of all of it."""
    return _fit(switch, INTERFACE_NAME_MAX)


def interface_name(node: str, port: int) -> str:
    """Name of port number `port` of a switch or host: `edge1-eth2`, with the node's name shortened where needed."""
    suffix = f"-eth{port}"
    return _fit(node, INTERFACE_NAME_MAX - len(suffix)) + suffix


def _fit(name: str, length: int) -> str:
    if len(name) <= length:
        return name
    checksum = f"{zlib.crc32(name.encode()):08x}"[: min(8, length)]
    return name[: length - len(checksum)] + checksum


class EdgeCoreTopo(stock_mininet.module("topo").Topo):  # type: ignore[misc]
    """Switches, links and endpoints of a scenario as Mininet's `Topo`; with `servers=True`, servers as hosts too."""

    def build(self, scenario: Scenario, *, servers: bool = False) -> None:
        """Called by Topo's constructor with its arguments."""
        ports = plan_ports(scenario)
        for switch in scenario.switches:
            self.addSwitch(bridge_name(switch.id), dpid=f"{switch.dpid:016x}")
        for link, (port_a, port_b) in zip(scenario.links, ports.links, strict=True):
            self._join(link, port_a, port_b)
        for endpoint in scenario.endpoints:
            self._plug_in(endpoint, ports.endpoints[endpoint.id])
        for server in scenario.servers if servers else ():
            self.addLink(self.addHost(server.id), bridge_name(server.at))

    def _join(self, link: Link, port_a: int, port_b: int) -> None:
        a, b = bridge_name(link.a), bridge_name(link.b)
        self.addLink(
            a, b, port1=port_a, port2=port_b, intfName1=interface_name(a, port_a), intfName2=interface_name(b, port_b),
            link_id=link.id, bw=link.bandwidth_mbps, delay=f"{link.delay_ms:g}ms",
        )  # fmt: skip

    def _plug_in(self, endpoint: Endpoint, attachments: tuple[Attachment, ...]) -> None:
        host = self.addHost(endpoint.id, ip=f"{endpoint.ip}/8", mac=endpoint.mac)
        for number, (attachment, bridge) in enumerate((a, bridge_name(a.switch)) for a in attachments):
            self.addLink(
                host, bridge, port1=number, port2=attachment.port,
                intfName1=interface_name(host, number), intfName2=interface_name(bridge, attachment.port),
            )  # fmt: skip


def named(scenario: str = "small") -> EdgeCoreTopo:
    """The topology of a shipped scenario or of a file, with servers as hosts: what `mn --topo edgecore,X` makes."""
    return EdgeCoreTopo(load_scenario(scenario), servers=True)


topos = {"edgecore": named}
