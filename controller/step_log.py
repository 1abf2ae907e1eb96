"""Who is told of a plan's steps: the journal before and after each, the migration's record, the metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from controller.executor import Shell
from controller.plan_json import to_json
from controller.records import MigrationRecord, StepRecord
from controller.steps import Reversible, Step

log = logging.getLogger("vnftwin.steps")


class StepJournal(Protocol):
    """The part of `Journal` that writes steps."""

    def add_step(self, migration: str, number: int, at_s: float, phase: str, body: Mapping[str, object]) -> None: ...


@dataclass(slots=True)
class QuietSteps:
    """Steps of adjustments are not journalled one by one: level-triggered, they are simply done again.

    `turn` is called when the old way is about to be given up.
    """

    turn: Callable[[], None]

    def begin(self, number: int, step: Step, *, undoing: bool) -> None:
        if _turns(step, undoing):
            self.turn()

    def end(self, number: int, step: Step, *, took_s: float, undoing: bool) -> None:
        """Nothing."""


@dataclass(slots=True)
class RecordedSteps:
    """Writes each step to the journal before and after it, to the record, and to the metrics.

    `turn` is called when the old way is about to be given up.
    """

    record: MigrationRecord
    journal: StepJournal
    shell: Shell
    observe: Callable[[str, float], None]
    turn: Callable[[], None] = lambda: None

    def begin(self, number: int, step: Step, *, undoing: bool) -> None:
        if _turns(step, undoing):
            self.turn()
        body = {"undoing": undoing, "step": to_json(step)}
        self.journal.add_step(self.record.id, number, self.shell.clock(), "begin", body)
        self.record.steps.append(StepRecord(type(step).__name__, self.shell.clock(), undone=undoing))

    def end(self, number: int, step: Step, *, took_s: float, undoing: bool) -> None:
        self.journal.add_step(self.record.id, number, self.shell.clock(), "end", {"undoing": undoing})
        self.record.steps[-1].took_ms = 1000.0 * took_s
        name, said = type(step).__name__, {"number": number, "took_ms": round(1000.0 * took_s, 2), "undoing": undoing}
        log.info("step %s", f"{name}, undoing" if undoing else name, extra={"step": name, **said})
        self.observe(type(step).__name__, took_s)


def _turns(step: Step, undoing: bool) -> bool:
    return not undoing and not isinstance(step, Reversible)
