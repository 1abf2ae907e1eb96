"""The command `bench`: how fast simulator, training and decisions are on this machine."""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.speed import (
    PRODUCTS,
    SEEN,
    SHARE,
    TORCH_PRODUCTS,
    TORCH_SHARE,
    TRAINING,
    Figure,
    figures,
    large_figure,
    measured,
    share,
)
from twin.errors import InputError
from twin.scenario_file import load_scenario


def bench(arguments: argparse.Namespace) -> int:
    torch.set_num_threads(1)  # CPU seconds of one thread are what is told
    scenario = load_scenario(arguments.scenario)
    wanted = figures(scenario) + ([large_figure()] if arguments.large else [])
    found = _values(wanted, arguments.rounds)
    rows = {figure.name: (figure.unit, found[figure.name]) for figure in wanted}
    for name, products in ((SHARE, PRODUCTS), (TORCH_SHARE, TORCH_PRODUCTS)):
        shares = map(share, found[TRAINING], found[SEEN], found[products])
        rows[name] = ("%", [100.0 * one for one in shares])
    title = f"{scenario.name}: CPU time of one thread, {arguments.rounds} rounds that take turns"
    Console().print(_table(title, rows))
    if arguments.json is not None:
        _write(arguments.json, scenario.name, rows)
    return 0


def _values(wanted: Sequence[Figure], rounds: int) -> dict[str, list[float]]:
    """By the figure's name, one value per round."""
    found: dict[str, list[float]] = {figure.name: [] for figure in wanted}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=len(wanted) * rounds)
        for figure, value in measured(wanted, times=rounds):
            found[figure.name].append(value)
            bar.update(task, advance=1, description=figure.name)
    return found


def _table(title: str, rows: Mapping[str, tuple[str, Sequence[float]]]) -> Table:
    table = Table("what", "median", "least", "most", "unit", title=title)
    for column in table.columns[1:4]:
        column.justify = "right"
    for name, (unit, values) in rows.items():
        table.add_row(name, *map(_shown, (statistics.median(values), min(values), max(values))), unit)
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    table.caption = f"load {busy:.1f} per core" + (": other work slows these figures" if busy > 1.2 else "")
    return table


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _write(path: Path, scenario: str, rows: Mapping[str, tuple[str, Sequence[float]]]) -> None:
    body = {"scenario": scenario, "figures": {name: {"unit": unit, "rounds": v} for name, (unit, v) in rows.items()}}
    try:
        path.write_text(json.dumps(body, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
