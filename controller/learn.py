"""The command `evaluate`: progress on the terminal around `agent.evaluation`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from agent.a2c_policy import named_policy
from agent.decision import Policy
from agent.evaluation import Comparison, compare
from twin.errors import InputError
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

EVALUATION_SLOTS = 60
HELD_OUT_FROM = 1  # first seed of an evaluation; training's seeds lie far above (agent.training)


def evaluate_policies(
    scenario_names: Sequence[str], policies: Sequence[str], *, seeds: int, json_file: Path | None
) -> int:
    """Prints one table per scenario; with `json_file` also every run's figures."""
    comparisons = [_compare(load_scenario(name), policies, seeds) for name in scenario_names]
    for comparison in comparisons:
        Console().print(comparison.table())
    if json_file is not None:
        try:
            json_file.write_text(json.dumps([c.as_json() for c in comparisons], indent=1))
        except OSError as error:
            raise InputError(f"cannot write {json_file}: {error.strerror}") from None
    return 0


def _compare(scenario: Scenario, policies: Sequence[str], seeds: int) -> Comparison:
    makers = {name or "a2c": _maker(name, scenario) for name in dict.fromkeys(policies)}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(scenario.name, total=seeds * len(makers))
        return compare(
            scenario, makers, seeds=range(HELD_OUT_FROM, HELD_OUT_FROM + seeds), slots=EVALUATION_SLOTS,
            clock=time.perf_counter, progress=lambda _policy, _seed: bar.advance(task),
        )  # fmt: skip


def _maker(name: str, scenario: Scenario) -> Callable[[int], Policy]:
    named_policy(name, scenario)  # an unknown one is an error before the first run
    return lambda seed: named_policy(name, scenario, seed=seed)
