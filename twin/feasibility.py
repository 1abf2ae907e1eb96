"""Which moves are feasible, and why others are not: one function for the policy's mask and the controller's guard.

Source: paper (CPU, memory, bandwidth and delay constraints); ours: the rest (docs/model.md, "Feasibility").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from twin.model import Bounds
from twin.refusal_kernels import refuse_all
from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import BoolArray, IntArray, NetworkState
from twin.trial import blocked_vnfs, see, try_moves


class Refusal(StrEnum):
    """Why a move is refused, from the most to the least fundamental: the first that applies is the one given."""

    UNKNOWN_VNF = "unknown_vnf"
    UNKNOWN_SERVER = "unknown_server"
    SAME_SERVER = "same_server"
    IN_FLIGHT = "in_flight"
    COOLDOWN = "cooldown"
    STALE_STATE = "stale_state"
    SERVER_DOWN = "server_down"
    MEMORY_FULL = "memory_full"
    CPU_FULL = "cpu_full"
    UNREACHABLE = "unreachable"
    LINK_FULL = "link_full"
    DELAY_EXCEEDED = "delay_exceeded"


@dataclass(frozen=True, slots=True)
class Limits:
    """Head-room and times. Utilisations may rise to these shares; a reading older than `stale_after_s` blocks.

    A VNF that moved less than `cooldown_s` ago stays.
    """

    cpu: float = 0.9
    link: float = 0.95
    cooldown_s: float = 0.0
    stale_after_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class MoveVerdict:
    """Allowed, or the first reason why not."""

    refusal: Refusal | None = None

    @property
    def allowed(self) -> bool:
        return self.refusal is None

    @property
    def reason(self) -> str:
        return "" if self.refusal is None else self.refusal.value


def refusals(
    scenario: Scenario,
    state: NetworkState,
    routes: Routes,
    limits: Limits = Limits(),
    *,
    moved_at_s: Mapping[str, float] | None = None,
    in_flight: frozenset[str] = frozenset(),
) -> IntArray:
    """The refusal of every move [V, S] as an index into `tuple(Refusal)`, -1 where it is feasible."""
    blocked = blocked_vnfs(scenario, state.at_s, limits.cooldown_s, moved_at_s or {}, in_flight)
    trial = try_moves(scenario, routes, state)
    m, codes = trial.model, np.empty((len(scenario.vnfs), len(scenario.servers)), dtype=np.int64)
    seen = see(scenario, m, state, stale_after_s=limits.stale_after_s, blocked=blocked)
    seen.background[:] = trial.seen.background
    refuse_all(m, seen, Bounds(limits.cpu, limits.link), trial.changes, trial.work, codes)
    return codes


def feasible_moves(
    scenario: Scenario,
    state: NetworkState,
    routes: Routes,
    limits: Limits = Limits(),
    *,
    moved_at_s: Mapping[str, float] | None = None,
    in_flight: frozenset[str] = frozenset(),
) -> BoolArray:
    """True [V, S] where VNF v may move to server s. `in_flight` are ids of chains with a move going on."""
    return refusals(scenario, state, routes, limits, moved_at_s=moved_at_s, in_flight=in_flight) < 0


def verdict(
    vnf: str,
    target: str,
    scenario: Scenario,
    state: NetworkState,
    routes: Routes,
    limits: Limits = Limits(),
    *,
    moved_at_s: Mapping[str, float] | None = None,
    in_flight: frozenset[str] = frozenset(),
) -> MoveVerdict:
    """The verdict on one move, by ids; unknown ids are refused, not raised."""
    if vnf not in scenario.vnf_index:
        return MoveVerdict(Refusal.UNKNOWN_VNF)
    if target not in scenario.server_index:
        return MoveVerdict(Refusal.UNKNOWN_SERVER)
    codes = refusals(scenario, state, routes, limits, moved_at_s=moved_at_s, in_flight=in_flight)
    code = int(codes[scenario.vnf_index[vnf], scenario.server_index[target]])
    return MoveVerdict(None if code < 0 else tuple(Refusal)[code])
