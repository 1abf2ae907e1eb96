"""Real steps until an agent is as good as a planner that knows the costs, with and without the twin.

    .venv/bin/python -m tests.bench.sample_efficiency [--rows usual,twin-lively,...] [--seeds 10] [--json FILE]

A real step is one slot of the true network, whoever learns from it; evaluation is not counted. Planner level: the
greedy actor's mean λ on held-out traffic is that of one-move greedy planning with the true costs on the same traffic,
or more, in three evaluations in a row (the first of them counts). Policies start from nothing: no prior
for gainful moves, and without `--sighted` the features that are the cost model's predictions are hidden from them.
`--list` names all rows; those of the search are `a2c-RATE-SLOTS-ENTROPY`, `replay-RATE-ENTROPY[-UPDATES]` and
`replay-lively-RATE-ENTROPY`.
`--show FILE...` prints the table of what `--json` has gathered, without running anything.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from agent.branch_sources import Origin, Traffic
from agent.frugal import LIVELY, Extra, FrugalConfig, Learner
from agent.fused import scored
from agent.network import PolicyNetwork
from agent.planning import greedy_actions
from agent.synthetic import Physics, TwinConfig
from agent.trajectory import copied
from tests.bench.medians import median_interval, ratio_interval
from twin.fast import BatchObservation, BatchSim
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.state import IntArray

HELD_OUT, INSTANCES, SLOTS = 700_000, 48, 32
SUSTAINED = 3
UPDATES, TRANSITIONS = 16, 512  # per 64 real steps; per update

_UNGUARDED = {
    "bound": math.inf,
    "disagreement": math.inf,
}  # a twin that is bad would else be off, or its branches dropped
ABLATIONS: dict[str, dict[str, Any]] = {  # what differs from the twin
    "no-counterfactuals": {"elsewhere": 0.0},
    "lstm": {"traffic": Traffic.SAMPLED},
    "vae": {"traffic": Traffic.HELD, "starts": Origin.GENERATED},
    "vae+lstm": {"traffic": Traffic.SAMPLED, "starts": Origin.GENERATED},
    "held": {"traffic": Traffic.HELD},
    "untrained": {"traffic": Traffic.SAMPLED, "network_updates": 0, "physics": Physics.GUESSED, **_UNGUARDED},
    "file": {"physics": Physics.FILE, **_UNGUARDED},
}


@dataclass(frozen=True)
class Row:
    """One learner of the table; it gives up after `most` real steps."""

    config: FrugalConfig
    most: int


def rows(*, blind: bool) -> dict[str, Row]:
    """All learners by name."""
    twin = FrugalConfig(blind=blind, twin=TwinConfig(updates=UPDATES))
    usual = replace(twin, extra=Extra.NONE, a2c=replace(twin.a2c, learning_rate=1e-3, entropy_coef=0.03))
    found = {"usual": Row(usual, 16_384), "twin": Row(twin, 2048), **_search(twin)}
    found["tuned"], found["replay"] = found["a2c-0.003-2-0.02"], found["replay-0.001-0.1"]
    found["replay-lively"] = found["replay-lively-0.0003-0.1"]
    for k in (1, 2, 4, 8):
        found[f"twin-k{k}"] = Row(replace(twin, twin=replace(twin.twin, horizon=k, branches=TRANSITIONS // k)), 2048)
    lively = replace(twin, extra=Extra.NONE, a2c=replace(LIVELY, n_steps=2))
    found["tuned-lively"] = Row(lively, 8192)
    found["black-box"] = Row(replace(twin, extra=Extra.BLACK_BOX), 1024)
    found |= {name: Row(replace(twin, twin=replace(twin.twin, **kind)), 2048) for name, kind in ABLATIONS.items()}
    learned = {name: row for name, row in found.items() if row.config.extra in (Extra.TWIN, Extra.BLACK_BOX)}
    return found | {f"{n}-lively": replace(row, config=replace(row.config, a2c=LIVELY)) for n, row in learned.items()}


def _search(twin: FrugalConfig) -> dict[str, Row]:
    """What the controls were tuned over."""
    found = {}
    for rate, slots, entropy in product((1e-3, 3e-3, 1e-2), (2, 8), (0.02, 0.05, 0.1)):
        a2c = replace(twin.a2c, learning_rate=rate, n_steps=slots, entropy_coef=entropy)
        found[f"a2c-{rate:g}-{slots}-{entropy:g}"] = Row(replace(twin, extra=Extra.NONE, a2c=a2c), 8192)
    for rate, entropy, updates in product((3e-4, 1e-3, 3e-3, 1e-2), (0.01, 0.03, 0.1), (4, UPDATES)):
        a2c = replace(twin.a2c, learning_rate=rate, entropy_coef=entropy)
        own = replace(twin, extra=Extra.REPLAY, a2c=a2c, twin=replace(twin.twin, updates=updates))
        found[f"replay-{rate:g}-{entropy:g}" + (f"-{updates}" if updates != UPDATES else "")] = Row(own, 4096)
    for rate, entropy in product((3e-4, 1e-3, 3e-3), (0.05, 0.1)):
        a2c = replace(LIVELY, learning_rate=rate, entropy_coef=entropy)
        found[f"replay-lively-{rate:g}-{entropy:g}"] = Row(replace(twin, extra=Extra.REPLAY, a2c=a2c), 4096)
    return found


class Judge:
    """Held-out traffic: the planner's mean λ per slot on it, any network's, and that of whatever chooses."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.planner = self.play(lambda seen: greedy_actions(scenario, seen))

    @torch.no_grad()
    def score(self, network: PolicyNetwork) -> float:
        return self.play(lambda seen: np.asarray(scored(network, copied(seen))[0].argmax(dim=-1)))

    def play(self, choose: Callable[[BatchObservation], IntArray]) -> float:
        sim = BatchSim(self._scenario, INSTANCES, HELD_OUT, slots=SLOTS)
        seen, total = sim.reset(), 0.0
        for _ in range(SLOTS):
            seen, reward, _, _ = sim.step(choose(seen))
            total += float(reward.mean()) / SLOTS
        return total


