"""From connected switches to a network in service: wait for what is there, take it over, start what is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from controller import openflow
from controller.discovery import Discovery
from controller.executor import Shell
from controller.flow_rule import FlowRule
from controller.host_watch import HostWatch
from controller.hosts import Hosts
from controller.migrations import Migrations
from controller.readback import installed_steerings, unread_chains
from controller.recovery import Found, Recovery
from controller.steering import Attachment
from controller.switchboard import Switchboard, SwitchGone
from twin.scenario import Scenario

log = logging.getLogger("vnftwin.start_up")
SWITCHES_S = 20.0  # then the others are served; a switch's own pause between two attempts is up to 8 s
DISCOVERY_S = 5.0  # links not found by then are taken to be down
RULES_S = 3.0
CHAINS_S = 2.0  # a chain that was cut off in its set-up will never lead to its end
_PAUSE_S = 0.05


@dataclass(slots=True)
class RuleBook:
    """The newest complete list of rules of every switch, and when it came."""

    read: dict[str, tuple[float, tuple[FlowRule, ...]]] = field(default_factory=dict)

    def take(self, now_s: float, switch: str, rules: tuple[FlowRule, ...]) -> None:
        self.read[switch] = (now_s, rules)

    def newer(self, switch: str, than_s: float) -> bool:
        return switch in self.read and self.read[switch][0] > than_s

    def all_rules(self) -> frozenset[FlowRule]:
        return frozenset(rule for _, rules in self.read.values() for rule in rules)


@dataclass(slots=True)
class StartUp:
    """Runs once, in a green thread, before the first decision."""

    scenario: Scenario
    discovery: Discovery
    switchboard: Switchboard
    hosts: Hosts
    migrations: Migrations
    watch: HostWatch
    shell: Shell
    book: RuleBook

    def run(self) -> None:
        """Returns when every VNF that can be has an instance. Switches that do not come are left for later."""
        switches = [switch.id for switch in self.scenario.switches]
        self._wait(SWITCHES_S, lambda: all(map(self.switchboard.is_connected, switches)))
        self._wait(DISCOVERY_S, lambda: not self.discovery.missing_links())
        self._read_chains([switch for switch in switches if self.switchboard.is_connected(switch)])
        recovery = Recovery(self.scenario, self.migrations.keeper, self.migrations, self._endpoint_was_at)
        left_open = self.migrations.restore()
        instances = self.hosts.adopt()
        if instances or left_open:
            log.warning("an earlier controller left %d instances, %d open migrations", len(instances), len(left_open))
        found = Found(self.book.all_rules(), self.migrations.keeper.ports, instances, self.hosts.is_serving)
        recovery.run(found, left_open)
        for thread in self.watch.start_missing():
            thread.wait()

    def _read_chains(self, switches: list[str]) -> None:
        """Reads all rules; once more and again while a chain that is let in cannot be followed to its end."""
        deadline_s = self.shell.clock() + CHAINS_S
        while True:
            self._read_rules(switches)
            self.migrations.keeper.learn(self.discovery.adjacency())
            rules = self.book.all_rules()
            unread = unread_chains(rules, installed_steerings(rules, self.migrations.keeper.ports))
            if not unread or self.shell.clock() > deadline_s:
                break
            self.shell.sleep(_PAUSE_S)
        for number in unread:
            log.warning("what an earlier controller installed for chain %d leads nowhere: it is steered anew", number)

    def _read_rules(self, switches: list[str]) -> None:
        asked_s = self.shell.clock()
        for switch in switches:
            try:
                self.switchboard.send(switch, (openflow.flow_stats_request(),))
            except SwitchGone:
                continue
        self._wait(RULES_S, lambda: all(self.book.newer(switch, asked_s) for switch in switches))

    def _endpoint_was_at(self, endpoint: str, place: Attachment) -> None:
        self.discovery.endpoint_was_at(endpoint, place.switch, place.port)

    def _wait(self, at_most_s: float, condition: Callable[[], bool]) -> None:
        deadline_s = self.shell.clock() + at_most_s
        while not condition() and self.shell.clock() < deadline_s:
            self.shell.sleep(_PAUSE_S)
