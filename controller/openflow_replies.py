"""What switches say, as values: the reading half of the OpenFlow seam.

The functions take a message as the controller library has parsed it (`ryu`'s objects, or its fork's, which have the
same attributes), so that nothing here needs the library itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.flow_rule import Action, FlowRule, Match, OtherAction, Output, PopTag, PushTag, Vlan
from controller.openflow import VLAN_PRESENT

_OUTPUT, _PUSH_VLAN, _POP_VLAN, _SET_FIELD = 0, 17, 18, 25
_GOTO_TABLE, _APPLY_ACTIONS = 1, 4
_PORT_DOWN, _LINK_DOWN = 1, 1  # OFPPC_PORT_DOWN of config, OFPPS_LINK_DOWN of state
_REPLY_MORE = 1
_MAX_PORT = 0xFFFFFF00  # OFPP_MAX: above are reserved ports (LOCAL and the like)
_ETH_VLAN = 0x8100
_FIELD_OF: Mapping[str, str] = {
    "in_port": "in_port",
    "eth_type": "eth_type",
    "ip_dscp": "ip_dscp",
    "ip_proto": "ip_proto",
    "ipv4_src": "ipv4_src",
    "ipv4_dst": "ipv4_dst",
    "udp_src": "tp_src",
    "tcp_src": "tp_src",
    "udp_dst": "tp_dst",
    "tcp_dst": "tp_dst",
}
_ERROR_TYPES = (
    "HELLO_FAILED",
    "BAD_REQUEST",
    "BAD_ACTION",
    "BAD_INSTRUCTION",
    "BAD_MATCH",
    "FLOW_MOD_FAILED",
    "GROUP_MOD_FAILED",
    "PORT_MOD_FAILED",
    "TABLE_MOD_FAILED",
    "QUEUE_OP_FAILED",
    "SWITCH_CONFIG_FAILED",
    "ROLE_REQUEST_FAILED",
    "METER_MOD_FAILED",
    "TABLE_FEATURES_FAILED",
)
_FLOW_MOD_CODES = (
    "UNKNOWN",
    "TABLE_FULL",
    "BAD_TABLE_ID",
    "OVERLAP",
    "EPERM",
    "BAD_TIMEOUT",
    "BAD_COMMAND",
    "BAD_FLAGS",
)


@dataclass(frozen=True, slots=True)
class FlowCounters:
    """An installed rule with its totals since it was added."""

    rule: FlowRule
    packets: int
    bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class PortCounters:
    """Totals of one port since the switch made it."""

    port: int
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int
    rx_errors: int
    tx_errors: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a switch; `up` when it is neither taken down nor without a link."""

    number: int
    name: str
    mac: str
    up: bool


