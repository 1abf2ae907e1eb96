"""The command `evaluate`: progress on the terminal around `agent.evaluation`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from agent.a2c_policy import named_policy
from agent.clairvoyant import ClairvoyantPolicy, SmallNetwork
from agent.evaluation import Comparison, PolicyMaker, compare
from twin.errors import InputError
from twin.learned.serving import named_forecaster, named_twin
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

EVALUATION_SLOTS = 60
HELD_OUT_FROM = 1  # first seed of an evaluation; training's seeds lie far above (agent.training)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation is asked to do; `curves` are trained policies whose learning curves are drawn, `twin` is who
    forecasts."""

    scenarios: Sequence[str]
    policies: Sequence[str]
    seeds: int
    slots: int = EVALUATION_SLOTS
    json_file: Path | None = None
    plots: Path | None = None
    curves: Sequence[Path] = ()
    twin: str = ""


def evaluate_policies(options: Evaluation) -> int:
    """Prints one table per scenario; with `json_file` also every run's figures, with `plots` pictures.

    InputError before the first run for what is no policy, or a folder that cannot be made.
    """
    if options.curves and options.plots is None:
        raise InputError("--curves needs --plots: say where to draw them")
    scenarios = [load_scenario(name) for name in options.scenarios]
    for scenario in scenarios:
        named_twin(options.twin, scenario)
    if options.plots is not None:
        _make_folder(options.plots)
    comparisons = [_compare(scenario, options) for scenario in scenarios]
    for comparison in comparisons:
        Console().print(comparison.table())
    try:
        _write(options, scenarios, comparisons)
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror}") from None
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None


def _write(options: Evaluation, scenarios: Sequence[Scenario], comparisons: Sequence[Comparison]) -> None:
    if options.json_file is not None:
        options.json_file.write_text(json.dumps([c.as_json() for c in comparisons], indent=1))
    if options.plots is None:
        return
    from agent.plots import save_comparison, save_curves

    for comparison, scenario in zip(comparisons, scenarios, strict=True):
        save_comparison(comparison, scenario, options.plots)
    if options.curves:
        save_curves(options.curves, options.plots / "learning-curves.png")


def _compare(scenario: Scenario, options: Evaluation) -> Comparison:
    makers = {name or "a2c": _maker(name, scenario, options.slots) for name in dict.fromkeys(options.policies)}
    seeds = range(HELD_OUT_FROM, HELD_OUT_FROM + options.seeds)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(scenario.name, total=len(seeds) * len(makers))
        return compare(
            scenario, makers, seeds=seeds, slots=options.slots,
            clock=time.perf_counter, progress=lambda _policy, _seed: bar.advance(task),
            forecaster=lambda: named_forecaster(options.twin, scenario),
        )  # fmt: skip


def _maker(name: str, scenario: Scenario, slots: int) -> PolicyMaker:
    if name == ClairvoyantPolicy.name:
        network = SmallNetwork(scenario)
        return lambda seed: ClairvoyantPolicy(scenario, seed=seed, slots=slots, network=network)
    named_policy(name, scenario)  # an unknown one is an error before the first run
    return lambda seed: named_policy(name, scenario, seed=seed)
