"""Carries out plans, step by step: journalled before and after, undone before the swap, only forward after it.

The executor alone acts on switches and containers for the sake of a chain. It runs in a green thread of its own per
plan; clock and sleep are given to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from controller import openflow
from controller.flow_rule import FlowRule
from controller.outstanding import RuleChange, changes_confirmed_by, has_done
from controller.plan import MigrationPlan, undo
from controller.steering import Attachment
from controller.steps import (
    Barrier,
    Checkpoint,
    ConfirmPath,
    CopyState,
    DeleteRules,
    Drain,
    Halt,
    InstallEntries,
    InstallRules,
    Proof,
    Restore,
    StartVnf,
    Step,
    StopVnf,
    SwapEntry,
    TakeOver,
    Unconfirmed,
)
from controller.switchboard import BarrierLate, SwitchGone
from twin.errors import VnftwinError

log = logging.getLogger("vnftwin.executor")
BARRIER_TIMEOUT_S = 2.0
FORWARD_S = 15.0  # a switch that lost its controller tries again after up to 8 s
FORWARD_PAUSE_S = 0.5


class RolledBack(VnftwinError):
    """The plan failed before new packets were switched over; all of it was taken back."""


class StuckForward(VnftwinError):
    """The plan failed after the swap and could not be finished; a person is needed."""


class Switches(Protocol):
    """The part of `Switchboard` that acts."""

    def send(self, switch: str, messages: Iterable[bytes]) -> None: ...

    def is_connected(self, switch: str) -> bool: ...

    def barrier(self, switches: tuple[str, ...], *, timeout_s: float) -> None: ...

    def rules(self, switch: str, *, timeout_s: float) -> frozenset[FlowRule]: ...


class Instances(Protocol):
    """The part of `Hosts` that acts."""

    def start(
        self, vnf_id: str, server_id: str, name: str, *, standby: bool = False, hollow: bool = False
    ) -> Attachment: ...

    def stop(self, name: str) -> None: ...

    def copy_state(self, source: str, target: str) -> None:
        """Returns when nearly all state of `source` is at `target`; bounded, also where it never gets there."""
        ...

    def take_over(self, owner: str, heir: str) -> None:
        """Makes `heir` the serving one; no error where it is already."""
        ...

    def checkpoint(self, name: str) -> None:
        """Dumps the process of an instance and ends it; its place and its port stay."""
        ...

    def restore(self, source: str, target: str) -> None:
        """Brings the dumped process of `source` to life in the place of `target`; no error where it runs there."""
        ...


class Proves(Protocol):
    """The part of `Prover` that acts."""

    def prove(self, proofs: tuple[Proof, ...]) -> None:
        """Returns when every packet was seen. Unconfirmed after a while."""
        ...


class StepLog(Protocol):
    """Told of every step before and after it is done."""

    def begin(self, number: int, step: Step, *, undoing: bool) -> None: ...

    def end(self, number: int, step: Step, *, took_s: float, undoing: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Shell:
    """The outside of the executor: `clock` in monotonic seconds, `sleep` in seconds (of a green thread)."""

    clock: Callable[[], float]
    sleep: Callable[[float], object]


class Executor:
    """Performs the steps of plans."""

    def __init__(self, switches: Switches, instances: Instances, shell: Shell, prover: Proves | None = None) -> None:
        """Without a `prover` the switches' word is taken for it."""
        self._switches, self._instances, self._shell, self._prover = switches, instances, shell, prover

    def start_vnf(self, step: StartVnf) -> Attachment:
        """The one step that must be done before the rest of a migration's plan can be made."""
        return self._instances.start(step.vnf, step.target, step.instance, standby=step.standby, hollow=step.hollow)

    def carry_out(self, plan: MigrationPlan, steps: StepLog, *, done: int = 0) -> None:
        """Performs a plan of which the first `done` steps have been done.

        RolledBack when it failed while it could be undone (and was); StuckForward when it failed later for good.
        """
        for number, step in enumerate(plan.steps[done:], start=done):
            if number < plan.no_return:
                try:
                    self._logged(number, step, steps)
                except VnftwinError as error:
                    self.take_back(plan, number + 1, steps)
                    raise RolledBack(f"{_name(plan, number)}: {error}") from error
            else:
                self._forward(plan, number, steps)

    def take_back(self, plan: MigrationPlan, begun: int, steps: StepLog) -> None:
        """Undoes the first `begun` steps, as far as can be; what stays is alien, which reconciliation removes.

        PastNoReturn when too many had begun.
        """
        for number, step in enumerate(undo(plan, begun)):
            try:
                self._logged(number, step, steps, undoing=True)
            except VnftwinError as error:
                log.warning("undo of %s: %s", type(step).__name__, error)

    def _forward(self, plan: MigrationPlan, number: int, steps: StepLog) -> None:
        """Tries a step until it is done; what a switch has not confirmed is done again, not only asked again.

        StuckForward when it never is, so that nothing behind it is done. A switch that is gone is left to
        reconciliation, which makes it whole when it returns, except where packets may still take the old way by it.
        """
        step, changes = plan.steps[number], changes_confirmed_by(plan, number)
        swapping = any(isinstance(s, SwapEntry) for s in (step, *changes))
        deadline_s = self._shell.clock() + FORWARD_S
        for attempt in count(1):
            try:
                return self._logged(number, step, steps, confirming=changes, again=attempt > 1)
            except VnftwinError as error:
                if isinstance(error, SwitchGone) and not swapping:
                    log.warning("%s: %s; left to reconciliation", _name(plan, number), error)
                    return
                if self._shell.clock() >= deadline_s:
                    raise StuckForward(_stuck(plan, number, error)) from error
                log.warning("%s, attempt %d: %s", _name(plan, number), attempt, error)
                self._shell.sleep(FORWARD_PAUSE_S)

    def _logged(
        self, number: int, step: Step, steps: StepLog, *,
        undoing: bool = False, confirming: tuple[RuleChange, ...] = (), again: bool = False,
    ) -> None:  # fmt: skip
        steps.begin(number, step, undoing=undoing)
        began_s = self._shell.clock()
        for change in confirming if again else ():
            self.perform(change)
        try:
            self.perform(step)
        except BarrierLate as late:
            if not confirming:
                raise
            self._resync(late, confirming)
        except Unconfirmed as error:
            raise Unconfirmed(f"{error} ({self._claims(confirming)})") from error
        steps.end(number, step, took_s=self._shell.clock() - began_s, undoing=undoing)

    def _resync(self, late: BarrierLate, changes: tuple[RuleChange, ...]) -> None:
        """Asks switches that did not answer for their rules, instead of believing either way.

        The error again where they do not show all changes, or do not answer that either.
        """
        for switch in late.switches:
            rules = self._switches.rules(switch, timeout_s=BARRIER_TIMEOUT_S)
            if not has_done(switch, changes, rules):
                raise late
        log.warning("%s; the rules show that all was done", late)

    def _claims(self, changes: tuple[RuleChange, ...]) -> str:
        """What the switches themselves say of changes that no packet has shown."""
        switches = {change.new.switch for change in changes if isinstance(change, SwapEntry)}
        switches |= {r.switch for change in changes if not isinstance(change, SwapEntry) for r in change.rules}
        lacking = []
        for switch in sorted(switches):
            try:
                if not has_done(switch, changes, self._switches.rules(switch, timeout_s=BARRIER_TIMEOUT_S)):
                    lacking.append(switch)
            except (BarrierLate, SwitchGone):
                lacking.append(switch)
        return (
            f"switch {', '.join(lacking)} does not have its rules"
            if lacking
            else "the switches say they have the rules"
        )

    def perform(self, step: Step) -> None:
        """One step; done twice it has the same effect as done once."""
        match step:
            case InstallRules(rules) | InstallEntries(rules):
                self._send(openflow.add_rule, rules)
            case SwapEntry(_, new):
                self._send(openflow.modify_rule, (new,))
            case DeleteRules(rules):
                self._delete(rules)
            case Barrier(switches):
                self._switches.barrier(switches, timeout_s=BARRIER_TIMEOUT_S)
            case ConfirmPath(proofs, captures):
                if self._prover is not None:
                    self._send(openflow.add_rule, captures)
                    self._prover.prove(proofs)
            case Drain(wait_ms):
                self._shell.sleep(wait_ms / 1000.0)
            case StartVnf():
                self.start_vnf(step)
            case StopVnf(_, instance) | Halt(_, _, instance):
                self._instances.stop(instance)
            case Checkpoint(_, instance):
                self._instances.checkpoint(instance)
            case Restore(_, source, target):
                self._instances.restore(source, target)
            case CopyState(_, source, target):
                self._instances.copy_state(source, target)
            case TakeOver(_, owner, heir):
                self._instances.take_over(owner, heir)
            case _:
                raise TypeError(f"{type(step).__name__} is no step of a plan that is under way")

    def _send(self, build: Callable[[FlowRule], bytes], rules: tuple[FlowRule, ...]) -> None:
        for switch, messages in _by_switch(build, rules).items():
            self._switches.send(switch, messages)

    def _delete(self, rules: tuple[FlowRule, ...]) -> None:
        """Rules of a switch that is gone are gone for us, too: on its return all that is alien is removed."""
        for switch, messages in _by_switch(openflow.delete_rule, rules).items():
            if self._switches.is_connected(switch):
                self._switches.send(switch, messages)


def _name(plan: MigrationPlan, number: int) -> str:
    """A step for people; a barrier is told by the changes that it is to confirm."""
    own = type(plan.steps[number]).__name__
    changes = changes_confirmed_by(plan, number) if own == "Barrier" else ()
    names = dict.fromkeys(type(step).__name__ for step in changes)
    return f"step {number + 1} of {len(plan.steps)}, {' and '.join(names) or own}"


def _stuck(plan: MigrationPlan, number: int, error: VnftwinError) -> str:
    left = dict.fromkeys(type(step).__name__ for step in plan.steps[number + 1 :])
    kept = [step.instance for step in plan.steps[number + 1 :] if isinstance(step, StopVnf)]
    message = f"{_name(plan, number)}: {error}"
    if left:
        message += f"; not done: {', '.join(left)}"
    if kept:
        message += f"; instance {', '.join(kept)} runs on until the switches are seen to lead nothing to it"
    return message


def _by_switch(build: Callable[[FlowRule], bytes], rules: tuple[FlowRule, ...]) -> dict[str, list[bytes]]:
    messages: dict[str, list[bytes]] = {}
    for rule in rules:
        messages.setdefault(rule.switch, []).append(build(rule))
    return messages
