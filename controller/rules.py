"""Which rules steer a chain, and which every switch has (docs/steering.md, "Tables"). Pure. Source: ours.

Table 0 classifies: what comes from an endpoint (in_port and 5-tuple) or from a VNF (in_port) gets the tag of its next
segment. Table 1 forwards by tag; the last hop of a segment takes the tag off, so endpoints and VNFs see none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.flow_rule import (
    ETH_ARP,
    ETH_IPV4,
    ETH_LLDP,
    IP_PROTO,
    PORT_CONTROLLER,
    PORT_IN,
    PORT_TABLE,
    Action,
    FlowRule,
    Match,
    Output,
    PopTag,
    PushTag,
    Vlan,
)
from controller.steering import Adjacency, Attachment, ChainSteering, SteeringError
from controller.tags import RETURN_SEGMENT, Cookie, Role

CLASSIFY, FORWARD = 0, 1  # table ids
PROBE_DSCP = 62  # marks the controller's own probe packets
PATH_DSCP = 60  # marks packets of the controller that prove a path (controller.proofs)
ENTRY_DSCP = 61  # marks those that prove an entry rule, and so come by an endpoint's or a VNF's port

LLDP_PRIORITY = 500
TAGGED_PRIORITY = 450
ARP_PRIORITY = 400
VNF_RETURN_PRIORITY = 310  # above the other: replies out of a VNF are told by whom they are addressed to
VNF_PRIORITY = 300  # above the probe guard: probes come back out of VNFs
PROBE_GUARD_PRIORITY = 200  # above the classification: no endpoint may send what looks like a probe
ENDPOINT_PRIORITY = 100
ENTRY_PROOF_PRIORITY = 210  # table 1, above its guard
PROBE_PRIORITY = 200  # table 1
ENTRY_GUARD_PRIORITY = 190  # table 1: what looks like a proof of an entry goes nowhere
PATH_PRIORITY = 100  # table 1
MISS_PRIORITY = 0


def base_rules(switch: str, link_ports: Iterable[int]) -> frozenset[FlowRule]:
    """The rules a switch has whatever chains there are. `link_ports` are its ports towards other switches.

    Tagged packets are taken from those ports and from the controller only. All other ports, known or not, can thus
    inject nothing into a chain.
    """
    to_controller = (Output(PORT_CONTROLLER),)
    rules = [
        _base(switch, CLASSIFY, LLDP_PRIORITY, Match(eth_type=ETH_LLDP), actions=to_controller),
        _base(switch, CLASSIFY, ARP_PRIORITY, Match(vlan=Vlan.UNTAGGED, eth_type=ETH_ARP), actions=to_controller),
        *(
            _base(switch, CLASSIFY, PROBE_GUARD_PRIORITY, Match(eth_type=ETH_IPV4, ip_dscp=dscp))
            for dscp in (PATH_DSCP, PROBE_DSCP)
        ),
        # Not in table 0, where it would hide the entries of endpoints from the very packets that are to prove them.
        _base(switch, FORWARD, ENTRY_GUARD_PRIORITY, Match(eth_type=ETH_IPV4, ip_dscp=ENTRY_DSCP)),
        _base(switch, CLASSIFY, MISS_PRIORITY, Match()),  # as without it, but counted
        _base(switch, FORWARD, MISS_PRIORITY, Match()),
    ]
    for port in (*link_ports, PORT_CONTROLLER):
        match = Match(in_port=port, vlan=Vlan.TAGGED)
        rules.append(_base(switch, CLASSIFY, TAGGED_PRIORITY, match, goto=FORWARD))
    return frozenset(rules)


def _base(
    switch: str, table: int, priority: int, match: Match, *, actions: tuple[Action, ...] = (), goto: int | None = None
) -> FlowRule:
    return FlowRule(switch, table, priority, match, actions, goto, Cookie(Role.BASE).value)


def chain_rules(steering: ChainSteering, adjacency: Adjacency) -> frozenset[FlowRule]:
    """All rules of one chain. SteeringError where a path uses a link that `adjacency` lacks."""
    rules: set[FlowRule] = set()
    for number in steering.numbers:
        rules.add(entry_rule(steering, number))
        rules.update(segment_rules(steering, number, adjacency))
    return frozenset(rules)


def entry_rule(steering: ChainSteering, number: int) -> FlowRule:
    """The rule of table 0 that starts a segment: the one thing that decides which generation new packets take."""
    start, _ = steering.ends(number)
    role = entry_role(steering, number)
    back = steering.is_back(number)
    return FlowRule(
        switch=start.switch,
        table=CLASSIFY,
        priority=ENDPOINT_PRIORITY if role is not Role.VNF else VNF_RETURN_PRIORITY if back else VNF_PRIORITY,
        match=_vnf_match(steering, number) if role is Role.VNF else _endpoint_match(steering, number),
        actions=(PushTag(steering.tag(number).vlan_id),),
        goto=FORWARD,
        cookie=Cookie(role, steering.chain, number).value,
    )


def entry_role(steering: ChainSteering, number: int) -> Role:
    """What a segment's entry rule is for."""
    return Role.INGRESS if number == 0 else Role.RETURN if number == steering.first_back else Role.VNF


