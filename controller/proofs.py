"""What proves, by packets, that a new way is really there: captures, packets and their places in a plan. Pure.

A switch may answer a barrier before its tables follow. So each part of a new way is passed by a marked packet, which a
rule at its end hands to the controller, tag and all (docs/steering.md, "Confirmation"). Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from controller.flow_rule import ETH_IPV4, PORT_CONTROLLER, FlowRule, Match, Output
from controller.rules import (
    ENTRY_DSCP,
    ENTRY_PROOF_PRIORITY,
    FORWARD,
    PATH_DSCP,
    PROBE_PRIORITY,
    entry_rule,
)
from controller.steering import ChainSteering
from controller.steps import Barrier, ConfirmPath, DeleteRules, InstallEntries, InstallRules, Proof, Step, SwapEntry
from controller.tags import Cookie, Role


def with_proofs(steps: tuple[Step, ...], before: ChainSteering, after: ChainSteering) -> tuple[Step, ...]:
    """A plan's steps with the new way proven before packets are switched over to it, and the switching after it."""
    toggled = [number for number in after.numbers if after.tag(number) != before.tag(number)]
    if not toggled:
        return steps
    captures = tuple(rule for number in toggled for rule in _captures(after, number))
    holds = tuple(replace(rule, actions=()) for rule in captures if rule.match.ip_dscp == PATH_DSCP)
    prepared = tuple(rule for step in steps if isinstance(step, InstallRules) for rule in step.rules)
    entries = {number: entry_rule(after, number) for number in toggled}
    early = [number for number, entry in entries.items() if entry in prepared]
    late = [number for number in toggled if number not in early]
    # Behind the new rules: where a capture answers, all that its switch was sent before is there, too. And before them
    # what drops its packets for so long: no proof may reach a VNF or an endpoint by a path that is there too early.
    new_way = (
        *(_path_proof(after, n) for n in toggled),
        *(_entry_proof(after, n) for n in early),
        *(_capture_proof(after, n) for n in late),
    )
    first = next(i for i, step in enumerate(steps) if isinstance(step, InstallEntries | SwapEntry | DeleteRules))
    last = max((i for i, step in enumerate(steps) if isinstance(step, InstallEntries | SwapEntry)), default=first)
    needed = tuple(rule for n in late for rule in _captures(after, n) if rule.match.ip_dscp == ENTRY_DSCP)
    switched = (ConfirmPath(tuple(_entry_proof(after, n) for n in late), needed),) if late else ()
    return (
        InstallRules(holds), *steps[:first], InstallRules(captures), _barrier(captures), ConfirmPath(new_way),
        *steps[first : last + 2], *switched, *_clean_up(steps[last + 2 :], captures),
    )  # fmt: skip


def _clean_up(steps: tuple[Step, ...], captures: tuple[FlowRule, ...]) -> Iterator[Step]:
    """The captures go with the last rules that go."""
    deletes = [i for i, step in enumerate(steps) if isinstance(step, DeleteRules)]
    for i, step in enumerate(steps):
        if isinstance(step, DeleteRules) and i == deletes[-1]:
            yield DeleteRules((*step.rules, *captures))
        elif isinstance(step, Barrier) and deletes and i == deletes[-1] + 1:
            yield Barrier(tuple(sorted({*step.switches, *(rule.switch for rule in captures)})))
        else:
            yield step
    if not deletes:
        yield DeleteRules(captures)
        yield _barrier(captures)


def _captures(steering: ChainSteering, number: int) -> Iterator[FlowRule]:
    """What has come along a segment's path; and, at its start, what its entry rule has put the tag on."""
    tag, path = steering.tag(number), steering.segment(number).path
    cookie = Cookie(Role.CONFIRM, tag.chain, tag.segment, tag.generation).value
    for switch, priority, dscp in (
        (path[-1], PROBE_PRIORITY, PATH_DSCP),
        (path[0], ENTRY_PROOF_PRIORITY, ENTRY_DSCP),
    ):
        match = Match(vlan=tag.vlan_id, eth_type=ETH_IPV4, ip_dscp=dscp)
        yield FlowRule(switch, FORWARD, priority, match, (Output(PORT_CONTROLLER),), None, cookie)


def _path_proof(steering: ChainSteering, number: int) -> Proof:
    path = steering.segment(number).path
    return Proof(path[0], PORT_CONTROLLER, steering.tag(number).vlan_id, path[-1], Match(ip_dscp=PATH_DSCP))


def _entry_proof(steering: ChainSteering, number: int) -> Proof:
    """A packet like those that the entry takes, as if it had come in by the port of the stop before."""
    entry = entry_rule(steering, number)
    told = entry.match
    like = Match(
        ip_dscp=ENTRY_DSCP, ip_proto=told.ip_proto, ipv4_src=told.ipv4_src, ipv4_dst=told.ipv4_dst,
        tp_src=told.tp_src, tp_dst=told.tp_dst,
    )  # fmt: skip
    return Proof(entry.switch, told.in_port or 0, steering.tag(number).vlan_id, entry.switch, like)


def _capture_proof(steering: ChainSteering, number: int) -> Proof:
    """That the capture is there which the swap's proof will need: after the swap it would be too late to turn back."""
    start = steering.segment(number).path[0]
    return Proof(start, PORT_CONTROLLER, steering.tag(number).vlan_id, start, Match(ip_dscp=ENTRY_DSCP))


def _barrier(rules: Iterable[FlowRule]) -> Barrier:
    return Barrier(tuple(sorted({rule.switch for rule in rules})))
