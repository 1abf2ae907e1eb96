"""How a chain is changed without losing a packet: a plan of steps, each with its undo (docs/steering.md, "Plans").

After every prefix of a plan, each new packet of the chain visits all VNFs once and in order, and packets in flight
arrive. The order (source: ours, measured in docs/steering.md):

    1 start the new VNF                    5 make new packets take the new rules
    2 copy its state, the old one serving  6 wait until packets in flight are through
    3 install the new rules beside the old 7 delete the old rules, stop the old VNF
    4 the new VNF takes over, the old one
      sends on to it what still arrives

Up to 4 a plan can be undone, and so can new entries at ports that had none; from the first entry that is swapped or
deleted on it only goes forward. Only a VNF with state has 2 and 4. All is pure; an executor acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import UnionType

from controller.flow_rule import FlowRule
from controller.proofs import with_proofs
from controller.rules import chain_rules, segment_rules
from controller.steering import Adjacency, Attachment, ChainSteering, SteeringError
from controller.steps import (
    Barrier,
    Checkpoint,
    CopyState,
    DeleteRules,
    Drain,
    Halt,
    InstallEntries,
    InstallRules,
    Restore,
    Reversible,
    StartVnf,
    Step,
    StopVnf,
    SwapEntry,
    TakeOver,
)
from controller.tags import Role, parse_cookie
from twin.errors import VnftwinError

# Open vSwitch answers a barrier before its datapath cache is revalidated: packets switch 2-6 ms later. A drain has to
# cover that and a packet's way through the chain.
DRAIN_MS = 200.0


class PastNoReturn(VnftwinError):
    """An undo was asked for after new packets had been switched over."""


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What to do, in order, and the steering that holds when all is done (None: the chain is removed)."""

    steps: tuple[Step, ...]
    after: ChainSteering | None

    @property
    def no_return(self) -> int:
        """How many steps can still be undone: once the step of this index has begun, a plan only goes forward."""
        return next((i for i, step in enumerate(self.steps) if not isinstance(step, Reversible)), len(self.steps))


def _first(steps: tuple[Step, ...], kinds: type[Step] | UnionType) -> int:
    return next((i for i, step in enumerate(steps) if isinstance(step, kinds)), len(steps))


def plan_change(
    before: ChainSteering | None,
    after: ChainSteering | None,
    adjacency: Adjacency,
    *,
    drain_ms: float = DRAIN_MS,
) -> MigrationPlan:
    """The plan from one steering of a chain to another; empty where nothing changes.

    None before: the chain is new. None after: it is removed. The generations of `after` do not matter: every segment
    that changes gets the other one than before, all others keep theirs, and the plan's `after` says which. `adjacency`
    holds the links of both, so also one that is down and routed around. SteeringError where the two do not fit.
    """
    target = None if after is None else with_generations(before, after, adjacency)
    old = frozenset() if before is None else chain_rules(before, adjacency)
    new = frozenset() if target is None else chain_rules(target, adjacency)
    return MigrationPlan(tuple(_change(old, new, drain_ms)), target)


def plan_migration(
    start: StartVnf,
    source: str,
    before: ChainSteering,
    after: ChainSteering,
    adjacency: Adjacency,
    *,
    drain_ms: float = DRAIN_MS,
    confirm: bool = False,
) -> MigrationPlan:
    """The whole plan of moving one VNF away from its instance `source`; empty where `after` is `before`.

    It is made when `start` has been done, since only then the port in `after` is known; `start` is its first step all
    the same, so that one plan tells everything that an undo has to take back. A `start` of a standby makes it a move
    with state: copied first, taken over when the new way is there and confirmed and no packet takes it yet. `confirm`
    has the new way proven by packets before it is used, and its use before the old one is deleted.
    """
    change = plan_change(before, after, adjacency, drain_ms=drain_ms)
    if not change.steps or change.after is None:
        return change
    steps, stop = change.steps, StopVnf(start.vnf, source)
    if confirm:
        steps = with_proofs(steps, before, change.after)
    if start.standby:
        copy, take = CopyState(start.vnf, source, start.instance), TakeOver(start.vnf, source, start.instance)
        prepared = _first(steps, InstallEntries | SwapEntry | DeleteRules)
        steps = (copy, *steps[:prepared], take, *steps[prepared:])
    return MigrationPlan((start, *steps, stop), change.after)


def plan_checkpoint(
    start: StartVnf,
    source: str,
    before: ChainSteering,
    after: ChainSteering,
    adjacency: Adjacency,
    *,
    drain_ms: float = DRAIN_MS,
) -> MigrationPlan:
    """The plan of moving the process of `source` as it is into the place that `start` (hollow) has made.

    The rules are ready before the process is dumped: it is silent for as long as dump, restore and swap take. Until
    the swap the process can be brought back where it was.
    """
    change = plan_change(before, after, adjacency, drain_ms=drain_ms)
    prepared = _first(change.steps, InstallEntries | SwapEntry | DeleteRules)
    dump, restore = Checkpoint(start.vnf, source), Restore(start.vnf, source, start.instance)
    steps = (start, *change.steps[:prepared], dump, restore, *change.steps[prepared:], StopVnf(start.vnf, source))
    return MigrationPlan(steps, change.after)


def plan_cold(
    halt: Halt,
    start: StartVnf,
    before: ChainSteering,
    after: ChainSteering,
    adjacency: Adjacency,
    *,
    drain_ms: float = DRAIN_MS,
) -> MigrationPlan:
    """The plan of a move that keeps no state: the old instance ends before the new one starts.

    A program that nobody here knows may not bear a second copy of itself (an address, a lock, a licence). Undone, the
    old instance is started anew; what it knew is lost either way.
    """
    change = plan_change(before, after, adjacency, drain_ms=drain_ms)
    return MigrationPlan((halt, start, *change.steps), change.after)


