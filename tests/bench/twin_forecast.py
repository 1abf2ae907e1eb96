"""How well the twin's LSTM predicts, on simulated runs that it was not fitted on, beside persistence and others.

    python -m tests.bench.twin_forecast [SCENARIO ...] [--steps N] [--runs N] [--save TWIN] [--twin TWIN]

One twin is fitted for all scenarios given (small medium), as the shipped one is; or one that is there is judged
(`--twin generic`). How much of it a forecast begins with is found on one more run of each scenario. Held-out runs have
other seeds and begin at other times of the day. Prints one table per scenario and one of its chains; never fails.
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
from rich.table import Table

from controller.twin_report import error_table
from twin.learned.calibration import Calibration
from twin.learned.digital_twin import DigitalTwin
from twin.learned.fitting import FitConfig, Fitter
from twin.learned.function import TwinFunction
from twin.learned.inputs import HORIZON, Encoder, Sequence
from twin.learned.recording import Recording, recordings, simulated_states, wanderer
from twin.learned.scoring import BURN_IN, found_shares, predict, scores, spread_factors, used
from twin.learned.serving import named_twin
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld

SLOTS, HELD_OUT_SLOTS = 260, 320
HELD_OUT_SEED, HELD_OUT_RUNS = 9_000, 2
SHARES_SEED = 8_000


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
    parser.add_argument("--save", type=Path, default=None, metavar="TWIN", help="write the twin that was fitted")
    parser.add_argument("--twin", default="", metavar="TWIN", help="judge this one instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scenarios = [load_scenario(name) for name in arguments.scenario]
    encoders = [Encoder(s, Calibration.none(s)) for s in scenarios]
    if (twin := named_twin(arguments.twin, scenarios[0])) is not None:
        for encoder in encoders:
            _judge(encoder, twin.function)
        return
    fitted = [_sequences(e, arguments.seed, arguments.runs, SLOTS) for e in encoders]
    function = _fitted(encoders, fitted, arguments)
    ratios = {f"{e.scenario.name}:{head}": ratio for e in encoders for head, ratio in _judge(e, function).items()}
    if arguments.save is not None:
        slots = sum(len(s) for group in fitted for s in group)
        runs = sum(map(len, fitted))
        whole = replace(scenarios[0], name="generic")
        DigitalTwin(whole, function, Calibration.none(whole), arguments.seed, slots, runs, ratios).save(arguments.save)


def _fitted(encoders: list[Encoder], fitted: list[list[Sequence]], arguments: argparse.Namespace) -> TwinFunction:
    began = time.process_time()
    fitter, rng = Fitter(FitConfig(), seed=arguments.seed), np.random.default_rng(arguments.seed)
    losses = fitter.fit(fitted, steps=arguments.steps, rng=rng)
    print(f"fitted in {time.process_time() - began:.0f} CPU-s: "
          + ", ".join(f"{head} {loss:.2f}" for head, loss in losses.items()), file=sys.stderr)  # fmt: skip
    function = fitter.function()
    factors = [spread_factors(e, function, group[-3:]) for e, group in zip(encoders, fitted, strict=True)]
    spreads = {name: np.exp(np.mean([np.log(f[name]) for f in factors], axis=0)) for name in factors[0]}
    return replace(function, scalers={**function.scalers, **spreads})


def _judge(encoder: Encoder, function: TwinFunction) -> dict[str, float]:
    """Prints how well it predicts runs that are held out; by head the error over persistence's of the twin alone, one
    slot ahead."""
    held_out = _sequences(encoder, HELD_OUT_SEED, HELD_OUT_RUNS, HELD_OUT_SLOTS)
    shares = found_shares(encoder, function, _sequences(encoder, SHARES_SEED, 1, SLOTS))
    table, console = scores(encoder, function, held_out, shares=shares), Console(width=150)
    console.print(error_table(f"{encoder.scenario.name}, {len(held_out)} held-out runs", table))
    console.print(_by_chain(encoder, function, held_out, shares["traffic"]))
    return {row.head: row.alone_ratio for row in table if row.ahead == 1}


def _by_chain(encoder: Encoder, function: TwinFunction, held_out: list[Sequence], shares: list[float]) -> Table:
    """Error of the traffic over persistence's, of the forecast as it is used and of the twin alone, for every chain."""
    table = Table("chain", "traffic", *(f"{what}, {k}" for k in (1, HORIZON) for what in ("used", "alone")))
    columns = []
    for ahead in (1, HORIZON):
        predictions = [predict(encoder, function, s, ahead=ahead)["traffic"] for s in held_out]
        observed, alone, last = (
            np.concatenate([getattr(p, name)[BURN_IN:] for p in predictions])
            for name in ("observed", "twin", "persistence")
        )
        said = np.concatenate([used(p, ahead, prior=shares[ahead - 1])[BURN_IN:] for p in predictions])
        errors = [np.nanmean(np.abs(v - observed), axis=0) for v in (said, alone, last)]
        columns += [errors[0] / errors[2], errors[1] / errors[2]]
    for c, chain in enumerate(encoder.scenario.chains):
        table.add_row(chain.id, type(chain.traffic).__name__, *(f"{column[c]:.3f}" for column in columns))
    return table


def _sequences(encoder: Encoder, seed: int, runs: int, slots: int) -> list[Sequence]:
    found = [r for i in range(runs) for r in simulated(encoder.scenario, seed + i, slots=slots)]
    return [encoder.sequence(r) for r in found]


if __name__ == "__main__":
    main()
