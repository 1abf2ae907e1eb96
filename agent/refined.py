"""Two refinements of a policy's choice: polish on the present state, and look-ahead into the forecast.

Source: ours (docs/agent.md, "Refinements").
"""

from __future__ import annotations

import numpy as np

from agent.actions import STAY, moved
from agent.decision import MigrationDecision, Move, Policy, Stay, View
from agent.iterated import Target
from agent.lookahead import Lookahead
from agent.planners import PAYBACK_SLOTS, first_step, planned, searched, way_to
from agent.policy import PolicyFunction
from twin.forecast import Forecast
from twin.imagination import Tail, roll_out
from twin.period_kernels import FREE
from twin.period_kernels import STAY as STAY_ROW
from twin.search import PlannedMove, Search
from twin.state import FloatArray, IntArray

SAMPLES = 8  # traffic that may come, where the forecast is not certain
CANDIDATES = 8  # moves of the actor that are rolled out
HORIZON_SLOTS = 16
FAR = Tail(payback_slots=PAYBACK_SLOTS, slots=10.0)


class PolishedPolicy:
    """A policy whose choice is put right by search on the present state; for where the model is trusted.

    1. Iterated local search, which remembers its best placement from decision to decision, says where to go. Where all
       the way there repays its cost, the next step is taken: the policy's move if that is on the way, else the one that
       gains most.
    2. Else a move of the policy stands if, with the best move after it, it repays its cost.
    3. Else the best single move is taken; where none repays, the best two.
    """

    def __init__(self, policy: Policy, *, payback_slots: float = PAYBACK_SLOTS) -> None:
        self.name, self.policy, self.payback_slots = f"{policy.name}+polish", policy, payback_slots
        self._lookahead, self._target = Lookahead(), Target()

    def decide(self, view: View) -> MigrationDecision:
        choice = self.policy.decide(view)
        found = searched(view, self._lookahead)
        target = self._target.improve(found, view.state.at_s)
        step = first_step(view, found, target, self.payback_slots)
        if step is not None:  # 1
            return choice if _leads(view, choice, target) else planned(view, self._lookahead, step)
        if isinstance(choice, Move) and self._repays(view, found, choice):
            return choice  # 2
        if plan := best_plan(view, found, self.payback_slots):  # 3
            return planned(view, self._lookahead, plan[0], then=len(plan) - 1)
        return choice if isinstance(choice, Stay) else Stay("neither the policy's move nor any two repay their cost")

    def _repays(self, view: View, found: Search, choice: Move) -> bool:
        only = np.zeros_like(view.mask)
        only[view.scenario.vnf_index[choice.vnf], view.scenario.server_index[choice.target]] = True
        return bool(found.plan(only, payback_slots=self.payback_slots))


def _leads(view: View, choice: MigrationDecision, target: IntArray) -> bool:
    if not isinstance(choice, Move):
        return False
    return bool(target[view.scenario.vnf_index[choice.vnf]] == view.scenario.server_index[choice.target])


class LookAheadPolicy:
    """Plans at decision time: ways that begin with the actor's likeliest moves are rolled out, and the best is begun.

    1. Candidates are *stay*, the actor's likeliest moves, the search's best plan and the way to the best placement that
       iterated local search knows.
    2. Each is rolled out over `horizon` slots of the true physics under traffic drawn from the forecast: once followed
       by one-move greed, once by what is left of the plan that was best a slot ago. The end is valued at the λ at which
       it settles.
    3. The first step of the best way is taken; the rest is kept as the plan for 2. A plan that is good is so followed
       until a better one is found: without that, every slot would begin another.

    No randomness: the draws are the same for every view.
    """

    def __init__(
        self, name: str, function: PolicyFunction, *, horizon: int = HORIZON_SLOTS, tail: Tail = FAR,
        candidates: int = CANDIDATES,
    ) -> None:  # fmt: skip
        self.name, self.function, self.horizon, self.tail = f"{name}+look-ahead", function, horizon, tail
        self.candidates = candidates
        self._lookahead = Lookahead()
        self._plan, self._target = _Plan(horizon), Target()

    def decide(self, view: View) -> MigrationDecision:
        if not view.mask.any():
            return Stay("no move is feasible")
        found = searched(view, self._lookahead, forecast=True)
        ways = self._ways(view, found)  # 1
        traffic = sampled(view.forecast, horizon=self.horizon)
        rolled = roll_out(view.scenario, view.state, found, traffic, ways, tail=self.tail)  # 2
        best = int(rolled.values.mean(axis=1).argmax())
        self._plan.keep(rolled.taken[best, 1:])  # 3
        vnf, server = (int(row) for row in ways[best, 0])
        if vnf == STAY_ROW:
            return Stay(f"the best way over {self.horizon} slots begins with staying")
        return planned(view, self._lookahead, PlannedMove(vnf, server, 0.0))

    def _ways(self, view: View, found: Search) -> IntArray:
        """The candidates' ways, [K, H, 2]: each free after its first step, and each followed by the plan."""
        plan = self._plan.at(view.state.at_s)
        first = self._first_steps(view, found)
        free = np.full((len(first), self.horizon, 2), (FREE, 0), dtype=np.int64)
        free[:, 0] = first
        followed = free.copy()
        followed[:, 1:] = plan[: self.horizon - 1]
        ways = [free, followed]
        ways += [way[None] for way in (plan, self._way(view, found)) if _begins_well(view, way)]
        return np.concatenate(ways)

    def _way(self, view: View, found: Search) -> IntArray:
        """The way to the best placement that is known, free after that; [H, 2]."""
        target = self._target.improve(found, view.state.at_s)
        way = np.full((self.horizon, 2), (FREE, 0), dtype=np.int64)
        for t, move in enumerate(way_to(found, target, most=self.horizon)):
            way[t] = move.vnf, move.server
        return way

    def _first_steps(self, view: View, found: Search) -> list[tuple[int, int]]:
        servers = len(view.scenario.servers)
        logits = self.function(self._lookahead.observation(view)).logits
        order = [int(action) for action in np.argsort(-logits)[: self.candidates + 1] if action != STAY]
        moves = [moved(action, servers=servers) for action in order]
        moves = [move for move in moves if view.mask[move]][: self.candidates]
        plan = best_plan(view, found, self.tail.payback_slots)
        return [(STAY_ROW, 0), *dict.fromkeys([*moves, *((move.vnf, move.server) for move in plan[:1])])]


def _begins_well(view: View, way: IntArray) -> bool:
    vnf, server = way[0]
    return bool(vnf >= 0 and view.mask[vnf, server])


class _Plan:
    """What is left of the best way, H steps; asked twice of the same moment it answers the same."""

    def __init__(self, horizon: int) -> None:
        self._free = np.full((horizon, 2), (FREE, 0), dtype=np.int64)
        self._now = self._next = self._free
        self._at_s = -np.inf

    def at(self, now_s: float) -> IntArray:
        if now_s != self._at_s:
            self._now, self._at_s = self._next, now_s
        return self._now

    def keep(self, steps: IntArray) -> None:
        self._next = np.concatenate([steps, self._free[: len(self._free) - len(steps)]])


def best_plan(view: View, found: Search, payback_slots: float) -> list[PlannedMove]:
    """The best single move that repays its cost, where there is none the best two, else nothing."""
    plan = found.plan(view.mask, payback_slots=payback_slots, deep=False)
    return plan or found.plan(view.mask, payback_slots=payback_slots)


def sampled(forecast: Forecast, *, horizon: int, samples: int = SAMPLES) -> FloatArray:
    """Traffic that may come, [N, H, C]: the mean where the forecast is certain, else draws of its spread.

    A chain that draws above its mean does so in every slot, which is how forecasts err. The last slot of a forecast
    that is too short is repeated.
    """
    slots = np.minimum(np.arange(horizon), forecast.horizon - 1)
    mean, spread = forecast.offered_mbps[slots], forecast.spread_mbps[slots]
    if not spread.any():
        return mean[None]
    half = np.random.default_rng(0).standard_normal((samples // 2, 1, mean.shape[1]))
    draws = np.concatenate([half, -half])  # antithetic: the draws' mean is the forecast's
    result: FloatArray = np.maximum(mean + draws * spread, 0.0)
    return result
