"""Keeps every chain steered as it should be: desired steering and installed steering are values, acting is their
difference.

Desired follows from where the endpoints are, which instance of each VNF is active, and the lowest-delay routes over
live links. Whatever changes one of these (a migration, a roaming user, a failed link) is carried out by one and the
same kind of plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from controller.flow_rule import FlowRule
from controller.plan import DRAIN_MS, MigrationPlan, plan_change, plan_checkpoint, plan_cold, plan_migration
from controller.rules import base_rules, chain_rules
from controller.steering import Adjacency, Attachment, ChainSteering, SteeringError, SwitchPath, steer
from controller.steps import Halt, StartVnf
from twin.rewrites import addresses
from twin.scenario import Placement, Scenario, ServiceChain

ROAM_DRAIN_MS = (
    1000.0  # longer than a soft hand-over lasts; with the 0.2 s drain of a move a fifth of a second was lost
)


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of the network now: ports between switches, and the route from switch to switch."""

    adjacency: Adjacency
    route: Callable[[str, str], SwitchPath]


class ChainKeeper:
    """The installed steering of every chain and the active instance of every VNF. Pure: it plans, others act."""

    def __init__(self, scenario: Scenario, *, confirm: bool = False) -> None:
        """`confirm`: moves prove the new way by packets before the old one is given up."""
        self.scenario, self._confirm = scenario, confirm
        self.installed: dict[str, ChainSteering] = {}
        self.active: dict[str, str] = {}  # vnf -> name of its instance in service
        self.server_of: dict[str, str] = dict(scenario.placement.hosts)
        self._attached: dict[str, Attachment] = {}  # instance name -> port
        self._ports: dict[tuple[str, str], int] = {}  # also of links that are down now: their rules must be found
        self._ahead: dict[str, ChainSteering | None] = {}  # what chains go forward to, whose old way is given up
        # What was worked out before, several times a second, and holds until one of its inputs changes.
        self._in_place: dict[str, tuple[ChainSteering, ChainSteering | None]] = {}
        self._rules: dict[str, tuple[ChainSteering, frozenset[FlowRule]]] = {}

    @property
    def placement(self) -> Placement:
        return Placement(dict(self.server_of))

    @property
    def ports(self) -> Adjacency:
        """The ports between switches, also of links that are down now."""
        return self._ports

    def knows_links_of(self, switch: str) -> bool:
        """Whether the switch's ports of all links that the scenario gives it have been found."""
        neighbours = {
            link.a if link.b == switch else link.b for link in self.scenario.links if switch in (link.a, link.b)
        }
        return all((switch, neighbour) in self._ports for neighbour in neighbours)

    def put_in_service(self, vnf: str, instance: str, server: str, attachment: Attachment) -> None:
        """From now on this instance is the VNF's active one."""
        self.active[vnf], self.server_of[vnf] = instance, server
        self._attached[instance] = attachment

    def forget_instance(self, instance: str) -> None:
        self._attached.pop(instance, None)

    def learn(self, adjacency: Adjacency) -> None:
        """Takes in the ports between switches; those of links that went down are remembered."""
        if any(self._ports.get(ends) != port for ends, port in adjacency.items()):
            self._ports.update(adjacency)
            self._in_place.clear()
            self._rules.clear()

    def desired(
        self, chain: ServiceChain, network: Network, places: Mapping[str, tuple[str, int]], **instead: Attachment
    ) -> ChainSteering:
        """The steering a chain should have now; `instead` gives VNFs (by id) other ports than those in service.

        SteeringError where an endpoint's port is unknown, a VNF has no instance, or no route is left.
        """
        stops = (
            _place(chain.ingress, places),
            *(instead.get(vnf.id) or self._attachment(vnf.id) for vnf in chain.vnfs),
            _place(chain.egress, places),
        )
        return steer(chain.number, chain.flow, stops, network.route, addresses(chain))

    def plan(self, chain: ServiceChain, desired: ChainSteering | None) -> MigrationPlan:
        """The plan from what is installed to `desired`; empty when they are the same."""
        before = self.installed.get(chain.id)
        if before is not None and self._in_place.get(chain.id) == (before, desired):
            return MigrationPlan((), before)
        plan = plan_change(before, desired, self._ports, drain_ms=_drain_ms(before, desired))
        if before is not None and not plan.steps:
            self._in_place[chain.id] = (before, desired)
        return plan

    def withdraw(self, vnf: str) -> None:
        """The VNF has no instance any more."""
        self.forget_instance(self.active.pop(vnf, ""))

    def plan_move(self, start: StartVnf, attachment: Attachment, chain: ServiceChain, network: Network,
                  places: Mapping[str, tuple[str, int]], halt: Halt | None = None) -> MigrationPlan:  # fmt: skip
        """The plan that moves one VNF to the instance that `start` has started, after `halt` where it moves cold."""
        after = self.desired(chain, network, places, **{start.vnf: attachment})
        before = self.installed[chain.id]
        if halt is not None:
            return plan_cold(halt, start, before, after, self._ports)
        source = self.active[start.vnf]
        if start.hollow:
            return plan_checkpoint(start, source, before, after, self._ports)
        return plan_migration(start, source, before, after, self._ports, confirm=self._confirm)

    def turn(self, chain: str, plan: MigrationPlan) -> None:
        """The plan begins to give the old way up: from now on its rules are the wanted ones."""
        self._ahead[chain] = plan.after

    @property
    def entered(self) -> Mapping[str, ChainSteering]:
        """By chain the way that new packets take: what is installed, or what a plan that has turned goes forward to."""
        return self.installed | {chain: ahead for chain, ahead in self._ahead.items() if ahead is not None}

    def settle(self, chain: str) -> None:
        """No plan of the chain is under way any more: what is installed is wanted."""
        self._ahead.pop(chain, None)

    def carried_out(self, chain: str, plan: MigrationPlan) -> None:
        """The plan is done: what it led to is installed."""
        if plan.after is None:
            self.installed.pop(chain, None)
        else:
            self.installed[chain] = plan.after

    def wanted_rules(self, switch: str, link_ports: Iterable[int]) -> frozenset[FlowRule]:
        """Every rule that should be on a switch now.

        Of a chain whose plan has turned: those of the new way, and of the old one what does not contradict them, since
        not all entries lead to the new way yet.
        """
        rules = set(base_rules(switch, link_ports))
        for chain, steering in self.installed.items():
            found = {rule for rule in self._rules_of(chain, steering) if rule.switch == switch}
            if (ahead := self._ahead.get(chain)) is not None:
                new = {rule for rule in chain_rules(ahead, self._ports) if rule.switch == switch}
                keys = {rule.key for rule in new}
                found = new | {rule for rule in found if rule.key not in keys}
            rules |= found
        return frozenset(rules)

    def entry_switches(self) -> Mapping[int, frozenset[str]]:
        """By the number of every installed chain the switches that hold its entry rules."""
        return {s.chain: frozenset(s.ends(n)[0].switch for n in s.numbers) for s in self.installed.values()}

    def _rules_of(self, chain: str, steering: ChainSteering) -> frozenset[FlowRule]:
        known = self._rules.get(chain)
        if known is None or known[0] != steering:
            known = self._rules[chain] = (steering, chain_rules(steering, self._ports))
        return known[1]

    def link_ports(self, switch: str) -> frozenset[int]:
        return frozenset(port for (a, _), port in self._ports.items() if a == switch)

    def _attachment(self, vnf: str) -> Attachment:
        try:
            return self._attached[self.active[vnf]]
        except KeyError:
            raise SteeringError(f"VNF {vnf} has no running instance") from None


def _drain_ms(before: ChainSteering | None, after: ChainSteering | None) -> float:
    """A roaming user sends by its old switch for a while after it has announced itself at the new one."""
    if before is None or after is None:
        return DRAIN_MS
    roams = before.stops[0] != after.stops[0] or before.stops[-1] != after.stops[-1]
    return ROAM_DRAIN_MS if roams else DRAIN_MS


def _place(endpoint: str, places: Mapping[str, tuple[str, int]]) -> Attachment:
    switch, port = places[endpoint]
    if not port:
        raise SteeringError(f"the switch port of endpoint {endpoint} is not known yet")
    return Attachment(switch, port)
