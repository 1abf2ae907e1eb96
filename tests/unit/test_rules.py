"""Rules as values, on the shapes that are easy to get wrong; random shapes are in tests/property."""

from __future__ import annotations

from typing import Any

import pytest

from controller.flow_rule import PORT_CONTROLLER, PORT_IN, Match, Output, PopTag, PushTag, Vlan
from controller.rules import base_rules, chain_rules, entry_rule, probe_actions, segment_rules
from controller.steering import Adjacency, Attachment, ChainSteering, Segment, SteeringError, steer
from controller.tags import RETURN_SEGMENT, Cookie, Role, decode_tag, parse_cookie
from tests.fakes.fabric import Fabric, Packet, forward_packet, reply_packet
from twin.scenario import Flow

FLOW = Flow("10.0.0.1", "10.0.0.2", "tcp", 8080)
# a - b - c in a line; ports 1 to the left, 2 to the right, endpoints and VNFs from 10 on
LINE: Adjacency = {("a", "b"): 2, ("b", "a"): 1, ("b", "c"): 2, ("c", "b"): 1}


def route(a: str, b: str) -> tuple[str, ...]:
    step = 1 if a <= b else -1
    return tuple(chr(c) for c in range(ord(a), ord(b) + step, step))


def chain(*stops: Attachment, number: int = 1, flow: Flow = FLOW) -> ChainSteering:
    return steer(number, flow, stops, route)


def fabric(*chains: ChainSteering) -> Fabric:
    ports = {port: f"{c.chain}.{i}" for c in chains for i, port in enumerate(c.vnfs)}
    result = Fabric(LINE, ports)
    for switch in "abc":
        result.add(base_rules(switch, [port for (here, _), port in LINE.items() if here == switch]))
    for steering in chains:
        result.add(chain_rules(steering, LINE))
    return result


SHAPES = {
    "source and VNF on one switch": chain(Attachment("a", 10), Attachment("a", 11), Attachment("b", 10)),
    "VNF and next hop on one switch": chain(Attachment("a", 10), Attachment("b", 11), Attachment("b", 10)),
    "two VNFs on one server": chain(Attachment("a", 10), Attachment("b", 11), Attachment("b", 12), Attachment("c", 10)),
    "a switch twice": chain(Attachment("a", 10), Attachment("c", 11), Attachment("a", 11), Attachment("c", 10)),
    "all on one switch": chain(Attachment("b", 10), Attachment("b", 11), Attachment("b", 12)),
    "no VNF": chain(Attachment("a", 10), Attachment("c", 10)),
    "back out of the same port": chain(Attachment("a", 10), Attachment("a", 10)),
    "seven VNFs": chain(Attachment("a", 10), *(Attachment("abc"[i % 3], 20 + i) for i in range(7)), Attachment("b", 9)),
}


@pytest.mark.parametrize("steering", SHAPES.values(), ids=SHAPES.keys())
def test_packets_visit_all_vnfs_and_replies_none(steering: ChainSteering) -> None:
    net = fabric(steering)
    there = net.deliver(forward_packet(FLOW, steering.stops[0]))
    back = net.deliver(reply_packet(FLOW, steering.stops[-1]))
    assert (there.kind, there.packet.at, there.packet.vlan) == ("port", steering.stops[-1], None)
    assert there.packet.visited == tuple(f"1.{i}" for i in range(len(steering.vnfs)))
    assert (back.kind, back.packet.at, back.packet.visited) == ("port", steering.stops[0], ())


def test_a_flow_of_any_protocol_takes_all_packets_between_its_addresses() -> None:
    flow = Flow("10.0.0.1", "10.0.0.2", "any", 8080)
    steering = chain(Attachment("a", 10), Attachment("b", 11), Attachment("c", 10), flow=flow)
    net = fabric(steering)
    for proto, port in ((6, 1), (17, 53), (1, 0)):
        there = Packet(steering.stops[0], flow.src_ip, flow.dst_ip, proto, 40000, port)
        back = Packet(steering.stops[-1], flow.dst_ip, flow.src_ip, proto, port, 40000)
        assert net.deliver(there).packet.at == steering.stops[-1]
        assert net.deliver(back).packet.at == steering.stops[0]
    stranger = Packet(steering.stops[0], "10.0.0.9", flow.dst_ip, 6, 40000, 8080)
    assert net.deliver(stranger).kind == "dropped"


def stray(at: Attachment, *, src_port: int = 1, dst_port: int = 1, **fields: Any) -> Packet:
    return Packet(at, "10.0.0.1", "10.0.0.2", 6, src_port, dst_port, **fields)


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (stray(Attachment("a", 10)), "dropped"),  # not of the chain
        (stray(Attachment("a", 10), dst_port=8080), "port"),
        (stray(Attachment("a", 12), dst_port=8080), "dropped"),  # not at the chain's ingress
        (stray(Attachment("a", 10), dst_port=8080, dscp=62), "dropped"),  # a forged probe
        (stray(Attachment("a", 10), dst_port=8080, vlan=1 << 5), "dropped"),  # a forged tag, of an endpoint
        (stray(Attachment("b", 11), vlan=1 << 5), "dropped"),  # and of a VNF
        (stray(Attachment("a", 2), dst_port=8080, vlan=99), "dropped"),  # a tag of no chain
        (stray(Attachment("a", 10), eth_type=0x0806), "controller"),  # ARP
        (stray(Attachment("a", 2), eth_type=0x88CC), "controller"),  # LLDP
    ],
)
def test_only_what_belongs_to_a_chain_enters_it(packet: Packet, kind: str) -> None:
    assert fabric(SHAPES["two VNFs on one server"]).deliver(packet).kind == kind


def test_a_chain_has_no_rule_in_common_with_another() -> None:
    one = chain(Attachment("a", 10), Attachment("b", 11), Attachment("c", 10))
    two = chain(
        Attachment("a", 10),
        Attachment("b", 12),
        Attachment("c", 10),
        number=2,
        flow=Flow("1.1.1.1", "2.2.2.2", "udp", 1),
    )
    keys = [{rule.key for rule in chain_rules(c, LINE)} for c in (one, two)]
    assert not keys[0] & keys[1]


def test_rules_say_in_their_cookies_what_they_are_for() -> None:
    steering = chain(Attachment("a", 10), Attachment("b", 11), Attachment("c", 10), number=5).with_generation(1, 1)
    found = {rule: parse_cookie(rule.cookie) for rule in chain_rules(steering, LINE)}
    entries = {cookie for cookie in found.values() if cookie and cookie.role not in (Role.PATH, Role.PROBE)}
    assert entries == {Cookie(Role.INGRESS, 5, 0), Cookie(Role.VNF, 5, 1), Cookie(Role.RETURN, 5, RETURN_SEGMENT)}
    for rule, cookie in found.items():
        if rule.table == 1:
            assert isinstance(rule.match.vlan, int)
            assert cookie is not None
            tag = decode_tag(rule.match.vlan)
            assert (cookie.chain, cookie.segment, cookie.generation) == (tag.chain, tag.segment, tag.generation)


def test_a_generation_changes_the_tags_but_no_cookie_of_an_entry() -> None:
    old = chain(Attachment("a", 10), Attachment("b", 11), Attachment("c", 10))
    new = old.with_generation(1, 1)
    was, now = entry_rule(old, 1), entry_rule(new, 1)
    assert (was.key, was.cookie) == (now.key, now.cookie)
    assert was.actions != now.actions
    assert not {r.key for r in segment_rules(old, 1, LINE)} & {r.key for r in segment_rules(new, 1, LINE)}


def test_the_rules_of_a_two_switch_segment_in_full() -> None:
    steering = chain(Attachment("a", 10), Attachment("b", 10), number=3)
    path = sorted(segment_rules(steering, 0, LINE), key=lambda r: (r.switch, r.priority))
    tag = 3 << 5
    assert [(r.switch, r.priority, r.match, r.actions) for r in path] == [
        ("a", 100, Match(vlan=tag), (Output(2),)),
        ("b", 100, Match(vlan=tag), (PopTag(), Output(10))),
        ("b", 200, Match(vlan=tag, eth_type=0x0800, ip_dscp=62), (Output(PORT_CONTROLLER),)),
    ]
    entry = entry_rule(steering, 0)
    assert entry.match == Match(
        in_port=10,
        vlan=Vlan.UNTAGGED,
        eth_type=0x0800,
        ip_proto=6,
        ipv4_src="10.0.0.1",
        ipv4_dst="10.0.0.2",
        tp_dst=8080,
    )
    assert (entry.actions, entry.goto) == ((PushTag(tag),), 1)
    assert probe_actions(steering)[0] == PushTag(tag)


def test_the_way_back_out_of_a_port_is_by_its_own_name() -> None:
    steering = SHAPES["back out of the same port"]
    assert [r.actions for r in segment_rules(steering, RETURN_SEGMENT, LINE)] == [(PopTag(), Output(PORT_IN))]


@pytest.mark.parametrize(
    ("path", "message"),
    [(("a",), "does not lead"), (("a", "b", "a", "b", "c"), "does not lead"), ((), "does not lead")],
)
def test_a_path_must_lead_from_stop_to_stop_once(path: tuple[str, ...], message: str) -> None:
    stops = (Attachment("a", 10), Attachment("c", 10))
    with pytest.raises(SteeringError, match=message):
        ChainSteering(1, FLOW, stops, (Segment(path),), Segment(("c", "b", "a")))


def test_a_steering_must_be_of_one_piece() -> None:
    with pytest.raises(SteeringError, match="one switch port"):
        chain(Attachment("a", 10), Attachment("b", 11), Attachment("b", 11), Attachment("c", 10))
    with pytest.raises(SteeringError, match="stops with"):
        ChainSteering(1, FLOW, (Attachment("a", 1), Attachment("a", 2)), (), Segment(("a",)))
    with pytest.raises(ValueError, match="no tag"):
        chain(Attachment("a", 10), Attachment("c", 10), number=127)


def test_a_path_over_a_link_that_is_not_there_is_refused() -> None:
    with pytest.raises(SteeringError, match="no link from a to b"):
        chain_rules(chain(Attachment("a", 10), Attachment("c", 10)), {})
