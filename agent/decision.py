"""What is decided: the decision, the verdict on it, and the one interface of everything that decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twin.forecast import Forecast
from twin.scenario import Scenario
from twin.state import BoolArray, NetworkState


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the cost model expects: traffic-weighted mean E2E delay and total power, now and after the move."""

    delay_now_ms: float
    delay_after_ms: float
    power_now_w: float
    power_after_w: float


@dataclass(frozen=True, slots=True)
class Stay:
    """The decision not to move, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Move:
    """The decision to move one VNF to another server, and why."""

    vnf: str
    target: str
    reason: str
    prediction: Prediction


MigrationDecision = Stay | Move


@dataclass(frozen=True, slots=True)
class Verdict:
    """Allowed, or the named reason why not (one of `twin.feasibility.Refusal`)."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, eq=False)
class View:
    """All that a policy may look at. `mask` [V, S]: True where moving VNF v to server s is feasible now."""

    scenario: Scenario
    state: NetworkState
    forecast: Forecast
    mask: BoolArray


class Policy(Protocol):
    """Anything that decides: the A2C agent and every baseline."""

    name: str

    def decide(self, view: View) -> MigrationDecision: ...
