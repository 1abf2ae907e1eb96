"""What is installed, read back: the steering that new packets take, found by following the rules as a packet would.

A restarted controller has no memory of placements and generations; the switches have. Rules that the result does not
need (a plan that was cut off left them) are *alien* then, and the ordinary repair removes them. Pure. Source: ours
(docs/steering.md, "After a restart").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from controller.flow_rule import IP_PROTO, PORT_IN, FlowRule, Output, PopTag, PushTag
from controller.rules import FORWARD
from controller.steering import Adjacency, Attachment, ChainSteering, Segment, SteeringError
from controller.tags import Role, decode_tag, parse_cookie
from twin.rewrites import Addresses
from twin.scenario import Flow

_MAX_STOPS = 16


def installed_steerings(rules: Iterable[FlowRule], adjacency: Adjacency) -> Mapping[int, ChainSteering]:
    """Every chain, by its number, whose rules lead from an ingress to the egress and back to the same ingress.

    A two-way chain of which one direction has been switched over to a new VNF and the other not yet is read with both:
    `ChainSteering.vnfs` are the ports on the way there, `back_vnfs` those on the way back (empty where they are the
    same). Such a steering can be planned from like any other, so that both directions agree again.

    Where a user roams just now two ports are let in; the way back decides for one. Chains whose rules lead nowhere are
    left out: their rules are alien. `adjacency` holds also links that are down.
    """
    reader = _Reader(rules, adjacency)
    found = map(reader.read, reader.ingresses)
    return {steering.chain: steering for steering in found if steering is not None}


def unread_chains(rules: Iterable[FlowRule], steerings: Collection[int]) -> frozenset[int]:
    """Numbers of the chains that have rules by which packets enter, but are not among the `steerings` read back."""
    cookies = (parse_cookie(rule.cookie) for rule in rules)
    return frozenset(c.chain for c in cookies if c is not None and c.role is Role.INGRESS and c.chain not in steerings)


@dataclass(frozen=True, slots=True)
class _Way:
    """What packets pass in one direction: `entries[i]` starts `segments[i]`, which leads from stop i to stop i + 1."""

    entries: tuple[FlowRule, ...]
    segments: tuple[Segment, ...]
    stops: tuple[Attachment, ...]


class _Reader:
    def __init__(self, rules: Iterable[FlowRule], adjacency: Adjacency) -> None:
        self._vnf_entry: dict[Attachment, FlowRule] = {}
        self._vnf_return_entry: dict[Attachment, FlowRule] = {}
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
            entries = self._vnf_entry if match.ipv4_dst is None else self._vnf_return_entry
            entries[Attachment(rule.switch, match.in_port)] = rule
        elif cookie.role is Role.RETURN and match.in_port is not None:
            self._return_entry[cookie.chain, Attachment(rule.switch, match.in_port)] = rule

    def read(self, entry: FlowRule) -> ChainSteering | None:
        """The steering that starts with this ingress rule; None where the rules end before it is whole."""
        flow, cookie = _flow(entry), parse_cookie(entry.cookie)
        there = self._follow(entry, self._vnf_entry)
        if flow is None or cookie is None or there is None:
            return None
        reply = self._return_entry.get((cookie.chain, there.stops[-1]))
        back = self._follow(reply, self._vnf_return_entry) if reply is not None else None
        if back is None or back.stops[-1] != there.stops[0]:
            return None
        try:
            return _steering(cookie.chain, flow, there, back)
        except (SteeringError, ValueError):
            return None

    def _follow(self, entry: FlowRule, next_entries: Mapping[Attachment, FlowRule]) -> _Way | None:
        """From an entry through all VNFs to an endpoint; None where the rules end before."""
        entries, segments, stops = list[FlowRule](), list[Segment](), [_start(entry)]
        following: FlowRule | None = entry
        while following is not None and len(stops) <= _MAX_STOPS:
            if (walked := self._walk(following)) is None:
                return None
            entries.append(following)
            segments.append(walked[0])
            stops.append(walked[1])
            following = next_entries.get(stops[-1])
        return _Way(tuple(entries), tuple(segments), tuple(stops))

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


def _steering(chain: int, flow: Flow, there: _Way, back: _Way) -> ChainSteering:
    """SteeringError where the two directions do not fit together."""
    *later, to_ingress = back.segments
    if not later:
        return ChainSteering(chain, flow, there.stops, there.segments, to_ingress)
    clients = tuple(entry.match.ipv4_dst or "" for entry in reversed(back.entries))
    vnfs = back.stops[-2:0:-1]
    return ChainSteering(
        chain, flow, there.stops, there.segments, to_ingress,
        replies=Addresses(clients, back.entries[0].match.ipv4_src),
        returns=tuple(reversed(later)),
        back_vnfs=() if vnfs == there.stops[1:-1] else vnfs,
    )  # fmt: skip


def _start(entry: FlowRule) -> Attachment:
    return Attachment(entry.switch, entry.match.in_port or 0)


def _flow(entry: FlowRule) -> Flow | None:
    match = entry.match
    if match.ipv4_src is None or match.ipv4_dst is None:
        return None
    if match.ip_proto is None:
        return Flow(match.ipv4_src, match.ipv4_dst, "any", 0)  # no rule tells the port of its own traffic
    proto: Literal["udp", "tcp"] = "tcp" if match.ip_proto == IP_PROTO["tcp"] else "udp"
    return None if match.tp_dst is None else Flow(match.ipv4_src, match.ipv4_dst, proto, match.tp_dst)
