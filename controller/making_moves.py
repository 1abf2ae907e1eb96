"""One migration from its first step to its last, by its mode (docs/moves.md)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from controller.containers import ContainerError
from controller.executor import RolledBack, StuckForward
from controller.modes import NO_MODE
from controller.plan import MigrationPlan
from controller.plan_json import to_json
from controller.records import MigrationRecord
from controller.steering import SteeringError
from controller.steps import Halt, StartVnf
from twin.move_modes import MoveMode
from twin.scenario import ServiceChain

if TYPE_CHECKING:
    from controller.migrations import Migrations


def make_move(migrations: Migrations, record: MigrationRecord, chain: ServiceChain) -> None:
    """Carries a migration out.

    RolledBack, ContainerError or SteeringError where all is as it was, StuckForward where a person is needed.
    """
    keeper, around, mode = migrations.keeper, migrations.around, record.mode
    old = keeper.active[record.vnf]
    if not mode:
        raise ContainerError(f"{NO_MODE}: {migrations.modes.choose(record.vnf, record.target).reason}")
    standby, hollow = mode == MoveMode.HAND_OVER and around.can_hand_over(old), mode == MoveMode.CHECKPOINT
    start = StartVnf(record.vnf, record.target, around.new_name(record.vnf), standby, hollow)
    halt = Halt(record.vnf, record.source, old) if mode == MoveMode.COLD else None
    try:
        _carry_out(migrations, record, chain, halt, start)
    except (RolledBack, ContainerError, SteeringError):
        if halt is not None:
            take_up_again(migrations, halt)
        raise
    finally:
        if keeper.active.get(record.vnf) != old:
            keeper.forget_instance(old)


def _carry_out(
    migrations: Migrations, record: MigrationRecord, chain: ServiceChain, halt: Halt | None, start: StartVnf
) -> None:
    """All steps; the plan is made when the new instance has been started, since only then is its port known."""
    executor, steps = migrations.executor, migrations.steps_of(record)
    if halt is not None:
        executor.carry_out(MigrationPlan((halt,), None), steps)
    begun = MigrationPlan((start,) if halt is None else (halt, start), None)
    number = len(begun.steps) - 1
    steps.begin(number, start, undoing=False)
    began_s = migrations.shell.clock()
    try:
        attachment = migrations.start(start)
        steps.end(number, start, took_s=migrations.shell.clock() - began_s, undoing=False)
        network, places = migrations.around.network(), migrations.around.places()
        plan = migrations.keeper.plan_move(start, attachment, chain, network, places, halt)
    except (ContainerError, SteeringError):
        executor.take_back(begun, number + 1, steps)
        raise
    migrations.journal.put_plan(record.id, to_json(plan))
    steps.turn = partial(migrations.keeper.turn, chain.id, plan)
    stuck: StuckForward | None = None
    try:
        executor.carry_out(plan, steps, done=number + 1)
    except StuckForward as error:
        stuck = error  # new packets take the new way all the same: say so first, complain then
    migrations.keeper.carried_out(chain.id, plan)
    migrations.keeper.put_in_service(start.vnf, start.instance, start.target, attachment)
    if stuck is not None:
        raise stuck


def take_up_again(migrations: Migrations, halt: Halt) -> None:
    """The old instance was started anew, at another port it may be; where it was not, the VNF has none."""
    attachment = migrations.around.attachment(halt.instance)
    if attachment is None:
        migrations.keeper.withdraw(halt.vnf)
    else:
        migrations.keeper.put_in_service(halt.vnf, halt.instance, halt.server, attachment)
