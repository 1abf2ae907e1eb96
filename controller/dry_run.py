"""`vnftwin run --dry-run`: the live loop over the simulated network. Touches nothing and needs no root."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.a2c_policy import named_policy
from agent.decision import Move
from controller.journal import Journal
from controller.records import MigrationRecord, MigrationStatus
from controller.thrift import Past
from controller.tick import Decider
from twin.errors import InputError
from twin.feasibility import Limits
from twin.learned.serving import named_forecaster
from twin.routing import Router
from twin.samples import Sample
from twin.scenario import Scenario
from twin.scenario_dump import dump_scenario
from twin.simulator import TwinWorld
from twin.state import StateBuilder

KEPT = 1000  # records of moves, as live
_COLUMNS = {
    "delay_ms": "{:.2f}", "stay_delay_ms": "{:.2f}", "power_w": "{:.1f}", "stay_power_w": "{:.1f}",
    "objective": "{:+.3f}", "moves": "{:d}",
}  # fmt: skip


def run_dry(
    scenario: Scenario, policies: Sequence[str], *, duration_s: float, seed: int, as_json: bool = False,
    twin: str = "", journal: Path | None = None,
) -> int:  # fmt: skip
    """Plays `duration_s` of the scenario per policy and prints moves and a table; everything in it is modelled.

    `as_json`: prints one list instead, of an object per policy. `twin` forecasts. `journal` is where the first policy's
    run is written, as a live run's would be. InputError where it is there.
    """
    slots = max(1, round(duration_s / scenario.period_s))
    console = Console(stderr=as_json)
    runs = {}
    kept = dry_journal(journal, scenario, policies[0], seed=seed) if journal is not None else None
    for number, name in enumerate(policies):
        world = play_dry(
            scenario, name, slots=slots, seed=seed, console=console, twin=twin, journal=None if number else kept
        )
        runs[name or "a2c"] = _figures(world, scenario)
    if kept is not None:
        kept.close()
    if as_json:
        print(json.dumps([{"policy": name, **figures} for name, figures in runs.items()]))
        return 0
    table = Table("policy", "delay ms", "never migrating", "power W", "never migrating", "objective", "moves")
    table.title = f"{scenario.name}: {duration_s:g} s simulated, seed {seed} (all modelled)"
    for name, figures in runs.items():
        table.add_row(name, *(form.format(figures[key]) for key, form in _COLUMNS.items()))
    console.print(table)
    return 0


def dry_journal(path: Path, scenario: Scenario, policy: str, *, seed: int) -> Journal:
    """A new journal with the facts of the run. InputError where the file exists or cannot be written."""
    if path.exists():
        raise InputError(f"{path} exists: name another file with --journal")
    try:
        journal = Journal(path)
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"cannot write {path}: {error}") from None
    facts = {"scenario": scenario.name, "scenario_text": dump_scenario(scenario), "policy": policy or "a2c",
             "seed": seed, "began": time.time(), "world": "simulated"}  # fmt: skip
    for key, value in facts.items():
        journal.note(key, value)
    return journal


def play_dry(
    scenario: Scenario, policy: str, *, slots: int, seed: int, console: Console, twin: str = "",
    journal: Journal | None = None,
) -> TwinWorld:  # fmt: skip
    """One policy's run: the same builder, decider and verdict as live; a move is executed in the simulator."""
    world, builder, router = TwinWorld(scenario, seed=seed), StateBuilder(scenario), Router(scenario)
    chosen, forecaster = named_policy(policy, scenario, seed=seed), named_forecaster(twin, scenario)
    decider = Decider(scenario, chosen, forecaster, limits=Limits(), clock=time.perf_counter)
    records: deque[MigrationRecord] = deque(maxlen=KEPT)
    _see(builder, journal, world.observe(world.now_s))
    for _ in range(slots):
        state = builder.build(world.now_s)
        routes = router.routes(state.link_up, state.link_delay_ms)
        tick = decider.tick(state, routes, past=Past.of(records, world.now_s), in_flight=frozenset())
        decision = tick.decision
        if journal is not None:
            journal.add_decision(state, {"decision": type(decision).__name__.lower(), "refusal": tick.refusal})
        if isinstance(decision, Move) and not tick.refusal:
            records.append(_moved(decision, state.placement[decision.vnf], world.now_s))
            world.execute(decision.vnf, decision.target)
            line = f"{world.now_s:7.1f} s  {decision.vnf} → {decision.target}: {decision.reason}"
            console.print(line, highlight=False, soft_wrap=True)
        _see(builder, journal, world.observe(world.now_s + scenario.period_s))
    return world


def _see(builder: StateBuilder, journal: Journal | None, samples: Sequence[Sample]) -> None:
    builder.add(samples)
    if journal is not None:
        journal.add_samples(samples)


def _moved(move: Move, source: str, at_s: float) -> MigrationRecord:
    """The record of a move that the simulator makes: done within its slot."""
    record = MigrationRecord("", move.vnf, source, move.target, move.reason, at_s, status=MigrationStatus.DONE)
    record.ended_s = at_s
    return record


def _figures(world: TwinWorld, scenario: Scenario) -> dict[str, float]:
    slots, count = world.slots, len(world.slots)
    seconds = count * scenario.period_s
    return {
        "delay_ms": sum(s.delay_ms for s in slots) / count,
        "stay_delay_ms": sum(s.delay0_ms for s in slots) / count,
        "power_w": sum(s.energy_j for s in slots) / seconds,
        "stay_power_w": sum(s.energy0_j for s in slots) / seconds,
        "objective": sum(s.reward for s in slots) / count,
        "moves": sum(bool(s.moved) for s in slots),
    }