@dataclass(frozen=True, slots=True)
class PortChange:
    """`gone`: the port was deleted."""

    port: Port
    gone: bool


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet that a rule sent to the controller; `data` is the frame, its tag (if any) still on it."""

    in_port: int
    table: int
    cookie: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SwitchError:
    """A refusal; `xid` is that of the message refused."""

    xid: int
    type: int
    code: int

    @property
    def name(self) -> str:
        """One of a closed set of names: the code's where it belongs to a FlowMod, else the type's."""
        kind = self._kind
        if kind == "FLOW_MOD_FAILED" and 0 < self.code < len(_FLOW_MOD_CODES):
            return _FLOW_MOD_CODES[self.code]
        return kind or "OTHER"

    @property
    def _kind(self) -> str:
        return _ERROR_TYPES[self.type] if self.type < len(_ERROR_TYPES) else ""

    def __str__(self) -> str:
        kind = self._kind or f"type {self.type}"
        known = kind == "FLOW_MOD_FAILED" and self.code < len(_FLOW_MOD_CODES)
        return f"{kind} {_FLOW_MOD_CODES[self.code] if known else f'code {self.code}'} (message {self.xid})"


@dataclass(frozen=True, slots=True)
class TableFeatures:
    table: int
    name: str
    max_entries: int


def more_follows(message: Any) -> bool:
    """Whether a multipart reply has another part to come under the same transaction id."""
    return bool(message.flags & _REPLY_MORE)


def flow_counters(switch: str, message: Any) -> tuple[FlowCounters, ...]:
    """From OFPFlowStatsReply."""
    return tuple(
        FlowCounters(rule(switch, stat), stat.packet_count, stat.byte_count, _seconds(stat)) for stat in message.body
    )


def rule(switch: str, entry: Any) -> FlowRule:
    """From one entry of OFPFlowStatsReply, or from OFPFlowMod."""
    actions: tuple[Action, ...] = ()
    goto = None
    for instruction in entry.instructions:
        if instruction.type == _APPLY_ACTIONS:
            actions += _actions(instruction.actions)
        elif instruction.type == _GOTO_TABLE:
            goto = instruction.table_id
        else:
            actions += (OtherAction(-instruction.type),)
    return FlowRule(switch, entry.table_id, entry.priority, _match(entry.match), actions, goto, entry.cookie)


def port_counters(message: Any) -> tuple[PortCounters, ...]:
    """From OFPPortStatsReply; reserved ports are left out."""
    return tuple(
        PortCounters(
            port=stat.port_no,
            rx_packets=stat.rx_packets,
            tx_packets=stat.tx_packets,
            rx_bytes=stat.rx_bytes,
            tx_bytes=stat.tx_bytes,
            rx_dropped=stat.rx_dropped,
            tx_dropped=stat.tx_dropped,
            rx_errors=stat.rx_errors,
            tx_errors=stat.tx_errors,
            duration_s=_seconds(stat),
        )
        for stat in message.body
        if stat.port_no <= _MAX_PORT
    )


def ports(message: Any) -> tuple[Port, ...]:
    """From OFPPortDescStatsReply; reserved ports are left out."""
    return tuple(_port(desc) for desc in message.body if desc.port_no <= _MAX_PORT)


def port_change(message: Any) -> PortChange:
    """From OFPPortStatus."""
    return PortChange(_port(message.desc), gone=message.reason == 1)


def packet_in(message: Any) -> PacketIn:
    """From OFPPacketIn."""
    return PacketIn(message.match["in_port"], message.table_id, message.cookie, bytes(message.data))


def switch_error(message: Any) -> SwitchError:
    """From OFPErrorMsg."""
    return SwitchError(message.xid, message.type, message.code)


def table_features(message: Any) -> tuple[TableFeatures, ...]:
    """From OFPTableFeaturesStatsReply."""
    return tuple(TableFeatures(stat.table_id, _text(stat.name), stat.max_entries) for stat in message.body)


def untagged(frame: bytes) -> tuple[int | None, bytes]:
    """The VLAN id of a frame (None without a tag) and the frame without it."""
    if len(frame) < 18 or struct.unpack_from("!H", frame, 12)[0] != _ETH_VLAN:
        return None, frame
    return struct.unpack_from("!H", frame, 14)[0] & 0xFFF, frame[:12] + frame[16:]


def _seconds(stat: Any) -> float:
    return float(stat.duration_sec + stat.duration_nsec * 1e-9)


def _port(desc: Any) -> Port:
    up = not (desc.config & _PORT_DOWN or desc.state & _LINK_DOWN)
    return Port(desc.port_no, _text(desc.name), desc.hw_addr, up)


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def _match(match: Any) -> Match:
    known: dict[str, Any] = {}
    other = []
    for name, value in match.items():
        if name == "vlan_vid":
            known["vlan"] = _vlan(value)
        elif name in _FIELD_OF and not isinstance(value, tuple):
            known[_FIELD_OF[name]] = value
        else:
            other.append(name)
    return Match(**known, other=tuple(sorted(other)))


def _vlan(value: int | tuple[int, int]) -> int | Vlan:
    if value == 0:
        return Vlan.UNTAGGED
    if isinstance(value, tuple):
        return Vlan.TAGGED
    return value & ~VLAN_PRESENT


def _actions(actions: Iterable[Any]) -> tuple[Action, ...]:
    """A push and the set-field of its id are one `PushTag`."""
    result: list[Action] = []
    pushed = False
    for action in actions:
        if pushed and action.type == _SET_FIELD and action.key == "vlan_vid":
            result[-1] = PushTag(action.value & ~VLAN_PRESENT)
        else:
            result.append(_action(action))
        pushed = action.type == _PUSH_VLAN and action.ethertype == _ETH_VLAN
    return tuple(result)


def _action(action: Any) -> Action:
    if action.type == _OUTPUT:
        return Output(action.port)
    return PopTag() if action.type == _POP_VLAN else OtherAction(action.type)
