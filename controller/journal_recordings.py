"""What a twin learns from: the journals of runs, live or dry, as recordings. One reader for both."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.journal import replay
from twin.errors import InputError
from twin.learned.recording import Recording, recordings
from twin.scenario import Scenario
from twin.scenario_file import load_scenario, parse_scenario


@dataclass(frozen=True, eq=False)
class JournalRuns:
    """The recordings of one journal; `began` names it (a run's wall clock), `until_s` is its newest moment."""

    path: Path
    scenario: Scenario
    recordings: tuple[Recording, ...]
    began: str
    until_s: float


def read_runs(path: Path) -> JournalRuns:
    """The states behind the decisions of a journal. InputError, naming the file, where it is missing, damaged, or
    names no scenario that can be read."""
    if not path.is_file():
        raise InputError(f"no journal {path}")
    try:
        facts = _facts(path)
        scenario = _scenario(path, facts)
        found = recordings(scenario, (state for _, state in replay(path, scenario)))
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a journal, or damaged: {error}") from None
    until_s = float(found[-1].at_s[-1]) if found else 0.0
    return JournalRuns(path, scenario, tuple(found), str(facts.get("began", path)), until_s)


def read_all(paths: Sequence[Path]) -> list[JournalRuns]:
    """The journals in order. InputError where they are not all of one scenario, or hold no run that is long enough."""
    runs = [read_runs(path) for path in paths]
    for other in runs[1:]:
        if not _same(other.scenario, runs[0].scenario):
            raise InputError(
                f"{other.path} is of scenario {other.scenario.name}, {runs[0].path} of {runs[0].scenario.name}: "
                "one twin is of one network"
            )
    if not any(run.recordings for run in runs):
        raise InputError(f"no run in {', '.join(map(str, paths))} is long enough to learn from")
    return runs


def _facts(path: Path) -> dict[str, object]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM meta")}


def _scenario(path: Path, facts: dict[str, object]) -> Scenario:
    """The scenario as it was run; journals of earlier versions only name it."""
    text, source, name = (str(facts.get(key) or "") for key in ("scenario_text", "source", "scenario"))
    if text:
        return parse_scenario(text, path)
    if not name:
        raise InputError(f"{path}: names no scenario")
    return load_scenario(source if source and Path(source).is_file() else name)


def _same(one: Scenario, other: Scenario) -> bool:
    return all(
        [thing.id for thing in getattr(one, kind)] == [thing.id for thing in getattr(other, kind)]
        for kind in ("servers", "vnfs", "links", "switches", "endpoints", "chains")
    )
