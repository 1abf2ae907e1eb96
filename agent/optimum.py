"""The exact optimum of one state by mixed-integer programming (HiGHS), for small networks.

1. A column is a server with a set of VNFs on it that fits. Its processing, its access link and its power follow exactly
   from the set, so that what is not linear in single VNFs is linear in columns; every VNF is in one column.
2. Chains are flows between the switches of their columns; propagation and transmission are linear in them.
3. Queueing on a link is convex in its load; its tangents bound it from below.
4. Local search from the present placement and from kicked ones gives a good placement; what cannot be in a better one,
   by the reduced costs of the linear relaxation, is left out.
5. So the programme's optimum is a lower bound. The placement that it finds is measured on the true model; while that is
   dearer than the bound allows, the placement is forbidden and the programme solved again.

At the end the best placement is the optimum within `TOLERANCE`. Source: ours (docs/agent.md, "Exact optimum").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.decision import MigrationDecision, Stay, View
from agent.iterated import allowed, kicked, kicks_for
from agent.lookahead import Lookahead
from agent.planners import PAYBACK_SLOTS, first_step, planned, searched
from agent.programme import TOLERANCE, Programme
from twin.errors import InputError
from twin.scenario import Scenario
from twin.search import Search
from twin.state import IntArray

MOST_VNFS = 14  # more have too many sets whatever the servers hold
_ROUNDS = 200


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best placement [V], its cost (`Search.cost`) and the bound below which no placement can be."""

    hosts: IntArray
    cost: float
    bound: float


def optimum(found: Search) -> Optimum:
    """The best feasible placement of a state. InputError where there are too many columns to try.

    Feasible is what keeps CPU, memory and links within their limits and no chain later than it may be that is in time
    now. Local search from the present placement gives the first bound from above.
    """
    programme = Programme(found)
    hosts = kicked(found, found.settle(found.seen.hosts), kicks=kicks_for(found), rng=np.random.default_rng(0))  # 4
    best, bound = found.cost(hosts), -np.inf
    cut = best * (1.0 - TOLERANCE)
    if not programme.narrow(cut):
        return Optimum(hosts, best, cut)
    for _ in range(_ROUNDS):  # 5
        solution = programme.solve()
        if solution is None:  # what is left is forbidden or dearer
            return Optimum(hosts, best, min(cut, best))
        candidate, bound = solution
        if bound >= best * (1.0 - TOLERANCE):
            break
        cost = found.cost(candidate)
        if cost < best and allowed(found, candidate):
            hosts, best = candidate, cost
        programme.forbid()
    return Optimum(hosts, best, min(bound, cut, best))


def refuse_large(scenario: Scenario) -> None:
    """InputError where a scenario is too large for the exact optimum, whatever its traffic."""
    if len(scenario.vnfs) > MOST_VNFS:
        raise InputError(
            f"the exact optimum is for small networks of at most {MOST_VNFS} VNFs:"
            f" {scenario.name} has {len(scenario.vnfs)}"
        )


class ExactPolicy:
    """Goes towards the exact optimum of the present state, where all the way there repays its cost.

    Of the moves that lead there the feasible one that brings most comes first. For small networks: every decision
    solves a mixed-integer programme.
    """

    name = "exact"

    def __init__(self, *, payback_slots: float = PAYBACK_SLOTS) -> None:
        self.payback_slots = payback_slots
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        found = searched(view, self._lookahead)
        step = first_step(view, found, optimum(found).hosts, self.payback_slots)
        if step is None:
            return Stay("the optimum is not worth the way, or no move towards it is feasible now")
        return planned(view, self._lookahead, step)
