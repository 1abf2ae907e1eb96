"""How fast the simulator, the training and a decision are, in CPU time on one thread.

    python -m tests.bench.speed              medium
    python -m tests.bench.speed --large      also one decision at 1,000 switches, 200 servers, 500 chains (about 2 min)

Rounds of all figures take turns, so that what else the machine does meets them alike; median (least - greatest).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from agent.a2c import A2CConfig
from agent.a2c_policy import load_policy
from agent.compiled_policy import CompiledPolicy
from agent.decision import View
from agent.training import TrainingRun
from tests.bench.networks import grown
from twin.fast import BatchSim
from twin.feasibility import feasible_moves
from twin.features import PAIR_FEATURES, Observation
from twin.forecast import PersistenceForecaster
from twin.routing import Router
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld
from twin.state import StateBuilder

ROUNDS = 5
HORIZON = 4


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


def products(scenario: Scenario, *, hidden: int) -> Callable[[], object]:
    """The matrix products of pairs that one step of training cannot do without, nothing between them.

    Forward twice (when acting, and for the gradient), and back once: by the inputs and by the weights.
    """
    pairs, features = len(scenario.vnfs) * len(scenario.servers), len(PAIR_FEATURES) + 1
    inputs, first, mixed = torch.randn(pairs, features), torch.randn(pairs, hidden), torch.randn(pairs, hidden)
    embed, own, out = torch.randn(features, hidden), torch.randn(hidden, hidden), torch.empty(pairs, hidden)
    by_own, by_embed = torch.empty(hidden, hidden), torch.empty(features, hidden)

    def once() -> None:
        for _ in range(2):
            torch.mm(inputs, embed, out=out)
            torch.mm(first, own, out=out)
        torch.mm(mixed, own.T, out=out)
        torch.mm(first.T, mixed, out=by_own)
        torch.mm(inputs.T, mixed, out=by_embed)

    return once


def decision(scenario: Scenario) -> Callable[[], object]:
    """Samples that are there → state → forecast → mask → policy → decision, as in the controller."""
    world, builder, router = TwinWorld(scenario, seed=1), StateBuilder(scenario), Router(scenario)
    builder.add(world.observe(0.0))
    policy, forecaster = load_policy("medium"), PersistenceForecaster()

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
    policy = CompiledPolicy(load_policy("medium").function)
    return lambda: policy(one)


def report(figures: Sequence[tuple[str, Callable[[], object], Callable[[float], float]]]) -> list[list[float]]:
    """A line per figure: its name, its work, and what CPU seconds of the work say; gives the figures of every round."""
    found: dict[str, list[float]] = {name: [] for name, _, _ in figures}
    for _, work, _ in figures:
        work()  # compiles
    for _ in range(ROUNDS):
        for name, work, figure in figures:
            found[name].append(figure(spent_s(work)))
    for name, values in found.items():
        print(f"{name:58} {statistics.median(values):12,.1f}   ({min(values):,.1f} - {max(values):,.1f})", flush=True)
    return list(found.values())


def many(work: Callable[[], object], times: int) -> Callable[[], object]:
    return lambda: [work() for _ in range(times)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also the large network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    medium = load_scenario("medium")
    physics = steps(medium, batch=256, slots=40, features=False)
    observed = steps(medium, batch=64, slots=10, features=True)
    bare = products(medium, hidden=A2CConfig().hidden)
    found = report(
        [
            ("physics, 256 networks: steps per CPU-s", physics, lambda s: 256 * 40 / s),
            ("with mask and features, 64 networks: steps per CPU-s", observed, lambda s: 640 / s),
            ("training: steps per CPU-s", rounds(medium), lambda s: 1024 / s),
            ("the matrix products of training: steps per CPU-s", many(bare, 200), lambda s: 200 / s),
            ("one decision, us", many(decision(medium), 50), lambda s: 1e6 * s / 50),
            ("policy alone, us", many(forward(medium), 50), lambda s: 1e6 * s / 50),
        ]
    )
    shares = [100.0 * (1.0 / seen + 1.0 / bound) * learnt for _, seen, learnt, bound, *_ in zip(*found, strict=True)]
    low, median, high = min(shares), statistics.median(shares), max(shares)
    print(f"{'training, % of (products + environment)':58} {median:12,.1f}   ({low:,.1f} - {high:,.1f})", flush=True)
    if arguments.large:
        report([("one decision in the large network, ms", decision(grown(cores=250, servers=200, chains=500)),
                 lambda s: 1e3 * s)])  # fmt: skip


if __name__ == "__main__":
    main()
