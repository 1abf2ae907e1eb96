"""What moves cost: read from their records, foretold for the next one, and handed to the simulator (docs/moves.md).

All is pure. A record's steps tell when packets took the new way and how long the state was carried; the silence was
measured by probes. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from twin.migration_cost import MigrationCost
from twin.move_modes import MoveMode
from twin.scenario import Scenario
from twin.state import NetworkState

LAST_MOVES = 20  # of one mode: what an estimate is made from
_LEAST_MB = 0.01  # of state: less tells nothing about the rate at which it is carried
_CARRYING = ("CopyState", "Checkpoint", "Restore")
LOSSES: Mapping[str, str] = {
    MoveMode.STATELESS: "",
    MoveMode.HAND_OVER: "",
    MoveMode.CHECKPOINT: "packets during the silence",
    MoveMode.COLD: "its state, and packets during the silence",
}


@dataclass(frozen=True, slots=True)
class MeasuredMove:
    """One move that was done. `switched_s`: from the request until packets took the new way, `carried_s` of which its
    state was carried; `whole_s` to its end. `silence_ms` is None where no probe told."""

    mode: str
    state_mb: float
    switched_s: float
    carried_s: float
    whole_s: float
    silence_ms: float | None


@dataclass(frozen=True, slots=True)
class MoveEstimate:
    """What a move is expected to cost. `moves`: how many like it this was made from, 0 where nothing was measured."""

    mode: str
    whole_s: float
    silence_ms: float
    packets_at_risk: float
    moves: int


@dataclass(frozen=True, slots=True)
class ModeCosts:
    """What the moves of one mode cost, median and 95th percentile, and what a model has to charge for them."""

    moves: int
    whole_s: tuple[float, float]
    switched_s: tuple[float, float]
    silence_ms: tuple[float, float] | None
    cost: MigrationCost


def measured_moves(records: Iterable[Mapping[str, Any]]) -> list[MeasuredMove]:
    """The moves that were done, in the order of their records; a record without a mode is of a version that had one."""
    return [move for record in records if (move := _measured(record)) is not None]


def _measured(record: Mapping[str, Any]) -> MeasuredMove | None:
    steps = [s for s in record["steps"] if not s["undone"]]
    swaps = [i for i, step in enumerate(steps) if step["name"] == "SwapEntry"]
    if record["status"] != "done" or record.get("recovered") or not swaps:
        return None
    last = steps[min(swaps[-1] + 1, len(steps) - 1)]  # the barrier behind the last swap
    switched_s = last["started_s"] + last["took_ms"] / 1000.0 - record["requested_s"]
    carried_s = sum(s["took_ms"] for s in steps[: swaps[-1]] if s["name"] in _CARRYING) / 1000.0
    mode, state_mb = record.get("mode") or MoveMode.STATELESS.value, record.get("state_mb") or 0.0
    return MeasuredMove(mode, state_mb, switched_s, carried_s, record["took_ms"] / 1000.0, record.get("silence_ms"))


def estimate(
    mode: MoveMode, state_mb: float, rate_pps: float, history: Sequence[MeasuredMove], prior: MigrationCost
) -> MoveEstimate:
    """The median of the last moves of this mode, with the time to carry the state scaled to its size.

    Where there were none, `prior` tells: what the model charges. Packets are at risk in the modes that lose some.
    """
    like = [move for move in history if move.mode == mode][-LAST_MOVES:]
    silent = [move.silence_ms for move in like if move.silence_ms is not None]
    if like:
        cost = calibrated(like, prior)
        whole_s = median(move.whole_s - move.carried_s for move in like) + _carry_s(state_mb, cost)
    else:
        cost, whole_s = prior, prior.move_s(state_mb, wake_s=0.0)
    silence_ms = median(silent) if silent else prior.silence_ms
    at_risk = rate_pps * silence_ms / 1000.0 if LOSSES[mode] else 0.0
    return MoveEstimate(mode.value, whole_s, silence_ms, at_risk, len(like))


def rate_pps(scenario: Scenario, state: NetworkState | None, chain: str) -> float:
    """Packets per second that enter a chain, by its traffic; 0 before it was read."""
    bits = 8.0 * scenario.chain(chain).packet_bytes
    return 0.0 if state is None else float(state.offered_mbps[scenario.chain_index[chain]]) * 1e6 / bits


def costs_by_mode(
    history: Sequence[MeasuredMove], priors: Mapping[str, MigrationCost]
) -> dict[str, ModeCosts]:  # fmt: skip
    """Each mode that was seen; `priors` fill in what cannot be measured here (power and energy)."""
    result = {}
    for mode in (m.value for m in MoveMode):
        moves = [move for move in history if move.mode == mode]
        if moves:
            silent = [move.silence_ms for move in moves if move.silence_ms is not None]
            result[mode] = ModeCosts(
                len(moves), _spread([m.whole_s for m in moves]), _spread([m.switched_s for m in moves]),
                _spread(silent) if silent else None, calibrated(moves, priors[mode]),
            )  # fmt: skip
    return result


def calibrated(moves: Sequence[MeasuredMove], prior: MigrationCost) -> MigrationCost:
    """What a model charges for such moves: medians, the prior's where none of them tells."""
    rates = [8.0 * m.state_mb / m.carried_s for m in moves if m.carried_s > 0 and m.state_mb >= _LEAST_MB]
    silent = [move.silence_ms for move in moves if move.silence_ms is not None]
    told = replace(
        prior,
        transfer_mbps=median(rates) if rates else prior.transfer_mbps,
        silence_ms=median(silent) if silent else prior.silence_ms,
    )
    # what is left of each move once a model has charged its state at that rate
    rest_s = median(move.switched_s - _carry_s(move.state_mb, told) for move in moves)
    return replace(told, duration_s=max(0.0, rest_s))


def _carry_s(state_mb: float, cost: MigrationCost) -> float:
    return 8.0 * state_mb / cost.transfer_mbps


def _spread(values: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.quantile(np.array(values), [0.5, 0.95])
    return float(p50), float(p95)
