"""Compiled search among placements: the best move, the best two moves, and local search to where neither helps.

Moves are worth the λ that they gain per slot times `payback_slots` less what they cost (`Worth`). Planned placements
are held to the same feasibility as real ones (`twin.refusal_kernels`). Source: ours (docs/agent.md, "Planners").
"""

from __future__ import annotations

from typing import NamedTuple

from twin.compiled import compiled, inner
from twin.kernels import copy, measure
from twin.model import Bounds, Model, Record, Records, Seen, Work, record
from twin.move_kernels import trial_moves
from twin.refusal_kernels import FEASIBLE, refuse_one
from twin.state import BoolArray, FloatArray, IntArray

PLANNED = record("vnf server", "worth")  # one move of a plan; `vnf` -1: none
_ROUNDING = 1e-9  # a worth below this is none


class Worth(NamedTuple):
    """What changes are worth in λ: per ms of mean delay, per W of settled power, per move and per waking."""

    delay: float
    power: float
    payback_slots: float
    move: FloatArray  # [V]
    wake: FloatArray  # [S]


class Level(NamedTuple):
    """Room to look one move deep from the placement `hosts` [V]."""

    hosts: IntArray
    w: Work
    changes: Records  # [V, S] CHANGE
    allowed: BoolArray  # [V, S]


class Room(NamedTuple):
    """Work space of one search: where it is, and where a first move leads."""

    here: Level
    there: Level
    plan: Records  # [3] PLANNED: two moves, and scratch


@inner
def look(m: Model, seen: Seen, at: Level) -> None:
    """Measures the placement of `at` under the traffic that is seen, and tries every move of it."""
    measure(m, at.hosts, seen.offered_mbps, seen.ends, seen.background, at.w)
    trial_moves(m, at.hosts, seen.offered_mbps, seen.ends, at.w, at.changes)


@inner
def _worth(seen: Seen, worth: Worth, at: Level, v: int, s: int) -> float:
    change = at.changes[v, s]
    gain = -(worth.delay * change.mean_ms + worth.power * change.power_w)
    asleep = at.w.servers[s].vnfs == 0 and not seen.servers[s].awake
    return float(worth.payback_slots * gain - worth.move[v] - (worth.wake[s] if asleep else 0.0))


@inner
def seen_from(seen: Seen, hosts: IntArray) -> Seen:
    return Seen(
        hosts,
        seen.ends,
        seen.offered_mbps,
        seen.forecast_mbps,
        seen.link_mbps,
        seen.background,
        seen.servers,
        seen.vnfs,
        seen.chains,
    )


@inner
def _allow(m: Model, seen: Seen, bounds: Bounds, at: Level) -> None:
    """Which moves of `at` are feasible."""
    there = seen_from(seen, at.hosts)
    for v in range(len(at.hosts)):
        for s in range(len(at.w.servers)):
            at.allowed[v, s] = refuse_one(m, there, bounds, at.changes, at.w, v, s) == FEASIBLE


@inner
def _best_allowed(seen: Seen, worth: Worth, at: Level, out: Record) -> None:
    """The allowed move of `at` that is worth most, if it is worth anything."""
    out.vnf, out.worth = -1, _ROUNDING
    for v in range(len(at.hosts)):
        for s in range(len(at.w.servers)):
            if at.allowed[v, s]:
                value = _worth(seen, worth, at, v, s)
                if value > out.worth:
                    out.vnf, out.server, out.worth = v, s, value


@inner
def best_above(m: Model, seen: Seen, worth: Worth, bounds: Bounds, at: Level, out: Record) -> None:
    """The feasible move of `at` that is worth most and more than `out.worth`; asks what is feasible only of those."""
    out.vnf = -1
    there = seen_from(seen, at.hosts)
    for v in range(len(at.hosts)):
        for s in range(len(at.w.servers)):
            value = _worth(seen, worth, at, v, s)
            if value <= out.worth or s == at.hosts[v]:
                continue
            if refuse_one(m, there, bounds, at.changes, at.w, v, s) == FEASIBLE:
                out.vnf, out.server, out.worth = v, s, value


@inner
def _best_pair(m: Model, seen: Seen, worth: Worth, bounds: Bounds, x: Room) -> None:
    """Puts two moves into the plan, one after the other, where they are worth more than the one that is there."""
    found, second = max(x.plan[0].worth, _ROUNDING), x.plan[2]
    for v in range(len(x.here.hosts)):
        for s in range(len(x.here.w.servers)):
            if not x.here.allowed[v, s]:
                continue
            first = _worth(seen, worth, x.here, v, s)
            copy(x.here.hosts, x.there.hosts)
            x.there.hosts[v] = s
            look(m, seen, x.there)
            second.worth = found - first
            best_above(m, seen, worth, bounds, x.there, second)
            if second.vnf >= 0:
                found = first + second.worth
                x.plan[0].vnf, x.plan[0].server, x.plan[0].worth = v, s, first
                x.plan[1].vnf, x.plan[1].server, x.plan[1].worth = second.vnf, second.server, second.worth


@compiled
def plan_two(m: Model, seen: Seen, worth: Worth, bounds: Bounds, deep: bool, x: Room) -> None:
    """Fills the plan with the move or, if `deep`, the two moves that are worth most from `x.here`.

    The first is one that `x.here.allowed` holds.
    """
    look(m, seen, x.here)
    _best_allowed(seen, worth, x.here, x.plan[0])
    x.plan[1].vnf = -1
    if deep:
        _best_pair(m, seen, worth, bounds, x)


@compiled
def descend(m: Model, seen: Seen, worth: Worth, bounds: Bounds, deep: bool, most: int, x: Room) -> int:
    """Moves on from `x.here.hosts` while one move, or if `deep` two, are worth it: how many moves, at most `most`.

    1. take the best single move while it is worth anything;
    2. where none is, take the best two, and go on at 1.
    """
    moves = 0
    while moves < most:
        look(m, seen, x.here)
        _allow(m, seen, bounds, x.here)
        _best_allowed(seen, worth, x.here, x.plan[0])  # 1
        x.plan[1].vnf = -1
        if x.plan[0].vnf < 0:
            if deep:
                _best_pair(m, seen, worth, bounds, x)  # 2
            if x.plan[0].vnf < 0:
                return moves
        for k in range(2):
            if x.plan[k].vnf >= 0:
                x.here.hosts[x.plan[k].vnf] = x.plan[k].server
                moves += 1
    return moves
