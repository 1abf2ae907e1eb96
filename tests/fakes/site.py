"""A fake site for the acting half: switches that are a `Fabric`, instances that get a port, a clock that only sleeps.

It fails where a test says so: the n-th send, the n-th barrier, the start of an instance on a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from controller import openflow_replies
from controller.chain_keeper import ChainKeeper, Network
from controller.containers import ContainerError
from controller.executor import Executor, Shell
from controller.migrations import Migrations, Surroundings
from controller.probes import ProbeCounts
from controller.rules import base_rules
from controller.ryu_compat import parse_message
from controller.steering import Attachment, SwitchPath
from controller.switchboard import SwitchGone, SwitchRefused
from tests.fakes.fabric import Arrival, Fabric, forward_packet
from twin.routing import Router
from twin.scenario import Scenario

_FLOW_MOD, _ADD, _MODIFY, _DELETE = 14, 0, 2, 4


@dataclass
class FakeSwitches:
    """Takes real FlowMod bytes and applies them to the fabric, as a switch would."""

    fabric: Fabric
    gone: set[str] = field(default_factory=set)
    refuse_send: Callable[[int], bool] = lambda _number: False
    refuse_barrier: Callable[[int], bool] = lambda _number: False
    sends: int = 0
    barriers: int = 0

    def send(self, switch: str, messages: Iterable[bytes]) -> None:
        if switch in self.gone:
            raise SwitchGone(f"switch {switch} is not connected")
        for message in messages:
            self.sends += 1
            if not self.refuse_send(self.sends):
                self._apply(switch, message)

    def _apply(self, switch: str, message: bytes) -> None:
        parsed = parse_message(message)
        rule = openflow_replies.rule(switch, parsed)
        if parsed.command == _ADD:
            self.fabric.add([rule])
        elif parsed.command == _MODIFY:
            self.fabric.modify(rule)
        else:
            assert parsed.command == _DELETE
            self.fabric.delete([rule])

    def is_connected(self, switch: str) -> bool:
        return switch not in self.gone

    def barrier(self, switches: tuple[str, ...], *, timeout_s: float) -> None:
        assert timeout_s > 0
        self.barriers += 1
        if gone := self.gone.intersection(switches):
            raise SwitchGone(f"switch {min(gone)} left")
        if self.refuse_barrier(self.barriers):
            raise SwitchRefused("FLOW_MOD_FAILED TABLE_FULL (message 1)")


@dataclass
class FakeInstances:
    """Gives each instance a new port on its server's switch."""

    scenario: Scenario
    vnfs: dict[Attachment, str]
    dead_servers: set[str] = field(default_factory=set)
    running: dict[str, Attachment] = field(default_factory=dict)
    standby: set[str] = field(default_factory=set)
    copies: set[tuple[str, str]] = field(default_factory=set)  # (source, target)
    _next_port: int = 200

    def start(self, vnf_id: str, server_id: str, name: str, *, standby: bool = False) -> Attachment:
        if server_id in self.dead_servers:
            raise ContainerError(f"{name}: {server_id} does not start anything")
        self._next_port += 1
        attachment = Attachment(self.scenario.server(server_id).at, self._next_port)
        self.running[name], self.vnfs[attachment] = attachment, vnf_id
        if standby:
            self.standby.add(name)
        return attachment

    def copy_state(self, source: str, target: str) -> None:
        if source not in self.running or target not in self.running:
            raise ContainerError(f"{source} or {target} is not running")
        self.copies |= {(source, target), (target, source)}

    def take_over(self, owner: str, heir: str) -> None:
        if (owner, heir) not in self.copies:
            raise ContainerError(f"{heir} has no copy of the state of {owner}")
        self.standby.discard(heir)
        self.standby.add(owner)

    def stop(self, name: str) -> None:
        attachment = self.running.pop(name, None)
        if attachment is not None:
            del self.vnfs[attachment]


