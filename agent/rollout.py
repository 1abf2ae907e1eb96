"""Plays any policy in the readable simulator by the road of a live run: samples, state, forecast, mask, decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.decision import MigrationDecision, Move, Policy, View
from twin.feasibility import Limits, feasible_moves
from twin.forecast import Forecaster, PersistenceForecaster
from twin.routing import Router
from twin.scenario import Scenario
from twin.simulator import Slot, TwinWorld
from twin.state import StateBuilder

HORIZON = 4  # slots of forecast that a view carries


@dataclass(frozen=True, eq=False)
class PlayedSlot:
    """One slot: what was decided, how long that took, and what came of it."""

    decision: MigrationDecision
    decision_s: float
    outcome: Slot


def play(
    world: TwinWorld,
    policy: Policy,
    *,
    slots: int,
    clock: Callable[[], float],
    forecaster: Forecaster | None = None,
    limits: Limits | None = None,
) -> Iterator[PlayedSlot]:
    """`slots` control periods of a world. `clock` gives seconds and times the decisions, nothing else."""
    loop = _Loop(world.scenario, forecaster or PersistenceForecaster(), limits or Limits())
    for _ in range(slots):
        view = loop.view(world)
        started_s = clock()
        decision = policy.decide(view)
        took_s = clock() - started_s
        if isinstance(decision, Move):
            loop.moved_at_s[decision.vnf] = world.now_s
            world.execute(decision.vnf, decision.target)
        loop.builder.add(world.observe(world.now_s + world.scenario.period_s))
        yield PlayedSlot(decision, took_s, world.slots[-1])


class _Loop:
    """What a controller keeps between slots."""

    def __init__(self, scenario: Scenario, forecaster: Forecaster, limits: Limits) -> None:
        self.scenario, self.forecaster, self.limits = scenario, forecaster, limits
        self.builder = StateBuilder(scenario)
        self.router = Router(scenario)
        self.moved_at_s: dict[str, float] = {}

    def view(self, world: TwinWorld) -> View:
        self.builder.add(world.observe(world.now_s))
        state = self.builder.build(world.now_s)
        self.forecaster.observe(state)
        routes = self.router.routes(state.link_up, state.link_delay_ms)
        mask = feasible_moves(self.scenario, state, routes, self.limits, moved_at_s=self.moved_at_s)
        return View(self.scenario, state, self.forecaster.forecast(HORIZON), mask)
