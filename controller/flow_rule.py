"""`FlowRule`: one entry of one flow table of one switch, as a value. `controller.openflow` puts it on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PORT_IN = 0xFFFFFFF8  # back out of the port a packet came in by; a plain output to that port is dropped silently
PORT_TABLE = 0xFFFFFFF9  # packet-out only: through the flow tables
PORT_CONTROLLER = 0xFFFFFFFD

ETH_IPV4, ETH_ARP, ETH_LLDP = 0x0800, 0x0806, 0x88CC
IP_PROTO = {"tcp": 6, "udp": 17}


class Vlan(Enum):
    """What a match may ask of the VLAN tag other than an exact id."""

    UNTAGGED = "untagged"
    TAGGED = "tagged"


@dataclass(frozen=True, slots=True)
class Match:
    """What a packet must be like; None means any. An int in `vlan` is an exact VLAN id.

    `eth_type` is that behind the VLAN tag. `other` names what was read from a switch and is not known here; a rule
    that has any cannot be built.
    """

    in_port: int | None = None
    vlan: int | Vlan | None = None
    eth_type: int | None = None
    ip_dscp: int | None = None
    ip_proto: int | None = None
    ipv4_src: str | None = None
    ipv4_dst: str | None = None
    tp_src: int | None = None
    tp_dst: int | None = None
    other: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    port: int


@dataclass(frozen=True, slots=True)
class PushTag:
    """Puts a VLAN tag (0x8100) with this id on the packet: two OpenFlow actions, one meaning."""

    vlan_id: int


@dataclass(frozen=True, slots=True)
class PopTag:
    pass


@dataclass(frozen=True, slots=True)
class OtherAction:
    """An action read from a switch that is not known here; a rule that has one cannot be built."""

    type: int


Action = Output | PushTag | PopTag | OtherAction


@dataclass(frozen=True, slots=True)
class RuleKey:
    """What makes two rules the same entry of a table: adding one replaces the other."""

    switch: str
    table: int
    priority: int
    match: Match


@dataclass(frozen=True, slots=True)
class FlowRule:
    """One table entry. No actions and no `goto`: the packet is dropped."""

    switch: str
    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...]
    goto: int | None
    cookie: int

    @property
    def key(self) -> RuleKey:
        return RuleKey(self.switch, self.table, self.priority, self.match)
