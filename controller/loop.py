"""The deciding half of the controller: one tick per control period, and what persons ask for in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent.decision import MigrationDecision, Move, Prediction
from controller.journal import Journal
from controller.records import DecisionRecord, MigrationRecord, Mode, Refused, UnknownName
from controller.service import Service
from controller.tick import Decider, Tick, predict
from twin.state import NetworkState

DECISIONS_KEPT = 1000


class Loop:
    """Decides on the service's state and begins what was decided."""

    def __init__(
        self, service: Service, decider: Decider, journal: Journal, *,
        mode: Mode, observe_decision: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.service, self.decider, self.mode = service, decider, mode
        self.decisions: deque[DecisionRecord] = deque(maxlen=DECISIONS_KEPT)
        self.times_s: deque[float] = deque(maxlen=DECISIONS_KEPT)
        self.refusals: dict[str, int] = {}
        self._journal, self._observe = journal, observe_decision
        self._made = 0

    def tick(self) -> None:
        """One decision; a move that is allowed begins in a green thread of its own."""
        service, state = self.service, self.service.state
        if state is None or service.not_ready() or self.mode is Mode.MANUAL:
            return
        migrations = service.migrations
        tick = self.decider.tick(
            state, service.routes(), moved_at_s=migrations.moved_at_s, in_flight=frozenset(migrations.busy)
        )
        self.times_s.append(tick.took_s)
        self._observe(tick.took_s)
        record = self._record(tick, state, self._act(tick))
        self.decisions.append(record)
        self._journal.add_decision(state, record.as_json())

    def request(self, vnf: str, target: str, key: str | None) -> MigrationRecord:
        """A move asked for by a person. UnknownName, or Refused with the verdict's reason."""
        known = next((r for r in self.service.migrations.records.values() if key is not None and r.key == key), None)
        if known is not None:
            return known
        prediction = self.predict(vnf, target)
        if refusal := self.verdict(vnf, target):
            self._count(refusal)
            raise Refused(refusal)
        return self._begin(vnf, target, "asked for", prediction, key)

    def verdict(self, vnf: str, target: str) -> str:
        """Why a person may not move this VNF there now ('' when it may). A person is not held to the cool-down."""
        service = self.service
        if service.state is None or service.not_ready():
            return "not_ready"
        in_flight = frozenset({service.scenario.vnf(vnf).chain} & service.migrations.busy)
        return self.decider.verdict(vnf, target, service.state, service.routes(), {}, in_flight)

    def predict(self, vnf: str, target: str) -> Prediction:
        """What the cost model expects of a move now. UnknownName; Refused before there is a state."""
        service = self.service
        if vnf not in service.scenario.vnf_index:
            raise UnknownName(f"unknown VNF {vnf}")
        if target not in service.scenario.server_index:
            raise UnknownName(f"unknown server {target}")
        if service.state is None:
            raise Refused("not_ready")
        return predict(service.scenario, service.state, service.routes(), vnf, target)

    def _act(self, tick: Tick) -> str:
        """Begins an allowed move; the id of its migration, '' where there is none."""
        decision = tick.decision
        if not isinstance(decision, Move):
            return ""
        if tick.refusal:
            self._count(tick.refusal)
            return ""
        if self.mode is not Mode.AUTO:
            return ""
        return self._begin(decision.vnf, decision.target, decision.reason, decision.prediction).id

    def _begin(
        self, vnf: str, target: str, reason: str, predicted: Prediction, key: str | None = None
    ) -> MigrationRecord:
        migrations = self.service.migrations
        record = migrations.request(vnf, target, reason=reason, predicted=predicted, key=key)
        self.service.spawn(migrations.run, record)
        return record

    def _record(self, tick: Tick, state: NetworkState, migration: str) -> DecisionRecord:
        self._made += 1
        decision: MigrationDecision = tick.decision
        move = decision if isinstance(decision, Move) else None
        return DecisionRecord(
            id=self._made,
            at_s=state.at_s,
            run_s=state.at_s - self.service.started_s,
            decision="move" if move else "stay",
            reason=tick.refusal or decision.reason,
            policy=self.decider.policy.name,
            took_ms=1000.0 * tick.took_s,
            vnf=move.vnf if move else "",
            target=move.target if move else "",
            allowed=not tick.refusal,
            prediction=move.prediction if move else None,
            migration=migration,
        )

    def _count(self, refusal: str) -> None:
        self.refusals[refusal] = self.refusals.get(refusal, 0) + 1