class FakeProbes:
    def hold(self, chain: str) -> None:
        """Nothing."""

    def release(self, now_s: float, chain: str) -> None:
        """Nothing."""

    def counts(self, chain: str) -> ProbeCounts:
        return ProbeCounts()


@dataclass
class FakeJournal:
    steps: list[tuple[str, int, str]] = field(default_factory=list)
    written: dict[str, Mapping[str, object]] = field(default_factory=dict)

    def put_migration(self, ident: str, at_s: float, key: str | None, body: Mapping[str, object]) -> None:
        self.written[ident] = body

    def add_step(self, migration: str, number: int, at_s: float, phase: str, body: Mapping[str, object]) -> None:
        self.steps.append((migration, number, phase))


class FakeSite:
    """A scenario's network with every chain set up, and packets to ask it with."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.now_s, self.down = scenario, 0.0, set[str]()
        self.places = {e.id: (e.at, 100 + i) for i, e in enumerate(scenario.endpoints)}
        self.adjacency = {
            ends: 1 + i for i, link in enumerate(scenario.links) for ends in ((link.a, link.b), (link.b, link.a))
        }
        vnfs: dict[Attachment, str] = {}
        self.fabric = Fabric(self.adjacency, vnfs)
        self.switches, self.instances = FakeSwitches(self.fabric), FakeInstances(scenario, vnfs)
        self.keeper, self.journal, self.router = ChainKeeper(scenario), FakeJournal(), Router(scenario)
        shell = Shell(lambda: self.now_s, self._sleep)
        self._numbers = iter(range(1, 10_000))
        around = Surroundings(
            self.network, lambda: self.places, lambda _chain: None, lambda _step, _took: None,
            lambda vnf: f"{vnf}-{next(self._numbers)}",
        )  # fmt: skip
        executor = Executor(self.switches, self.instances, shell)
        self.migrations = Migrations(scenario, self.keeper, executor, FakeProbes(), self.journal, shell, around)
        self._set_up()

    def _set_up(self) -> None:
        self.keeper.learn(self.adjacency)
        for switch in self.scenario.switches:
            self.fabric.add(base_rules(switch.id, self.keeper.link_ports(switch.id)))
        for vnf in self.scenario.vnfs:
            server = self.scenario.placement[vnf.id]
            self.migrations.start_instance(vnf.id, server, self.migrations.around.new_name(vnf.id))
        for chain in self.scenario.chains:
            self.migrations.adjust(chain)

    def network(self) -> Network:
        index, names = self.scenario.switch_index, [s.id for s in self.scenario.switches]
        up = [link.id not in self.down for link in self.scenario.links]
        routes = self.router.routes(up)  # type: ignore[arg-type]

        def route(a: str, b: str) -> SwitchPath:
            return tuple(names[i] for i in routes.path(index[a], index[b]))

        return Network(self.adjacency, route)

    def move(self, vnf: str, target: str) -> str:
        """Moves and returns the status it ended with."""
        record = self.migrations.request(vnf, target, reason="test", predicted=None)
        self.migrations.run(record)
        return record.status.value

    def delivered(self, chain_id: str) -> bool:
        """Does a packet of the chain visit all its VNFs in order and come out at its egress?"""
        chain = self.scenario.chain(chain_id)
        switch, port = self.places[chain.ingress]
        arrival: Arrival = self.fabric.deliver(forward_packet(chain.flow, Attachment(switch, port)))
        out = Attachment(*self.places[chain.egress])
        visited = tuple(vnf.id for vnf in chain.vnfs)
        return (arrival.kind, arrival.packet.at, arrival.packet.visited) == ("port", out, visited)

    def stray_rules(self) -> frozenset[object]:
        """Rules that nobody wants, and wanted rules that are not there."""
        wanted = frozenset(
            rule
            for switch in self.scenario.switches
            for rule in self.keeper.wanted_rules(switch.id, self.keeper.link_ports(switch.id))
        )
        return self.fabric.rules ^ wanted

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds
