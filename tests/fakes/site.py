"""A fake site for the acting half: switches that are a `Fabric`, instances that get a port, a clock that only sleeps.

It fails where a test says so: the n-th send is swallowed, the n-th rule added or modified is refused, a table is full,
the n-th barrier is refused or not answered, an instance does not start on a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from controller import openflow, openflow_replies
from controller.chain_keeper import ChainKeeper, Network
from controller.containers import ContainerError, Instance
from controller.executor import Executor, Shell
from controller.flow_rule import FlowRule
from controller.hosts import RunningVnf
from controller.journal import Journal
from controller.migrations import Migrations, Surroundings
from controller.modes import Modes
from controller.openflow_replies import SwitchError
from controller.probes import ProbeCounts
from controller.reconcile import Reconciler
from controller.recovery import Found, Recovery
from controller.rules import base_rules
from controller.ryu_compat import parse_message
from controller.steering import Attachment, SwitchPath
from controller.steps import Proof, Unconfirmed
from controller.switchboard import BarrierLate, Refusal, SwitchGone, SwitchRefused
from tests.fakes.fabric import Fabric, Packet, forward_packet, reply_packet, rewrites_of, shows
from twin.rewrites import positions
from twin.routing import Router
from twin.scenario import Scenario

TABLE_FULL = SwitchError(1, 5, 1)
_FLOW_MOD, _ADD, _MODIFY, _DELETE = 14, 0, 2, 4


def _never(_number: int) -> bool:
    return False


@dataclass
class FakeSwitches:
    """Takes real FlowMod bytes and applies them to the fabric, as a switch would.

    `limits`: (switch, table) -> how many rules it takes. Refusals are told at the switch's next barrier. `late_barrier`
    is asked with the number of the barrier and the switch.
    """

    fabric: Fabric
    gone: set[str] = field(default_factory=set)
    limits: dict[tuple[str, int], int] = field(default_factory=dict)
    swallow_send: Callable[[int], bool] = _never
    refuse_add: Callable[[int], bool] = _never
    refuse_modify: Callable[[int], bool] = _never
    refuse_barrier: Callable[[int], bool] = _never
    late_barrier: Callable[[int, str], bool] = lambda _number, _switch: False
    mute: set[str] = field(default_factory=set)  # do not even tell their rules
    sends: int = 0
    adds: int = 0
    modifies: int = 0
    barriers: int = 0
    lazy: bool = False  # messages wait in the controller until a barrier; those of a controller that dies are lost
    waiting: list[tuple[str, bytes]] = field(default_factory=list)
    _refused: list[Refusal] = field(default_factory=list)

    def send(self, switch: str, messages: Iterable[bytes]) -> None:
        if switch in self.gone:
            raise SwitchGone(f"switch {switch} is not connected")
        for message in messages:
            self.sends += 1
            if not self.swallow_send(self.sends):
                self.waiting.append((switch, message))
        if not self.lazy:
            self.flush()

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for switch, message in waiting:
            self._apply(switch, message)

    def _apply(self, switch: str, message: bytes) -> None:
        parsed = parse_message(message)
        rule = openflow_replies.rule(switch, parsed)
        if self._refuses(parsed.command, rule):
            self._refused.append(Refusal(switch, openflow.describe(message), TABLE_FULL))
        elif parsed.command == _ADD:
            self.fabric.add([rule])
        elif parsed.command == _MODIFY:
            self.fabric.modify(rule)
        else:
            assert parsed.command == _DELETE
            self.fabric.delete([rule])

    def _refuses(self, command: int, rule: FlowRule) -> bool:
        if command == _MODIFY:
            self.modifies += 1
            return self.refuse_modify(self.modifies)
        if command != _ADD:
            return False
        self.adds += 1
        table = self.fabric.tables.get((rule.switch, rule.table), {})
        full = rule.key not in table and len(table) >= self.limits.get((rule.switch, rule.table), 1 << 30)
        return full or self.refuse_add(self.adds)

    def is_connected(self, switch: str) -> bool:
        return switch not in self.gone

    def barrier(self, switches: tuple[str, ...], *, timeout_s: float) -> None:
        assert timeout_s > 0
        self.flush()
        self.barriers += 1
        refused = [refusal for refusal in self._refused if refusal.switch in switches]
        self._refused = [refusal for refusal in self._refused if refusal not in refused]
        if self.refuse_barrier(self.barriers):
            refused.append(Refusal(switches[0], "to add a rule", TABLE_FULL))
        if refused:
            raise SwitchRefused(refused)
        if late := [switch for switch in switches if self.late_barrier(self.barriers, switch)]:
            raise BarrierLate(late)
        if gone := self.gone.intersection(switches):
            raise SwitchGone(f"switch {min(gone)} left")

    def rules(self, switch: str, *, timeout_s: float) -> frozenset[FlowRule]:
        if switch in self.mute:
            raise BarrierLate((switch,), "for its rules")
        return frozenset(rule for rule in self.fabric.rules if rule.switch == switch)


@dataclass
class FakeInstances:
    """Gives each instance a new port on its server's switch."""

    scenario: Scenario
    vnfs: dict[Attachment, str]
    dead_servers: set[str] = field(default_factory=set)
    running: dict[str, Attachment] = field(default_factory=dict)
    standby: set[str] = field(default_factory=set)
    copies: set[tuple[str, str]] = field(default_factory=set)  # (source, target)
    hollow: set[str] = field(default_factory=set)  # places without a process
    dumped: set[str] = field(default_factory=set)
    cannot_dump: bool = False
    cannot_restore: bool = False
    _servers: dict[str, str] = field(default_factory=dict)
    _next_port: int = 200

    def start(
        self, vnf_id: str, server_id: str, name: str, *, standby: bool = False, hollow: bool = False
    ) -> Attachment:
        if hollow:
            self.hollow.add(name)
        if server_id in self.dead_servers:
            raise ContainerError(f"{name}: {server_id} does not start anything")
        self._next_port += 1
        attachment = Attachment(self.scenario.server(server_id).at, self._next_port)
        self.running[name], self.vnfs[attachment], self._servers[name] = attachment, vnf_id, server_id
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

    def checkpoint(self, name: str) -> None:
        if self.cannot_dump:
            raise ContainerError(f"{name}: cannot be dumped")
        self.hollow.add(name)
        self.dumped.add(name)

    def restore(self, source: str, target: str) -> None:
        if target not in self.hollow:
            return
        if source not in self.dumped or (source != target and self.cannot_restore):
            raise ContainerError(f"{source}: cannot be restored in {target}")
        assert {source, target} <= self.running.keys()
        assert not [n for n in self.running if n not in self.hollow and self.vnf_of(n) == self.vnf_of(source)]
        self.hollow.discard(target)

    def vnf_of(self, name: str) -> str:
        return self.vnfs[self.running[name]]

    def stop(self, name: str) -> None:
        self.hollow.discard(name)
        attachment = self.running.pop(name, None)
        self.standby.discard(name)
        if attachment is not None:
            del self.vnfs[attachment]

    def is_serving(self, name: str) -> bool:
        return name not in self.standby

    def found(self) -> dict[str, RunningVnf]:
        """What an engine would tell a restarted controller."""
        vnfs = {name: self.vnfs[port] for name, port in self.running.items()}
        return {
            name: RunningVnf(Instance(name, name, vnfs[name], self._servers[name], 1, True, {}), port)
            for name, port in self.running.items()
        }


