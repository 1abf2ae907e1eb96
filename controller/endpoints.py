"""Where each endpoint is attached, learnt from the ARP frames that it sends."""

from __future__ import annotations

from dataclasses import dataclass

from controller import frames
from twin.scenario import Endpoint, Scenario


@dataclass(frozen=True, slots=True)
class EndpointLearnt:
    """The port of an endpoint at the switch where it was thought to be."""

    endpoint: str
    switch: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointMoved:
    """An endpoint that was last at another place (`from_port` 0: that port was never learnt)."""

    endpoint: str
    from_switch: str
    from_port: int
    switch: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointConflict:
    """Somebody else's MAC address uses an endpoint's IP address; reported once per pair, and not believed."""

    endpoint: str
    mac: str
    switch: str
    port: int


EndpointEvent = EndpointLearnt | EndpointMoved | EndpointConflict


class EndpointTable:
    """The last known place of every endpoint; at first what the scenario says."""

    def __init__(self, scenario: Scenario) -> None:
        self._by_ip = {endpoint.ip: endpoint for endpoint in scenario.endpoints}
        self._initial = {endpoint.id: (endpoint.at, endpoint.port) for endpoint in scenario.endpoints}
        self._places = dict(self._initial)
        self._conflicts: set[tuple[str, str]] = set()

    def place(self, endpoint: str) -> tuple[str, int]:
        """(switch, port), the port 0 while unknown. KeyError for an unknown endpoint."""
        return self._places[endpoint]

    def arp_in(self, switch: str, port: int, content: bytes) -> list[EndpointEvent]:
        """What an ARP frame from a host port tells; nothing where its sender is none of ours."""
        ethernet = frames.decode_ethernet(content)
        if ethernet is None or ethernet.ethertype != frames.ETHERTYPE_ARP:
            return []
        arp = frames.decode_arp(ethernet.payload)
        if arp is None or arp.sender_mac != ethernet.src or arp.sender_ip not in self._by_ip:
            return []
        endpoint = self._by_ip[arp.sender_ip]
        if arp.sender_mac != endpoint.mac.lower():
            return self._conflict(endpoint, arp.sender_mac, switch, port)
        return self._seen(endpoint.id, switch, port)

    def was_at(self, endpoint: str, switch: str, port: int) -> None:
        """Where an endpoint was before this controller began; nothing where it has been heard of since."""
        if self._places[endpoint] == self._initial[endpoint]:
            self._places[endpoint] = (switch, port)

    def not_at(self, switch: str, port: int) -> None:
        """That port leads to a switch: what was learnt there was flooded from elsewhere, so it is taken back."""
        for endpoint, place in self._places.items():
            if place == (switch, port):
                self._places[endpoint] = self._initial[endpoint]

    def _seen(self, endpoint: str, switch: str, port: int) -> list[EndpointEvent]:
        before_switch, before_port = self._places[endpoint]
        self._places[endpoint] = (switch, port)
        if (before_switch, before_port) == (switch, port):
            return []
        if before_switch == switch and before_port == 0:
            return [EndpointLearnt(endpoint, switch, port)]
        return [EndpointMoved(endpoint, before_switch, before_port, switch, port)]

    def _conflict(self, endpoint: Endpoint, mac: str, switch: str, port: int) -> list[EndpointEvent]:
        if (endpoint.id, mac) in self._conflicts:
            return []
        self._conflicts.add((endpoint.id, mac))
        return [EndpointConflict(endpoint.id, mac, switch, port)]
