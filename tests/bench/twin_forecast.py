"""How well the twin's LSTM predicts, on simulated runs that it was not fitted on, beside persistence and others.

    python -m tests.bench.twin_forecast [SCENARIO ...] [--steps N] [--runs N] [--save TWIN]

One twin is fitted for all scenarios given (small medium), as the shipped one is. Held-out runs have other seeds
and begin at other times of the day. Prints one table per scenario; never fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from controller.twin_report import error_table
from twin.learned.calibration import Calibration
from twin.learned.digital_twin import DigitalTwin
from twin.learned.fitting import FitConfig, Fitter
from twin.learned.inputs import Encoder, Sequence
from twin.learned.recording import Recording, recordings, simulated_states, wanderer
from twin.learned.scoring import scores, spread_factors
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld

SLOTS, HELD_OUT_SLOTS = 260, 320
HELD_OUT_SEED, HELD_OUT_RUNS = 9_000, 2


def simulated(scenario: Scenario, seed: int, *, slots: int) -> list[Recording]:
    """One run with random moves, from a random time of the day."""
    rng = np.random.default_rng(seed)
    world = TwinWorld(scenario, seed=seed, start_slot=int(rng.integers(300)))
    share = float(rng.choice([0.0, 0.1, 0.3]))
    return recordings(scenario, simulated_states(world, slots, wanderer(scenario, rng, share=share)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", default=["small", "medium"])
    parser.add_argument("--steps", type=int, default=1200, help="updates of every member (1200)")
    parser.add_argument("--runs", type=int, default=8, help="simulated runs of each scenario to fit on (8)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, default=None, metavar="TWIN")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    scenarios = [load_scenario(name) for name in arguments.scenario]
    encoders = [Encoder(s, Calibration.none(s)) for s in scenarios]
    fitted = [_sequences(e, arguments.seed, arguments.runs, SLOTS) for e in encoders]
    held_out = [_sequences(e, HELD_OUT_SEED, HELD_OUT_RUNS, HELD_OUT_SLOTS) for e in encoders]
    fitter, rng = Fitter(FitConfig(), seed=arguments.seed), np.random.default_rng(arguments.seed)
    losses = fitter.fit(fitted, steps=arguments.steps, rng=rng)
    print(f"fitted in {time.process_time() - began:.0f} CPU-s: "
          + ", ".join(f"{head} {loss:.2f}" for head, loss in losses.items()), file=sys.stderr)  # fmt: skip
    function = fitter.function()
    factors = [spread_factors(e, function, group[-3:]) for e, group in zip(encoders, fitted, strict=True)]
    spreads = {name: np.exp(np.mean([np.log(f[name]) for f in factors], axis=0)) for name in factors[0]}
    function = replace(function, scalers={**function.scalers, **spreads})
    console = Console(width=130)
    ratios: dict[str, float] = {}
    for scenario, encoder, group in zip(scenarios, encoders, held_out, strict=True):
        table = scores(encoder, function, group)
        ratios |= {f"{scenario.name}:{row.head}": row.ratio for row in table if row.ahead == 1}
        console.print(error_table(f"{scenario.name}, {len(group)} held-out runs", table))
    if arguments.save is not None:
        slots = sum(len(s) for group in fitted for s in group)
        runs = sum(map(len, fitted))
        whole = replace(scenarios[0], name="generic")
        twin = DigitalTwin(whole, function, Calibration.none(whole), arguments.seed, slots, runs, ratios)
        twin.save(arguments.save)


def _sequences(encoder: Encoder, seed: int, runs: int, slots: int) -> list[Sequence]:
    found = [r for i in range(runs) for r in simulated(encoder.scenario, seed + i, slots=slots)]
    return [encoder.sequence(r) for r in found]


if __name__ == "__main__":
    main()
