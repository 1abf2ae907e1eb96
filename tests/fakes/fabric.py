"""A fake OpenFlow fabric: flow tables as values, answering "where does this packet come out, and what did it visit?".

It knows what the rules of `controller.rules` need: two tables, priorities, VLAN push and pop, goto, output to a port,
to the port a packet came in by, to the controller. A VNF is a port that sends back whatever comes out of it, with its
addresses rewritten where it is a nat or a balancer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from controller.flow_rule import (
    IP_PROTO,
    PORT_CONTROLLER,
    PORT_IN,
    FlowRule,
    Match,
    Output,
    PopTag,
    PushTag,
    RuleKey,
    Vlan,
)
from controller.steering import Adjacency, Attachment
from controller.steps import Proof
from twin.rewrites import Position, positions
from twin.scenario import Flow, ServiceChain

MAX_HOPS = 200


@dataclass(frozen=True)
class Packet:
    """An IPv4 packet, where it is (about to enter `at`), and the VNFs it has been through."""

    at: Attachment
    src: str
    dst: str
    proto: int
    src_port: int
    dst_port: int
    dscp: int = 0
    eth_type: int = 0x0800
    vlan: int | None = None
    visited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewrite:
    """What a VNF does to addresses: the client's (nat) or the server's, as seen on its inner and its outer side."""

    client: tuple[str, str]
    server: tuple[str, str]

    def there(self, packet: Packet) -> Packet:
        return replace(packet, src=_swapped(packet.src, *self.client), dst=_swapped(packet.dst, *self.server))

    def back(self, packet: Packet) -> Packet:
        return replace(
            packet, dst=_swapped(packet.dst, *self.client[::-1]), src=_swapped(packet.src, *self.server[::-1])
        )

    def __call__(self, packet: Packet) -> Packet:
        """As a real one does, it tells the directions by the addresses alone."""
        return self.back(packet) if packet.dst == self.client[1] else self.there(packet)


def _swapped(address: str, old: str, new: str) -> str:
    return new if address == old else address


def rewrites_of(chain: ServiceChain) -> dict[str, Rewrite]:
    """By VNF id what the VNFs of a chain do to addresses; a balancer has chosen its first backend."""
    pairs = pairwise(positions(chain))
    return {
        vnf.id: Rewrite((a.client, b.client), (a.servers[0], b.servers[0]))
        for vnf, (a, b) in zip(chain.vnfs, pairs, strict=True)
    }


def forward_packet(flow: Flow, at: Attachment, *, dscp: int = 0) -> Packet:
    """A packet of the chain that enters at its ingress."""
    return Packet(at, flow.src_ip, flow.dst_ip, IP_PROTO.get(flow.proto, 17), 40000, flow.dst_port, dscp)


def reply_packet(flow: Flow, at: Attachment, seen: Position | None = None) -> Packet:
    """A reply that enters at the chain's egress; of a two-way chain, with the addresses that packets have there."""
    source, client = (seen.servers[0], seen.client) if seen else (flow.dst_ip, flow.src_ip)
    return Packet(at, source, client, IP_PROTO.get(flow.proto, 17), flow.dst_port, 40000)


@dataclass(frozen=True)
class Arrival:
    """How a packet ended: at a port that is no VNF and no link, at the controller, or nowhere."""

    kind: Literal["port", "controller", "dropped"]
    packet: Packet


