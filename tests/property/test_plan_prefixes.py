"""After every prefix of a plan, packets visit every VNF of their chain once and in order, and arrive.

Replies of a two-way chain visit them in reverse order, whatever addresses the VNFs rewrite.

A switch does what it was sent in order, but two switches do so independently until a barrier. So the test keeps one
queue per switch and lets them run at random; packets are sent, and packets in flight are moved, at every moment.
Switches that lie answer a barrier at once and obey later, as some hardware does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.flow_rule import FlowRule
from controller.plan import MigrationPlan, plan_change, undo
from controller.proofs import with_proofs
from controller.rules import base_rules, chain_rules, entry_rule
from controller.steering import Adjacency, Attachment, ChainSteering, steer
from controller.steps import Barrier, ConfirmPath, DeleteRules, Drain, InstallEntries, InstallRules, Step, SwapEntry
from tests.fakes.fabric import MAX_HOPS, Arrival, Fabric, Packet, forward_packet, reply_packet, rewrites_of, shows
from twin.rewrites import addresses, positions
from twin.scenario import ConstantTraffic, Flow, ServiceChain, Vnf, VnfType

Flying = tuple[Packet, ChainSteering, bool]  # where it is, the steering it started under, forward or reply
CHANGES = ("move", "move two", "move all", "re-route", "roam ingress", "roam egress", "roam and move")


class Lost(AssertionError):
    """A packet did not take its chain's way."""


@dataclass
class Network:
    """A random network: a connected graph whose ports 1.. are links, and 100.. are given out to stops."""

    rng: random.Random
    switches: int = 6
    _next_port: int = 100

    def __post_init__(self) -> None:
        names = [f"s{i}" for i in range(self.switches)]
        tree: nx.Graph[int] = nx.random_labeled_tree(self.switches, seed=self.rng.randrange(2**31))
        self.graph: nx.Graph[str] = nx.Graph()
        self.graph.add_nodes_from(names)
        self.graph.add_edges_from((names[a], names[b]) for a, b in tree.edges)
        for _ in range(self.rng.randrange(self.switches)):
            self.graph.add_edge(*self.rng.sample(names, 2))
        self.adjacency: dict[tuple[str, str], int] = {}
        for a in self.graph:
            for port, b in enumerate(sorted(self.graph[a]), start=1):
                self.adjacency[a, b] = port

    def attach(self) -> Attachment:
        self._next_port += 1
        return Attachment(self.rng.choice(sorted(self.graph)), self._next_port)

    def route(self, a: str, b: str) -> tuple[str, ...]:
        """Any simple path, not only the shortest: what a re-route gives."""
        paths = [tuple(map(str, path)) for path in nx.all_simple_paths(self.graph, a, b)] if a != b else [(a,)]
        return self.rng.choice(sorted(paths))

    def base(self) -> set[FlowRule]:
        rules: set[FlowRule] = set()
        for switch in self.graph:
            rules |= base_rules(switch, [self.adjacency[switch, b] for b in self.graph[switch]])
        return rules


def flow_of(chain: int) -> Flow:
    address = f"10.0.0.{chain}"
    if chain % 3 == 0:
        return Flow(address, "10.0.1.1", "any", 0)  # 0: what is read back of it
    return Flow(address, "10.0.1.1", "udp" if chain % 3 == 1 else "tcp", 5000 + chain)


def random_service(rng: random.Random, chain: int, vnfs: int, *, two_way: bool) -> ServiceChain:
    """A chain of VNFs that rewrite addresses, in any order; of VNFs that rewrite nothing where replies go straight."""
    names = [rng.choice(("monitor", "nat", "balancer") if two_way else ("monitor",)) for _ in range(vnfs)]
    backends = rng.choice(((), ("10.0.1.1",), ("10.9.0.1",), ("10.9.0.1", "10.9.0.2")))
    config = {"balancer": {"backend": list(backends)} if backends else {}}
    types = [VnfType(name, 0, 0, 0, 0, 0, name, config=config.get(name, {})) for name in names]
    functions = tuple(Vnf(f"{chain}.{i}", str(chain), i, vnf_type) for i, vnf_type in enumerate(types))
    return ServiceChain(
        str(chain), chain, "u", "w", functions, 1.0, 512, ConstantTraffic(1.0), flow_of(chain), two_way=two_way
    )


