"""The one place that builds OpenFlow 1.3 messages: values in, bytes out. `openflow_replies` reads what comes back.

The few messages that are sent are packed here by hand. That needs no connection, is the same with any controller
library, and is about ten times as fast as building the library's objects (docs/steering.md, "Figures"). A message is
built with the transaction id 0; `stamp` gives it its own when it is sent.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator

from controller.flow_rule import Action, FlowRule, Match, Output, PopTag, PushTag, Vlan
from controller.tags import COOKIE_PREFIX, COOKIE_RANGE_MASK, Role, parse_cookie

VERSION = 4
ALL_TABLES = 0xFF
HEAD_BYTES = 26  # the beginning of a message that `describe` needs
VLAN_PRESENT = 0x1000  # OFPVID_PRESENT: goes with every VLAN id in a match or a set-field

_ECHO_REQUEST, _PACKET_OUT, _FLOW_MOD, _MULTIPART_REQUEST, _BARRIER_REQUEST = 2, 13, 14, 18, 20
_ADD, _MODIFY_STRICT, _DELETE_STRICT = 0, 2, 4
_FLOW_STATS, _PORT_STATS, _TABLE_FEATURES, _PORT_DESC = 1, 4, 12, 13
_NONE = 0xFFFFFFFF  # OFPP_ANY, OFPG_ANY, OFP_NO_BUFFER
_WHOLE_PACKET = 0xFFFF  # OFPCML_NO_BUFFER
_ETH_VLAN = 0x8100
_GOTO_TABLE, _APPLY_ACTIONS = 1, 4
_VERBS = {_ADD: "to add", _MODIFY_STRICT: "to modify", _DELETE_STRICT: "to delete"}
_KINDS = {
    _ECHO_REQUEST: "an echo request",
    _PACKET_OUT: "a packet-out",
    _MULTIPART_REQUEST: "a request for statistics",
    _BARRIER_REQUEST: "a barrier request",
}
_COOKIE_EXACT = 0xFFFFFFFFFFFFFFFF
_MATCH_TYPE_OXM = 1
_TCP = 6

# Fields of the class OFPXMC_OPENFLOW_BASIC.
_IN_PORT, _ETH_TYPE, _VLAN_VID, _IP_DSCP, _IP_PROTO, _IPV4_SRC, _IPV4_DST = 0, 5, 6, 8, 10, 11, 12
_TCP_SRC, _TCP_DST, _UDP_SRC, _UDP_DST = 13, 14, 15, 16


class Unbuildable(ValueError):
    """A rule read from a switch that has a match field or an action not known here."""


def stamp(message: bytes, xid: int) -> bytes:
    """The message with its transaction id, by which replies and errors name it."""
    return message[:4] + struct.pack("!I", xid) + message[8:]


def describe(head: bytes) -> str:
    """What a message of ours was to do, from its first `HEAD_BYTES`: for people, when a switch refuses it."""
    kind = head[1]
    if kind != _FLOW_MOD or len(head) < HEAD_BYTES:
        return _KINDS.get(kind, f"a message of type {kind}")
    value, table, command = struct.unpack_from("!Q8xBB", head, 8)
    verb, cookie = _VERBS.get(command, "to change"), parse_cookie(value)
    if cookie is None:
        return f"{verb} a rule in table {table}"
    if cookie.role is Role.BASE:
        return f"{verb} a base rule in table {table}"
    generation = f", generation {cookie.generation}" if cookie.role in (Role.PATH, Role.PROBE, Role.CONFIRM) else ""
    place = f"chain {cookie.chain}, segment {cookie.segment}{generation}"
    return f"{verb} the {cookie.role.name.lower()} rule in table {table} of {place}"


def add_rule(rule: FlowRule) -> bytes:
    """Adds a rule; one with the same key is replaced, and its counters start again."""
    return _flow_mod(rule, _ADD, cookie_mask=0)


def modify_rule(rule: FlowRule) -> bytes:
    """Gives the installed rule of this key and cookie other actions; counters and cookie stay. No such rule: no-op."""
    return _flow_mod(rule, _MODIFY_STRICT, cookie_mask=_COOKIE_EXACT)


def delete_rule(rule: FlowRule) -> bytes:
    """Deletes exactly this rule; the cookie has to fit, so another application's rule is safe. No such rule: no-op."""
    return _flow_mod(rule, _DELETE_STRICT, cookie_mask=_COOKIE_EXACT)


def barrier_request() -> bytes:
    return _message(_BARRIER_REQUEST)


def echo_request(data: bytes = b"") -> bytes:
    return _message(_ECHO_REQUEST, data)


def packet_out(data: bytes, in_port: int, actions: Iterable[Action]) -> bytes:
    """Sends a packet (an Ethernet frame) through `actions`, as if it had come in by `in_port`."""
    packed = b"".join(map(_action, actions))
    return _message(_PACKET_OUT, struct.pack("!IIH6x", _NONE, in_port, len(packed)) + packed + data)


