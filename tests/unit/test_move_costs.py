"""What moves cost: read from records, foretold, and charged by the simulator."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.calibrate import calibrate
from controller.journal import Journal
from controller.move_costs import MeasuredMove, costs_by_mode, estimate, measured_moves
from twin.errors import InputError
from twin.migration_cost import PRIORS, MigrationCost
from twin.move_modes import MoveMode
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld

STEPS = (
    ("StartVnf", 0.5), ("CopyState", 0.2), ("InstallRules", 0.01), ("TakeOver", 0.01), ("SwapEntry", 0.01),
    ("Barrier", 0.02), ("Drain", 0.2), ("StopVnf", 0.1),
)  # fmt: skip


def _record(slower: float = 1.0, **more: Any) -> dict[str, Any]:
    """A record as the journal has it: 0.75 s until the new way, 0.2 s of them copying, 1.05 s in all."""
    steps, now_s = [], 100.0
    for name, took_s in STEPS:
        steps.append({"name": name, "started_s": now_s, "took_ms": 1000.0 * took_s * slower, "undone": False})
        now_s += took_s * slower
    record = {"requested_s": 100.0, "status": "done", "took_ms": (now_s - 100.0) * 1000.0, "steps": steps}
    return {**record, "mode": "hand_over", "state_mb": 4.0, "silence_ms": 12.0, **more}


def test_a_record_tells_when_the_new_way_was_taken_and_how_long_its_state_was_carried() -> None:
    (move,) = measured_moves([_record()])
    assert (move.mode, move.state_mb, move.silence_ms) == ("hand_over", 4.0, 12.0)
    assert (move.switched_s, move.carried_s, move.whole_s) == pytest.approx((0.75, 0.2, 1.05))


def test_moves_that_were_not_done_or_ended_after_a_crash_tell_nothing() -> None:
    undone = _record()
    undone["steps"] = undone["steps"][:3]
    assert measured_moves([_record(status="rolled_back"), _record(recovered=True), undone]) == []
    assert [m.mode for m in measured_moves([_record(mode="")])] == ["stateless"]


def test_without_history_the_prior_tells() -> None:
    told = estimate(MoveMode.CHECKPOINT, 10.0, 100.0, [], PRIORS["checkpoint"])
    assert (told.whole_s, told.silence_ms, told.packets_at_risk, told.moves) == (2.4, 1000.0, 100.0, 0)


def test_with_history_the_median_tells_scaled_to_the_size_of_the_state() -> None:
    history = measured_moves([_record(), _record(), _record(slower=9.0), _record(mode="cold")])
    told = estimate(MoveMode.HAND_OVER, 8.0, 100.0, history, PRIORS["hand_over"])
    assert told.moves == 3
    assert told.whole_s == pytest.approx(0.85 + 0.4)  # twice the state takes twice as long to carry
    assert told.packets_at_risk == 0.0
    assert estimate(MoveMode.COLD, 8.0, 100.0, history, PRIORS["cold"]).packets_at_risk == pytest.approx(1.2)


def test_only_the_last_moves_count() -> None:
    slow, fast = MeasuredMove("cold", 0.0, 9.0, 0.0, 9.0, None), MeasuredMove("cold", 0.0, 1.0, 0.0, 1.0, None)
    told = estimate(MoveMode.COLD, 0.0, 0.0, [slow] * 50 + [fast] * 20, PRIORS["cold"])
    assert (told.whole_s, told.silence_ms) == (1.0, PRIORS["cold"].silence_ms)


def _journal(path: Path, *records: Mapping[str, Any]) -> Path:
    journal = Journal(path)
    for number, record in enumerate(records):
        journal.put_migration(f"m{number}", 1.0, None, record)
    journal.close()
    return path


def _arguments(*journals: Path, scenario: str = "", output: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(journal=list(journals), scenario=scenario, output=output, json=True)


def test_the_simulator_charges_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Time of a move as energy: both servers draw more for as long as it lasts."""
    journal = _journal(tmp_path / "j.db", *(_record(slower=s) for s in (0.9, 1.0, 1.0, 1.1)))
    output = tmp_path / "mine.yaml"
    assert calibrate(_arguments(journal, scenario="small", output=output)) == 0
    told = json.loads(capsys.readouterr().out)["hand_over"]
    assert told["moves"] == 4
    assert told["switched_s"][0] == pytest.approx(0.75)
    scenario = load_scenario(output)
    cost = scenario.migration["hand_over"]
    assert cost.move_s(4.0, wake_s=0.0) == pytest.approx(told["switched_s"][0], rel=0.2)
    assert cost.silence_ms == 12.0
    assert _extra_j(scenario) == pytest.approx(2 * cost.extra_power_w * 0.75 + cost.transfer_j_per_mb * 4.0, rel=0.2)


def _extra_j(scenario: Any) -> float:
    """Energy of a NAT's move beyond that of the same move without cost, in the simulator."""
    free = MigrationCost(cost_s := 0.75, 0.0, 0.0, 1e12, 0.0)
    assert cost_s == free.duration_s
    totals = []
    for migration in (scenario.migration, {**scenario.migration, "hand_over": free}):
        world = TwinWorld(replace(scenario, migration=migration), seed=1)
        world.execute("web1.nat", "c2")
        world.observe(scenario.period_s)
        totals.append(world.slots[0].energy_j)
    return totals[0] - totals[1]


def test_what_cannot_be_calibrated_is_told(tmp_path: Path) -> None:
    empty, none = _journal(tmp_path / "e.db"), tmp_path / "none.db"
    with pytest.raises(InputError, match="no move was done in"):
        calibrate(_arguments(empty))
    with pytest.raises(InputError, match="no journal"):
        calibrate(_arguments(none))
    with pytest.raises(InputError, match="go together"):
        calibrate(_arguments(empty, scenario="small"))


def test_costs_are_kept_apart_by_mode() -> None:
    costs = costs_by_mode(measured_moves([_record(), _record(mode="cold", silence_ms=None)]), PRIORS)
    assert set(costs) == {"hand_over", "cold"}
    assert costs["cold"].silence_ms is None
    assert costs["cold"].cost.silence_ms == PRIORS["cold"].silence_ms
