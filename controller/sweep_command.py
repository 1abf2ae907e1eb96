"""The command `sweep`: one policy per seed and setting, a table of what each setting reaches, a folder of policies."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent.evaluation import interval
from agent.sweep import InProcesses, Runner, Settings, Trial, parse_setting, trials
from agent.sweep_ray import OnRay
from agent.training import TrainedPolicy
from twin.errors import InputError
from twin.scenario_file import dump_scenario, load_scenario


def sweep(arguments: argparse.Namespace) -> int:
    settings = dict(parse_setting(text) for text in arguments.set)
    scenario = load_scenario(arguments.scenario)
    wanted = trials(
        dump_scenario(scenario),
        seeds=range(1, 1 + arguments.seeds),
        real_steps=arguments.real_steps,
        settings=settings,
    )
    _make(arguments.output)
    runner: Runner = (
        InProcesses(arguments.workers or os.cpu_count() or 1) if arguments.no_ray else OnRay(arguments.address)
    )
    scores = _scores(wanted, runner, arguments.output)
    Console().print(_table(f"{scenario.name}: {arguments.seeds} seeds, {arguments.real_steps} steps", scores))
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None


def _scores(wanted: Sequence[Trial], runner: Runner, folder: Path) -> dict[Settings, list[float]]:
    """Best objective on held-out traffic of every trial by its settings; policies and `sweep.json` are written as
    trials end, so that nothing is lost with what comes later."""
    found: dict[int, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("sweep", total=len(wanted))
        for row, trained in runner(wanted):
            found[row] = _best(trained)
            _write(folder, wanted, found, row, trained)
            bar.update(task, advance=1, description=f"{wanted[row].name}: {found[row]:.3f}")
    by_settings: dict[Settings, list[float]] = {}
    for row, trial in enumerate(wanted):
        by_settings.setdefault(trial.settings, []).append(found[row])
    return by_settings


def _best(trained: TrainedPolicy) -> float:
    return max(score for _, score in trained.validations)


def _write(folder: Path, wanted: Sequence[Trial], found: dict[int, float], row: int, trained: TrainedPolicy) -> None:
    rows = [
        {
            **dict(wanted[i].settings),
            "seed": wanted[i].seed,
            "objective": score,
            "policy": f"{wanted[i].name}.safetensors",
        }
        for i, score in sorted(found.items())
    ]
    try:
        trained.save(folder / f"{wanted[row].name}.safetensors")
        (folder / "sweep.json").write_text(json.dumps(rows, indent=1))
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror}") from None


def _table(title: str, scores: dict[Settings, list[float]]) -> Table:
    names = [name for name, _ in next(iter(scores))]
    table = Table(title=title)
    for heading in (*names, "objective λ, held out", "best seed"):
        table.add_column(heading, justify="right")
    for settings, found in sorted(scores.items(), key=lambda item: -interval(item[1]).mean):
        mean = interval(found)
        best = 1 + max(range(len(found)), key=found.__getitem__)
        table.add_row(*(f"{value:g}" for _, value in settings), f"{mean.mean:.4f} ± {mean.half:.4f}", str(best))
    return table