def flow_stats_request(*, ours_only: bool = True) -> bytes:
    """Asks for all rules with their counters, by default those of our cookie range only."""
    cookie, mask = (COOKIE_PREFIX, COOKIE_RANGE_MASK) if ours_only else (0, 0)
    body = struct.pack("!B3xII4xQQ", ALL_TABLES, _NONE, _NONE, cookie, mask) + _match(Match())
    return _multipart(_FLOW_STATS, body)


def port_stats_request() -> bytes:
    """Asks for the counters of all ports."""
    return _multipart(_PORT_STATS, struct.pack("!I4x", _NONE))


def port_desc_request() -> bytes:
    return _multipart(_PORT_DESC)


def table_features_request() -> bytes:
    return _multipart(_TABLE_FEATURES)


def _message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHI", VERSION, kind, 8 + len(body), 0) + body


def _multipart(kind: int, body: bytes = b"") -> bytes:
    return _message(_MULTIPART_REQUEST, struct.pack("!HH4x", kind, 0) + body)


def _flow_mod(rule: FlowRule, command: int, *, cookie_mask: int) -> bytes:
    head = struct.pack(
        "!QQBBHHHIIIH2x",
        rule.cookie,
        cookie_mask,
        rule.table,
        command,
        0,  # idle and hard timeout: our rules stay until we delete them
        0,
        rule.priority,
        _NONE,
        _NONE,
        _NONE,
        0,
    )
    instructions = b"" if command == _DELETE_STRICT else _instructions(rule)
    return _message(_FLOW_MOD, head + _match(rule.match) + instructions)


def _instructions(rule: FlowRule) -> bytes:
    packed = b""
    if rule.actions:
        actions = b"".join(map(_action, rule.actions))
        packed += struct.pack("!HH4x", _APPLY_ACTIONS, 8 + len(actions)) + actions
    if rule.goto is not None:
        packed += struct.pack("!HHB3x", _GOTO_TABLE, 8, rule.goto)
    return packed


def _action(action: Action) -> bytes:
    match action:
        case Output(port):
            return struct.pack("!HHIH6x", 0, 16, port, _WHOLE_PACKET)
        case PushTag(vlan_id):
            field = _oxm(_VLAN_VID, "H", vlan_id | VLAN_PRESENT)
            return struct.pack("!HHH2xHH", 17, 8, _ETH_VLAN, 25, 16) + field + bytes(12 - len(field))
        case PopTag():
            return struct.pack("!HH4x", 18, 8)
    raise Unbuildable(f"action {action.type} is not known")


def _match(match: Match) -> bytes:
    if match.other:
        raise Unbuildable(f"match fields not known: {', '.join(match.other)}")
    fields = b"".join(_fields(match))
    length = 4 + len(fields)
    return struct.pack("!HH", _MATCH_TYPE_OXM, length) + fields + bytes(-length % 8)


def _fields(match: Match) -> Iterator[bytes]:
    """In the order of their numbers, which puts each field behind those it presupposes."""
    if match.in_port is not None:
        yield _oxm(_IN_PORT, "I", match.in_port)
    if match.eth_type is not None:
        yield _oxm(_ETH_TYPE, "H", match.eth_type)
    if match.vlan is not None:
        yield _vlan(match.vlan)
    if match.ip_dscp is not None:
        yield _oxm(_IP_DSCP, "B", match.ip_dscp)
    if match.ip_proto is not None:
        yield _oxm(_IP_PROTO, "B", match.ip_proto)
    for field, address in ((_IPV4_SRC, match.ipv4_src), (_IPV4_DST, match.ipv4_dst)):
        if address is not None:
            yield _oxm(field, "I", int(ipaddress.IPv4Address(address)))
    src, dst = (_TCP_SRC, _TCP_DST) if match.ip_proto == _TCP else (_UDP_SRC, _UDP_DST)
    for field, port in ((src, match.tp_src), (dst, match.tp_dst)):
        if port is not None:
            yield _oxm(field, "H", port)


def _vlan(vlan: int | Vlan) -> bytes:
    if vlan is Vlan.UNTAGGED:
        return _oxm(_VLAN_VID, "H", 0)
    if vlan is Vlan.TAGGED:
        return struct.pack("!HBBHH", 0x8000, _VLAN_VID << 1 | 1, 4, VLAN_PRESENT, VLAN_PRESENT)
    assert isinstance(vlan, int)
    return _oxm(_VLAN_VID, "H", vlan | VLAN_PRESENT)


def _oxm(field: int, form: str, value: int) -> bytes:
    return struct.pack(f"!HBB{form}", 0x8000, field << 1, struct.calcsize(form), value)
