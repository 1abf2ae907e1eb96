"""Delay and energy over a run, beside what the model says they would have been had nothing ever moved.

The reference is the paper's reduction made concrete (docs/model.md, "Objective"): the initial placement under the same
traffic at the same time. It can only be modelled, and is called so wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin.costs import Costs, evaluate, traffic_weights
from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import FloatArray, NetworkState


@dataclass(frozen=True, eq=False)
class Moment:
    """One reading: what was measured, what the model expects of the placement, and of never having moved."""

    at_s: float
    delay_ms: float
    power_w: float
    expected: Costs
    stay: Costs


class Accounts:
    """Integrates over time. Delays are traffic-weighted means in ms, energies in J."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._initial = np.array([scenario.server_index[scenario.placement[v.id]] for v in scenario.vnfs])
        self.reset()

    def reset(self) -> None:
        """Starts the totals again, e.g. when the traffic starts."""
        self.moment: Moment | None = None
        self.energy_j = 0.0
        self.stay_energy_j = 0.0
        self._stay_delay_sum = np.zeros(len(self._scenario.chains))
        self._weight_sum = np.zeros(len(self._scenario.chains))

    def take(self, state: NetworkState, routes: Routes) -> Moment:
        """Takes one state in, in the order of time."""
        now = self._moment(state, routes)
        if self.moment is not None:
            elapsed_s = max(0.0, now.at_s - self.moment.at_s)
            self.energy_j += elapsed_s * (now.power_w + self.moment.power_w) / 2.0
            self.stay_energy_j += elapsed_s * (now.stay.total_power_w + self.moment.stay.total_power_w) / 2.0
            weights = elapsed_s * state.offered_mbps
            self._stay_delay_sum += weights * np.nan_to_num(now.stay.chain_delay_ms, posinf=0.0)
            self._weight_sum += weights
        self.moment = now
        return now

    @property
    def stay_delay_mean_ms(self) -> FloatArray:
        """Modelled mean delay of each chain [C] had nothing moved, weighted by its traffic."""
        fallback = np.zeros_like(self._weight_sum) if self.moment is None else self.moment.stay.chain_delay_ms
        return np.where(self._weight_sum > 0, self._stay_delay_sum / np.maximum(self._weight_sum, 1e-12), fallback)

    def _moment(self, state: NetworkState, routes: Routes) -> Moment:
        rest = (state.offered_mbps, state.endpoint_switch)
        return Moment(
            at_s=state.at_s,
            delay_ms=measured_delay_ms(state),
            power_w=float(state.server_power_w.sum()),
            expected=evaluate(self._scenario, routes, state.vnf_server, *rest),
            stay=evaluate(self._scenario, routes, self._initial, *rest),
        )


def measured_delay_ms(state: NetworkState) -> float:
    """Traffic-weighted mean of the chains' measured delays; chains never measured are left out (NaN if all are)."""
    known = state.chain_delay_ms > 0.0
    weights = traffic_weights(np.where(known, state.offered_mbps, 0.0)) * known
    return float(weights @ state.chain_delay_ms / weights.sum()) if weights.sum() > 0 else float("nan")
