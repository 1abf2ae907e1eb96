"""Planners on the known model: greedy under the forecast, and local search that looks two moves ahead.

Source: ours (docs/agent.md, "Planners").
"""

from __future__ import annotations

import numpy as np

from agent.decision import MigrationDecision, Move, Stay, View
from agent.lookahead import Lookahead, reason
from twin.kernels import measure
from twin.migration_cost import MigrationCost
from twin.model import work
from twin.search import PlannedMove, Search, search
from twin.state import IntArray

PAYBACK_SLOTS = 10.0
KICKED = 3  # VNFs moved at random before a search from elsewhere
_KICKED_PAIRS = 24_000  # searches per decision times (VNF, server) pairs: about 50 ms


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


class Target:
    """The best placement known, by iterated local search: improved at every decision and remembered to the next."""

    def __init__(self) -> None:
        self._best: IntArray | None = None

    def improve(self, found: Search, at_s: float) -> IntArray:
        """The best placement [V] for the state; the same state and past give the same one."""
        starts = [found.seen.hosts] if self._best is None else [found.seen.hosts, self._best]
        settled = [found.settle(start, deep=False) for start in starts]
        usable = [settled[0], *(hosts for hosts in settled[1:] if allowed(found, hosts))]
        best = min(usable, key=found.cost)
        self._best = kicked(found, best, kicks=kicks_for(found), rng=np.random.default_rng(max(0, round(at_s))))
        return self._best


def kicks_for(found: Search) -> int:
    """How many searches a decision affords on a network of this size."""
    return max(1, _KICKED_PAIRS // (len(found.model.vnfs) * len(found.model.servers)))


def kicked(found: Search, best: IntArray, *, kicks: int, rng: np.random.Generator) -> IntArray:
    """Iterated local search: the best of `best` and of where single moves lead from it after a kick."""
    cost, servers = found.cost(best), len(found.model.servers)
    for _ in range(kicks):
        hosts = found.settle(_kick(best, servers, rng), deep=False)
        if found.cost(hosts) < cost and allowed(found, hosts):
            best, cost = hosts, found.cost(hosts)
    return best


def _kick(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """Some VNFs at random servers, or all that a server hosts on another: what single moves would not lead to."""
    start = hosts.copy()
    if rng.random() < 0.5:
        moved = rng.choice(len(start), size=min(KICKED, len(start)), replace=False)
        start[moved] = rng.integers(0, servers, len(moved))
    else:
        start[hosts == rng.choice(hosts)] = rng.integers(servers)
    return start


def allowed(found: Search, hosts: IntArray) -> bool:
    """Does a placement keep all capacities, and every chain in time that is in time now?"""
    m, seen, now, then = found.model, found.seen, work(found.model), work(found.model)
    measure(m, seen.hosts, seen.offered_mbps, seen.ends, seen.background, now)
    measure(m, hosts, seen.offered_mbps, seen.ends, seen.background, then)
    limit = m.chains["max_delay_ms"]
    late = (now.chains["delay_ms"] <= limit) & (then.chains["delay_ms"] > limit)
    return found.fits(hosts) and not bool(late.any())


def way_to(found: Search, target: IntArray, *, most: int) -> list[PlannedMove]:
    """The moves from the present placement to another, at most `most`, each next one that which gains most."""
    hosts, cost, way = found.seen.hosts.copy(), found.cost(found.seen.hosts), list[PlannedMove]()
    left = [int(v) for v in np.flatnonzero(hosts != target)]
    while left and len(way) < most:
        costs = [found.cost(_with(hosts, v, target)) for v in left]
        first = int(np.argmin(costs))
        vnf = left.pop(first)
        way.append(PlannedMove(vnf, int(target[vnf]), cost - costs[first]))
        hosts, cost = _with(hosts, vnf, target), costs[first]
    return way


def first_step(view: View, found: Search, target: IntArray, payback_slots: float) -> PlannedMove | None:
    """The feasible move towards a placement that gains most; none where all the way there does not repay its cost."""
    now = found.seen.hosts
    way = np.flatnonzero(now != target)
    if payback_slots * (found.cost(now) - found.cost(target)) <= float(found.move_price[way].sum()):
        return None
    cost = found.cost(now)
    steps = [
        PlannedMove(int(v), int(target[v]), cost - found.cost(_with(now, int(v), target)))
        for v in way
        if view.mask[v, target[v]]
    ]
    return max(steps, key=lambda step: step.worth, default=None)


def _with(hosts: IntArray, vnf: int, target: IntArray) -> IntArray:
    after = hosts.copy()
    after[vnf] = target[vnf]
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
