"""What the controller keeps of decisions and migrations, and the requests it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from statistics import median
from typing import Any

from agent.decision import Prediction
from controller.move_costs import MoveEstimate
from twin.errors import InputError, VnftwinError

Json = Mapping[str, object]


class Mode(StrEnum):
    """Who decides: the policy, a person whom the policy advises, or a person alone."""

    AUTO = "auto"
    ADVISE = "advise"
    MANUAL = "manual"


class MigrationStatus(StrEnum):
    """`done`, `rolled_back` and `failed` are final; `failed` needs a person and says what."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


FINAL = frozenset({MigrationStatus.DONE, MigrationStatus.ROLLED_BACK, MigrationStatus.FAILED})


class UnknownName(InputError):
    """A VNF, server, chain or migration that the scenario does not have."""


class Refused(VnftwinError):
    """A migration that is not allowed now; `reason` is the verdict's name for it, `detail` what there is to say."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason} ({detail})" if detail else reason)


@dataclass(slots=True)
class StepRecord:
    """One step of a migration and how long it took, in milliseconds."""

    name: str
    started_s: float
    took_ms: float = 0.0
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What came of a move: the network's mean delay and power before and after it (`controller.effects`).

    Delay is measured, power modelled, as in `Prediction`; None where nothing was read, or not yet.
    """

    delay_before_ms: float | None = None
    delay_after_ms: float | None = None
    power_before_w: float | None = None
    power_after_w: float | None = None


@dataclass(slots=True)
class MigrationRecord:
    """One migration from request to its end; the predicted and the observed effect stand side by side.

    `observed_delay_...` are its chain's own, `observed` is of the whole network, as `predicted` is.
    """

    id: str
    vnf: str
    source: str
    target: str
    reason: str
    requested_s: float
    status: MigrationStatus = MigrationStatus.PENDING
    error: str = ""
    key: str | None = None
    steps: list[StepRecord] = field(default_factory=list)
    predicted: Prediction | None = None
    observed: Observed | None = None
    observed_delay_before_ms: float | None = None
    observed_delay_after_ms: float | None = None
    probes_lost: int = 0
    mode: str = ""  # how it is moved (`twin.move_modes`), or `replacement`
    may_lose: str = ""  # what a move in this mode may lose, '' for nothing
    state_mb: float = 0.0
    expected: MoveEstimate | None = None
    silence_ms: float | None = None  # measured by probes
    recovered: bool = False  # a restarted controller brought it to its end
    decision: str = ""  # what its log lines are found by: the policy's decision, or its own id where that made none
    ended_s: float | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def took_ms(self) -> float:
        return 0.0 if self.ended_s is None else 1000.0 * (self.ended_s - self.requested_s)

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "status": self.status.value, "took_ms": round(self.took_ms, 3)}

    @staticmethod
    def from_json(body: Json) -> MigrationRecord:
        """What `as_json` was made from; keys that this version does not know are left out."""
        known = {f.name for f in fields(MigrationRecord)}
        values: dict[str, Any] = {key: value for key, value in body.items() if key in known}
        values["status"] = MigrationStatus(values["status"])
        values["steps"] = [StepRecord(**step) for step in values["steps"]]
        expected = values.get("expected")
        values["expected"] = MoveEstimate(**expected) if expected else None
        values["predicted"] = Prediction(**values["predicted"]) if values["predicted"] else None
        values["observed"] = Observed(**values["observed"]) if values.get("observed") else None
        return MigrationRecord(**values)


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One tick of the loop: what was decided, why, and what it cost to decide (milliseconds).

    Ids go on where an earlier controller with the same journal ended; in the log the id 7 is `d7`.
    """

    id: int
    at_s: float
    run_s: float
    decision: str
    reason: str
    policy: str
    took_ms: float
    vnf: str = ""
    target: str = ""
    allowed: bool = True
    prediction: Prediction | None = None
    migration: str = ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def medians_by_mode(records: Iterable[MigrationRecord]) -> dict[str, dict[str, float | None]]:
    """The moves that were done, by mode: how many, and the medians of what they took and how long was silence."""
    done = [r for r in records if r.status is MigrationStatus.DONE and r.mode]
    result: dict[str, dict[str, float | None]] = {}
    for mode in dict.fromkeys(record.mode for record in done):
        moves = [record for record in done if record.mode == mode]
        silent = [record.silence_ms for record in moves if record.silence_ms is not None]
        took_ms = median(record.took_ms for record in moves)
        result[mode] = {"moves": len(moves), "took_ms": took_ms, "silence_ms": median(silent) if silent else None}
    return result