@dataclass
class FakeProver:
    """Sends packets through the fabric; `lost` is asked with the number of the attempt. A blind one sees them all."""

    fabric: Fabric
    switches: FakeSwitches
    blind: bool = False
    lost: Callable[[int], bool] = _never
    attempts: int = 0

    def prove(self, proofs: tuple[Proof, ...]) -> None:
        self.attempts += 1
        self.switches.flush()  # the packets go out behind all that waits, and time passes until they are back
        shown = self.blind or all(shows(self.fabric, proof) for proof in proofs)
        if self.lost(self.attempts) or not shown:
            raise Unconfirmed("unconfirmed")


class FakeProbes:
    def hold(self, chain: str) -> None:
        """Nothing."""

    def release(self, now_s: float, chain: str) -> None:
        """Nothing."""

    def counts(self, chain: str) -> ProbeCounts:
        return ProbeCounts()

    def silence_ms(self, chain: str) -> float | None:
        return None


class Killed(BaseException):
    """The controller's process ends here: nothing catches it."""


class MortalJournal(Journal):
    """A real journal, in memory, that ends its controller after (or before) the n-th thing written about a move."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"))
        self.writes, self.die_after, self.die_before = 0, 0, 0

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self.writes += 1
        if self.writes == self.die_before:
            raise Killed
        super()._write(statement, rows)
        if self.writes == self.die_after:
            raise Killed


class FakeSite:
    """A scenario's network with every chain set up, and packets to ask it with."""

    def __init__(self, scenario: Scenario, *, stateful: bool = False) -> None:
        self.stateful = stateful
        self.hand_over_lack = self.checkpoint_lack = ""
        self.scenario, self.now_s, self.down = scenario, 0.0, set[str]()
        self.places = {e.id: (e.at, 100 + i) for i, e in enumerate(scenario.endpoints)}
        self.adjacency = {
            ends: 1 + i for i, link in enumerate(scenario.links) for ends in ((link.a, link.b), (link.b, link.a))
        }
        vnfs: dict[Attachment, str] = {}
        rewrites = {vnf: r for chain in scenario.chains for vnf, r in rewrites_of(chain).items()}
        self.fabric = Fabric(self.adjacency, vnfs, rewrites)
        self.switches, self.instances = FakeSwitches(self.fabric), FakeInstances(scenario, vnfs)
        self.journal, self.router = MortalJournal(), Router(scenario)
        self._numbers = iter(range(1, 10_000))
        self._begin()
        self._set_up()

    def _begin(self) -> None:
        """A controller that knows nothing yet."""
        self.keeper, self.reconciler = ChainKeeper(self.scenario, confirm=True), Reconciler()
        shell = Shell(lambda: self.now_s, self._sleep)
        around = Surroundings(
            self.network, lambda: self.places, lambda _chain: None, lambda _step, _took: None,
            lambda vnf: f"{vnf}-{next(self._numbers)}", lambda _instance: self.stateful,
            self.instances.running.get, lambda _chain: 100.0,
        )  # fmt: skip
        self.prover = FakeProver(self.fabric, self.switches)
        modes = Modes(
            self.scenario, self.keeper, lambda _name: self.hand_over_lack, lambda _a, _b: self.checkpoint_lack
        )
        executor = Executor(self.switches, self.instances, shell, self.prover)
        self.migrations = Migrations(
            self.scenario, self.keeper, executor, FakeProbes(), self.journal, shell, around, modes
        )

    def restart(self) -> None:
        """Another controller in the place of one that was killed, as `controller.start_up` begins."""
        self.journal.die_after = self.journal.die_before = 0
        self.switches.waiting.clear()
        self._begin()
        left_open = self.migrations.restore()
        found = Found(self.fabric.rules, self.adjacency, self.instances.found(), self.instances.is_serving)
        Recovery(self.scenario, self.keeper, self.migrations, self._endpoint_was_at).run(found, left_open)

    def start_missing(self) -> None:
        """Every VNF without an instance gets one where it is placed, as `controller.host_watch` does."""
        for vnf in (v.id for v in self.scenario.vnfs if v.id not in self.keeper.active):
            self.migrations.start_instance(vnf, self.keeper.server_of[vnf], self.migrations.around.new_name(vnf))

    def tidy(self) -> None:
        """What polls do after a while: rules and instances that nobody wants go, missing rules come."""
        self.fabric.delete(self.fabric.rules - self.wanted_rules())
        self.fabric.add(self.wanted_rules() - self.fabric.rules)
        for name in self.instances.running.keys() - set(self.keeper.active.values()):
            self.instances.stop(name)

    def _endpoint_was_at(self, endpoint: str, place: Attachment) -> None:
        self.places[endpoint] = (place.switch, place.port)

    def _set_up(self) -> None:
        self.keeper.learn(self.adjacency)
        for switch in self.scenario.switches:
            self.fabric.add(base_rules(switch.id, self.keeper.link_ports(switch.id)))
        self.start_missing()
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
        """Do a packet of the chain and its reply visit the VNFs that they should, in order, and come out?"""
        chain = self.scenario.chain(chain_id)
        here, there = (Attachment(*self.places[end]) for end in (chain.ingress, chain.egress))
        visited = tuple(vnf.id for vnf in chain.vnfs)
        return self._comes_out(forward_packet(chain.flow, here), there, visited) and self._comes_out(
            reply_packet(chain.flow, there, positions(chain)[-1] if chain.two_way else None),
            here,
            visited[::-1] if chain.two_way else (),
        )

    def _comes_out(self, packet: Packet, at: Attachment, visited: tuple[str, ...]) -> bool:
        arrival = self.fabric.deliver(packet)
        return (arrival.kind, arrival.packet.at, arrival.packet.visited) == ("port", at, visited)

    def reconcile(self, rounds: int = 2) -> None:
        """What the polls of some seconds do, when nothing is changing."""
        for _ in range(rounds):
            for switch in (s.id for s in self.scenario.switches):
                wanted = self.keeper.wanted_rules(switch, self.keeper.link_ports(switch))
                installed = self.switches.rules(switch, timeout_s=1.0)
                entries = self.keeper.entry_switches()
                found = self.reconciler.difference(switch, wanted, installed, unsettled=frozenset(), entries=entries)
                self.switches.send(switch, [openflow.delete_rule(rule) for rule in found.alien])
                self.switches.send(switch, [openflow.add_rule(rule) for rule in found.missing])

    def stray_rules(self) -> frozenset[FlowRule]:
        """Rules that nobody wants, and wanted rules that are not there."""
        return self.fabric.rules ^ self.wanted_rules()

    def wanted_rules(self) -> frozenset[FlowRule]:
        return frozenset(
            rule
            for switch in self.scenario.switches
            for rule in self.keeper.wanted_rules(switch.id, self.keeper.link_ports(switch.id))
        )

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds
