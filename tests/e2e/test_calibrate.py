"""Moves of a real run, by the modes there are here, calibrate a scenario; the simulator then charges what they cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from controller.calibrate import calibrate, read_migrations
from controller.checkpoint import checkpoint_lack
from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.bench.moves import strong
from twin.move_modes import MoveMode, expected_mode
from twin.scenario import Scenario
from twin.scenario_file import dump_scenario, load_scenario
from twin.simulator import TwinWorld

pytestmark = [pytest.mark.root, pytest.mark.slow]
ROUNDS = 3


def _scenario() -> Scenario:
    """NATs move by checkpoint where that works here, else cold; the rest as it does by itself."""
    mode = "cold" if checkpoint_lack() else "checkpoint"
    scenario = strong(load_scenario("small"))
    moved = {v.type.name: v.type for v in scenario.vnfs}
    moved["nat"] = replace(moved["nat"], move=mode, allow_cold=True)
    chains = tuple(replace(c, vnfs=tuple(replace(v, type=moved[v.type.name]) for v in c.vnfs)) for c in scenario.chains)
    return replace(scenario, chains=chains)


def _move_all(run: LiveRun) -> None:
    """Every VNF of a chain from server to server, one after the other."""
    for number in range(ROUNDS):
        for vnf in ("web1.firewall", "web1.nat", "web1.balancer"):
            here = run.client.get("state")["placement"][vnf]
            record = run.client.move(vnf, [s for s in ("e1", "e2", "c1", "c2") if s != here][number])
            while run.client.get(f"migrations/{record['id']}")["ended_s"] is None:
                run.step(0.25)


def _charged_s(scenario: Scenario, vnf: str) -> float:
    """How long the simulator takes for this VNF's move, told by the energy that both servers draw more meanwhile."""
    kind = scenario.vnf(vnf).type
    mode = expected_mode(kind)
    energies_j = []
    for extra_w in (0.0, 1000.0):
        cost = replace(scenario.migration[mode], extra_power_w=extra_w)
        world = TwinWorld(replace(scenario, migration={**scenario.migration, mode: cost}), seed=1)
        world.execute(vnf, next(s.id for s in scenario.servers if s.id != scenario.placement[vnf] and world.awake[
            scenario.server_index[s.id]]))  # fmt: skip
        world.observe(scenario.period_s)
        energies_j.append(world.slots[0].energy_j)
    return float(energies_j[1] - energies_j[0]) / 2000.0


def test_the_simulator_charges_what_real_moves_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = _scenario()
    (tmp_path / "s.yaml").write_text(dump_scenario(scenario))
    options = RunOptions(
        str(tmp_path / "s.yaml"), 30.0, "stay", 1, "process", tmp_path, ("127.0.0.1", 0),
        rates_pps={c.id: 100.0 if c.id == "web1" else 10.0 for c in scenario.chains},
    )  # fmt: skip
    run = run_live(options, Watcher(), actions=[_move_all])
    assert [m["status"] for m in run.migrations] == ["done"] * 3 * ROUNDS, [m["error"] for m in run.migrations]
    journal, output = tmp_path / "journal-stay.db", tmp_path / "mine.yaml"
    arguments = argparse.Namespace(journal=[journal], scenario=str(tmp_path / "s.yaml"), output=output, json=True)
    assert calibrate(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    mine, records = load_scenario(output), read_migrations(journal)
    for vnf in ("web1.firewall", "web1.nat", "web1.balancer"):
        mode = expected_mode(mine.vnf(vnf).type)
        assert told[mode]["moves"] == ROUNDS
        measured_s = _switched_s([r for r in records if r["vnf"] == vnf])
        assert _charged_s(mine, vnf) == pytest.approx(measured_s, rel=0.2)
        if mode is MoveMode.CHECKPOINT:
            assert told[mode]["silence_ms"][0] > 100.0  # it is silent while it is dumped and restored
    assert run.ledger["chains"]["web1"]["duplicated"] == 0


def _switched_s(records: list[Mapping[str, Any]]) -> float:
    """Median time from the request to the barrier behind the last swap, read from the steps here once more."""
    times_s = []
    for record in records:
        steps = record["steps"]
        last = max(i for i, step in enumerate(steps) if step["name"] == "SwapEntry") + 1
        times_s.append(steps[last]["started_s"] + steps[last]["took_ms"] / 1000.0 - record["requested_s"])
    return float(median(times_s))
