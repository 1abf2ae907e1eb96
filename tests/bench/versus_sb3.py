"""CPU seconds of training until a policy is as good as a planner that knows the costs: ours beside Stable-Baselines3.

    python -m tests.bench.versus_sb3 [--rows ours,sb3,...] [--seeds 10] [--json FILE]
    python -m tests.bench.versus_sb3 --show FILE...      the table of what --json has gathered, nothing is run
    python -m tests.bench.versus_sb3 --list              all rows; those of the tuning are named by their settings

All learn on the same compiled simulator of `small`, eight networks side by side, and see the same; none sees the
features that are the cost model's predictions (`--sighted` shows them to all). The level is that of
`tests.bench.sample_efficiency`: mean λ of the likeliest actions on held-out traffic at least that of one-move greedy
planning with the true costs, in three evaluations in a row (the first counts). Evaluations are as far apart as 15 % of
the CPU time spent so far, the same for all, and are not counted; nor is the compiling of the simulator. Rows take
turns, seed by seed, one thread each. Stable-Baselines3's A2C knows no masks: an infeasible action is *stay* and costs a
penalty, but in evaluations its choice is among feasible actions, too. Episodes end by time limits, where all bootstrap.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tests.bench.learners import Contender, contenders
from tests.bench.medians import median_interval, ratio_interval
from tests.bench.sample_efficiency import SUSTAINED, Judge, reached
from twin.scenario_file import load_scenario

SPACING, FIRST_S = 0.15, 0.05  # of the CPU time spent; CPU seconds


@dataclass(frozen=True)
class Run:
    """What became of one learner: (CPU s, steps, λ) of each evaluation; CPU s and steps at level (inf: never)."""

    row: str
    seed: int
    planner: float
    level_s: float
    level_steps: float
    most_s: float
    curve: list[tuple[float, int, float]]

    @property
    def last(self) -> float:
        """Mean λ of the last evaluations."""
        return float(np.mean([score for *_, score in self.curve[-SUSTAINED:]]))


def learn(name: str, contender: Contender, judge: Judge, seed: int) -> Run:
    """Trains until the level is sustained, or gives up."""
    began = time.process_time()
    learner, due_s = contender.make(seed), FIRST_S
    spent_s = time.process_time() - began
    curve: list[tuple[float, int, float]] = []
    level = math.inf
    while spent_s < contender.most_s and level == math.inf:
        began = time.process_time()
        learner.train()
        spent_s += time.process_time() - began
        if spent_s >= due_s:
            curve.append((spent_s, learner.steps, judge.play(learner.choose)))
            due_s = spent_s * (1.0 + SPACING)
            level = reached([(i, score) for i, (*_, score) in enumerate(curve)], judge.planner)
    at = None if level == math.inf else curve[int(level)]
    level_s, level_steps = (at[0], float(at[1])) if at else (math.inf, math.inf)
    return Run(name, seed, judge.planner, level_s, level_steps, contender.most_s, curve)


def print_table(runs: Sequence[Run], ours: str) -> None:
    table = Table(
        "row", "seeds", "arrived", "CPU s to the level", "interval", f"of {ours}", "95 %", "steps", "λ at the end"
    )
    base = [run.level_s for run in runs if run.row == ours]
    for name in dict.fromkeys(run.row for run in runs):
        found = [run for run in runs if run.row == name]
        most_s = min(run.most_s for run in found)
        middle, low, high = (_seconds(v, most_s) for v in median_interval([run.level_s for run in found]))
        steps = median_interval([run.level_steps for run in found]).median
        cells = [middle, f"{low} to {high}", *_ratio([run.level_s for run in found], base, most_s)]
        arrived = sum(run.level_s < math.inf for run in found)
        last = f"{np.median([run.last for run in found]):.3f}"
        table.add_row(name, str(len(found)), str(arrived), *cells, f"{steps:,.0f}", last)
    Console(width=160).print(table, f"planner: λ = {runs[0].planner:.4f}")


def _ratio(theirs: list[float], base: list[float], most_s: float) -> tuple[str, str]:
    """At least so much where they gave up; ours that never arrived count as such."""
    if not base or math.isinf(median_interval(base).median):
        return "", ""
    ratio = ratio_interval([min(level, most_s) for level in theirs], base, np.random.default_rng(1))
    more = "> " if ratio.median * median_interval(base).median >= 0.99 * most_s else ""
    return f"{more}{ratio.median:.1f}", f"{more}{ratio.low:.1f} to {more}{ratio.high:.1f}"


def _seconds(level: float, most_s: float) -> str:
    return f"> {most_s:.0f}" if math.isinf(level) else f"{level:.2f}"


def read(files: Sequence[Path]) -> Iterator[Run]:
    """What `--json` wrote."""
    for file in files:
        for line in file.read_text().splitlines():
            yield Run(**json.loads(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="ours,sb3-tuned,sb3,ppo-0.001-64,twin")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--scenario", default="small")
    parser.add_argument("--sighted", action="store_true")
    parser.add_argument("--most", type=float, default=math.inf, metavar="S", help="give up after so much CPU time")
    parser.add_argument("--json", type=Path, help="append every run to this file")
    parser.add_argument("--show", type=Path, nargs="+")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.show:
        print_table(list(read(arguments.show)), "ours")
        return
    scenario = load_scenario(arguments.scenario)
    known = contenders(scenario, blind=not arguments.sighted, most_s=arguments.most)
    if arguments.list:
        print(*known, sep="\n")
        return
    judge, runs, names = Judge(scenario), [], arguments.rows.split(",")
    for name in names:
        known[name].make(0).train()  # compiles
    for seed, name in product(range(arguments.first, arguments.first + arguments.seeds), names):
        run = learn(name, known[name], judge, seed)
        runs.append(run)
        print(f"{name} seed {seed}: {run.level_s:.2f} CPU s, {run.level_steps:.0f} steps, λ {run.last:.4f}", flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
    print_table(runs, names[0])


if __name__ == "__main__":
    main()
