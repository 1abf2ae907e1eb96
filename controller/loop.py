"""The deciding half of the controller: one tick per control period, and what persons ask for in between."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict

from agent.decision import MigrationDecision, Move, Prediction
from controller.journal import Journal
from controller.logs import about
from controller.modes import NO_MODE
from controller.proposals import Proposal, Proposals
from controller.records import DecisionRecord, MigrationRecord, Mode, Refused, UnknownName
from controller.refusals import KEY_REUSED, NOT_READY
from controller.service import Service
from controller.thrift import Past, Restraint
from controller.tick import Decider, Tick, predict
from controller.twin_watch import TwinWatch
from controller.would_have import WouldHave
from twin.state import NetworkState, placed

log = logging.getLogger("vnftwin.loop")
DECISIONS_KEPT = 1000
OUTCOMES = ("stay", "move", "refused", "proposed")  # what can come of a decision


class Loop:
    """Decides on the service's state and begins what was decided."""

    def __init__(
        self, service: Service, decider: Decider, journal: Journal, *,
        mode: Mode, observe_decision: Callable[[float], None], would_have: WouldHave | None = None,
        twin: TwinWatch | None = None,
    ) -> None:  # fmt: skip
        """`would_have` is the dry run that goes along while a person is advised; its decider is one of its own.

        `twin` is the decider's forecaster where it is to be judged and can be exchanged.
        """
        self.service, self.decider, self.mode = service, decider, mode
        self.proposals, self.would_have, self.twin = Proposals(), would_have, twin
        self.decisions: deque[DecisionRecord] = deque(maxlen=DECISIONS_KEPT)
        self.times_s: deque[float] = deque(maxlen=DECISIONS_KEPT)
        self.refusals: dict[str, int] = {}
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self._journal, self._observe = journal, observe_decision
        self._made = journal.decisions_before
        self._told = ""

    def tick(self) -> None:
        """One decision; a move that is allowed begins in a green thread of its own."""
        service, state = self.service, self.service.state
        if state is None or service.not_ready() or self.mode is Mode.MANUAL:
            return
        past, in_flight = self._past(), frozenset(service.migrations.busy)
        seen = self._expected(state, past.under_way)
        fixed = service.migrations.modes.fixed()
        if self.mode is Mode.ADVISE:
            self._go_along(state, fixed)
            fixed |= self.proposals.dismissed(service.shell.clock())
        tick = self.decider.tick(seen, service.routes(), past=past, in_flight=in_flight, fixed=fixed)
        self.times_s.append(tick.took_s)
        self._observe(tick.took_s)
        self._made += 1
        with about(decision=f"d{self._made}"):
            self._tell(tick)
            record = self._record(tick, state, self._act(tick))
        self.decisions.append(record)
        self.outcomes[_outcome(record)] += 1
        self._journal.add_decision(state, record.as_json())
        if self.twin is not None:
            self.twin.judge()

    def set_mode(self, mode: Mode) -> None:
        """Who decides from now on; nobody is left waiting for a proposal of another mode."""
        if mode is not self.mode:
            log.info("mode %s", mode.value)
            self.mode = mode
            self.proposals.withdraw(self.service.shell.clock())
            if self.would_have is not None:
                self.would_have.end()

    def accept(self, ident: str) -> MigrationRecord:
        """Begins the move of an open proposal. UnknownName; Refused where it is not open or not allowed any more."""
        proposal = self.proposals.still_open(ident)
        record = self.request(proposal.vnf, proposal.target, None)
        self.proposals.accept(ident, record.id, now_s=self.service.shell.clock())
        return record

    def dismiss(self, ident: str) -> Proposal:
        """Takes an open proposal from the table for a while. UnknownName; Refused where it is not open."""
        return self.proposals.dismiss(ident, now_s=self.service.shell.clock())

    def request(self, vnf: str, target: str, key: str | None) -> MigrationRecord:
        """A move asked for by a person. UnknownName, or Refused with the reason; a known key gives its migration."""
        self._check_names(vnf, target)
        known = None if key is None else self.service.migrations.with_key(key)
        if known is not None and (known.vnf, known.target) == (vnf, target):
            return known
        if refusal := KEY_REUSED if known is not None else self.verdict(vnf, target):
            self._refuse(vnf, target, refusal)
            raise Refused(
                refusal, self.service.migrations.modes.choose(vnf, target).reason if refusal == NO_MODE else ""
            )
        if self.would_have is not None:
            self.would_have.moved(vnf, target)
        return self._begin(vnf, target, "asked for", self.predict(vnf, target), key)

    def verdict(self, vnf: str, target: str) -> str:
        """Why a person may not move this VNF there now ('' when it may).

        A person is held to what is feasible and to how many moves may be under way, not to the other restraints.
        """
        service, migrations = self.service, self.service.migrations
        if service.state is None or service.not_ready():
            return NOT_READY
        past = self._past()
        others = {moved: server for moved, server in past.under_way.items() if moved != vnf}
        seen = self._expected(service.state, others)
        refusal = self.decider.verdict(vnf, target, seen, service.routes(), frozenset(migrations.busy))
        if not refusal and past.full(service.scenario.limits):
            return Restraint.MAX_PARALLEL.value
        return refusal or ("" if migrations.modes.choose(vnf, target).mode else NO_MODE)

    def predict(self, vnf: str, target: str) -> Prediction:
        """What the cost model expects of a move now. UnknownName; Refused before there is a state."""
        self._check_names(vnf, target)
        service = self.service
        if service.state is None:
            raise Refused(NOT_READY)
        return predict(service.scenario, self._expected(service.state, {}), service.routes(), vnf, target)

    def _check_names(self, vnf: str, target: str) -> None:
        if vnf not in self.service.scenario.vnf_index:
            raise UnknownName(f"unknown VNF {vnf}")
        if target not in self.service.scenario.server_index:
            raise UnknownName(f"unknown server {target}")

    def _past(self) -> Past:
        return Past.of(self.service.migrations.records.values(), self.service.shell.clock())

    def _expected(self, state: NetworkState, under_way: Mapping[str, str]) -> NetworkState:
        """The state with every VNF where it is by now, later than the last poll, or will be once its move is done.

        Two moves side by side must not both count on the same room.
        """
        return placed(self.service.scenario, state, {**self.service.keeper.server_of, **under_way})

    def _act(self, tick: Tick) -> str:
        """Begins an allowed move, or proposes it to a person; the id of its migration, '' where there is none."""
        decision = tick.decision
        if isinstance(decision, Move) and tick.refusal:
            self._refuse(decision.vnf, decision.target, tick.refusal)
        if self.mode is not Mode.AUTO:
            self._propose(tick)
            return ""
        if not isinstance(decision, Move) or tick.refusal:
            return ""
        return self._begin(decision.vnf, decision.target, decision.reason, decision.prediction).id

    def _propose(self, tick: Tick) -> None:
        now_s, move = self.service.shell.clock(), tick.decision
        if isinstance(move, Move) and not tick.refusal:
            source = self.service.keeper.server_of[move.vnf]
            self.proposals.offer(move, source, now_s=now_s, started_s=self.service.started_s)
        else:
            self.proposals.withdraw(now_s)

    def _go_along(self, state: NetworkState, fixed: frozenset[tuple[str, str]]) -> None:
        """The dry run's own tick, on the same state."""
        if self.would_have is not None:
            if not self.would_have.running:
                self.would_have.begin(self.service.keeper.server_of, self.service.shell.clock())
            self.would_have.decide(state, self.service.routes(), fixed=fixed)

    def _begin(
        self, vnf: str, target: str, reason: str, predicted: Prediction, key: str | None = None
    ) -> MigrationRecord:
        migrations = self.service.migrations
        record = migrations.request(vnf, target, reason=reason, predicted=predicted, key=key)
        self.service.spawn(migrations.run, record)
        return record

    def _record(self, tick: Tick, state: NetworkState, migration: str) -> DecisionRecord:
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

    def _refuse(self, vnf: str, target: str, refusal: str) -> None:
        """Counts every refusal; says one line per change, since a policy may want the same move at every tick."""
        self.refusals[refusal] = self.refusals.get(refusal, 0) + 1
        line = f"move of {vnf} to {target} refused: {refusal}"
        if line != self._told:
            self._told = line
            log.info("%s", line, extra={"vnf": vnf, "target": target, "reason": refusal})

    def _tell(self, tick: Tick) -> None:
        """What was decided; a refused move, which may be wanted at every tick, is told by `_refuse`."""
        decision, took_ms = tick.decision, round(1000.0 * tick.took_s, 3)
        if not isinstance(decision, Move):
            log.debug("decided to stay: %s", decision.reason, extra={"took_ms": took_ms})
            return
        fields = {"vnf": decision.vnf, "target": decision.target, "reason": decision.reason, "took_ms": took_ms}
        level = logging.DEBUG if tick.refusal else logging.INFO
        predicted = {**fields, "policy": self.decider.policy.name, **asdict(decision.prediction)}
        log.log(level, "decided to move %s to %s", decision.vnf, decision.target, extra=predicted)
        if not tick.refusal:
            log.info("verdict: allowed", extra={"vnf": decision.vnf, "target": decision.target})


def _outcome(record: DecisionRecord) -> str:
    if record.decision == "stay":
        return "stay"
    if not record.allowed:
        return "refused"
    return "move" if record.migration else "proposed"