def undo(plan: MigrationPlan, begun: int) -> tuple[Step, ...]:
    """The steps that take back the first `begun` steps, a begun one counting as done.

    PastNoReturn where new packets may take the new way already: then the rest of the plan has to be done instead.
    """
    if begun > plan.no_return:
        raise PastNoReturn(f"step {plan.no_return + 1} of {len(plan.steps)} has begun: the plan can only go forward")
    return tuple(inverse for step in reversed(plan.steps[:begun]) for inverse in _inverse(step))


def _inverse(step: Step) -> Iterator[Step]:
    match step:
        case InstallRules(rules):
            yield DeleteRules(rules)
            yield Barrier(_switches(rules))
        case InstallEntries(rules):
            yield DeleteRules(rules)
            yield Barrier(_switches(rules))
            yield Drain(DRAIN_MS)  # what they have let in is still under way on the new rules
        case StartVnf(vnf, _, instance):
            yield StopVnf(vnf, instance)
        case Halt(vnf, server, instance):
            yield StartVnf(vnf, server, instance)
        case Checkpoint(vnf, instance):
            yield Restore(vnf, instance, instance)
        case Restore(vnf, source, target) if source != target:
            yield StopVnf(vnf, target)  # before the source's process is brought back: there is only one of it
        case TakeOver(vnf, owner, heir):
            yield TakeOver(vnf, heir, owner)
            yield Drain(DRAIN_MS)  # what the heir has sent on its way is still under way on the new rules


def with_generations(before: ChainSteering | None, after: ChainSteering, adjacency: Adjacency) -> ChainSteering:
    """`after` with the generation of each segment as a plan needs it: the other one where its rules change."""
    if before is None:
        return after
    _check_ports(before, after)
    for number in after.numbers:
        kept = before.segment(number).generation
        same = _forwards(before, number, adjacency) == _forwards(after, number, adjacency)
        after = after.with_generation(number, kept if same else 1 - kept)
    return after


def _check_ports(before: ChainSteering, after: ChainSteering) -> None:
    """A port that changed its VNF would be two things at once while both generations are installed."""
    if (before.chain, before.replies, len(before.stops)) != (after.chain, after.replies, len(after.stops)):
        raise SteeringError(f"chain {before.chain}: not the same chain before and after")
    place: dict[Attachment, int] = {
        port: index for stops in (before.stops, before.back_stops) for index, port in enumerate(stops[1:-1])
    }
    for index, port in enumerate(after.vnfs):
        if place.get(port, index) != index:
            raise SteeringError(f"chain {after.chain}: port {port.port} of {port.switch} is that of another VNF of it")


def _forwards(steering: ChainSteering, number: int, adjacency: Adjacency) -> frozenset[FlowRule]:
    """What the rules of a segment do, whatever its generation."""
    return frozenset(segment_rules(steering.with_generation(number, 0), number, adjacency))


def _change(old: frozenset[FlowRule], new: frozenset[FlowRule], drain_ms: float) -> Iterator[Step]:
    """Make, switch over, break. Toggled segments share no rule with what they replace, so only entries are modified."""
    was, will = {rule.key: rule for rule in old}, {rule.key: rule for rule in new}
    added = _ordered(rule for key, rule in will.items() if key not in was)
    removed = _ordered(rule for key, rule in was.items() if key not in will)
    swapped = [(was[rule.key], rule) for rule in _ordered(new - old) if rule.key in was]
    entries = tuple(rule for rule in added if _is_open(rule))
    yield from _make(tuple(rule for rule in added if not _is_open(rule)))
    yield from _switch_over(swapped, entries)
    if removed and (swapped or entries):
        yield Drain(drain_ms)
    yield from _break(removed, drain_ms)


def _make(rules: tuple[FlowRule, ...]) -> Iterator[Step]:
    if rules:
        yield InstallRules(rules)
        yield Barrier(_switches(rules))


def _switch_over(swapped: list[tuple[FlowRule, FlowRule]], entries: tuple[FlowRule, ...]) -> Iterator[Step]:
    """New entries before the swaps, so that at any time the way there and the way back belong to one another."""
    if entries:
        yield InstallEntries(entries)
        yield Barrier(_switches(entries))
    for old, new in swapped:
        yield SwapEntry(old, new)
    if swapped:
        yield Barrier(_switches(new for _, new in swapped))


def _break(removed: tuple[FlowRule, ...], drain_ms: float) -> Iterator[Step]:
    """Deletes what is left of the old way, its entries first: a chain is whole or closed, never cut in the middle."""
    entries = tuple(rule for rule in removed if _is_open(rule))
    rest = tuple(rule for rule in removed if not _is_open(rule))
    if entries:
        yield DeleteRules(entries)
        yield Barrier(_switches(entries))
    if entries and rest:
        yield Drain(drain_ms)
    if rest:
        yield DeleteRules(rest)
        yield Barrier(_switches(rest))


def _is_open(rule: FlowRule) -> bool:
    """Whether an endpoint's packets reach the rule as soon as it is there; a VNF is reached through its chain only."""
    cookie = parse_cookie(rule.cookie)
    return cookie is not None and cookie.role in (Role.INGRESS, Role.RETURN)


def _ordered(rules: Iterable[FlowRule]) -> tuple[FlowRule, ...]:
    """By switch and cookie: the same plan for the same change, whatever the order of a set."""
    return tuple(sorted(rules, key=lambda rule: (rule.switch, rule.table, rule.cookie, repr(rule.match))))


def _switches(rules: Iterable[FlowRule]) -> tuple[str, ...]:
    return tuple(sorted({rule.switch for rule in rules}))
