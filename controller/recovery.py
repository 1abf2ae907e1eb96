"""After a restart: what is there is taken over, what was left open is finished or undone (docs/transactions.md).

Three witnesses are asked. The *switches* say which way packets take (cookies and tags); that counts most, since it is
what happens. The *engines* say which instances live (labels). The *journal* says which steps a move had begun. A first
start is the same with nothing found. Source: ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from controller.chain_keeper import ChainKeeper
from controller.executor import StuckForward
from controller.flow_rule import FlowRule
from controller.hosts import RunningVnf
from controller.making_moves import take_up_again
from controller.migrations import Migrations
from controller.open_moves import OpenMove
from controller.plan import MigrationPlan
from controller.readback import installed_steerings
from controller.records import MigrationStatus
from controller.steering import Adjacency, Attachment, ChainSteering
from controller.steps import Halt, StartVnf, SwapEntry
from twin.rewrites import addresses
from twin.scenario import Scenario, ServiceChain

log = logging.getLogger("vnftwin.recovery")


@dataclass(frozen=True, slots=True)
class Found:
    """What is there: our rules on all switches, the ports between switches, and the live instances by name.

    `is_serving` asks an instance whether it forwards (a standby does not).
    """

    rules: Collection[FlowRule]
    adjacency: Adjacency
    instances: Mapping[str, RunningVnf]
    is_serving: Callable[[str], bool]


@dataclass(slots=True)
class Recovery:
    """Gives keeper and migrations the memory that an earlier controller had."""

    scenario: Scenario
    keeper: ChainKeeper
    migrations: Migrations
    endpoint_at: Callable[[str, Attachment], None]  # told where the rules say an endpoint is

    def run(self, found: Found, open_moves: Collection[OpenMove]) -> None:
        """Takes over what `found` holds, then settles the open moves, one after the other."""
        self.keeper.learn(found.adjacency)
        steerings = installed_steerings(found.rules, found.adjacency)
        by_port = {running.attachment: name for name, running in found.instances.items()}
        for chain in self.scenario.chains:
            if (steering := steerings.get(chain.number)) is not None and _fits(steering, chain):
                self._take_in(chain, steering, found, by_port)
        begun = {move.start.instance for move in open_moves if move.start is not None}
        self._take_in_unsteered(found, begun)
        for move in open_moves:
            self._settle(move, found)

    def _take_in(
        self, chain: ServiceChain, steering: ChainSteering, found: Found, by_port: Mapping[Attachment, str]
    ) -> None:
        """The chain is steered: its VNFs' instances are those at whose ports it stops."""
        self.keeper.installed[chain.id] = steering
        self.endpoint_at(chain.ingress, steering.stops[0])
        self.endpoint_at(chain.egress, steering.stops[-1])
        for vnf, port in zip(chain.vnfs, steering.vnfs, strict=True):
            if (name := by_port.get(port)) is not None and found.instances[name].instance.vnf == vnf.id:
                self._put_in_service(name, found)

    def _take_in_unsteered(self, found: Found, begun: Collection[str]) -> None:
        """A VNF that no rules lead to gets an instance that lives and serves, if there is one: the newest."""
        for name in sorted(found.instances, key=lambda name: (len(name), name), reverse=True):
            vnf = found.instances[name].instance.vnf
            if vnf not in self.keeper.active and name not in begun and found.is_serving(name):
                self._put_in_service(name, found)

    def _put_in_service(self, name: str, found: Found) -> None:
        running = found.instances[name]
        self.keeper.put_in_service(running.instance.vnf, name, running.instance.server, running.attachment)

    def _settle(self, move: OpenMove, found: Found) -> None:
        """Before the swap a move is undone, after it it is finished. The switches know best whether it was swapped."""
        with self.migrations.told_of(move.record):
            self._bring_to_end(move, found)

    def _bring_to_end(self, move: OpenMove, found: Found) -> None:
        plan = move.plan
        forward = plan is not None and (move.goes_forward or _is_swapped(plan, found.rules))
        log.warning(
            "migration %s of %s to %s was left open after %d steps: it is %s",
            move.record.id, move.record.vnf, move.record.target, move.begun, "finished" if forward else "undone",
        )  # fmt: skip
        with self.migrations.changing(self.migrations.chain_of(move.record.vnf).id):
            if move.start is None:
                status, error = MigrationStatus.ROLLED_BACK, "the controller ended before it had begun"
            elif forward and plan is not None:
                status, error = self._finish(move, move.start, plan, found)
            else:
                status, error = self._undo(move, plan or MigrationPlan((move.start,), None))
        move.record.recovered = True
        self.migrations.ended(move.record, status, error)

    def _finish(
        self, move: OpenMove, start: StartVnf, plan: MigrationPlan, found: Found
    ) -> tuple[MigrationStatus, str]:
        chain = self.migrations.chain_of(start.vnf)
        if start.instance not in found.instances or plan.after is None:
            return MigrationStatus.FAILED, f"{start.instance} was gone when the controller came back"
        try:
            # All of it again from the swap on: what was sent and not confirmed by a barrier may never have left us.
            steps = self.migrations.steps_of(move.record)
            self.migrations.executor.carry_out(plan, steps, done=plan.no_return)
        except StuckForward as stuck:
            status, error = MigrationStatus.FAILED, str(stuck)
        else:
            status, error = MigrationStatus.DONE, ""
        self.keeper.carried_out(chain.id, plan)
        for name, running in found.instances.items():
            if running.attachment in plan.after.vnfs:
                self._put_in_service(name, found)
        return status, error

    def _undo(self, move: OpenMove, plan: MigrationPlan) -> tuple[MigrationStatus, str]:
        begun = min(move.begun, plan.no_return)
        self.migrations.executor.take_back(plan, begun, self.migrations.steps_of(move.record))
        for step in plan.steps[:begun]:
            if isinstance(step, Halt):
                take_up_again(self.migrations, step)
        return MigrationStatus.ROLLED_BACK, f"the controller ended after {move.begun} steps, before the swap"


def _fits(steering: ChainSteering, chain: ServiceChain) -> bool:
    """Whether what is installed is the chain as the scenario has it now, there and back."""
    return len(steering.vnfs) == len(chain.vnfs) and steering.replies == addresses(chain)


def _is_swapped(plan: MigrationPlan, rules: Collection[FlowRule]) -> bool:
    """Whether a switch has an entry rule as the plan makes it: then new packets take the new way already."""
    return any(isinstance(step, SwapEntry) and step.new in rules for step in plan.steps)