def random_chain(net: Network, service: ServiceChain) -> ChainSteering:
    stops = tuple(net.attach() for _ in range(len(service.vnfs) + 2))
    steering = steer(service.number, service.flow, stops, net.route, addresses(service))
    for number in steering.numbers:
        steering = steering.with_generation(number, net.rng.randrange(2))
    return steering


def changed(net: Network, before: ChainSteering, change: str) -> ChainSteering:
    """What a planner is asked for: other stops, or other paths between the same."""
    stops, vnfs = list(before.stops), range(1, len(before.stops) - 1)
    if change == "re-route":
        return steer(before.chain, before.flow, before.stops, net.route, before.replies)
    move = {"move": 1, "roam and move": 1, "move two": 2, "move all": len(vnfs)}.get(change, 0)
    for index in net.rng.sample(vnfs, min(move, len(vnfs))):
        stops[index] = net.attach()
    if "ingress" in change or change == "roam and move":
        stops[0] = net.attach()
    if "egress" in change or change == "roam and move":
        stops[-1] = net.attach()
    return keeping_paths(net, before, tuple(stops))


def keeping_paths(net: Network, before: ChainSteering, stops: tuple[Attachment, ...]) -> ChainSteering:
    """New paths only where an end of a segment is on another switch."""
    after = steer(before.chain, before.flow, stops, net.route, before.replies)
    for number in after.numbers:
        if [end.switch for end in before.ends(number)] == [end.switch for end in after.ends(number)]:
            after = after.with_segment(number, before.segment(number))
    return after


