"""All telemetry in one place: what comes in is handed to the right reader, what is due is named, samples come out.

Pure but for the values it keeps; `controller.service` feeds it and sends what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from controller import openflow
from controller.arp_proxy import ArpProxy
from controller.discovery import Discovery, DiscoveryEvent
from controller.flow_rule import ETH_ARP, ETH_LLDP, PORT_CONTROLLER, Action, Output
from controller.link_delay import EchoProbe, LinkDelays, LoopProbe
from controller.lldp import LldpFrame
from controller.openflow_replies import FlowCounters, PacketIn, Port, PortChange, PortCounters, untagged
from controller.port_counters import LinkLoads, OfferedTraffic
from controller.probes import ChainProbe, ChainProbes
from controller.rules import probe_actions
from controller.stamps import Signer
from controller.steering import ChainSteering
from twin.samples import Sample
from twin.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A measuring message for a switch, or the answer to an ARP request.

    `build` stamps it with the time it is given: call it just before sending.
    """

    switch: str
    build: Callable[[float], bytes]


class Telemetry:
    """The readers of one controller."""

    def __init__(self, scenario: Scenario, key: bytes) -> None:
        signer = Signer(key)
        self.scenario = scenario
        self.discovery = Discovery(scenario, signer)
        self.delays = LinkDelays(scenario, signer)
        self.probes = ChainProbes(scenario, signer, padded=True)  # as large as what they stand for
        self._loads = LinkLoads(scenario)
        self._offered = OfferedTraffic(scenario)
        self._arp, self._answers = ArpProxy(scenario), list[Outgoing]()
        self._samples: list[Sample] = []

    # What switches say

    def switch_joined(self, now_s: float, dpid: int, ports: Iterable[Port]) -> list[DiscoveryEvent]:
        return self.discovery.switch_joined(now_s, dpid, ports)

    def switch_left(self, dpid: int) -> list[DiscoveryEvent]:
        switch = self.discovery.switch_name(dpid)
        self.delays.forget(switch)
        self._loads.forget(switch)
        self._offered.forget(switch)
        return self.discovery.switch_left(dpid)

    def port_changed(self, dpid: int, change: PortChange) -> list[DiscoveryEvent]:
        return self.discovery.port_changed(dpid, change.port, removed=change.gone)

    def packet_in(self, now_s: float, switch: str, packet: PacketIn) -> list[DiscoveryEvent]:
        """A frame came to the controller at `now_s`, taken as early as possible."""
        vlan, frame = untagged(packet.data)
        if vlan is not None:
            self.probes.probe_in(now_s, switch, frame, lambda s: self.delays.half_loop_s(now_s, s))
            return []
        ethertype = int.from_bytes(frame[12:14], "big")
        if ethertype == ETH_LLDP:
            told = self.discovery.lldp_in(now_s, switch, packet.in_port, frame)
            for arrival in told.arrivals:
                self.delays.arrived(arrival)
            return list(told.events)
        if ethertype == ETH_ARP:
            self._answer(switch, packet.in_port, frame)
            return self.discovery.arp_in(switch, packet.in_port, frame)
        self.delays.loop_in(now_s, switch, frame)
        return []

    def port_stats(self, now_s: float, switch: str, counters: Iterable[PortCounters]) -> None:
        self._samples += self._loads.add(now_s, switch, counters, self.discovery.adjacency())

    def flow_stats(self, now_s: float, switch: str, counters: Iterable[FlowCounters]) -> None:
        """Offered traffic is what met the ingress rules."""
        self._samples += self._offered.add(now_s, switch, counters)

    # What is due

    def due(self, now_s: float, steered: Mapping[str, ChainSteering]) -> list[Outgoing]:
        """The measuring messages whose turn it is, and what endpoints asked for since the last time."""
        answers, self._answers = self._answers, []
        return [*answers, *self._lldp(now_s), *self._loops(now_s), *self._chain_probes(now_s, steered)]

    def expire(self, now_s: float) -> list[DiscoveryEvent]:
        """Links that fell silent."""
        return self.discovery.expire(now_s)

    def take_samples(self, now_s: float) -> list[Sample]:
        """Every sample since the last time."""
        samples, self._samples = self._samples, []
        return [*samples, *self.discovery.samples(now_s), *self.delays.samples(now_s), *self.probes.samples(now_s)]

    def add(self, samples: Iterable[Sample]) -> None:
        """Samples of another reader, to be taken with the rest."""
        self._samples.extend(samples)

    def _answer(self, switch: str, port: int, frame: bytes) -> None:
        answer = self._arp.answer(frame) if port in self.discovery.host_ports(switch) else None
        if answer is not None:
            message = openflow.packet_out(answer, PORT_CONTROLLER, (Output(port),))
            self._answers.append(Outgoing(switch, lambda _now_s: message))

    def _lldp(self, now_s: float) -> list[Outgoing]:
        return [_packet_out(frame, (Output(frame.port),)) for frame in self.discovery.due(now_s)]

    def _loops(self, now_s: float) -> list[Outgoing]:
        probes = self.delays.due(now_s, self.discovery.switches)
        return [_echo(p) if isinstance(p, EchoProbe) else _packet_out(p, (Output(PORT_CONTROLLER),)) for p in probes]

    def _chain_probes(self, now_s: float, steered: Mapping[str, ChainSteering]) -> list[Outgoing]:
        connected = set(self.discovery.switches)
        first = {c: s.stops[0].switch for c, s in steered.items() if s.stops[0].switch in connected}
        return [_packet_out(p, probe_actions(steered[p.chain.id])) for p in self.probes.due(now_s, first)]


def _packet_out(frame: LldpFrame | LoopProbe | ChainProbe, actions: tuple[Action, ...]) -> Outgoing:
    return Outgoing(frame.switch, lambda now_s: openflow.packet_out(frame.encode(now_s), PORT_CONTROLLER, actions))


def _echo(probe: EchoProbe) -> Outgoing:
    return Outgoing(probe.switch, lambda now_s: openflow.echo_request(probe.encode(now_s)))