@dataclass(frozen=True)
class Run:
    """What became of one learner: (real steps, λ) of each evaluation, and where it was level (inf: never)."""

    row: str
    seed: int
    planner: float
    level: float
    curve: list[tuple[int, float]]
    cpu_s: float

    @property
    def last(self) -> float:
        """Mean λ of the last evaluations."""
        return float(np.mean([score for _, score in self.curve[-SUSTAINED:]]))


def spacing(steps: int) -> int:
    """Real steps to the next evaluation."""
    return 64 if steps < 1024 else 256 if steps < 4096 else 1024


def learn(name: str, row: Row, judge: Judge, scenario: Scenario, seed: int, *, to_end: bool = False) -> Run:
    """Trains until the level is sustained, or gives up; `to_end`: as long as a learner that gives up."""
    began, learner, due, level = time.process_time(), Learner(scenario, row.config, seed=seed), 0, math.inf
    curve: list[tuple[int, float]] = []
    while learner.steps < row.most and (to_end or level == math.inf):
        learner.round()
        if learner.steps >= due:
            curve.append((learner.steps, judge.score(learner.network)))
            due, level = learner.steps + spacing(learner.steps), reached(curve, judge.planner)
    return Run(name, seed, judge.planner, level, curve, time.process_time() - began)


def reached(curve: list[tuple[int, float]], planner: float) -> float:
    """Real steps at the first of `SUSTAINED` evaluations in a row at planner level; inf before that."""
    for i in range(len(curve) - SUSTAINED + 1):
        if all(score >= planner for _, score in curve[i : i + SUSTAINED]):
            return float(curve[i][0])
    return math.inf


def print_table(runs: list[Run], against: str) -> None:
    """Every row beside that of `against`."""
    table = Table(
        "row", "seeds", "arrived", "real steps to planner level", "~95 %", f"of {against}'s", "λ at the end", "CPU s"
    )
    by_row = {name: [run for run in runs if run.row == name] for name in dict.fromkeys(run.row for run in runs)}
    for name, found in by_row.items():
        steps = [run.level for run in found]
        middle, low, high = (_steps(value, found) for value in median_interval(steps))
        ends = median_interval([run.last for run in found])
        table.add_row(
            name, str(len(found)), str(sum(map(math.isfinite, steps))), middle, f"{low} to {high}",
            _against(steps, by_row.get(against)), f"{ends.median:.3f} ({ends.low:.3f} to {ends.high:.3f})",
            f"{np.median([r.cpu_s for r in found]):.0f}",
        )  # fmt: skip
    Console(width=140).print(table, f"planner: λ = {runs[0].planner:.4f}")


def _against(steps: list[float], twin: list[Run] | None) -> str:
    if twin is None:
        return ""
    found = ratio_interval(steps, [run.level for run in twin], np.random.default_rng(0))
    median, low, high = ("∞" if math.isinf(value) else f"{value:.1f}" for value in found)
    return f"{median} ({low} to {high})"


def _steps(level: float, runs: list[Run]) -> str:
    return f"> {max(run.curve[-1][0] for run in runs)}" if math.isinf(level) else f"{level:.0f}"


def _parsed(line: str) -> Run:
    found: dict[str, Any] = json.loads(line)
    return Run(**found)


def recorded(path: Path | None) -> list[Run]:
    """The runs that a file holds: none where there is no file yet."""
    return [_parsed(line) for line in path.read_text().splitlines()] if path is not None and path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="usual,tuned-lively,replay-lively,twin-lively")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--most", type=int, help="real steps after which a learner gives up (default: by row)")
    parser.add_argument(
        "--to-end", action="store_true", help="go on after the level was reached, for the final objective"
    )
    parser.add_argument("--scenario", default="small")
    parser.add_argument("--sighted", action="store_true")
    parser.add_argument(
        "--json", type=Path, help="append every run to this file; those that it holds are not run again"
    )
    parser.add_argument("--show", type=Path, nargs="+")
    parser.add_argument("--against", default="twin-lively", metavar="ROW", help="what the others are held against")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    known = rows(blind=not arguments.sighted)
    if arguments.list:
        print(*known, sep="\n")
    elif arguments.show:
        print_table([run for path in arguments.show for run in recorded(path)], arguments.against)
    else:
        _run(arguments, known)


def _run(arguments: argparse.Namespace, known: dict[str, Row]) -> None:
    torch.set_num_threads(1)
    scenario = load_scenario(arguments.scenario)
    judge, runs = Judge(scenario), recorded(arguments.json)
    done = {(run.row, run.seed) for run in runs}
    for seed, name in product(range(arguments.first, arguments.first + arguments.seeds), arguments.rows.split(",")):
        if (name, seed) in done:
            continue
        row = replace(known[name], most=arguments.most or known[name].most)
        runs.append(run := learn(name, row, judge, scenario, seed, to_end=arguments.to_end))
        print(f"{name} seed {seed}: {run.level:.0f} steps, λ {run.last:.4f}, {run.cpu_s:.1f} s", flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
    print_table(runs, arguments.against)


if __name__ == "__main__":
    main()
