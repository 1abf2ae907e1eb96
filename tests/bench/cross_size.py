"""A policy used without retraining on networks of half and of four times the size of `medium`, which it never saw.

    python -m tests.bench.cross_size [half|four-times] [--policy POLICY] [--network N] [--real-steps N] [--own POLICY]

The networks are made by the rule of `twin.grown` in the manner of `medium`: 8 servers and 4 chains, 64
servers and 32 chains. The control is a policy trained there for `--real-steps` from nothing but the greedy prior
(`--own`: one that was kept). Traffic is held out from both; differences are paired by seed, in percent of the control's
objective. Prints its table and exits.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from agent.a2c import A2CConfig
from agent.a2c_policy import A2CPolicy, load_policy
from agent.baselines import make_policy
from agent.evaluation import Comparison, PolicyMaker, compare, interval
from agent.training import train
from twin.forecast import SmoothedForecaster
from twin.grown import grown
from twin.scenario import Scenario

OWN = "trained there"
SIZES = {"half": (2, 8, 4), "four-times": (16, 64, 32)}  # core switches, servers, chains
CONFIG = A2CConfig(hidden=24, learning_rate=5e-4, entropy_coef=0.001, entropy_final=0.0001, smoothing=0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES, nargs="?", default="half")
    parser.add_argument("--real-steps", type=int, default=80_000, metavar="N")
    parser.add_argument("--own", type=Path, default=None, metavar="POLICY", help="use it, or write it where it is not")
    parser.add_argument("--policy", default="generic", metavar="POLICY", help="the one that is carried over (generic)")
    parser.add_argument("--network", type=int, default=1, metavar="N", help="seed that the network is drawn from (1)")
    parser.add_argument("--batch", type=int, default=CONFIG.batch, metavar="N", help="networks at once in training")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--slots", type=int, default=120, metavar="N")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cores, servers, chains = SIZES[arguments.size]
    scenario = grown(cores=cores, servers=servers, chains=chains, seed=arguments.network)
    own = _own(scenario, arguments)
    makers: dict[str, PolicyMaker] = {
        OWN: lambda seed: own,
        arguments.policy: lambda seed: load_policy(arguments.policy),
        "greedy": lambda seed: make_policy("greedy", seed=seed),
    }
    with Bar(transient=True) as bar:
        task = bar.add_task(scenario.name, total=arguments.seeds * len(makers))
        found = compare(
            scenario, makers, seeds=range(1, 1 + arguments.seeds), slots=arguments.slots, clock=time.process_time,
            progress=lambda _policy, _seed: bar.advance(task), forecaster=SmoothedForecaster,
        )  # fmt: skip
    Console(width=110).print(_table(found, f"{servers} servers, {chains} chains"))
    return 0


def _own(scenario: Scenario, arguments: argparse.Namespace) -> A2CPolicy:
    """The policy trained on the scenario itself."""
    if arguments.own is not None and arguments.own.is_file():
        return load_policy(arguments.own)
    config = replace(CONFIG, batch=arguments.batch)
    with Bar(transient=True) as bar:
        task = bar.add_task("training", total=arguments.real_steps)
        trained = train(
            scenario, seed=1, real_steps=arguments.real_steps, config=config,
            progress=lambda p: bar.update(task, completed=p.steps),
        )  # fmt: skip
    if arguments.own is not None:
        trained.save(arguments.own)
    return A2CPolicy(trained.function, trained_on=scenario.name)


def _table(found: Comparison, title: str) -> Table:
    table = Table("policy", "objective λ", "against the control", "moves", "CPU ms")
    table.title = f"{title}; {len(found.seeds)} seeds, {found.slots} slots, mean ± 95 %"
    for name, runs in found.runs.items():
        objective, moves = found.interval(name, "objective"), found.interval(name, "moves")
        against = interval([a.objective / b.objective - 1.0 for a, b in zip(runs, found.runs[OWN], strict=True)])
        took_ms = found.interval(name, "decision_us").mean / 1e3
        table.add_row(
            name, f"{objective.mean:.4f} ± {objective.half:.4f}", f"{against.mean:+.2%} ± {against.half:.2%}",
            f"{moves.mean:.1f}", f"{took_ms:.2f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