def _vnf_match(steering: ChainSteering, number: int) -> Match:
    """All that comes out of a VNF; on the way back only what is for the client, whatever the client is called there."""
    port = steering.ends(number)[0].port
    client = (
        steering.replies.clients[RETURN_SEGMENT - number] if steering.replies and steering.is_back(number) else None
    )
    return Match(in_port=port, vlan=Vlan.UNTAGGED, eth_type=ETH_IPV4, ipv4_dst=client)


def _endpoint_match(steering: ChainSteering, number: int) -> Match:
    flow, replies, forward = steering.flow, steering.replies, not steering.is_back(number)
    ports = (None, None) if flow.proto == "any" else (None, flow.dst_port) if forward else (flow.dst_port, None)
    source, destination = (replies.server, replies.clients[-1]) if replies else (flow.dst_ip, flow.src_ip)
    return Match(
        in_port=steering.ends(number)[0].port,
        vlan=Vlan.UNTAGGED,
        eth_type=ETH_IPV4,
        ip_proto=IP_PROTO.get(flow.proto),
        ipv4_src=flow.src_ip if forward else source,
        ipv4_dst=flow.dst_ip if forward else destination,
        tp_src=ports[0],
        tp_dst=ports[1],
    )


def segment_rules(steering: ChainSteering, number: int, adjacency: Adjacency) -> Iterator[FlowRule]:
    """The rules of table 1 that lead packets with the segment's tag from its first stop to its last."""
    tag = steering.tag(number)
    place = (tag.chain, tag.segment, tag.generation)
    for hop in _hops(steering, number, adjacency):
        last = hop.switch == steering.segment(number).path[-1]
        actions: tuple[Action, ...] = (PopTag(), Output(hop.port)) if last else (Output(hop.port),)
        match = Match(vlan=tag.vlan_id)
        yield FlowRule(hop.switch, FORWARD, PATH_PRIORITY, match, actions, None, Cookie(Role.PATH, *place).value)
        if last and number == steering.last:
            # The tag stays on: it tells which chain and which generation the probe measured.
            match = Match(vlan=tag.vlan_id, eth_type=ETH_IPV4, ip_dscp=PROBE_DSCP)
            actions, cookie = (Output(PORT_CONTROLLER),), Cookie(Role.PROBE, *place).value
            yield FlowRule(hop.switch, FORWARD, PROBE_PRIORITY, match, actions, None, cookie)


def _hops(steering: ChainSteering, number: int, adjacency: Adjacency) -> Iterator[Attachment]:
    """Each switch of a segment with the port to leave it by."""
    start, end = steering.ends(number)
    path = steering.segment(number).path
    for i, switch in enumerate(path):
        came_by = start.port if i == 0 else _port(adjacency, switch, path[i - 1], steering)
        leaves_by = end.port if i == len(path) - 1 else _port(adjacency, switch, path[i + 1], steering)
        yield Attachment(switch, PORT_IN if leaves_by == came_by else leaves_by)


def _port(adjacency: Adjacency, a: str, b: str, steering: ChainSteering) -> int:
    try:
        return adjacency[a, b]
    except KeyError:
        raise SteeringError(f"chain {steering.chain}: no link from {a} to {b}") from None


def probe_actions(steering: ChainSteering) -> tuple[Action, ...]:
    """What a packet-out at the ingress switch does to a probe: the tag of segment 0, then through the tables."""
    return PushTag(steering.tag(0).vlan_id), Output(PORT_TABLE)
