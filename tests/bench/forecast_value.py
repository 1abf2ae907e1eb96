"""What a forecast is worth: the same exact planner with and without it, between reacting and knowing everything.

    python -m tests.bench.forecast_value [--seeds N]

On `tests.bench.small_cases.triangle` every placement is valued by dynamic programming, so the planner itself is
perfect and only what it expects of the traffic differs. Readings are exact. Rows: *reactive* takes the best action for
one slot of the last reading; *persistence* plans `HORIZON` slots of the last reading; *twin* plans on `SAMPLES` draws
of the learned twin, fitted on `FITTED` other runs; *perfect* on the true next slots; *clairvoyant* knows the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from agent.clairvoyant import SmallNetwork, clairvoyant_values, run_ahead
from agent.evaluation import interval
from tests.bench.small_cases import triangle
from twin.learned.digital_twin import DigitalTwin
from twin.learned.learner import TwinLearner
from twin.learned.recording import recordings, simulated_states, wanderer
from twin.scenario import Scenario
from twin.simulator import TwinWorld
from twin.state import FloatArray
from twin.tables import configured_switches
from twin.telemetry import EXACT

SLOTS, HORIZON, SAMPLES = 72, 4, 8
FITTED, FITTED_SLOTS, FIT_STEPS, FIT_SEED = 8, 144, 600, 700_000
WARM = 24  # slots of traffic before the run that every forecast has seen
GRID_MBPS = 0.1  # to which planners round traffic, so that the value of a slot is worked out once

Expectation = Callable[[int], FloatArray]
"""Draws [N, H, C] of the traffic of slot t and those after it, from what was read before slot t."""


class Case:
    """One network and run: the truth, slot by slot, and the planner."""

    def __init__(self, network: SmallNetwork, seed: int) -> None:
        self.network = network
        scenario = network.scenario
        self.traffic, self.ends = run_ahead(scenario, seed=seed, slots=SLOTS)
        before = [_offered(scenario, seed, slot) for slot in range(-WARM, 0)]
        self.history = np.concatenate([np.array(before), self.traffic[1:]])

    def play(self, expect: Expectation, horizon: int = HORIZON) -> float:
        """Mean λ per slot of the planner that expects this."""
        network, place, total = self.network, self.network.first_row, 0.0
        for t in range(SLOTS):
            legal = network.legal(self.traffic[t], self.ends[1 + t])
            draws = np.round(expect(t)[:, :horizon] / GRID_MBPS) * GRID_MBPS
            values = np.mean([self._values(draw, legal, place) for draw in draws], axis=0)
            action = int(values.argmax())
            total += float(network.rewards(self.traffic[1 + t], self.ends[1 + t])[place, action])
            place = int(network.successor[place, action])
        return total / SLOTS

    def _values(self, draw: FloatArray, legal: np.ndarray, place: int) -> FloatArray:
        rewards = [self._rewards(tuple(row)) for row in draw]
        final = np.zeros(len(self.network.placements))
        return np.asarray(self.network.action_values(rewards, legal, final)[place])

    def _rewards(self, offered: tuple[float, ...]) -> FloatArray:
        rewards: FloatArray = _known(self.network, offered)
        return rewards

    def clairvoyant(self) -> float:
        values = clairvoyant_values(self.network, self.traffic, self.ends)[0]
        return float(values[self.network.first_row].max()) / SLOTS


@cache
def _known(network: SmallNetwork, offered: tuple[float, ...]) -> FloatArray:
    return network.rewards(np.array(offered), configured_switches(network.scenario))


def _offered(scenario: Scenario, seed: int, slot: int) -> FloatArray:
    from twin.traffic import TrafficSource

    return TrafficSource(scenario, seed).offered_mbps((slot + 0.5) * scenario.period_s)


def fitted(scenario: Scenario) -> DigitalTwin:
    """A twin fitted on runs of other seeds, in which VNFs wander."""
    runs = []
    for i in range(FITTED):
        world = TwinWorld(scenario, seed=FIT_SEED + i, noise=EXACT, poll_s=scenario.period_s)
        mover = wanderer(scenario, np.random.default_rng(i), share=0.05)
        runs += recordings(scenario, simulated_states(world, FITTED_SLOTS, mover))
    return TwinLearner(scenario, seed=1).fit(runs, rng=np.random.default_rng(1), steps=FIT_STEPS)


def score(case: Case, twin: DigitalTwin, seed: int) -> dict[str, float]:
    """Mean λ per slot of every row."""
    rng = np.random.default_rng([seed, 5])

    def last(t: int) -> FloatArray:
        return np.tile(case.history[WARM + t - 1], (1, HORIZON, 1))

    def drawn(t: int) -> FloatArray:
        return twin.sample_traffic(case.history[t : WARM + t], n=SAMPLES, horizon=HORIZON, rng=rng)

    def true(t: int) -> FloatArray:
        rows = np.minimum(np.arange(t, t + HORIZON), SLOTS - 1)
        ahead: FloatArray = case.traffic[1 + rows]
        return ahead[None]

    return {
        "reactive": case.play(last, horizon=1),
        "persistence": case.play(last),
        "twin": case.play(drawn),
        "perfect": case.play(true),
        "clairvoyant": case.clairvoyant(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for traffic in ("diurnal", "bursts"):
        for load in ("low", "high"):
            scenario = triangle(load, traffic)
            network, twin = SmallNetwork(scenario), fitted(scenario)
            scores = [score(Case(network, seed), twin, seed) for seed in range(1, 1 + arguments.seeds)]
            _known.cache_clear()
            Console(width=110).print(_table(scenario.name, scores))
    return 0


def _table(name: str, scores: list[dict[str, float]]) -> Table:
    table = Table("planner", "objective λ", "above clairvoyant", "closed of reactive", "closed of persistence")
    table.title = f"{name}: {SLOTS} slots, {len(scores)} seeds, mean ± 95 %"
    best = np.array([row["clairvoyant"] for row in scores])
    for planner in scores[0]:
        got = np.array([row[planner] for row in scores])
        above = interval(list((best - got) / (1.0 - best)))
        shares = [_share(np.array([row[start] for row in scores]), got, best) for start in ("reactive", "persistence")]
        table.add_row(planner, f"{got.mean():.4f}", f"{above.mean:.2%} ± {above.half:.2%}", *shares)
    return table


def _share(start: FloatArray, got: FloatArray, best: FloatArray) -> str:
    """Share of the way from one planner to the clairvoyant, of the means over all seeds."""
    way = float((best - start).mean())
    return f"{float((got - start).mean()) / way:.0%}" if way > 1e-6 else "–"


if __name__ == "__main__":
    sys.exit(main())
