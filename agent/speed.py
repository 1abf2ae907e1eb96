"""How fast the simulator, the training and a decision are, in CPU time on one thread (docs/agent.md, "Speed").

Rounds of all figures take turns, so that what else the machine does meets them alike. Source: ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.a2c import A2CConfig
from agent.a2c_policy import default_policy
from agent.compiled_policy import CompiledPolicy
from agent.decision import View
from agent.lanes import Float32Array
from agent.tiles import product
from agent.training import TrainingRun
from twin.compiled import compiled_fused
from twin.fast import BatchSim
from twin.feasibility import feasible_moves
from twin.features import PAIR_FEATURES, Observation
from twin.forecast import PersistenceForecaster
from twin.grown import grown
from twin.routing import Router
from twin.scenario import Scenario
from twin.simulator import TwinWorld
from twin.state import StateBuilder

HORIZON = 4
BATCH, SLOTS = 256, 40
LARGE_BATCH, LARGE_SLOTS = 1024, 10
SEEN_BATCH, SEEN_SLOTS = 64, 10
CALLS = 50
PHYSICS, PHYSICS_LARGE, SEEN, TRAINING, PRODUCTS, TORCH_PRODUCTS, SHARE, TORCH_SHARE = (
    "simulator, without features", "the same, 1,024 instances instead of 256", "simulator, with mask and features",
    "training",
    "matrix products of training alone", "the same by torch",
    "training, of what products and simulator allow", "the same with torch's products",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A name, a unit, some work, and what the CPU seconds of the work say."""

    name: str
    unit: str
    work: Callable[[], object]
    value: Callable[[float], float]


def figures(scenario: Scenario) -> list[Figure]:
    """What is measured of a scenario's network."""
    physics = steps(scenario, batch=BATCH, slots=SLOTS, features=False)
    large = steps(scenario, batch=LARGE_BATCH, slots=LARGE_SLOTS, features=False)
    seen = steps(scenario, batch=SEEN_BATCH, slots=SEEN_SLOTS, features=True)
    bare, learnt = products(scenario, hidden=A2CConfig().hidden, times=CALLS), rounds(scenario)
    torch_bare = many(torch_products(scenario, hidden=A2CConfig().hidden), CALLS)
    return [
        Figure(PHYSICS, "steps/CPU-s", physics, lambda s: BATCH * SLOTS / s),
        Figure(PHYSICS_LARGE, "steps/CPU-s", large, lambda s: LARGE_BATCH * LARGE_SLOTS / s),
        Figure(SEEN, "steps/CPU-s", seen, lambda s: SEEN_BATCH * SEEN_SLOTS / s),
        Figure(TRAINING, "steps/CPU-s", learnt, lambda s: A2CConfig().batch * A2CConfig().n_steps / s),
        Figure(PRODUCTS, "steps/CPU-s", bare, lambda s: CALLS / s),
        Figure(TORCH_PRODUCTS, "steps/CPU-s", torch_bare, lambda s: CALLS / s),
        Figure("one decision, from readings to reason", "ms", many(decision(scenario), CALLS), _ms),
        Figure("policy alone", "ms", many(forward(scenario), CALLS), _ms),
    ]


def large_figure() -> Figure:
    """One decision at 1,000 switches, 200 servers and 500 chains of four VNFs."""
    work = decision(grown(cores=250, servers=200, chains=500))
    return Figure("one decision: 1,000 switches, 200 servers, 500 chains", "ms", work, lambda s: 1e3 * s)


def measured(wanted: Sequence[Figure], *, times: int) -> Iterator[tuple[Figure, float]]:
    """Every figure's value, round after round; before them each work is done once, which compiles it."""
    for figure in wanted:
        figure.work()
    for _ in range(times):
        for figure in wanted:
            yield figure, figure.value(spent_s(figure.work))


def share(training: float, seen: float, bare: float) -> float:
    """How near training (steps per CPU-s) is to what simulator and matrix products alone allow; 0 to 1."""
    return (1.0 / seen + 1.0 / bare) * training


def _ms(spent: float) -> float:
    return 1e3 * spent / CALLS