@dataclass
class Trial:
    """A fabric on which a plan of one chain is run, watched after every single message that a switch obeys."""

    fabric: Fabric
    chains: Sequence[tuple[ChainSteering | None, ChainSteering | None]]
    rng: random.Random
    services: Mapping[int, ServiceChain]
    lying: bool = False
    _queues: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    _flying: list[Flying] = field(default_factory=list)

    def run(self, steps: Sequence[Step]) -> None:
        self._send_packets()
        for step in steps:
            self._begin(step)
            self._send_packets()
        while any(self._queues.values()):
            self._obey_one()

    def _begin(self, step: Step) -> None:
        match step:
            case InstallRules(rules) | InstallEntries(rules):
                for rule in self.rng.sample(rules, len(rules)):
                    self._queue(rule, partial(self.fabric.add, [rule]))
            case SwapEntry(_, new):
                self._queue(new, partial(self.fabric.modify, new))
            case DeleteRules(rules):
                for rule in self.rng.sample(rules, len(rules)):
                    self._queue(rule, partial(self.fabric.delete, [rule]))
            case Barrier(switches):
                for switch in () if self.lying else switches:
                    while self._queues.get(switch):
                        self._obey_one(switch)
            case ConfirmPath(proofs, captures):
                for rule in captures:
                    self._queue(rule, partial(self.fabric.add, [rule]))
                while not all(shows(self.fabric, proof) for proof in proofs):
                    self._obey_one()
            case Drain():
                while self._flying:
                    self._fly(self._flying.pop(), MAX_HOPS)
        while any(self._queues.values()) and self.rng.random() < (0.1 if self.lying else 0.5):
            self._obey_one()

    def _queue(self, rule: FlowRule, message: Callable[[], None]) -> None:
        self._queues.setdefault(rule.switch, []).append(message)

    def _obey_one(self, switch: str = "") -> None:
        busy = [name for name, queue in self._queues.items() if queue]
        self._queues[switch or self.rng.choice(busy)].pop(0)()
        self._send_packets()

    def _send_packets(self) -> None:
        """Each new packet is sent twice: one is followed to its end at once, the other stays in flight."""
        self._flying = [moved for flying in self._flying if (moved := self._fly(flying, self.rng.randrange(3)))]
        for before, after in self.chains:
            for steering, forward in ((s, f) for s in (before, after) if s for f in (True, False)):
                whole = before is not None and after is not None and _same_ends(before, after)
                packet = self._packet(steering, forward)
                self._fly((packet, steering, forward), MAX_HOPS, may_be_closed=not whole)
                if flying := self._fly((packet, steering, forward), 1, may_be_closed=not whole):
                    self._flying.append(flying)

    def _packet(self, steering: ChainSteering, forward: bool) -> Packet:
        if forward:
            return forward_packet(steering.flow, steering.stops[0])
        return reply_packet(steering.flow, steering.stops[-1], positions(self.services[steering.chain])[-1])

    def _fly(self, flying: Flying, hops: int, *, may_be_closed: bool = False) -> Flying | None:
        """Follows a packet for some hops. None: it arrived as it should, or was shut out where it may be."""
        packet, steering, forward = flying
        for _ in range(hops):
            result = self.fabric.hop(packet)
            if isinstance(result, Arrival):
                shut_out = result.kind == "dropped" and result.packet == flying[0]  # at the first rule, never half way
                if not (may_be_closed and shut_out):
                    self._judge(result, steering, forward)
                return None
            packet = result
        if hops == MAX_HOPS:
            raise Lost(f"loop: {packet}")
        return packet, steering, forward

    def _judge(self, arrival: Arrival, steering: ChainSteering, forward: bool) -> None:
        names = tuple(f"{steering.chain}.{i}" for i in range(len(steering.vnfs)))
        wanted = names if forward else names[::-1] if steering.two_way else ()
        ends = {s.stops[-1 if forward else 0] for pair in self.chains for s in pair if s and s.chain == steering.chain}
        if arrival.kind != "port" or arrival.packet.visited != wanted or arrival.packet.at not in ends:
            raise Lost(f"{arrival.kind} at {arrival.packet.at} after {arrival.packet.visited}, wanted {wanted}")
        seen = positions(self.services[steering.chain])[-1 if forward else 0]
        bears = (seen.client, seen.servers[0]) if forward else (seen.servers[0], seen.client)
        if (arrival.packet.src, arrival.packet.dst) != bears:
            raise Lost(f"arrived as {arrival.packet}, wanted {bears}")


def _same_ends(one: ChainSteering, other: ChainSteering) -> bool:
    return (one.stops[0], one.stops[-1]) == (other.stops[0], other.stops[-1])


def vnfs_at(*steerings: ChainSteering | None) -> dict[Attachment, str]:
    return {
        port: f"{s.chain}.{i}"
        for s in steerings
        if s
        for ports in (s.vnfs, s.back_vnfs)
        for i, port in enumerate(ports)
    }


@dataclass
class Case:
    """A network with a chain that is to be changed and another one that must not feel it."""

    seed: int
    vnfs: int
    change: str
    two_way: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.net = Network(self.rng, switches=self.rng.randrange(1, 7))
        self.services = {
            1: random_service(self.rng, 1, self.vnfs, two_way=self.two_way and self.vnfs > 0),
            2: random_service(self.rng, 2, 2, two_way=self.two_way),
        }
        self.other = random_chain(self.net, self.services[2])
        self.before: ChainSteering | None = random_chain(self.net, self.services[1])
        self.after: ChainSteering | None = None
        if self.change == "install":
            self.before, self.after = None, self.before
        elif self.change != "remove":
            self.after = changed(self.net, self.before, self.change)

    @property
    def adjacency(self) -> Adjacency:
        return self.net.adjacency

    def plan(self, *, confirm: bool = False) -> MigrationPlan:
        plan = plan_change(self.before, self.after, self.adjacency)
        if not confirm or self.before is None or plan.after is None:
            return plan
        return replace(plan, steps=with_proofs(plan.steps, self.before, plan.after))

    def fabric(self, installed: ChainSteering | None) -> Fabric:
        rewrites = {k: r for service in self.services.values() for k, r in rewrites_of(service).items()}
        fabric = Fabric(self.adjacency, vnfs_at(self.before, self.after, self.other), rewrites)
        fabric.add(self.net.base() | chain_rules(self.other, self.adjacency))
        if installed:
            fabric.add(chain_rules(installed, self.adjacency))
        return fabric

    def trial(self, fabric: Fabric, *, lying: bool = False) -> Trial:
        return Trial(fabric, [(self.before, self.after), (self.other, self.other)], self.rng, self.services, lying)


