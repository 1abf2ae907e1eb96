"""The controller as it runs: switches, hosts, chains, telemetry and the loop, wired together in one event loop.

Green threads: one beats (sends measuring frames, polls), one keeps installed what is desired, one ticks (decides), and
one more runs per plan under way. Engine calls run in native threads. The Ryu application (controller.app) hands events
in; REST and metrics read from `controller.descriptions`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from controller import openflow
from controller.accounts import Accounts
from controller.barrier_times import BarrierTimes
from controller.chain_keeper import ChainKeeper, Network
from controller.discovery import DiscoveryEvent, EndpointMoved, LinkDown, LinkUp, SwitchJoined
from controller.effects import Effects
from controller.executor import Executor, Shell
from controller.host_watch import HostWatch, Spawn
from controller.hosts import Hosts
from controller.journal import Journal
from controller.migrations import Migrations, Surroundings
from controller.modes import Modes
from controller.move_costs import rate_pps
from controller.openflow_replies import FlowCounters, PacketIn, Port, PortChange, PortCounters, SwitchError
from controller.port_polls import PortPolls
from controller.prover import Prover
from controller.rule_mender import RuleMender
from controller.rules import base_rules
from controller.start_up import RuleBook, StartUp
from controller.switchboard import Send, Switchboard, SwitchGone
from controller.telemetry import Telemetry
from twin.errors import VnftwinError
from twin.routing import Router, Routes
from twin.samples import Sample
from twin.scenario import Scenario
from twin.state import FloatArray, NetworkState, StateBuilder

log = logging.getLogger("vnftwin")
POLL_S = 1.0
DELAYS_COUNT_AFTER_S = 10.0  # of a link being up; a minimum over fewer probes than that may read too long
RETRY_S = 2.0  # a chain that could not be steered is tried again after this


class Service:
    """One controller. Its methods are called from green threads of one event loop."""

    world_label = "live"  # what the readings are of

    def __init__(
        self, scenario: Scenario, *, telemetry: Telemetry, hosts: Hosts, journal: Journal, shell: Shell,
        spawn: Spawn, observe_step: Callable[[str, float], None], confirm: bool = True,
    ) -> None:  # fmt: skip
        self.scenario, self.telemetry, self.hosts, self.journal = scenario, telemetry, hosts, journal
        self.shell, self.spawn = shell, spawn
        self.switchboard = Switchboard()
        self.keeper, self.prover = ChainKeeper(scenario, confirm=confirm), Prover(self.switchboard, shell)
        self.builder, self.router, self.accounts = StateBuilder(scenario), Router(scenario), Accounts(scenario)
        around = Surroundings(
            self.network, self.places, self.chain_delay_ms, observe_step, hosts.new_name, hosts.can_hand_over,
            hosts.attachment, lambda chain: rate_pps(scenario, self.state, chain),
        )  # fmt: skip
        modes = Modes(scenario, self.keeper, hosts.hand_over_lack, hosts.checkpoint_lack)
        executor = Executor(self.switchboard, hosts, shell, self.prover)
        self.migrations = Migrations(scenario, self.keeper, executor, telemetry.probes, journal, shell, around, modes)
        self.effects, self.book = Effects(self.migrations.keep), RuleBook()
        self.mender = RuleMender(self.keeper, self.migrations, self.switchboard, shell.clock)
        self.state: NetworkState | None = None
        self.set_up_done, self.started_s = False, shell.clock()
        self._retry_at_s, self._up_since_s = dict[str, float](), dict[str, float]()
        self._told: dict[str, str] = {}
        self.barriers, self._port_polls = BarrierTimes(self.switchboard, shell, telemetry.discovery), PortPolls()
        self.watch = HostWatch(
            scenario, hosts, self.keeper, self.migrations, telemetry, shell, spawn, self._tell,
            lambda: (self.state, self.routes()), self.mender.chain_is_right,
        )  # fmt: skip
        hosts.on_ports_changed(telemetry.discovery.set_vnf_ports)

    # ---- what switches say (called by controller.app)

    def switch_joined(self, dpid: int, ports: Sequence[Port], send: Send) -> None:
        if switch := self.telemetry.discovery.switch_name(dpid):
            self.switchboard.connected(switch, send)
        self._happened(self.telemetry.switch_joined(self.shell.clock(), dpid, ports))

    def switch_left(self, dpid: int) -> None:
        self.switchboard.disconnected(self.telemetry.discovery.switch_name(dpid))
        self._happened(self.telemetry.switch_left(dpid))

    def port_changed(self, dpid: int, change: PortChange) -> None:
        self._happened(self.telemetry.port_changed(dpid, change))

    def packet_in(self, now_s: float, dpid: int, packet: PacketIn) -> None:
        switch = self.telemetry.discovery.switch_name(dpid)
        if switch and not self.prover.caught(switch, packet):
            self._happened(self.telemetry.packet_in(now_s, switch, packet))

    def echo_reply(self, now_s: float, dpid: int, content: bytes) -> None:
        switch = self.telemetry.discovery.switch_name(dpid)
        self.telemetry.delays.echo_in(now_s, switch, content)

    def port_stats(self, dpid: int, counters: Sequence[PortCounters]) -> None:
        """`counters` are those of a whole reply."""
        if switch := self.telemetry.discovery.switch_name(dpid):
            self.telemetry.port_stats(self.shell.clock(), switch, counters)

    def flow_stats(self, dpid: int, counters: Sequence[FlowCounters], *, xid: int = 0) -> None:
        """`counters` are those of a whole reply: what is not in it is not installed."""
        if switch := self.telemetry.discovery.switch_name(dpid):
            now_s = self.shell.clock()
            self.telemetry.flow_stats(now_s, switch, counters)
            self.book.take(now_s, switch, tuple(counter.rule for counter in counters))
            self.switchboard.rules_told(switch, xid, (counter.rule for counter in counters))
            if self.set_up_done:  # before, what is installed is what there is to learn from
                self.mender.mend(switch, (counter.rule for counter in counters))

    def barrier_reply(self, dpid: int, xid: int) -> None:
        self.switchboard.barrier_replied(self.telemetry.discovery.switch_name(dpid), xid)

    def error(self, dpid: int, error: SwitchError) -> None:
        switch = self.telemetry.discovery.switch_name(dpid)
        log.warning("%s", self.switchboard.error(switch or hex(dpid), error))

    # ---- what is known now

    def network(self) -> Network:
        routes = self.routes()
        index, names = self.scenario.switch_index, [s.id for s in self.scenario.switches]

        def route(a: str, b: str) -> tuple[str, ...]:
            return tuple(names[i] for i in routes.path(index[a], index[b]))

        return Network(self.adjacency(), route)

    def adjacency(self) -> Mapping[tuple[str, str], int]:
        return self.telemetry.discovery.adjacency()

    def missing_links(self) -> list[str]:
        return self.telemetry.discovery.missing_links()

    @property
    def energy_j(self) -> float:
        return self.watch.energy.total_j

    def places(self) -> Mapping[str, tuple[str, int]]:
        return {e.id: self.telemetry.discovery.endpoint_place(e.id) for e in self.scenario.endpoints}

    def chain_delay_ms(self, chain: str) -> float | None:
        value = 0.0 if self.state is None else float(self.state.chain_delay_ms[self.scenario.chain_index[chain]])
        return value or None

    def not_ready(self) -> str:
        """What is still waited for before packets can flow; '' when ready."""
        if missing := [s.id for s in self.scenario.switches if not self.switchboard.is_connected(s.id)]:
            return f"switches {', '.join(missing)}"
        if not self.set_up_done:
            return "VNF instances"
        unsteered = [c.id for c in self.scenario.chains if c.id not in self.keeper.installed]
        return f"chains {', '.join(unsteered)}" if unsteered else ""

    # ---- the green threads

    def set_up(self) -> None:
        """Takes over what an earlier controller left, and starts what is missing."""
        StartUp(
            self.scenario, self.telemetry.discovery, self.switchboard, self.hosts, self.migrations, self.watch,
            self.shell, self.book,
        ).run()  # fmt: skip
        self.effects.before_us = frozenset(self.migrations.records)
        self.set_up_done = True

    def beat(self) -> None:
        """Sends the measuring frames whose turn it is; every few milliseconds."""
        now_s = self.shell.clock()
        for outgoing in self.telemetry.due(now_s, self.keeper.entered):
            try:
                self.switchboard.send(outgoing.switch, (outgoing.build(self.shell.clock()),))
            except SwitchGone:
                continue  # it left between two lines of code; its links say so already
        self._happened(self.telemetry.expire(now_s))

    def poll(self) -> None:
        """Asks every switch for its counters and reads the hosts; once per `POLL_S`."""
        requests = [openflow.flow_stats_request()]
        if self._port_polls.due(moving=bool(self.migrations.busy)):
            requests.append(openflow.port_stats_request())
        for switch in self.telemetry.discovery.switches:
            self.switchboard.send(switch, requests)
        if self.set_up_done:
            self.watch.poll()
        now_s = self.shell.clock()
        self._take_state(now_s, self.telemetry.take_samples(now_s))

    def keep(self) -> None:
        """Makes installed follow desired, for every chain that is not changing already."""
        if not self.set_up_done:
            return
        self.keeper.learn(self.adjacency())
        now_s = self.shell.clock()
        for chain in self.scenario.chains:
            if chain.id not in self.migrations.busy and now_s >= self._retry_at_s.get(chain.id, 0.0):
                self._adjust(chain.id)

    def routes(self) -> Routes:
        """Lowest-delay routes over the links that are up now."""
        missing = set(self.missing_links())
        up = np.array([link.id not in missing for link in self.scenario.links], dtype=np.bool_)
        return self.router.routes(up, self._known_delays_ms())

    def _known_delays_ms(self) -> FloatArray:
        """Measured delays of the links that have been up long enough, the configured ones of the others."""
        if self.state is None:
            return self.router.configured_ms
        old_s = self.shell.clock() - DELAYS_COUNT_AFTER_S
        known = np.array([self._up_since_s.get(link.id, np.inf) < old_s for link in self.scenario.links])
        return np.where(known, self.state.link_delay_ms, self.router.configured_ms)

    def _adjust(self, chain_id: str) -> None:
        """Plans the chain's way to what it should be; the plan, if there is one, runs in a green thread of its own."""
        chain = self.scenario.chain(chain_id)
        try:
            desired = self.keeper.desired(chain, self.network(), self.places())
            if self.keeper.plan(chain, desired).steps:
                self.migrations.busy.add(chain_id)
                self.spawn(self._carry_out_adjustment, chain_id)
        except VnftwinError as error:
            self._put_off(chain_id, error)

    def _carry_out_adjustment(self, chain_id: str) -> None:
        try:
            if self.migrations.adjust(self.scenario.chain(chain_id)):
                self._tell(chain_id, f"chain {chain_id} is steered over {self._way(chain_id)}", level=logging.INFO)
        except VnftwinError as error:
            self._put_off(chain_id, error)
        finally:
            self.migrations.busy.discard(chain_id)

    def _put_off(self, chain_id: str, error: VnftwinError) -> None:
        self._retry_at_s[chain_id] = self.shell.clock() + RETRY_S
        self._tell(chain_id, f"chain {chain_id} cannot be steered now: {error}")

    def _way(self, chain_id: str) -> str:
        segments = self.keeper.installed[chain_id].segments
        return " | ".join("-".join(segment.path) for segment in segments)

    def _take_state(self, now_s: float, samples: Sequence[Sample]) -> None:
        self.builder.add(samples)
        self.journal.add_samples(samples)
        self.state = self.builder.build(now_s)
        if self.set_up_done:
            self.effects.take(self.accounts.take(self.state, self.routes()), self.migrations.records.values())

    def _happened(self, events: Iterable[DiscoveryEvent]) -> None:
        for event in events:
            if isinstance(event, SwitchJoined):
                if self.set_up_done:  # before, it is not back but there for the first time
                    self.mender.is_back(event.switch)
                self._install_base(event.switch)
                self.switchboard.send(event.switch, (openflow.flow_stats_request(),))  # what has it kept?
            elif isinstance(event, LinkUp):
                self._up_since_s[event.link] = self.shell.clock()
                self._learn_link(event.link)
            if isinstance(event, LinkDown | EndpointMoved | LinkUp):
                self._retry_at_s.clear()
            log.log(logging.INFO if self.set_up_done else logging.DEBUG, "%s", event)

    def _learn_link(self, link_id: str) -> None:
        """The ports of a link are known from now on: tagged packets are taken from them."""
        self.keeper.learn(self.telemetry.discovery.adjacency())
        link = self.scenario.links[self.scenario.link_index[link_id]]
        for switch in (link.a, link.b):
            self._install_base(switch)

    def _install_base(self, switch: str) -> None:
        if self.switchboard.is_connected(switch):
            rules = base_rules(switch, self.keeper.link_ports(switch))
            self.switchboard.send(switch, [openflow.add_rule(rule) for rule in rules])

    def _tell(self, subject: str, message: str, *, level: int = logging.WARNING) -> None:
        """One line per change, not one per second."""
        if self._told.get(subject) != message:
            self._told[subject] = message
            log.log(level, "%s", message)