def spent_s(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def steps(scenario: Scenario, *, batch: int, slots: int, features: bool) -> Callable[[], object]:
    """`slots` control periods of `batch` networks with random actions."""
    sim, rng = BatchSim(scenario, batch, 1, features=features), np.random.default_rng(1)
    sim.reset()
    actions = rng.integers(0, 1 + len(scenario.vnfs) * len(scenario.servers), (slots, batch))
    return lambda: [sim.step(row) for row in actions]


def rounds(scenario: Scenario) -> Callable[[], object]:
    """One rollout and one update of the training as it is set."""
    told = TrainingRun([scenario], seed=1, real_steps=10**9).rounds()
    return lambda: next(told)


def products(scenario: Scenario, *, hidden: int, times: int) -> Callable[[], object]:
    """The matrix products of pairs that `times` steps of training cannot do without, nothing between them, in the way
    that is fastest here (`agent.tiles`; torch takes longer).

    Forward twice (when acting, and for the gradient), and back once: by the inputs and by the weights.
    """
    drawn, room = _sheets(scenario, hidden)
    return lambda: _products(drawn[0], drawn[1], drawn[2], drawn[3], drawn[4], room[0], room[1], room[2], times)


def _sheets(scenario: Scenario, hidden: int) -> tuple[list[Float32Array], list[Float32Array]]:
    """What is multiplied (inputs, first, mixed, the weights of both layers), and room for what comes out."""
    pairs, features = len(scenario.vnfs) * len(scenario.servers), len(PAIR_FEATURES)
    rng = np.random.default_rng(1)
    shapes = ((pairs, features), (pairs, hidden), (pairs, hidden), (features, hidden), (hidden, hidden))
    drawn = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return drawn, [
        np.zeros(shape, dtype=np.float32) for shape in ((pairs, hidden), (features, hidden), (hidden, hidden))
    ]


def torch_products(scenario: Scenario, *, hidden: int) -> Callable[[], object]:
    """The same of one step, by torch."""
    drawn, room = _sheets(scenario, hidden)
    inputs, first, mixed, embed, own, out, by_embed, by_own = (torch.from_numpy(sheet) for sheet in (*drawn, *room))

    def once() -> None:
        for _ in range(2):
            torch.mm(inputs, embed, out=out)
            torch.mm(first, own, out=out)
        torch.mm(mixed, own.T, out=out)
        torch.mm(first.T, mixed, out=by_own)
        torch.mm(inputs.T, mixed, out=by_embed)

    return once


@compiled_fused
def _products(
    inputs: Float32Array, first: Float32Array, mixed: Float32Array, embed: Float32Array, own: Float32Array,
    out: Float32Array, by_embed: Float32Array, by_own: Float32Array, times: int,
) -> None:  # fmt: skip
    for _ in range(times):
        for _ in range(2):
            product(inputs, embed, out)
            product(first, own, out)
        product(mixed, own, out)
        product(first.T, mixed, by_own)
        product(inputs.T, mixed, by_embed)


def decision(scenario: Scenario) -> Callable[[], object]:
    """Samples that are there → state → forecast → mask → policy → decision, as in the controller."""
    world, builder, router = TwinWorld(scenario, seed=1), StateBuilder(scenario), Router(scenario)
    builder.add(world.observe(0.0))
    policy, forecaster = default_policy(scenario), PersistenceForecaster()

    def decide() -> None:
        state = builder.build(0.0)
        forecaster.observe(state)
        mask = feasible_moves(scenario, state, router.routes(state.link_up, state.link_delay_ms))
        policy.decide(View(scenario, state, forecaster.forecast(HORIZON), mask))

    return decide


def forward(scenario: Scenario) -> Callable[[], object]:
    """The compiled policy alone."""
    seen = BatchSim(scenario, 1, 1).reset()
    one = Observation(seen["vnf"][0], seen["server"][0], seen["pair"][0], seen["glob"][0], seen["mask"][0])
    policy = CompiledPolicy(default_policy(scenario).function)
    return lambda: policy(one)


def many(work: Callable[[], object], times: int) -> Callable[[], object]:
    return lambda: [work() for _ in range(times)]
