"""The rules by which a switch is tried out touch nobody's packets, and are of every kind that steering uses."""

from __future__ import annotations

from controller import openflow, scratch
from controller.flow_rule import PORT_CONTROLLER, FlowRule, Match
from controller.rules import CLASSIFY, FORWARD, base_rules, chain_rules
from controller.ryu_compat import parse_message
from controller.steering import Attachment, steer
from controller.tags import COOKIE_PREFIX, COOKIE_RANGE_MASK, parse_cookie
from twin.scenario import Flow

PORT = 3


def everything() -> list[FlowRule]:
    captures = [scratch.capture("s", tag) for tag in (scratch.FIRST_TAG, scratch.NEXT_TAG)]
    filling = [rule for table in (CLASSIFY, FORWARD) for rule in scratch.filling("s", table, 5000)]
    return [*scratch.kinds("s", PORT).values(), scratch.guard("s"), scratch.entry("s"), *captures, *filling]


def fields(match: Match) -> frozenset[str]:
    return frozenset(name for name in Match.__slots__ if getattr(match, name) is not None and name != "other")


def test_no_rule_can_match_what_others_send() -> None:
    for rule in everything():
        documentation = {rule.match.ipv4_dst} & {"192.0.2.2"}
        unused_tag = rule.table == FORWARD and isinstance(rule.match.vlan, int) and rule.match.vlan >= 127 << 5
        assert rule.match.in_port == PORT_CONTROLLER or documentation or unused_tag, rule


def test_they_are_known_as_ours_and_as_scratch() -> None:
    for rule in everything():
        assert rule.cookie & COOKIE_RANGE_MASK == COOKIE_PREFIX
        assert scratch.is_scratch(rule)
        assert parse_cookie(rule.cookie) is None  # so a controller takes none for a chain's
    stops = (Attachment("s", 1), Attachment("s", 2))
    steered = steer(1, Flow("10.0.0.1", "10.0.0.2", "udp", 1), stops, lambda a, _b: (a,))
    assert not any(map(scratch.is_scratch, base_rules("s", [1]) | chain_rules(steered, {})))


def test_filling_rules_are_all_different() -> None:
    keys = {rule.key for table in (CLASSIFY, FORWARD) for rule in scratch.filling("s", table, 5000)}
    assert len(keys) == 10_000


def test_every_kind_of_match_and_action_of_steering_is_tried() -> None:
    tried = {(rule.table, fields(rule.match) | {"in_port"}) for rule in everything()}
    stops = (Attachment("s", 1), Attachment("s", 2), Attachment("s", 3))
    for proto in ("udp", "tcp"):
        rules = chain_rules(steer(1, Flow("10.0.0.1", "10.0.0.2", proto, 1), stops, lambda a, _b: (a,)), {})
        reply = {"tp_src"}  # its rule is an entry by the other port, which a switch that takes one takes too
        for rule in rules:
            kind = fields(rule.match) | {"in_port"}
            kind = kind - reply | {"tp_dst"} if kind & reply else kind
            assert (rule.table, kind) in tried, rule


def test_packets_are_known_again() -> None:
    assert scratch.packet_number(scratch.packet(77, dscp=62)) == 77
    assert scratch.packet_number(b"vnftwin scratch ") is None
    assert scratch.packet_number(b"") is None


def test_messages_can_be_built() -> None:
    for rule in everything()[:20]:
        assert parse_message(openflow.add_rule(rule)).cookie == rule.cookie
