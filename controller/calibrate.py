"""`vnftwin calibrate`: what the moves in journals cost, and a scenario whose model charges that (docs/moves.md)."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from controller.move_costs import ModeCosts, costs_by_mode, measured_moves
from twin.errors import InputError
from twin.migration_cost import PRIORS
from twin.scenario_file import dump_scenario, load_scenario


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("journal", nargs="+", type=Path, help="what a controller wrote (vnftwin-journal.db)")
    parser.add_argument("--scenario", default="", help="a file, or the name of a shipped scenario, to take over")
    parser.add_argument("-o", "--output", type=Path, default=None, metavar="FILE",
                        help="write that scenario with what was measured as its section `migration`")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def calibrate(arguments: argparse.Namespace) -> int:
    """InputError for a journal that is none, one without moves, and an output without a scenario."""
    if (arguments.output is None) != (not arguments.scenario):
        raise InputError("--scenario and --output go together: which scenario, and where to write it")
    records = [record for path in arguments.journal for record in read_migrations(path)]
    costs = costs_by_mode(measured_moves(records), PRIORS)
    if not costs:
        raise InputError(f"no move was done in {', '.join(map(str, arguments.journal))}")
    if arguments.output is not None:
        _write(arguments.scenario, arguments.output, costs)
    print(json.dumps(as_json(costs))) if arguments.json else _print(costs)
    return 0


def read_migrations(path: Path) -> list[Mapping[str, Any]]:
    """The records of all migrations of a journal, oldest first."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT body FROM migrations ORDER BY rowid").fetchall()
    except sqlite3.Error as error:
        raise InputError(f"{path}: is no journal that can be read: {error}") from None
    return [json.loads(body) for (body,) in rows]


def as_json(costs: Mapping[str, ModeCosts]) -> dict[str, object]:
    """Per mode: number of moves, [median, 95th percentile] of what was measured, and the figures for the model."""
    return {mode: asdict(cost) for mode, cost in costs.items()}


def _write(scenario: str, output: Path, costs: Mapping[str, ModeCosts]) -> None:
    loaded = load_scenario(scenario)
    migration = {**loaded.migration, **{mode: cost.cost for mode, cost in costs.items()}}
    try:
        output.write_text(dump_scenario(replace(loaded, migration=migration)))
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from None


def _print(costs: Mapping[str, ModeCosts]) -> None:
    table = Table("mode", "moves", "until the new way, s", "whole move, s", "silence, ms", title="median (95 %)")
    for mode, cost in costs.items():
        silence = _pair(cost.silence_ms, 1) if cost.silence_ms else "–"
        table.add_row(mode, str(cost.moves), _pair(cost.switched_s, 3), _pair(cost.whole_s, 3), silence)
    Console().print(table)
    section = {mode: {key: round(value, 4) for key, value in asdict(cost.cost).items()} for mode, cost in costs.items()}
    print(yaml.safe_dump({"migration": section}, sort_keys=False).strip())


def _pair(values: Sequence[float], digits: int) -> str:
    return f"{values[0]:.{digits}f} ({values[1]:.{digits}f})"