cases = st.builds(
    Case,
    seed=st.integers(0, 2**31),
    vnfs=st.integers(0, 4),
    change=st.sampled_from((*CHANGES, "install", "remove")),
    two_way=st.booleans(),
)
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(case=cases, confirm=st.booleans())
def test_every_prefix_delivers_and_the_end_is_what_was_asked_for(case: Case, confirm: bool) -> None:
    plan, fabric = case.plan(confirm=confirm), case.fabric(case.before)
    case.trial(fabric).run(plan.steps)
    wanted = case.fabric(plan.after)
    assert fabric.rules == wanted.rules


@many
@given(case=cases, share=st.floats(0, 1), confirm=st.booleans())
def test_an_undo_of_every_prefix_delivers_and_leaves_the_tables_as_they_were(
    case: Case, share: float, confirm: bool
) -> None:
    plan, fabric = case.plan(confirm=confirm), case.fabric(case.before)
    rules = fabric.rules
    begun = round(share * plan.no_return)
    trial = case.trial(fabric)
    trial.run(plan.steps[:begun])
    trial.run(undo(plan, begun))
    assert fabric.rules == rules


@many
@given(case=cases)
def test_probes_take_the_whole_chain_and_end_at_the_controller(case: Case) -> None:
    fabric = case.fabric(case.before)
    for steering in filter(None, (case.before, case.other)):
        probe = forward_packet(steering.flow, Attachment(steering.stops[0].switch, 0xFFFFFFFD), dscp=62)
        arrival = fabric.deliver(replace(probe, vlan=steering.tag(0).vlan_id))
        assert arrival.kind == "controller"
        assert arrival.packet.visited == tuple(f"{steering.chain}.{i}" for i in range(len(steering.vnfs)))
        assert arrival.packet.vlan == steering.tag(steering.last).vlan_id
        for dscp in (60, 61, 62):
            assert fabric.deliver(replace(probe, at=steering.stops[0], dscp=dscp)).kind == "dropped"


def _swap_first(steps: Sequence[Step]) -> list[Step]:
    entries = [s for s in steps if isinstance(s, SwapEntry | InstallEntries)]
    return [*entries, *(s for s in steps if s not in entries)]


def _no_barrier_before_swap(steps: Sequence[Step]) -> list[Step]:
    first = next((i for i, s in enumerate(steps) if isinstance(s, Barrier)), len(steps))
    return [*steps[:first], *steps[first + 1 :]]


def _no_drain(steps: Sequence[Step]) -> list[Step]:
    return [s for s in steps if not isinstance(s, Drain)]


def _delete_first(steps: Sequence[Step]) -> list[Step]:
    deletes = [s for s in steps if isinstance(s, DeleteRules)]
    return [*deletes, *(s for s in steps if s not in deletes)]


def _no_barrier_before_drain(steps: Sequence[Step]) -> list[Step]:
    return [s for i, s in enumerate(steps) if not (i + 1 < len(steps) and isinstance(steps[i + 1], Drain))]


WRONG_ORDERS = (_swap_first, _no_barrier_before_swap, _no_drain, _delete_first, _no_barrier_before_drain)


def _lost(trials: Iterable[bool], *, enough: int) -> int:
    """How many trials lost a packet; not counted further than `enough`."""
    return sum(islice(filter(None, trials), enough))


def _loses(case: Case, steps: Sequence[Step], *, lying: bool = False) -> bool:
    try:
        case.trial(case.fabric(case.before), lying=lying).run(steps)
    except Lost:
        return True
    return False


@pytest.mark.parametrize("two_way", [False, True], ids=["one way", "two ways"])
@pytest.mark.parametrize("wrong", WRONG_ORDERS, ids=lambda order: order.__name__.strip("_"))
def test_a_wrong_order_is_found_out(wrong: Callable[[Sequence[Step]], list[Step]], two_way: bool) -> None:
    cases = (Case(seed, 3, CHANGES[seed % len(CHANGES)], two_way) for seed in range(60))
    assert _lost((_loses(case, wrong(case.plan().steps)) for case in cases), enough=5) == 5


MOVES = ("move", "move two", "move all", "re-route")


@many
@given(case=st.builds(Case, st.integers(0, 2**31), st.integers(0, 4), st.sampled_from(MOVES), st.booleans()))
def test_a_confirmed_change_loses_nothing_though_barriers_lie(case: Case) -> None:
    plan, fabric = case.plan(confirm=True), case.fabric(case.before)
    case.trial(fabric, lying=True).run(plan.steps)
    assert fabric.rules == case.fabric(plan.after).rules


@pytest.mark.parametrize("two_way", [False, True], ids=["one way", "two ways"])
def test_lying_barriers_are_found_out_where_nothing_is_confirmed(two_way: bool) -> None:
    cases = (Case(seed, 3, MOVES[seed % len(MOVES)], two_way) for seed in range(60))
    assert _lost((_loses(case, case.plan().steps, lying=True) for case in cases), enough=20) == 20


@pytest.mark.parametrize("left_out", [0, 1], ids=["before the swap", "after the swap"])
def test_both_confirmations_are_needed(left_out: int) -> None:
    def loses(case: Case) -> bool:
        steps = case.plan(confirm=True).steps
        skipped = [i for i, step in enumerate(steps) if isinstance(step, ConfirmPath)][left_out : left_out + 1]
        return _loses(case, [step for i, step in enumerate(steps) if i not in skipped], lying=True)

    cases = (Case(seed, 3, MOVES[seed % len(MOVES)]) for seed in range(60))
    assert _lost(map(loses, cases), enough=5) == 5


def test_a_chain_wide_generation_is_found_out() -> None:
    """The tempting simplification: toggle all segments and swap only the ingress; old VNFs then push unknown tags."""
    lost = 0
    for seed in range(20):
        case = Case(seed, 3, "move")
        assert case.before is not None
        assert case.after is not None
        everywhere = case.after
        for number in everywhere.numbers:
            everywhere = everywhere.with_generation(number, 1 - case.before.segment(number).generation)
        old, new = chain_rules(case.before, case.adjacency), chain_rules(everywhere, case.adjacency)
        by_key = {rule.key: rule for rule in old}
        steps: list[Step] = [InstallRules(tuple(r for r in new if r.key not in by_key))]
        steps += [Barrier(tuple(sorted(case.net.graph)))]
        steps += [SwapEntry(by_key[r.key], r) for r in new if r.key in by_key and r not in old]
        steps += [Barrier(tuple(sorted(case.net.graph))), DeleteRules(tuple(old - new))]
        lost += _loses(case, steps)
    assert lost >= 5


def test_the_check_sees_a_lost_rule() -> None:
    case = Case(1, 3, "move")
    fabric = case.fabric(case.before)
    assert case.before is not None
    fabric.delete([entry_rule(case.before, 1)])  # not just any: without the rule for probes nothing is lost
    with pytest.raises(Lost):
        case.trial(fabric).run([])
