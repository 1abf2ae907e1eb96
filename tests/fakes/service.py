"""The real service and loop over a fake site: what a simulated world reads comes in, moves run when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.decision import Policy
from controller.descriptions import Descriptions
from controller.executor import Shell
from controller.hosts import Hosts
from controller.loop import Loop
from controller.metrics import ControllerMetrics
from controller.ports import OvsPorts
from controller.records import MigrationRecord, MigrationStatus, Mode
from controller.service import Service
from controller.telemetry import Telemetry
from controller.tick import Decider
from tests.fakes.site import FakeSite
from twin.feasibility import Limits
from twin.forecast import PersistenceForecaster
from twin.routing import Routes
from twin.scenario import Scenario
from twin.simulator import TwinWorld
from twin.telemetry import EXACT


class _NoThread:
    """Nobody waits for it."""

    def wait(self) -> None:
        """Nothing."""


class SiteService(Service):
    """Keeper, migrations and clock are the site's, readings those of a `TwinWorld` in which its moves happen too."""

    def __init__(self, scenario: Scenario, *, seed: int = 1) -> None:
        self.site, self.world = FakeSite(scenario), TwinWorld(scenario, seed=seed, noise=EXACT)
        self.begun: list[Callable[[], None]] = []
        self.lack = ""
        super().__init__(
            scenario, telemetry=Telemetry(scenario, bytes(16)), journal=self.site.journal, spawn=self._spawned,
            hosts=Hosts(scenario, {}, OvsPorts("test"), run_id="test", images={}, run_blocking=_at_once),
            shell=Shell(lambda: self.site.now_s, self.site._sleep), observe_step=lambda _step, _took: None,
        )  # fmt: skip
        self.keeper, self.migrations = self.site.keeper, self.site.migrations
        self.set_up_done = True
        self.read()

    def read(self) -> None:
        """One poll of the world as it is; its clock only has to follow the site's, not to be the same."""
        self.builder.add(self.world.observe(self.world.now_s))
        self.state = self.builder.build(self.world.now_s)
        self.accounts.take(self.state, self.routes())

    def next_period(self) -> None:
        """A control period goes by; what has moved has moved in the world too."""
        self._follow()
        self.builder.add(self.world.observe(self.world.now_s + self.scenario.period_s))
        self.site.now_s += self.scenario.period_s
        self.read()

    def end_move(self) -> None:
        """Carries out the move that has waited longest."""
        self.begun.pop(0)()

    def routes(self) -> Routes:
        return self.site.router.routes(self.world.link_up)

    def not_ready(self) -> str:
        return self.lack

    def _spawned(self, work: Callable[..., Any], *args: Any) -> _NoThread:
        self.begun.append(lambda: work(*args))
        return _NoThread()

    def _follow(self) -> None:
        """The world makes one move per period; the rest comes with the next ones."""
        for vnf, server in self.keeper.server_of.items():
            index = self.scenario.server_index[server]
            if self.world.hosts[self.scenario.vnf_index[vnf]] != index and self.world.server_up[index]:
                self.world.execute(vnf, server)
                return


def _at_once(work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


class Control:
    """A loop with its descriptions, as REST and metrics see it."""

    def __init__(self, scenario: Scenario, policy: Policy, *, mode: Mode = Mode.AUTO, seed: int = 1) -> None:
        self.service = SiteService(scenario, seed=seed)
        decider = Decider(scenario, policy, PersistenceForecaster(), limits=Limits(), clock=lambda: 0.0)
        self.loop = Loop(self.service, decider, self.service.journal, mode=mode, observe_decision=lambda _took: None)
        self.descriptions = Descriptions(self.service, self.loop, handler_errors=lambda: 0)
        self.descriptions.prometheus = ControllerMetrics(self.descriptions)

    @property
    def records(self) -> list[MigrationRecord]:
        return list(self.service.migrations.records.values())

    def statuses(self) -> list[MigrationStatus]:
        return [record.status for record in self.records]
