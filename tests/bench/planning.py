"""Policies over a day's course with roaming users: the reactive planner, the agent, and the agent refined.

    python -m tests.bench.planning [SCENARIO] [--seeds N] [--first N] [--slots N] [--rows ROW...]

Every policy meets the same traffic and telemetry noise by the road of a live run. *smoothed* says that its forecast is
`twin.forecast.SmoothedForecaster`; the others have persistence. Differences are paired by seed, in percent of the
reactive planner's objective. Staying scores 0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.a2c_policy import named_policy
from agent.decision import Policy
from agent.evaluation import Run, interval, summarise
from agent.planners import SearchPolicy
from agent.rollout import play
from twin.forecast import Forecaster, PersistenceForecaster, SmoothedForecaster
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld

PLANNER = "local search"
Row = tuple[Callable[[Scenario], Policy], Callable[[], Forecaster]]
ROWS: dict[str, Row] = {
    PLANNER: (lambda s: named_policy("local-search", s), PersistenceForecaster),
    "agent": (lambda s: named_policy("a2c", s), PersistenceForecaster),
    "agent, smoothed": (lambda s: named_policy("a2c", s), SmoothedForecaster),
    "agent polished": (lambda s: named_policy("a2c+polish", s), PersistenceForecaster),
    "agent, look-ahead": (lambda s: named_policy("a2c+look-ahead", s), PersistenceForecaster),
    "agent, look-ahead, smoothed": (lambda s: named_policy("a2c+look-ahead", s), SmoothedForecaster),
    "local search, smoothed": (lambda s: SearchPolicy(forecast=True), SmoothedForecaster),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", default="medium")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="the first seed (1)")
    parser.add_argument("--slots", type=int, default=120, metavar="N")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="which rows (all)")
    arguments = parser.parse_args()
    rows = {name: row for name, row in ROWS.items() if name == PLANNER or name in arguments.rows}
    scenario = load_scenario(arguments.scenario)
    runs: dict[str, list[Run]] = {name: [] for name in rows}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        for name, (policy, forecaster) in rows.items():
            world = TwinWorld(scenario, seed=seed, poll_s=scenario.period_s)
            slots = play(
                world, policy(scenario), slots=arguments.slots, clock=time.process_time, forecaster=forecaster()
            )
            runs[name].append(summarise(list(slots), scenario))
        print(f"{seed}", {name: round(found[-1].objective, 4) for name, found in runs.items()}, file=sys.stderr)
    Console(width=120).print(_table(scenario, runs, arguments.slots))
    return 0


def _table(scenario: Scenario, runs: dict[str, list[Run]], slots: int) -> Table:
    table = Table("policy", "objective λ", "against local search", "delay ms", "power W", "moves", "late", "CPU ms")
    table.title = f"{scenario.name}: {slots} slots, {len(runs[PLANNER])} seeds, mean ± 95 %"
    for name, found in runs.items():
        objective = interval([run.objective for run in found])
        pairs = zip(found, runs[PLANNER], strict=True)
        against = interval([run.objective / other.objective - 1.0 for run, other in pairs])
        means = [float(np.mean([getattr(run, key) for run in found])) for key in ("delay_ms", "power_w", "moves")]
        late = float(np.mean([run.late_share for run in found]))
        took_ms = float(np.median([run.decision_us for run in found])) / 1e3
        table.add_row(
            name, f"{objective.mean:.4f} ± {objective.half:.4f}", f"{against.mean:+.2%} ± {against.half:.2%}",
            *(f"{mean:.1f}" for mean in means), f"{late:.2%}", f"{took_ms:.1f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
