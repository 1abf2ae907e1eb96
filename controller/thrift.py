"""Sparing moves: what the recent past holds against moves that the model finds feasible (docs/model.md).

Pure. The past is what the migration records say at one moment, so it needs no bookkeeping of its own, and comes back
with the records after a restart. Source: ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from controller.records import MigrationRecord, MigrationStatus
from twin.move_limits import MoveLimits
from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray, NetworkState
from twin.trial import try_moves

BUDGET_S = 60.0  # what the budgets are per
LONGEST_REST = 16.0  # times `failed_rest_s`: further failures do not lengthen it
AGAIN_S = 600.0  # so long after a move another one of the same VNF must pay by itself
FREE = -1


class Restraint(StrEnum):
    """Why a feasible move is not made now: the first that applies is the one given."""

    MAX_PARALLEL = "max_parallel"
    COOLDOWN = "cooldown"
    FAILED_REST = "failed_rest"
    SERVER_BUDGET = "moves_per_server_minute"
    BUDGET = "moves_per_minute"
    MIN_GAIN = "min_gain"
    MIN_GAIN_AGAIN = "min_gain_again"


_CODES = {restraint: code for code, restraint in enumerate(Restraint)}


@dataclass(frozen=True, slots=True)
class Past:
    """What the records of migrations say at `now_s`, seconds on the records' clock.

    `under_way` gives the target of every VNF that is being moved; `begun` counts the moves of the last `BUDGET_S`, and
    `begun_at` those from or to each server; `failures` are those since the VNF's last success.
    """

    now_s: float = 0.0
    under_way: Mapping[str, str] = field(default_factory=dict)
    begun: int = 0
    begun_at: Mapping[str, int] = field(default_factory=dict)
    moved_s: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    failed_s: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(records: Iterable[MigrationRecord], now_s: float) -> Past:
        """The past that these records tell, oldest first.

        A replacement on the same server is no move: a VNF that keeps dying must not use up what others may need.
        """
        # A machine that was started anew counts its seconds from 0: times that lie ahead are of another clock.
        known = [r for r in records if r.requested_s <= now_s]
        lately = [r for r in known if r.source != r.target and now_s - r.requested_s < BUDGET_S]
        done = {r.vnf: r.ended_s for r in known if r.status is MigrationStatus.DONE and r.ended_s is not None}
        failures, failed_s = _failures(known)
        return Past(
            now_s=now_s,
            under_way={r.vnf: r.target for r in known if r.ended_s is None},
            begun=len(lately),
            begun_at=Counter(server for r in lately for server in (r.source, r.target)),
            moved_s=done,
            failures=failures,
            failed_s=failed_s,
        )

    def full(self, limits: MoveLimits) -> bool:
        """Whether as many moves are under way as may be."""
        return len(self.under_way) >= limits.max_parallel

    def moved_within(self, vnf: str, seconds: float) -> bool:
        """Whether a VNF's last move was less than this ago."""
        return self.now_s - self.moved_s.get(vnf, -np.inf) < seconds

    def rests(self, vnf: str, limits: MoveLimits) -> bool:
        """Whether a VNF is left alone after failed moves: each further failure doubles the time, up to a cap."""
        count = self.failures.get(vnf, 0)
        return count > 0 and self.now_s - self.failed_s[vnf] < rest_s(count, limits)


def rest_s(failures: int, limits: MoveLimits) -> float:
    """How long a VNF is left alone after this many failures in a row (at least 1)."""
    return float(limits.failed_rest_s * min(2.0 ** (min(failures, 64) - 1), LONGEST_REST))


def restraints(limits: MoveLimits, past: Past, scenario: Scenario, state: NetworkState, gain: FloatArray) -> IntArray:
    """What holds each move [V, S] back, as an index into `tuple(Restraint)`; `FREE` where nothing does.

    `gain` [V, S] is the predicted change of the objective. A VNF whose server is down is not held back by anything.
    """
    servers = np.array([past.begun_at.get(s.id, 0) >= limits.moves_per_server_minute for s in scenario.servers])
    cools = _rows(scenario, lambda vnf: past.moved_within(vnf, limits.cooldown_s))
    again = _rows(scenario, lambda vnf: past.moved_within(vnf, AGAIN_S))
    held = {
        Restraint.MAX_PARALLEL: past.full(limits),
        Restraint.COOLDOWN: cools,
        Restraint.FAILED_REST: _rows(scenario, lambda vnf: past.rests(vnf, limits)),
        Restraint.SERVER_BUDGET: servers[state.vnf_server][:, None] | servers,
        Restraint.BUDGET: past.begun >= limits.moves_per_minute,
        Restraint.MIN_GAIN: gain < limits.min_gain,
        Restraint.MIN_GAIN_AGAIN: again & (gain < limits.min_gain_again),
    }
    codes = np.full(gain.shape, FREE, dtype=np.int64)
    for restraint in reversed(Restraint):
        codes[np.broadcast_to(held[restraint], gain.shape)] = _CODES[restraint]
    codes[~state.server_up[state.vnf_server]] = FREE
    return codes


def gains(scenario: Scenario, state: NetworkState, routes: Routes) -> FloatArray:
    """Predicted gain [V, S] of every move: the relative reductions of delay and power, weighted as the objective's."""
    trial, weights = try_moves(scenario, routes, state), scenario.objective
    delay = trial.delay_change_ms / trial.mean_ms
    power = trial.power_change_w / max(trial.power_w, 1e-9)
    return np.asarray(-(weights.delay * delay + weights.energy * power), dtype=np.float64)


def _rows(scenario: Scenario, holds: Callable[[str], bool]) -> BoolArray:
    """What holds of each VNF, as a column [V, 1]."""
    return np.array([[holds(vnf.id)] for vnf in scenario.vnfs], dtype=np.bool_)


def _failures(records: Iterable[MigrationRecord]) -> tuple[dict[str, int], dict[str, float]]:
    """How often each VNF's moves failed since its last success, and when the last of them ended."""
    count, at_s = Counter[str](), dict[str, float]()
    for record in records:
        if record.status is MigrationStatus.DONE:
            count.pop(record.vnf, None)
        elif record.ended_s is not None:
            count[record.vnf] += 1
            at_s[record.vnf] = record.ended_s
    return dict(count), at_s
