"""Migrations from request to end, replacements of dead VNFs, and the first set-up: all that changes a chain.

One change at a time per chain; changes of different chains run side by side, each in a green thread of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from agent.decision import Prediction
from controller.chain_keeper import ChainKeeper, Network
from controller.containers import ContainerError
from controller.executor import Executor, RolledBack, Shell, StuckForward
from controller.logs import about, bound
from controller.making_moves import make_move
from controller.modes import REPLACEMENT, Modes
from controller.move_costs import LOSSES, MoveEstimate, estimate, measured_moves
from controller.open_moves import OpenJournal, OpenMove, read_open_move
from controller.probes import ProbeCounts
from controller.records import FINAL, MigrationRecord, MigrationStatus, UnknownName
from controller.steering import Attachment, SteeringError
from controller.step_log import QuietSteps, RecordedSteps, StepJournal
from controller.steps import StartVnf
from twin.errors import VnftwinError
from twin.move_modes import cost_of
from twin.scenario import Scenario, ServiceChain

log = logging.getLogger("vnftwin.migrations")
SETTLE_S = 1.5  # after a move: until the probes sent during it have returned or are lost
KEPT = 1000  # records of ended migrations that are kept in memory; the journal has all
SERVER_REST_S = 20.0  # a server on which an instance would not start is left alone for so long


class MoveJournal(StepJournal, OpenJournal, Protocol):
    """The part of `Journal` that migrations use."""

    def put_migration(self, ident: str, at_s: float, key: str | None, body: Mapping[str, object]) -> None: ...

    def put_plan(self, migration: str, plan: object) -> None: ...

    def migrations(self, last: int) -> list[Mapping[str, object]]: ...

    def migration_by_key(self, key: str) -> Mapping[str, object] | None: ...


class ProbeBook(Protocol):
    """The part of `ChainProbes` that a move concerns: its probes are counted, but kept out of the readings."""

    def hold(self, chain: str) -> None: ...

    def release(self, now_s: float, chain: str) -> None: ...

    def counts(self, chain: str) -> ProbeCounts: ...

    def silence_ms(self, chain: str) -> float | None: ...


@dataclass(slots=True)
class Surroundings:
    """What migrations need to know and to tell, as functions of the moment."""

    network: Callable[[], Network]
    places: Callable[[], Mapping[str, tuple[str, int]]]
    chain_delay_ms: Callable[[str], float | None]
    observe_step: Callable[[str, float], None]
    new_name: Callable[[str], str]
    can_hand_over: Callable[[str], bool]  # whether an instance, by its name, has state that it can give to another
    attachment: Callable[[str], Attachment | None]  # of an instance by its name, None where it is not running
    rate_pps: Callable[[str], float]  # packets per second that enter a chain


@dataclass(slots=True)
class Migrations:
    """The records of all migrations, which chains are changing, and which servers are left alone."""

    scenario: Scenario
    keeper: ChainKeeper
    executor: Executor
    probes: ProbeBook
    journal: MoveJournal
    shell: Shell
    around: Surroundings
    modes: Modes
    records: dict[str, MigrationRecord] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    moved_at_s: dict[str, float] = field(default_factory=dict)
    changed_at_s: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {s.value: 0 for s in MigrationStatus if s in FINAL})
    _resting_until_s: dict[str, float] = field(default_factory=dict)
    _serial: int = 0

    def request(self, vnf: str, target: str, *, reason: str, predicted: Prediction | None, key: str | None = None,
                died: bool = False) -> MigrationRecord:  # fmt: skip
        """A new migration, not begun yet. The same key gives the same migration again.

        Where the instance has `died` there is nothing left to carry: another one is started in its place.
        """
        known = None if key is None else self.with_key(key)
        if known is not None:
            return known
        self._serial += 1
        source = self.keeper.server_of[vnf]
        record = MigrationRecord(
            f"m{self._serial}", vnf, source, target, reason, self.shell.clock(), predicted=predicted, key=key
        )
        record.decision = bound("decision") or record.id
        self._expect(record, died=died)
        self.records[record.id] = record
        self.busy.add(self.chain_of(vnf).id)  # from the request on, so that no second one slips in between
        self.keep(record)
        self._forget_old()
        with self.told_of(record):
            log.info("migration of %s from %s to %s: %s", vnf, source, target, reason, extra=_fields(record))
        return record

    def _expect(self, record: MigrationRecord, *, died: bool) -> None:
        """In which mode it is done and what that is expected to cost."""
        record.state_mb = self.scenario.vnf(record.vnf).type.state_mb
        if died:
            record.mode, record.may_lose = REPLACEMENT, "its state: the instance has died"
            return
        record.mode, record.expected = self.foretell(record.vnf, record.target)
        record.may_lose = LOSSES.get(record.mode, "")

    def foretell(self, vnf: str, target: str) -> tuple[str, MoveEstimate | None]:
        """The mode of a move now, and what it is expected to cost; '' and None where it has no mode."""
        mode = self.modes.choose(vnf, target).mode
        if mode is None:
            return "", None
        done = measured_moves(r.as_json() for r in self.records.values() if r.mode == mode)
        rate_pps, prior = self.around.rate_pps(self.chain_of(vnf).id), cost_of(self.scenario, mode)
        return mode.value, estimate(mode, self.scenario.vnf(vnf).type.state_mb, rate_pps, done, prior)

    def with_key(self, key: str) -> MigrationRecord | None:
        """The migration that was requested with this key, by whichever controller; None where there is none."""
        known = next((r for r in self.records.values() if r.key == key), None)
        if known is None and (body := self.journal.migration_by_key(key)) is not None:
            known = MigrationRecord.from_json(body)
        return known

    def restore(self) -> list[OpenMove]:
        """Takes in the migrations of earlier controllers from the journal; those that were left open."""
        left_open = []
        for body in self.journal.migrations(KEPT):
            record = MigrationRecord.from_json(body)
            self.records[record.id] = record
            self._serial = max(self._serial, int(record.id.removeprefix("m")))
            if not record.is_final:
                left_open.append(read_open_move(self.journal, record))
        return left_open

    def record(self, ident: str) -> MigrationRecord:
        if ident not in self.records:
            raise UnknownName(f"unknown migration {ident}")
        return self.records[ident]

    def run(self, record: MigrationRecord) -> None:
        """Carries a requested migration out, to its end; never raises."""
        with self.told_of(record):
            self._run(record)

    def _run(self, record: MigrationRecord) -> None:
        chain = self.chain_of(record.vnf)
        record.status = MigrationStatus.RUNNING
        self.keep(record)
        record.observed_delay_before_ms = self.around.chain_delay_ms(chain.id)
        before = self.probes.counts(chain.id)
        with self.changing(chain.id):
            self.probes.hold(chain.id)
            status, error = self._tried(record, chain)
            self.probes.release(self.shell.clock(), chain.id)
            record.silence_ms = self.probes.silence_ms(chain.id)
        self.ended(record, status, error)
        self.shell.sleep(SETTLE_S)
        after = self.probes.counts(chain.id)
        record.probes_lost = after.lost - before.lost - (after.late - before.late)
        self.shell.sleep(self.scenario.period_s / 2)
        record.observed_delay_after_ms = self.around.chain_delay_ms(chain.id)
        self.keep(record)
        observed = ("observed_delay_before_ms", "observed_delay_after_ms", "probes_lost", "silence_ms")
        log.info("observed of %s", record.id, extra={name: getattr(record, name) for name in observed})

    def ended(self, record: MigrationRecord, status: MigrationStatus, error: str) -> None:
        """A migration came to its end."""
        record.status, record.error, record.ended_s = status, error, self.shell.clock()
        if status is MigrationStatus.DONE:
            self.moved_at_s[record.vnf] = record.ended_s
        self.counts[status.value] += 1
        self.keep(record)
        said = {**_fields(record), "status": status.value, "took_ms": round(record.took_ms, 1), "error": error}
        level = logging.INFO if status is MigrationStatus.DONE else logging.WARNING
        log.log(level, "migration %s %s%s", record.id, status.value, f": {error}" if error else "", extra=said)

    def told_of(self, record: MigrationRecord) -> AbstractContextManager[None]:
        """While it lasts, every log line says which migration it is of and which decision that came from."""
        return about(decision=record.decision or record.id, migration=record.id)

    def steps_of(self, record: MigrationRecord) -> RecordedSteps:
        """Who is told of the steps of this migration."""
        return RecordedSteps(record, self.journal, self.shell, self.around.observe_step)

    def adjust(self, chain: ServiceChain) -> bool:
        """Brings one chain's steering to what it should be now; True where there was something to do.

        SteeringError where it cannot be steered now; RolledBack or StuckForward when the switches did not follow.
        """
        desired = self.keeper.desired(chain, self.around.network(), self.around.places())
        plan = self.keeper.plan(chain, desired)
        if not plan.steps:
            return False
        with self.changing(chain.id):
            try:
                self.executor.carry_out(plan, QuietSteps(partial(self.keeper.turn, chain.id, plan)))
            except StuckForward:
                self.keeper.carried_out(chain.id, plan)  # reconciliation brings what is missing
                raise
            self.keeper.carried_out(chain.id, plan)
        return True

    def resting(self, now_s: float) -> frozenset[str]:
        """Servers on which an instance would not start a while ago."""
        return frozenset(server for server, until_s in self._resting_until_s.items() if now_s < until_s)

    def rest(self, server: str) -> None:
        """Leaves a server alone for a while."""
        self._resting_until_s[server] = self.shell.clock() + SERVER_REST_S

    def unsettled(self, now_s: float, within_s: float) -> frozenset[int]:
        """Numbers of the chains that are changing, changed less than `within_s` ago, or are not steered yet.

        Of the latter nothing may be judged alien: what an earlier controller installed carries their packets still.
        """
        recent = {c for c, at_s in self.changed_at_s.items() if now_s - at_s < within_s}
        waiting = {chain.id for chain in self.scenario.chains if chain.id not in self.keeper.installed}
        return frozenset(self.scenario.chain(c).number for c in recent | self.busy | waiting)

    def start_instance(self, vnf: str, server: str, name: str) -> None:
        """Starts a VNF's first instance and puts it in service. ContainerError: the server is left alone a while."""
        attachment = self.start(StartVnf(vnf, server, name))
        self.keeper.put_in_service(vnf, name, server, attachment)

    def _tried(self, record: MigrationRecord, chain: ServiceChain) -> tuple[MigrationStatus, str]:
        try:
            make_move(self, record, chain)
        except (RolledBack, ContainerError, SteeringError) as error:
            return MigrationStatus.ROLLED_BACK, str(error)
        except VnftwinError as error:
            return MigrationStatus.FAILED, str(error)
        except Exception as error:
            log.exception("migration %s", record.id)
            return MigrationStatus.FAILED, f"defect: {error!r}"
        return MigrationStatus.DONE, ""

    def start(self, start: StartVnf) -> Attachment:
        """Starts an instance; where that fails its server is left alone for a while."""
        try:
            return self.executor.start_vnf(start)
        except ContainerError:
            self.rest(start.target)
            raise

    @contextmanager
    def changing(self, chain: str) -> Iterator[None]:
        self.busy.add(chain)
        try:
            yield
        finally:
            self.busy.discard(chain)
            self.keeper.settle(chain)
            self.changed_at_s[chain] = self.shell.clock()

    def chain_of(self, vnf: str) -> ServiceChain:
        return self.scenario.chain(self.scenario.vnf(vnf).chain)

    def keep(self, record: MigrationRecord) -> None:
        self.journal.put_migration(record.id, record.requested_s, record.key, record.as_json())

    def _forget_old(self) -> None:
        spare = max(0, len(self.records) - KEPT)
        for ident in [r.id for r in self.records.values() if r.ended_s is not None][:spare]:
            del self.records[ident]


def _fields(record: MigrationRecord) -> dict[str, str]:
    return {"vnf": record.vnf, "source": record.source, "target": record.target, "mode": record.mode}
