"""One tick of the control loop: state → forecast → decision → verdict. The same live and over the simulator.

A move must be feasible (twin.feasibility) and none of the restraints on sparing moves may hold it back
(controller.thrift).

Nothing here acts: the caller carries the decision out. Time is what the state says it is; only how long deciding took
is measured, by the clock that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agent.decision import MigrationDecision, Move, Policy, Prediction, Stay, View
from controller.thrift import FREE, Past, Restraint, gains, restraints
from twin.costs import evaluate
from twin.errors import InputError
from twin.feasibility import Limits, Refusal, feasible_moves, verdict
from twin.forecast import Forecaster
from twin.routing import Routes
from twin.samples import Quantity
from twin.scenario import Scenario
from twin.state import BoolArray, IntArray, NetworkState

HORIZON = 4  # slots; further ahead a forecast adds nothing (docs/model.md, "Forecast")
STALE_PERIODS = 3.0
NEEDED = (Quantity.CHAIN_OFFERED, Quantity.SERVER_CPU)  # without these a decision would be a guess


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick came to. `refusal` names why a move that was decided is not allowed ('' where it is)."""

    decision: MigrationDecision
    refusal: str
    took_s: float


class Decider:
    """Holds the policy and the forecaster; asked once per control period."""

    def __init__(
        self, scenario: Scenario, policy: Policy, forecaster: Forecaster, *, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self.scenario, self.policy, self.limits = scenario, policy, limits
        self.forecaster, self._clock = forecaster, clock

    def warm_up(self, state: NetworkState, routes: Routes) -> None:
        """Goes once through everything that is compiled at its first use, so that no decision has to wait for it."""
        self.forecaster.observe(state)
        mask = feasible_moves(self.scenario, state, routes, self.limits)
        restraints(self.scenario.limits, Past(), self.scenario, state, gains(self.scenario, state, routes))
        self.policy.decide(View(self.scenario, state, self.forecaster.forecast(HORIZON), mask))

    def tick(
        self, state: NetworkState, routes: Routes, *, past: Past, in_flight: frozenset[str],
        fixed: frozenset[tuple[str, str]] = frozenset(),
    ) -> Tick:  # fmt: skip
        """Decides on one state. Stale readings mean *stay*; chains in flight are left as they are.

        `fixed` are moves (VNF, server) that cannot be made, whatever they would bring.
        """
        began_s = self._clock()
        self.forecaster.observe(state)
        decision, refusal = self._decide(state, routes, past, in_flight, fixed)
        return Tick(decision, refusal, self._clock() - began_s)

    def verdict(
        self, vnf: str, target: str, state: NetworkState, routes: Routes, in_flight: frozenset[str]
    ) -> str:  # fmt: skip
        """The reason why a move is not feasible now, '' where it is: the function that made the policy's mask."""
        return verdict(vnf, target, self.scenario, state, routes, self.limits, in_flight=in_flight).reason

    def _decide(
        self, state: NetworkState, routes: Routes, past: Past, in_flight: frozenset[str],
        fixed: frozenset[tuple[str, str]],
    ) -> tuple[MigrationDecision, str]:  # fmt: skip
        """The decision, and why it is refused ('' where it is not)."""
        if stale := stale_quantity(state, limit_s=STALE_PERIODS * self.scenario.period_s):
            return Stay(f"{Refusal.STALE_STATE.value}: {stale}"), ""
        scenario = self.scenario
        feasible = feasible_moves(scenario, state, routes, self.limits, in_flight=in_flight)
        for vnf, server in fixed:
            feasible[scenario.vnf_index[vnf], scenario.server_index[server]] = False
        held = restraints(scenario.limits, past, scenario, state, gains(scenario, state, routes))
        decision = self._ask(state, feasible, held)
        if not isinstance(decision, Move):
            return decision, ""
        refusal = self.verdict(decision.vnf, decision.target, state, routes, in_flight)
        return decision, refusal or _restraint(scenario, held, decision)

    def _ask(self, state: NetworkState, feasible: BoolArray, held: IntArray) -> MigrationDecision:
        """What the policy wants of the moves that nothing holds back; where that is none, what else it would want.

        The first keeps one restrained move from being all that is ever wanted, the second shows what is held back.
        """
        forecast, free = self.forecaster.forecast(HORIZON), held == FREE
        decision = self.policy.decide(View(self.scenario, state, forecast, feasible & free))
        if isinstance(decision, Stay) and np.any(feasible & ~free):
            wanted = self.policy.decide(View(self.scenario, state, forecast, feasible))
            return wanted if isinstance(wanted, Move) else decision
        return decision


def _restraint(scenario: Scenario, held: IntArray, move: Move) -> str:
    code = int(held[scenario.vnf_index[move.vnf], scenario.server_index[move.target]])
    return "" if code == FREE else tuple(Restraint)[code].value


def stale_quantity(state: NetworkState, *, limit_s: float) -> str:
    """The name of a needed quantity with a reading older than `limit_s`, '' where all are fresh.

    A chain that is cut off by a failure must not stop decisions for the others: only when no subject of a quantity
    has a fresh reading is the state stale.
    """
    return next((q.value for q in NEEDED if state.stale(q, limit_s=limit_s).all()), "")


def predict(scenario: Scenario, state: NetworkState, routes: Routes, vnf: str, target: str) -> Prediction:
    """What the cost model expects of one move. InputError for an unknown VNF or server."""
    if vnf not in scenario.vnf_index or target not in scenario.server_index:
        raise InputError(f"unknown VNF or server: {vnf}, {target}")
    after = state.vnf_server.copy()
    after[scenario.vnf_index[vnf]] = scenario.server_index[target]
    before_costs, after_costs = (
        evaluate(scenario, routes, placement, state.offered_mbps, state.endpoint_switch)
        for placement in (state.vnf_server, after)
    )
    return Prediction(
        before_costs.mean_delay_ms, after_costs.mean_delay_ms, before_costs.total_power_w, after_costs.total_power_w
    )
