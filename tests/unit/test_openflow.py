"""What is packed by hand is read back by Ryu's parser: two independent readings of the OpenFlow 1.3 specification."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ryu.ofproto import ofproto_v1_3, ofproto_v1_3_parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from controller import openflow, openflow_replies
from controller.flow_rule import PORT_TABLE, FlowRule, Match, OtherAction, Output, PopTag, PushTag, Vlan
from controller.ryu_compat import parse_message
from controller.tags import COOKIE_PREFIX, COOKIE_RANGE_MASK, Cookie, Role
from tests.unit.test_rules import LINE, SHAPES

PARSER: Any = ofproto_v1_3_parser
OFP: Any = ofproto_v1_3
SWITCH = ProtocolDesc(4)
RULE = FlowRule("s1", 0, 100, Match(in_port=1), (PushTag(33),), 1, Cookie(Role.VNF, 1).value)

ports = st.integers(1, 0xFFFFFF00)
addresses = st.ip_addresses(v=4).map(str)
small = st.none() | st.integers(0, 0xFFFF)
ip_matches = st.builds(
    Match,
    in_port=st.none() | ports,
    vlan=st.none() | st.sampled_from(Vlan) | st.integers(1, 4094),
    eth_type=st.just(0x0800),
    ip_dscp=st.none() | st.integers(0, 63),
    ip_proto=st.sampled_from([6, 17]),
    ipv4_src=st.none() | addresses,
    ipv4_dst=st.none() | addresses,
    tp_src=small,
    tp_dst=small,
)
actions = st.one_of(ports.map(Output), st.integers(1, 4094).map(PushTag), st.just(PopTag()))
rules = st.builds(
    FlowRule,
    switch=st.just("s1"),
    table=st.integers(0, 253),
    priority=st.integers(0, 0xFFFF),
    match=st.one_of(ip_matches, st.builds(Match, eth_type=small)),
    actions=st.lists(actions, max_size=5).map(tuple),
    goto=st.none() | st.integers(0, 254),
    cookie=st.integers(0, 2**64 - 2),
)


@given(rule=rules)
def test_a_built_rule_reads_back_as_itself(rule: FlowRule) -> None:
    message = parse_message(openflow.add_rule(rule))
    assert openflow_replies.rule("s1", message) == rule
    assert (message.command, message.buffer_id, message.flags) == (OFP.OFPFC_ADD, OFP.OFP_NO_BUFFER, 0)
    assert (message.idle_timeout, message.hard_timeout, message.out_port) == (0, 0, OFP.OFPP_ANY)


@given(rule=rules)
def test_a_built_rule_is_byte_for_byte_what_ryu_builds(rule: FlowRule) -> None:
    message = parse_message(openflow.add_rule(rule))
    message.xid = None
    built = bytes(message.buf)
    message.serialize()
    assert bytes(message.buf) == built


@pytest.mark.parametrize("steering", SHAPES.values(), ids=SHAPES.keys())
def test_all_rules_of_a_chain_can_be_sent(steering: Any) -> None:
    from controller.rules import base_rules, chain_rules

    for rule in chain_rules(steering, LINE) | base_rules("a", [1, 2]):
        assert openflow_replies.rule(rule.switch, parse_message(openflow.add_rule(rule))) == rule


def test_modify_and_delete_name_one_rule_and_its_cookie() -> None:
    modify, delete = (parse_message(build(RULE)) for build in (openflow.modify_rule, openflow.delete_rule))
    assert (modify.command, delete.command) == (OFP.OFPFC_MODIFY_STRICT, OFP.OFPFC_DELETE_STRICT)
    for message in (modify, delete):
        assert (message.cookie, message.cookie_mask) == (RULE.cookie, 2**64 - 1)
        assert (message.table_id, message.priority) == (RULE.table, RULE.priority)
        assert (message.out_port, message.out_group) == (OFP.OFPP_ANY, OFP.OFPG_ANY)
    assert openflow_replies.rule("s1", modify).actions == RULE.actions
    assert delete.instructions == []


def test_a_tag_is_pushed_as_a_vlan_with_its_present_bit() -> None:
    (apply, goto) = parse_message(openflow.add_rule(RULE)).instructions
    push, set_field = apply.actions
    assert (push.ethertype, set_field.key, set_field.value) == (0x8100, "vlan_vid", 0x1000 | 33)
    assert goto.table_id == 1


@pytest.mark.parametrize(
    ("build", "kind"),
    [(openflow.barrier_request, 20), (openflow.echo_request, 2), (openflow.port_stats_request, 18)],
)
def test_messages_carry_version_length_and_transaction_id(build: Any, kind: int) -> None:
    message = openflow.stamp(build(), 0xDEADBEEF)
    assert struct.unpack_from("!BBHI", message) == (4, kind, len(message), 0xDEADBEEF)


def _as_ryu_builds(message: Any) -> bytes:
    message.xid = 0
    message.serialize()
    return bytes(message.buf)


def test_requests_are_what_ryu_builds() -> None:
    everything = (OFP.OFPTT_ALL, OFP.OFPP_ANY, OFP.OFPG_ANY)
    ours = (COOKIE_PREFIX, COOKIE_RANGE_MASK)
    for built, wanted in (
        (openflow.flow_stats_request(), PARSER.OFPFlowStatsRequest(SWITCH, 0, *everything, *ours)),
        (openflow.flow_stats_request(ours_only=False), PARSER.OFPFlowStatsRequest(SWITCH, 0, *everything, 0, 0)),
        (openflow.port_stats_request(), PARSER.OFPPortStatsRequest(SWITCH, 0, OFP.OFPP_ANY)),
        (openflow.port_desc_request(), PARSER.OFPPortDescStatsRequest(SWITCH, 0)),
        (openflow.table_features_request(), PARSER.OFPTableFeaturesStatsRequest(SWITCH, 0, [])),
        (openflow.barrier_request(), PARSER.OFPBarrierRequest(SWITCH)),
        (openflow.echo_request(b"now"), PARSER.OFPEchoRequest(SWITCH, b"now")),
    ):
        assert built == _as_ryu_builds(wanted)


def test_a_packet_out_is_what_ryu_builds() -> None:
    frame = bytes(range(60))
    wanted = [
        PARSER.OFPActionPushVlan(0x8100),
        PARSER.OFPActionSetField(vlan_vid=0x1000 | 40),
        PARSER.OFPActionOutput(OFP.OFPP_TABLE, 0xFFFF),
    ]
    message = PARSER.OFPPacketOut(SWITCH, OFP.OFP_NO_BUFFER, OFP.OFPP_CONTROLLER, wanted, frame)
    built = openflow.packet_out(frame, OFP.OFPP_CONTROLLER, (PushTag(40), Output(PORT_TABLE)))
    assert built == _as_ryu_builds(message)


def test_what_is_not_known_is_read_but_never_built() -> None:
    match = PARSER.OFPMatch(in_port=3, eth_dst="00:00:00:00:00:01", ipv4_src=("10.0.0.0", "255.0.0.0"), eth_type=0x800)
    apply = PARSER.OFPInstructionActions(OFP.OFPIT_APPLY_ACTIONS, [PARSER.OFPActionGroup(7), PARSER.OFPActionOutput(2)])
    metered = PARSER.OFPInstructionMeter(4)
    message = PARSER.OFPFlowMod(SWITCH, match=match, instructions=[apply, metered])
    rule = openflow_replies.rule("s1", parse_message(_as_ryu_builds(message)))
    assert rule.match == Match(in_port=3, eth_type=0x800, other=("eth_dst", "ipv4_src"))
    assert rule.actions == (OtherAction(22), Output(2), OtherAction(-6))
    with pytest.raises(openflow.Unbuildable, match="eth_dst, ipv4_src"):
        openflow.add_rule(replace(rule, actions=()))
    with pytest.raises(openflow.Unbuildable, match="action 22"):
        openflow.packet_out(b"", 1, rule.actions)


def test_errors_name_the_message_refused() -> None:
    message = PARSER.OFPErrorMsg(SWITCH, OFP.OFPET_FLOW_MOD_FAILED, OFP.OFPFMFC_TABLE_FULL, b"12345678")
    message.xid = 77
    message.serialize()
    error = openflow_replies.switch_error(parse_message(bytes(message.buf)))
    assert str(error) == "FLOW_MOD_FAILED TABLE_FULL (message 77)"
    assert str(openflow_replies.SwitchError(1, 4, 9)) == "BAD_MATCH code 9 (message 1)"
    assert str(openflow_replies.SwitchError(1, 99, 9)) == "type 99 code 9 (message 1)"


def test_frames_lose_their_tag_and_tell_it() -> None:
    plain = bytes(12) + b"\x08\x00" + bytes(46)
    tagged = plain[:12] + struct.pack("!HH", 0x8100, 0xE000 | 33) + plain[12:]
    assert openflow_replies.untagged(tagged) == (33, plain)
    assert openflow_replies.untagged(plain) == (None, plain)
    assert openflow_replies.untagged(tagged[:15]) == (None, tagged[:15])
