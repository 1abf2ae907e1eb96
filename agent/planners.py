"""Planners on the known model: greedy under the forecast, and local search that looks two moves ahead.

Source: ours (docs/agent.md, "Planners").
"""

from __future__ import annotations

import numpy as np

from agent.decision import MigrationDecision, Move, Stay, View
from agent.lookahead import Lookahead, reason
from twin.migration_cost import MigrationCost
from twin.search import PlannedMove, Search, search
from twin.state import IntArray

PAYBACK_SLOTS = 10.0


class SearchPolicy:
    """Plans on the present state and takes the plan's first move; any VNF may move.

    `local-search` looks for the best single move and, where none repays its cost within `payback_slots`, for the best
    two: emptying a server of its last VNFs is such a pair. `greedy-forecast` looks one move ahead under the mean of the
    forecast.
    """

    def __init__(
        self,
        name: str = "local-search",
        *,
        deep: bool = True,
        forecast: bool = False,
        payback_slots: float = PAYBACK_SLOTS,
        migration: MigrationCost | None = None,
    ) -> None:
        self.name, self.deep, self.forecast, self.payback_slots, self.migration = (
            name, deep, forecast, payback_slots, migration,
        )  # fmt: skip
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        plan = self.plan(view)
        if not plan:
            return Stay(f"no {'two moves repay' if self.deep else 'move repays'} the cost")
        return planned(view, self._lookahead, plan[0], then=len(plan) - 1)

    def plan(self, view: View) -> list[PlannedMove]:
        """One or two moves, the first of them feasible now; empty where nothing pays."""
        found = searched(view, self._lookahead, forecast=self.forecast, migration=self.migration)
        plan = found.plan(view.mask, payback_slots=self.payback_slots, deep=False)
        if not plan and self.deep:
            plan = found.plan(view.mask, payback_slots=self.payback_slots)
        return plan


def way_to(found: Search, target: IntArray, *, most: int) -> list[PlannedMove]:
    """The moves from the present placement to another, at most `most`, each next one that which gains most."""
    hosts, cost, way = found.seen.hosts.copy(), found.cost(found.seen.hosts), list[PlannedMove]()
    left = [int(v) for v in np.flatnonzero(hosts != target)]
    while left and len(way) < most:
        costs = [found.cost(moved_to(hosts, v, int(target[v]))) for v in left]
        first = int(np.argmin(costs))
        vnf = left.pop(first)
        way.append(PlannedMove(vnf, int(target[vnf]), cost - costs[first]))
        hosts, cost = moved_to(hosts, vnf, int(target[vnf])), costs[first]
    return way


def first_step(view: View, found: Search, target: IntArray, payback_slots: float) -> PlannedMove | None:
    """The feasible move towards a placement that gains most, or where none is feasible the cheapest that makes room for
    one, as when two full servers are to exchange VNFs; none where all the way there does not repay its cost."""
    now = found.seen.hosts
    way, cost = np.flatnonzero(now != target), found.cost(now)
    if payback_slots * (cost - found.cost(target)) <= float(found.move_price[way].sum()):
        return None
    steps = [
        PlannedMove(int(v), int(target[v]), cost - found.cost(moved_to(now, int(v), target[v])))
        for v in way
        if view.mask[v, target[v]]
    ]
    return max(steps or _detours(view, found, target, way), key=lambda step: step.worth, default=None)


def _detours(view: View, found: Search, target: IntArray, way: IntArray) -> list[PlannedMove]:
    """Feasible moves of VNFs on the way to servers that are not theirs, after which another has room at its own."""
    now, cost, steps = found.seen.hosts, found.cost(found.seen.hosts), list[PlannedMove]()
    for v, s in np.argwhere(view.mask & (now != target)[:, None]):
        aside = moved_to(now, int(v), s)
        if any(found.fits(moved_to(aside, int(u), target[u])) for u in way if u != v):
            steps.append(PlannedMove(int(v), int(s), cost - found.cost(aside)))
    return steps


def moved_to(hosts: IntArray, vnf: int, server: int) -> IntArray:
    """The placement with one VNF on another server."""
    after = hosts.copy()
    after[vnf] = server
    return after


def searched(
    view: View, lookahead: Lookahead, *, forecast: bool = False, migration: MigrationCost | None = None
) -> Search:
    """The view's state ready to be searched, under the traffic that was read or under the forecast's mean."""
    expected = view.forecast.offered_mbps.mean(axis=0) if forecast else None
    return search(view.scenario, lookahead.routes(view), view.state, offered_mbps=expected, migration=migration)


def planned(view: View, lookahead: Lookahead, move: PlannedMove, *, then: int = 0) -> Move:
    """The decision to make a planned move, with what it is predicted to bring; `then` more are planned after it."""
    prediction = lookahead.prediction(view, move.vnf, move.server)
    why = reason(view, move.vnf, move.server, prediction)
    names = view.scenario.vnfs[move.vnf].id, view.scenario.servers[move.server].id
    return Move(*names, f"{why}, first of {1 + then} moves" if then else why, prediction)
