"""What is installed, read back: the steering that new packets take, found by following the rules as a packet would.

A restarted controller has no memory of placements and generations; the switches have. Rules that the result does not
need (a plan that was cut off left them) are *alien* then, and the ordinary repair removes them. Pure. Source: ours
(docs/steering.md, "After a restart").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.flow_rule import IP_PROTO, PORT_IN, FlowRule, Output, PopTag, PushTag
from controller.rules import FORWARD
from controller.steering import Adjacency, Attachment, ChainSteering, Segment, SteeringError
from controller.tags import Role, decode_tag, parse_cookie
from twin.scenario import Flow

_MAX_STOPS = 16


def installed_steerings(rules: Iterable[FlowRule], adjacency: Adjacency) -> Mapping[int, ChainSteering]:
    """Every chain, by its number, whose rules lead from an ingress to the egress and back to the same ingress.

    Where a user roams just now two ports are let in; the way back decides for one. Chains whose rules lead nowhere are
    left out: their rules are alien. `adjacency` holds also links that are down.
    """
    reader = _Reader(rules, adjacency)
    found = map(reader.read, reader.ingresses)
    return {steering.chain: steering for steering in found if steering is not None}


class _Reader:
    def __init__(self, rules: Iterable[FlowRule], adjacency: Adjacency) -> None:
        self._vnf_entry: dict[Attachment, FlowRule] = {}
        self._return_entry: dict[tuple[int, Attachment], FlowRule] = {}
        self._hop: dict[tuple[str, int], FlowRule] = {}
        self._far = {Attachment(a, port): b for (a, b), port in adjacency.items()}
        self.ingresses: list[FlowRule] = []
        for rule in sorted(rules, key=lambda rule: (rule.cookie, rule.switch, rule.match.in_port or 0)):
            self._take(rule)

    def _take(self, rule: FlowRule) -> None:
        cookie, match = parse_cookie(rule.cookie), rule.match
        if cookie is None:
            return
        if cookie.role is Role.PATH and rule.table == FORWARD and isinstance(match.vlan, int):
            self._hop[rule.switch, match.vlan] = rule
        elif cookie.role is Role.INGRESS and match.in_port is not None:
            self.ingresses.append(rule)
        elif cookie.role is Role.VNF and match.in_port is not None:
            self._vnf_entry[Attachment(rule.switch, match.in_port)] = rule
        elif cookie.role is Role.RETURN and match.in_port is not None:
            self._return_entry[cookie.chain, Attachment(rule.switch, match.in_port)] = rule

    def read(self, entry: FlowRule) -> ChainSteering | None:
        """The steering that starts with this ingress rule; None where the rules end before it is whole."""
        flow, cookie, stops, segments = _flow(entry), parse_cookie(entry.cookie), [_start(entry)], []
        following: FlowRule | None = entry
        while following is not None and len(stops) <= _MAX_STOPS:
            if (walked := self._walk(following)) is None:
                return None
            segments.append(walked[0])
            stops.append(walked[1])
            following = self._vnf_entry.get(stops[-1])
        if flow is None or cookie is None:
            return None
        back = self._return_entry.get((cookie.chain, stops[-1]))
        returned = self._walk(back) if back is not None else None
        if returned is None or returned[1] != stops[0]:
            return None
        try:
            return ChainSteering(cookie.chain, flow, tuple(stops), tuple(segments), returned[0])
        except (SteeringError, ValueError):
            return None

    def _walk(self, entry: FlowRule) -> tuple[Segment, Attachment] | None:
        """The segment that an entry rule starts, and the stop it ends at."""
        pushed = next((action.vlan_id for action in entry.actions if isinstance(action, PushTag)), None)
        if pushed is None:
            return None
        switch, path = entry.switch, [entry.switch]
        while (hop := self._hop.get((switch, pushed))) is not None and len(path) <= len(self._far) + 1:
            out = next((action.port for action in hop.actions if isinstance(action, Output)), None)
            if out is None:
                return None
            if PopTag() in hop.actions:
                port = _start(entry).port if out == PORT_IN else out
                return Segment(tuple(path), decode_tag(pushed).generation), Attachment(switch, port)
            if (far := self._far.get(Attachment(switch, out))) is None:
                return None
            switch = far
            path.append(far)
        return None


def _start(entry: FlowRule) -> Attachment:
    return Attachment(entry.switch, entry.match.in_port or 0)


def _flow(entry: FlowRule) -> Flow | None:
    match = entry.match
    if match.ipv4_src is None or match.ipv4_dst is None or match.tp_dst is None:
        return None
    return Flow(match.ipv4_src, match.ipv4_dst, "tcp" if match.ip_proto == IP_PROTO["tcp"] else "udp", match.tp_dst)
