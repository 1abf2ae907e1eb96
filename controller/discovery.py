"""Which switches, ports, links and endpoints are there now, compared with what the scenario says should be.

A pure protocol class: it is told what switches report and what frames come in, and returns frames to send and events
that happened. Its clock is the argument `now_s` (monotonic seconds). Source: ours (docs/telemetry.md, "Discovery").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controller.endpoints import EndpointConflict, EndpointEvent, EndpointLearnt, EndpointMoved, EndpointTable
from controller.lldp import Adjacency, End, LldpArrival, LldpFrame
from controller.openflow_replies import Port
from controller.pacing import RoundRobin
from controller.stamps import Signer
from controller.steering import Adjacency as PortsByDirection
from twin.samples import Quantity, Sample
from twin.scenario import Scenario

__all__ = [
    "Discovery", "DiscoveryEvent", "EndpointConflict", "EndpointLearnt", "EndpointMoved", "ForeignLink", "LinkDown",
    "LinkUp", "LldpArrival", "LldpFrame", "LldpIn", "Port", "SwitchJoined", "SwitchLeft", "UnknownSwitch",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class SwitchJoined:
    switch: str


@dataclass(frozen=True, slots=True)
class SwitchLeft:
    switch: str


@dataclass(frozen=True, slots=True)
class UnknownSwitch:
    """A switch that the scenario lacks; reported once per dpid."""

    dpid: int


@dataclass(frozen=True, slots=True)
class LinkUp:
    link: str


@dataclass(frozen=True, slots=True)
class LinkDown:
    """`reason`: port_down, switch_gone, silent (its LLDP is lost), recabled or never_seen."""

    link: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForeignLink:
    """A connection between two known switches that the scenario lacks, or a second one; reported once."""

    a: str
    a_port: int
    b: str
    b_port: int


DiscoveryEvent = SwitchJoined | SwitchLeft | UnknownSwitch | LinkUp | LinkDown | ForeignLink | EndpointEvent


@dataclass(frozen=True, slots=True)
class LldpIn:
    """What an LLDP frame told: its crossing of a link of the scenario (none or one), and what changed by it."""

    arrivals: tuple[LldpArrival, ...] = ()
    events: tuple[DiscoveryEvent, ...] = ()


class Discovery:
    """The map of the network, kept current.

    `round_s` is the time between two LLDP frames of one port. A link is up while both of its directions are heard; it
    is down at once with a port or a switch, and after `missed_limit` frames in a row were lost. A switch is given
    `join_within_s` to connect at first (Open vSwitch tries every 8 s at worst).
    """

    def __init__(
        self, scenario: Scenario, signer: Signer, *,
        round_s: float = 0.5, missed_limit: int = 5, join_within_s: float = 15.0,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self.ignored_lldp = 0  # frames that were foreign, forged, repeated or came from where they cannot
        self._missed_limit = missed_limit
        self._find_within_s, self._join_within_s = round_s * (missed_limit + 1), join_within_s
        self._names = {switch.dpid: switch.id for switch in scenario.switches}
        self._links = {frozenset((link.a, link.b)): link for link in scenario.links}
        self._reported: set[object] = set()
        self._ports: dict[str, dict[int, Port]] = {}
        self._vnf_ports: dict[str, frozenset[int]] = {}
        self._adjacency = Adjacency({switch.id: switch.dpid for switch in scenario.switches}, signer)
        self._pacing: RoundRobin[End] = RoundRobin(round_s)
        self._link_up: dict[str, bool] = {}
        self._expected_since_s: dict[str, float] = {}
        self._endpoints = EndpointTable(scenario)

    # Switches and ports

    @property
    def switches(self) -> tuple[str, ...]:
        """The scenario's switches that are connected, in the scenario's order."""
        return tuple(switch.id for switch in self.scenario.switches if switch.id in self._ports)

    def switch_name(self, dpid: int) -> str:
        """The scenario's id of a switch, or '' for one that it lacks."""
        return self._names.get(dpid, "")

    def switch_joined(self, now_s: float, dpid: int, ports: Iterable[Port]) -> list[DiscoveryEvent]:
        """A switch has described its ports. A second time without leaving counts as leaving and coming back."""
        switch = self.switch_name(dpid)
        if not switch:
            return [UnknownSwitch(dpid)] if self._first_time(dpid) else []
        events = self.switch_left(dpid)
        self._ports[switch] = {port.number: port for port in ports}
        for link in self.scenario.links:
            if switch in (link.a, link.b):
                self._expected_since_s[link.id] = now_s
        return [*events, SwitchJoined(switch)]

    def switch_left(self, dpid: int) -> list[DiscoveryEvent]:
        """Its connection is gone: so are all its links, at once."""
        switch = self.switch_name(dpid)
        if switch not in self._ports:
            return []
        del self._ports[switch]
        self._adjacency.disconnect(switch)
        return [SwitchLeft(switch), *self._changed_links("switch_gone")]

    def port_changed(self, dpid: int, port: Port, *, removed: bool = False) -> list[DiscoveryEvent]:
        """A port-status message. A port that goes down takes its link down at once."""
        switch = self.switch_name(dpid)
        if switch not in self._ports:
            return []
        if removed:
            self._ports[switch].pop(port.number, None)
        else:
            self._ports[switch][port.number] = port
        if port.up and not removed:
            return []
        self._adjacency.disconnect(switch, port.number)
        return self._changed_links("port_down")

    def set_vnf_ports(self, switch: str, ports: Iterable[int]) -> None:
        """Which ports of a switch lead to VNFs now: neither LLDP nor ARP is sent to or believed from them."""
        self._vnf_ports[switch] = frozenset(ports)

    def port_is_up(self, switch: str, port: int) -> bool:
        known = self._ports.get(switch, {}).get(port)
        return known is not None and known.up

    def host_ports(self, switch: str) -> tuple[int, ...]:
        """Ports that are up and lead neither to another switch nor to a VNF, ascending."""
        return tuple(p for p in sorted(self._ports.get(switch, {})) if self._is_host_port(switch, p))

    # Links

    def due(self, now_s: float) -> list[LldpFrame]:
        """The LLDP frames whose turn it is, spread over the round: call it several times per round."""
        for link in self.scenario.links:
            self._expected_since_s.setdefault(link.id, now_s)
        return [self._adjacency.frame(*end) for end in self._pacing.due(now_s, self._candidates())]

    def lldp_in(self, now_s: float, switch: str, port: int, content: bytes) -> LldpIn:
        """An LLDP frame came in at a port; `now_s` is when. What is not ours or came twice changes nothing."""
        known = switch in self._ports and port not in self._vnf_ports.get(switch, frozenset())
        arrival = self._adjacency.arrived(now_s, switch, port, content) if known else None
        if arrival is None:
            self.ignored_lldp += 1
            return LldpIn()
        events = self._connected(arrival) if self._adjacency.connect(arrival) else []
        chosen = self.adjacency().get((arrival.a, arrival.b)) == arrival.a_port
        counts = chosen and frozenset((arrival.a, arrival.b)) in self._links
        return LldpIn((arrival,) if counts else (), tuple(events))

    def expire(self, now_s: float) -> list[DiscoveryEvent]:
        """Gives up directions that fell silent and links never seen. Call it after every `due`."""
        events = self._changed_links("silent") if self._adjacency.drop_silent(self._missed_limit) else []
        for link in self.scenario.links:
            joined = link.a in self._ports and link.b in self._ports
            grace_s = self._find_within_s if joined else self._join_within_s
            if link.id not in self._link_up and now_s - self._expected_since_s.get(link.id, now_s) > grace_s:
                self._link_up[link.id] = False
                events.append(LinkDown(link.id, "never_seen"))
        return events

    def adjacency(self) -> PortsByDirection:
        """(a, b) -> the port of a that leads to b, for every direction that is heard now."""
        return self._adjacency.directions()

    def missing_links(self) -> list[str]:
        """Links of the scenario that are not up (or not found yet), in its order."""
        return [link.id for link in self.scenario.links if not self._link_up.get(link.id, False)]

    # Endpoints

    def arp_in(self, switch: str, port: int, content: bytes) -> list[DiscoveryEvent]:
        """An ARP frame came in. Only a host port teaches where an endpoint is."""
        return list(self._endpoints.arp_in(switch, port, content)) if self._is_host_port(switch, port) else []

    def endpoint_was_at(self, endpoint: str, switch: str, port: int) -> None:
        """Installed rules let an endpoint in at this port: believed until it says otherwise."""
        self._endpoints.was_at(endpoint, switch, port)

    def endpoint_place(self, endpoint: str) -> End:
        """(switch, port) where an endpoint was last; the port is 0 while unknown. KeyError for an unknown one."""
        return self._endpoints.place(endpoint)

    # Readings

    def samples(self, now_s: float) -> list[Sample]:
        """Whether each link is up, and the switch of every endpoint whose port is known and up."""
        return [*self._link_samples(now_s), *self._endpoint_samples(now_s)]

    def _link_samples(self, now_s: float) -> Iterator[Sample]:
        for link in self.scenario.links:
            if link.id in self._link_up:
                yield Sample(now_s, link.id, Quantity.LINK_UP, float(self._link_up[link.id]))

    def _endpoint_samples(self, now_s: float) -> Iterator[Sample]:
        for endpoint in self.scenario.endpoints:
            switch, port = self._endpoints.place(endpoint.id)
            if self.port_is_up(switch, port):
                index = self.scenario.switch_index[switch]
                yield Sample(now_s, endpoint.id, Quantity.ENDPOINT_SWITCH, float(index))

    # Within

    def _is_host_port(self, switch: str, port: int) -> bool:
        vnf = port in self._vnf_ports.get(switch, frozenset())
        return self.port_is_up(switch, port) and not vnf and not self._adjacency.joins_switches(switch, port)

    def _candidates(self) -> Iterator[End]:
        """Ports that may lead to another switch."""
        for switch in self.switches:
            vnf_ports = self._vnf_ports.get(switch, frozenset())
            yield from ((switch, n) for n, p in self._ports[switch].items() if p.up and n not in vnf_ports)

    def _connected(self, arrival: LldpArrival) -> list[DiscoveryEvent]:
        self._endpoints.not_at(arrival.a, arrival.a_port)
        self._endpoints.not_at(arrival.b, arrival.b_port)
        ends = frozenset(((arrival.a, arrival.a_port), (arrival.b, arrival.b_port)))
        second = self.adjacency().get((arrival.a, arrival.b)) != arrival.a_port
        events = self._changed_links("recabled")
        if (second or frozenset((arrival.a, arrival.b)) not in self._links) and self._first_time(ends):
            events.append(ForeignLink(arrival.a, arrival.a_port, arrival.b, arrival.b_port))
        return events

    def _changed_links(self, reason: str) -> list[DiscoveryEvent]:
        """Brings every link's state up to date with what is heard now."""
        heard, events = self.adjacency(), list[DiscoveryEvent]()
        for link in self.scenario.links:
            up = (link.a, link.b) in heard and (link.b, link.a) in heard
            if up and not self._link_up.get(link.id, False):
                events.append(LinkUp(link.id))
            elif not up and self._link_up.get(link.id, False):
                events.append(LinkDown(link.id, reason))
            elif not up:
                continue
            self._link_up[link.id] = up
        return events

    def _first_time(self, what: object) -> bool:
        first = what not in self._reported
        self._reported.add(what)
        return first
