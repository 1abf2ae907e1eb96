"""The scenario's network in Mininet: its bridges, links and endpoint hosts, on stock Mininet and our own Open vSwitch.

No host sends a packet of its own accord: IPv6 is off, neighbours are static. So every packet on a switch is a chain's,
a probe, or an announcement of a user that roams.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mininet_topos import stock_mininet
from mininet_topos.edgecore import EdgeCoreTopo, PortPlan, bridge_name, interface_name, plan_ports
from mininet_topos.links import LinkEmulator
from twin.errors import VnftwinError
from twin.rewrites import further_addresses, neighbours
from twin.scenario import Endpoint, Scenario, Server
from twin.scenario_file import dump_scenario

CONTROLLER = ("127.0.0.1", 6653)
RECONNECT_MS = 1000

_net, _log = stock_mininet.module("net"), stock_mininet.module("log")


class NetworkFailed(VnftwinError):
    """A part of the network could not be set up; names it."""


class EndpointHost(stock_mininet.module("node").Host):  # type: ignore[misc]
    """A user or service: every interface has its one MAC and IP, all its neighbours are known beforehand.

    A server has further addresses besides, where a balancer sends to these.
    """

    def startShell(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802 (Mininet's name)
        """As Mininet does, and before there is any interface: no IPv6, any source address may come in anywhere."""
        super().startShell(*args, **kwargs)
        self.cmd(
            "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6;"
            " echo 0 > /proc/sys/net/ipv4/conf/$f/rp_filter; done 2>/dev/null"
        )

    def config(
        self, mac: str = "", ip: str = "", neighbours: Mapping[str, str] | None = None, further: Iterable[str] = (),
        **_rest: Any,
    ) -> None:  # fmt: skip
        """Called by Mininet when all links are there. Checksums are made in software: nobody else would make them."""
        commands = ["link set lo up", *(f"address replace {address}/32 dev lo" for address in further)]
        for metric, interface in enumerate(self.intfNames()):
            commands += [
                f"link set {interface} down address {mac}",
                f"address replace {ip} dev {interface} noprefixroute",
                f"link set {interface} up",
                f"route replace default dev {interface} scope link metric {metric}",
            ]
            commands += [
                f"neighbour replace {address} lladdr {their_mac} dev {interface} nud permanent"
                for address, their_mac in (neighbours or {}).items()
            ]
            self._inside(["ethtool", "-K", interface, "tx", "off", "rx", "off"])
        self._inside(["ip", "-batch", "-"], "\n".join(commands) + "\n")

    def _inside(self, command: list[str], text: str = "") -> None:
        """Runs a command in the host's namespace; not through Mininet's shell, whose terminal cuts long lines."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-n", *command], input=text, capture_output=True, text=True
        )
        if done.returncode:
            raise NetworkFailed(f"host {self.name}: {command[0]}: {done.stderr.strip().splitlines()[-1]}")


class Bridge(stock_mininet.module("node").OVSSwitch):  # type: ignore[misc]
    """A switch of the scenario: OpenFlow 1.3 only, keeps its rules when the controller is gone."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, failMode="secure", protocols="OpenFlow13", reconnectms=RECONNECT_MS, **params)


class AppController(stock_mininet.module("node").RemoteController):  # type: ignore[misc]
    """The controller application, which comes later: Mininet neither starts it nor looks for it."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, ip=CONTROLLER[0], port=CONTROLLER[1], **params)

    def checkListening(self) -> None:  # noqa: N802 (Mininet's name)
        """Nothing to check yet."""


class Network:
    """The running network, in a sandbox that takes it along when it ends. A context manager."""

    def __init__(self, scenario: Scenario, links: LinkEmulator, *, kernel_datapath: bool) -> None:
        self.scenario, self.links = scenario, links
        self.ports: PortPlan = plan_ports(scenario)
        self._datapath = "kernel" if kernel_datapath else "user"
        self._net: Any = None

    def __enter__(self) -> Network:
        _log.setLogLevel("warning")
        # Mininet's own preparation raises limits of the whole machine; an emulated network of this size needs none.
        _net.Mininet.inited = True
        self._net = _net.Mininet(
            topo=EdgeCoreTopo(self.scenario),
            switch=self._bridge, host=self._host, link=self._link, controller=AppController,
        )  # fmt: skip
        self._net.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Nothing: bridges, hosts and shells end with the sandbox. Mininet's own `stop` waits for a switch daemon for
        ever if that has died."""

    def _bridge(self, name: str, **params: Any) -> Any:
        return Bridge(name, datapath=self._datapath, **params)

    def _host(self, name: str, **params: Any) -> Any:
        further = further_addresses(self.scenario)[name]
        return EndpointHost(name, neighbours=neighbours(self.scenario), further=further, **params)

    def _link(self, node_a: Any, node_b: Any, **options: Any) -> Any:
        """Links of the scenario are emulated; the short cable of an endpoint is a plain veth pair."""
        name = options.pop("link_id", None)
        for nominal in ("bw", "delay"):
            options.pop(nominal, None)
        if name is None:
            return stock_mininet.module("link").Link(node_a, node_b, **options)
        link = self.scenario.links[self.scenario.link_index[name]]
        return self.links.make(link, node_a, node_b, **options)

    def attachments(self, endpoint: str) -> dict[str, dict[str, Any]]:
        """Per switch where an endpoint is plugged in: its interface there and the port on the switch; home first."""
        return {
            where.switch: {"interface": interface_name(endpoint, number), "port": where.port}
            for number, where in enumerate(self.ports.endpoints[endpoint])
        }

    def pid(self, endpoint: str) -> int:
        """A process inside the endpoint's namespace, as this process sees it."""
        return int(self._net[endpoint].pid)

    def bound(self, *, engines: Mapping[str, str], ovsdb: str, cgroups: Mapping[str, str]) -> Scenario:
        """The scenario with what a controller needs to reach everything in it; per server engine and cgroup."""

        def bind_server(server: Server) -> Server:
            return replace(
                server, engine=engines.get(server.id, ""), cgroup=cgroups.get(server.id, ""),
                bridge=bridge_name(server.at), ovsdb=ovsdb,
            )  # fmt: skip

        def bind_endpoint(endpoint: Endpoint) -> Endpoint:
            return replace(endpoint, port=self.ports.endpoints[endpoint.id][0].port)

        return replace(
            self.scenario,
            servers=tuple(bind_server(server) for server in self.scenario.servers),
            endpoints=tuple(bind_endpoint(endpoint) for endpoint in self.scenario.endpoints),
        )


def write_bound(scenario: Scenario, path: Path) -> None:
    """Writes a scenario as JSON, which any reader of YAML reads too."""
    import yaml

    path.write_text(json.dumps(yaml.safe_load(dump_scenario(scenario)), indent=1))
