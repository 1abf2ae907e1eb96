"""Rules and packets by which a switch is tried out (`controller.qualify`): of every kind that steering uses. Pure.

None of them can touch what others send. They match packets out of the controller only, or addresses that RFC 5737 keeps
for documentation, or, in table 1 at the lowest priority, VLAN ids of chain 127, which no chain has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from controller import frames
from controller.flow_rule import (
    ETH_ARP,
    ETH_IPV4,
    ETH_LLDP,
    IP_PROTO,
    PORT_CONTROLLER,
    PORT_IN,
    Action,
    FlowRule,
    Match,
    Output,
    PopTag,
    PushTag,
    Vlan,
)
from controller.rules import CLASSIFY, FORWARD
from controller.tags import COOKIE_PREFIX

FIRST_TAG, NEXT_TAG = 127 << 5 | 2, 127 << 5 | 4
DROPPED_DSCP = 62
_COOKIE, _COOKIE_MASK = COOKIE_PREFIX | 0x51 << 40, 0xFFFFFF << 40
_USER, _SERVER, _PORT = "192.0.2.1", "192.0.2.2", 9
_TOP, _LOW = 0xFFF0, 1
_TO_CONTROLLER = (Output(PORT_CONTROLLER),)
_MACS = ("02:56:4e:00:00:02", "02:56:4e:00:00:01")
_MAGIC = b"vnftwin scratch "


def is_scratch(rule: FlowRule) -> bool:
    return rule.cookie & _COOKIE_MASK == _COOKIE


def _rule(
    table: int,
    priority: int,
    match: Match,
    actions: tuple[Action, ...] = (),
    *,
    goto: int | None = None,
    number: int = 0,
) -> FlowRule:
    return FlowRule("", table, priority, match, actions, goto, _COOKIE | number)


def kinds(switch: str, port: int) -> dict[str, FlowRule]:
    """One rule of each kind by what a switch has to be able to for it. `port` is one that the switch has."""
    found = {**_entries(port), **_base(), **_forwards(port)}
    return {name: replace(rule, switch=switch) for name, rule in found.items()}


def _entries(port: int) -> dict[str, FlowRule]:
    push, untagged = (PushTag(FIRST_TAG),), Match(vlan=Vlan.UNTAGGED, eth_type=ETH_IPV4)
    udp = replace(
        untagged, in_port=port, ip_proto=IP_PROTO["udp"], ipv4_src=_USER, ipv4_dst=_SERVER, tp_dst=_PORT
    )  # fmt: skip
    tcp, reply = replace(udp, ip_proto=IP_PROTO["tcp"]), replace(untagged, in_port=port, ipv4_dst=_SERVER)
    alone = replace(untagged, in_port=PORT_CONTROLLER)
    return {
        "entry: port and UDP 5-tuple, push VLAN": _rule(CLASSIFY, _TOP, udp, push, goto=FORWARD),
        "entry: port and TCP 5-tuple": _rule(CLASSIFY, _TOP, tcp, push, goto=FORWARD),
        "entry: port and address": _rule(CLASSIFY, _TOP - 1, reply, push, goto=FORWARD),
        "entry: port alone": _rule(CLASSIFY, _TOP - 2, alone, push, goto=FORWARD),
    }


def _base() -> dict[str, FlowRule]:
    ours = Match(in_port=PORT_CONTROLLER)
    arp = replace(ours, vlan=Vlan.UNTAGGED, eth_type=ETH_ARP)
    marked = replace(ours, eth_type=ETH_IPV4, ip_dscp=DROPPED_DSCP)
    return {
        "tagged packets of a port": _rule(CLASSIFY, _TOP, replace(ours, vlan=Vlan.TAGGED), goto=FORWARD),
        "LLDP to the controller": _rule(CLASSIFY, _TOP, replace(ours, eth_type=ETH_LLDP), _TO_CONTROLLER),
        "ARP to the controller": _rule(CLASSIFY, _TOP, arp, _TO_CONTROLLER),
        "drop by DSCP": _rule(CLASSIFY, _TOP - 3, marked),
    }


def _forwards(port: int) -> dict[str, FlowRule]:
    marked = Match(vlan=FIRST_TAG, eth_type=ETH_IPV4, ip_dscp=DROPPED_DSCP)
    return {
        "forward by VLAN id": _rule(FORWARD, _LOW, Match(vlan=FIRST_TAG), (Output(port),)),
        "pop VLAN and forward": _rule(FORWARD, _LOW, Match(vlan=NEXT_TAG), (PopTag(), Output(port))),
        "back out of the port it came by": _rule(FORWARD, _LOW, Match(vlan=NEXT_TAG + 1), (Output(PORT_IN),)),
        "VLAN id and DSCP to the controller": _rule(FORWARD, _LOW + 1, marked, _TO_CONTROLLER),
    }


def entry(switch: str, tag: int = FIRST_TAG) -> FlowRule:
    """Takes the scratch packets into table 1, with a tag."""
    match = Match(
        in_port=PORT_CONTROLLER, vlan=Vlan.UNTAGGED, eth_type=ETH_IPV4, ip_proto=IP_PROTO["udp"],
        ipv4_src=_USER, ipv4_dst=_SERVER, tp_dst=_PORT,
    )  # fmt: skip
    return replace(_rule(CLASSIFY, _TOP, match, (PushTag(tag),), goto=FORWARD, number=1), switch=switch)


def capture(switch: str, tag: int = FIRST_TAG) -> FlowRule:
    """Hands what has the tag to the controller; `NEXT_TAG` is taken off before."""
    match = Match(in_port=PORT_CONTROLLER, vlan=tag)
    actions: tuple[Action, ...] = (PopTag(), *_TO_CONTROLLER) if tag == NEXT_TAG else _TO_CONTROLLER
    return replace(_rule(FORWARD, 100, match, actions, number=2 + tag), switch=switch)


def guard(switch: str) -> FlowRule:
    """Above `capture`: drops what is marked."""
    match = Match(in_port=PORT_CONTROLLER, vlan=FIRST_TAG, eth_type=ETH_IPV4, ip_dscp=DROPPED_DSCP)
    return replace(_rule(FORWARD, 200, match), switch=switch)


def filling(switch: str, table: int, count: int) -> Iterator[FlowRule]:
    """`count` different rules like those that a table gets most of."""
    rules = _classifiers() if table == CLASSIFY else _forwarders()
    return (replace(rule, switch=switch) for rule in islice(rules, count))


def _classifiers() -> Iterator[FlowRule]:
    for number in range(1 << 17):
        source = f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"  # RFC 2544: for measurements
        match = Match(
            in_port=PORT_CONTROLLER, vlan=Vlan.UNTAGGED, eth_type=ETH_IPV4, ip_proto=IP_PROTO["udp"],
            ipv4_src=source, ipv4_dst=_SERVER, tp_dst=_PORT,
        )  # fmt: skip
        yield _rule(CLASSIFY, _TOP - 4, match)


def _forwarders() -> Iterator[FlowRule]:
    for dscp in range(64):
        for tag in range(1, 4095):
            match = Match(in_port=PORT_CONTROLLER, vlan=tag, eth_type=ETH_IPV4, ip_dscp=dscp)
            yield _rule(FORWARD, _LOW + 2, match)


def packet(number: int, *, dscp: int = 0) -> bytes:
    """A frame for `entry`, with a number by which it is known when it comes back."""
    payload = _MAGIC + struct.pack("!I", number)
    segment = frames.encode_udp(frames.Udp(_PORT, _PORT, payload), src=_USER, dst=_SERVER)
    ip = frames.encode_ipv4(frames.Ipv4(_USER, _SERVER, frames.PROTO_UDP, segment, dscp))
    return frames.encode_ethernet(frames.Ethernet(*_MACS, frames.ETHERTYPE_IPV4, ip))


def packet_number(frame: bytes) -> int | None:
    """The number in a frame that came back; None where it is not one of ours."""
    at = frame.find(_MAGIC)
    end = at + len(_MAGIC) + 4
    return int.from_bytes(frame[end - 4 : end], "big") if at >= 0 and len(frame) >= end else None