@dataclass
class Fabric:
    """Tables by switch; `links` say where a port leads, `vnfs` what hangs at one, `rewrites` what a VNF rewrites."""

    adjacency: Adjacency
    vnfs: Mapping[Attachment, str]
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    tables: dict[tuple[str, int], dict[RuleKey, FlowRule]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._far = {
            Attachment(a, port): Attachment(b, self.adjacency[b, a]) for (a, b), port in self.adjacency.items()
        }

    @property
    def rules(self) -> frozenset[FlowRule]:
        return frozenset(rule for table in self.tables.values() for rule in table.values())

    def add(self, rules: Iterable[FlowRule]) -> None:
        for rule in rules:
            self._table(rule)[rule.key] = rule

    def modify(self, rule: FlowRule) -> None:
        """OFPFC_MODIFY_STRICT: nothing where there is no such rule, and the cookie stays."""
        if (old := self._table(rule).get(rule.key)) is not None:
            self._table(rule)[rule.key] = replace(rule, cookie=old.cookie)

    def delete(self, rules: Iterable[FlowRule]) -> None:
        for rule in rules:
            self._table(rule).pop(rule.key, None)

    def _table(self, rule: FlowRule) -> dict[RuleKey, FlowRule]:
        return self.tables.setdefault((rule.switch, rule.table), {})

    def deliver(self, packet: Packet) -> Arrival:
        """Follows a packet to its end."""
        for _ in range(MAX_HOPS):
            result = self.hop(packet)
            if isinstance(result, Arrival):
                return result
            packet = result
        raise AssertionError(f"a loop: {packet}")

    def hop(self, packet: Packet) -> Packet | Arrival:
        """Through one switch, and through the link or the VNF behind it."""
        switch, came_by, table, out = packet.at.switch, packet.at.port, 0, None
        while True:
            rule = self._best(packet, table)
            if rule is None:
                return Arrival("dropped", packet)
            for action in rule.actions:
                match action:
                    case PushTag(vlan_id):
                        assert packet.vlan is None, f"two tags: {packet}"
                        packet = replace(packet, vlan=vlan_id)
                    case PopTag():
                        assert packet.vlan is not None
                        packet = replace(packet, vlan=None)
                    case Output(port):
                        out = port
            if rule.goto is None:
                break
            table = rule.goto
        if out == PORT_CONTROLLER:
            return Arrival("controller", packet)
        if out is None or out == came_by:  # a switch never sends a packet back by a plain output
            return Arrival("dropped", packet)
        return self._leave(packet, Attachment(switch, came_by if out == PORT_IN else out))

    def _best(self, packet: Packet, table: int) -> FlowRule | None:
        rules = self.tables.get((packet.at.switch, table), {}).values()
        found = [rule for rule in rules if matches(rule.match, packet)]
        best = max(found, key=lambda rule: rule.priority, default=None)
        assert sum(best is not None and rule.priority == best.priority for rule in found) < 2, f"ambiguous: {found}"
        return best

    def _leave(self, packet: Packet, port: Attachment) -> Packet | Arrival:
        if port in self.vnfs:
            if packet.vlan is not None:
                return Arrival("dropped", packet)  # VNFs know no tags
            name = self.vnfs[port]
            done = self.rewrites[name](packet) if name in self.rewrites else packet
            return replace(done, at=port, visited=(*packet.visited, name))
        if port in self._far:
            return replace(packet, at=self._far[port])
        return Arrival("port", replace(packet, at=port))


def matches(match: Match, packet: Packet) -> bool:
    """Whether a rule's match takes a packet."""
    fields = (
        (match.in_port, packet.at.port),
        (match.eth_type, packet.eth_type),
        (match.ip_dscp, packet.dscp),
        (match.ip_proto, packet.proto),
        (match.ipv4_src, packet.src),
        (match.ipv4_dst, packet.dst),
        (match.tp_src, packet.src_port),
        (match.tp_dst, packet.dst_port),
    )
    if any(wanted is not None and wanted != found for wanted, found in fields):
        return False
    if isinstance(match.vlan, Vlan):
        return (packet.vlan is None) == (match.vlan is Vlan.UNTAGGED)
    return match.vlan is None or match.vlan == packet.vlan


def shows(fabric: Fabric, proof: Proof) -> bool:
    """Whether a packet that is to prove a way is handed over where it should be, with the tag it should have."""
    like = proof.like
    tag = proof.tag if proof.in_port == PORT_CONTROLLER else None
    packet = Packet(
        Attachment(proof.switch, proof.in_port), like.ipv4_src or "192.0.2.1", like.ipv4_dst or "192.0.2.2",
        like.ip_proto or IP_PROTO["udp"], like.tp_src or 9, like.tp_dst or 9, like.ip_dscp or 0, vlan=tag,
    )  # fmt: skip
    arrival = fabric.deliver(packet)
    assert arrival.kind != "port", f"{proof} got out: {arrival}"
    assert not arrival.packet.visited, f"{proof} got to a VNF: {arrival}"
    caught = (arrival.kind, arrival.packet.at.switch, arrival.packet.vlan)
    return caught == ("controller", proof.caught_at, proof.tag)
