"""Policies to compare with: never migrate, random feasible, threshold, greedy; and all of them by name.

Source: ours (docs/agent.md, "Baselines").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from agent.actions import STAY, legal_actions, moved
from agent.decision import MigrationDecision, Policy, Stay, View
from agent.lookahead import Lookahead
from agent.optimum import ExactPolicy
from agent.planners import SearchPolicy
from twin.errors import InputError
from twin.features import PAIR_FEATURES
from twin.migration_cost import MigrationCost
from twin.move_modes import move_costs
from twin.state import FloatArray
from twin.tables import tables

GAIN, WAKES, CPU_AFTER = (PAIR_FEATURES.index(name) for name in ("gain", "wakes", "cpu_after"))


class StayPolicy:
    """Never migrates: the reference of the objective."""

    name = "stay"

    def decide(self, view: View) -> MigrationDecision:
        return Stay("never migrates")


class RandomPolicy:
    """Any feasible move or stay, all equally likely."""

    name = "random"

    def __init__(self, *, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        legal = np.flatnonzero(legal_actions(view.mask))
        action = int(self._rng.choice(legal))
        if action == STAY:
            return Stay("drawn at random")
        return self._lookahead.move(view, *moved(action, servers=len(view.scenario.servers)))


class ThresholdPolicy:
    """When a server is above `limit` (share of CPU): its hungriest VNF to the feasible server left least loaded."""

    name = "threshold"

    def __init__(self, *, limit: float = 0.5) -> None:
        self.limit = limit
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        hot = int(view.state.server_cpu.argmax())
        if view.state.server_cpu[hot] <= self.limit:
            return Stay(f"no server above {self.limit:.0%} CPU")
        demand = np.where((view.state.vnf_server == hot) & view.mask.any(axis=1), view.state.vnf_cpu_cores, -np.inf)
        vnf = int(demand.argmax())
        if not np.isfinite(demand[vnf]):
            return Stay(f"nothing can leave {view.scenario.servers[hot].id}")
        after = self._lookahead.observation(view).pair[vnf, :, CPU_AFTER]
        return self._lookahead.move(view, vnf, int(np.where(view.mask[vnf], after, np.inf).argmin()))


class GreedyPolicy:
    """The one move with the greatest modelled gain, if that repays its migration cost within `payback_slots`.

    Knows the whole cost model but looks one move ahead: where a server is emptied by several moves of which only the
    last one pays, it stays.
    """

    name = "greedy"

    def __init__(self, *, payback_slots: float = 10.0, migration: MigrationCost | None = None) -> None:
        self.payback_slots = payback_slots
        self.migration = migration
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        gain = self.net_gain(view)
        if gain.max(initial=-np.inf) <= 0.0:
            return Stay("no single move repays its cost")
        vnf, server = divmod(int(gain.argmax()), gain.shape[1])
        return self._lookahead.move(view, vnf, server)

    def net_gain(self, view: View) -> FloatArray:
        """λ gained until payback less the λ that the move costs, [V, S]; -inf where the move is not feasible."""
        pair = self._lookahead.observation(view).pair.astype(np.float64)
        gain = self.payback_slots * pair[..., GAIN] - self._cost(view, pair[..., WAKES])
        return np.where(view.mask, gain, -np.inf)

    def _cost(self, view: View, wakes: FloatArray) -> FloatArray:
        """Energy of each move over the energy of a slot, weighted as in λ, [V, S]."""
        t = tables(view.scenario)
        moves = zip(move_costs(view.scenario, self.migration), t.state_mb, strict=True)
        spent_j = np.array([[cost.energy_j(cost.move_s(mb, s), mb) for s in t.wake_s] for cost, mb in moves])
        slot_j = max(float(view.state.server_power_w.sum()) * view.scenario.period_s, 1.0)
        result: FloatArray = view.scenario.objective.energy * (spent_j + wakes * t.wake_j) / slot_j
        return result


_MAKERS: Mapping[str, Callable[[int], Policy]] = {
    "stay": lambda seed: StayPolicy(),
    "random": lambda seed: RandomPolicy(seed=seed),
    "threshold": lambda seed: ThresholdPolicy(),
    "greedy": lambda seed: GreedyPolicy(),
    "greedy-forecast": lambda seed: SearchPolicy("greedy-forecast", deep=False, forecast=True),
    "local-search": lambda seed: SearchPolicy(),
    "exact": lambda seed: ExactPolicy(),
}
BASELINE_NAMES = tuple(_MAKERS)
POLICY_NAMES = ("a2c", *BASELINE_NAMES)  # what a user may ask for by name (agent.a2c_policy.named_policy)


def make_policy(name: str, *, seed: int = 0) -> Policy:
    """A fresh baseline by its name; `seed` matters to random choices only. InputError for an unknown name."""
    if name not in _MAKERS:
        raise InputError(f"unknown baseline {name!r}: one of {', '.join(BASELINE_NAMES)}")
    return _MAKERS[name](seed)
