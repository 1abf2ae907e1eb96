"""Migrations that a controller left open when it ended (docs/transactions.md, "After a crash")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controller.journal import JournalledStep
from controller.plan import MigrationPlan
from controller.plan_json import from_json, plan_from_json
from controller.records import MigrationRecord
from controller.steps import StartVnf


class OpenJournal(Protocol):
    """The part of `Journal` that tells what was begun."""

    def plan(self, migration: str) -> object: ...

    def steps(self, migration: str) -> list[JournalledStep]: ...


@dataclass(frozen=True, slots=True)
class OpenMove:
    """One open migration. `start` is None when not even its first step had begun, `plan` when it was not made yet.

    `begun` counts the steps of the plan that had begun, `undoing` tells that it was being taken back already.
    """

    record: MigrationRecord
    start: StartVnf | None
    plan: MigrationPlan | None
    begun: int
    undoing: bool

    @property
    def goes_forward(self) -> bool:
        """Whether new packets may take the new way already, so that the rest of the plan has to be done."""
        return self.plan is not None and not self.undoing and self.begun > self.plan.no_return


def read_open_move(journal: OpenJournal, record: MigrationRecord) -> OpenMove:
    """What the journal tells of a migration that has not ended."""
    begins = [step for step in journal.steps(record.id) if step.phase == "begin"]
    forward = [step for step in begins if not step.body["undoing"]]
    starts = [s for s in (from_json(step.body["step"]) for step in forward) if isinstance(s, StartVnf)]
    plan = journal.plan(record.id)
    return OpenMove(
        record=record,
        start=starts[0] if starts else None,
        plan=None if plan is None else plan_from_json(plan),
        begun=1 + max((step.number for step in forward), default=-1),
        undoing=len(forward) < len(begins),
    )
