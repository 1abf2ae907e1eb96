"""A short run of the two programs that hurt a live network: every n-th kill of `crashes`, some turns of `faults`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.e2e.crashes import run_crashes
from tests.e2e.faults import run_faults
from tests.e2e.outside import Outside, losses
from twin.scenario_file import load_scenario

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("vnf", ["web1.firewall", "web1.nat"])
def test_a_killed_controllers_move_is_ended_by_the_next(vnf: str) -> None:
    outcomes = run_crashes(vnf, every=5)
    assert len(outcomes) >= 4
    assert {outcome.status for outcome in outcomes} == {"done", "rolled_back"}
    assert [outcome.line() for outcome in outcomes if outcome.problems] == []


def test_a_cold_move_whose_controller_was_killed_is_ended_by_the_next() -> None:
    outcomes = run_crashes("voice.nat", every=7, cold=True)
    assert {outcome.status for outcome in outcomes} == {"done", "rolled_back"}
    assert [outcome.line() for outcome in outcomes if outcome.problems] == []


def test_without_a_controller_packets_go_on_through_every_vnf(tmp_path: Path) -> None:
    """Fail-secure switches and rules without timeouts: judged by the VNFs' own interfaces and by the ledger."""
    seen: dict[str, Any] = {}
    small = load_scenario("small")

    def act(run: LiveRun) -> None:
        outside = Outside(run, small)
        time.sleep(3)
        run.controller.kill()
        flows = {switch: len(lines) for switch, lines in outside.all_flows().items()}
        before = outside.received()
        time.sleep(12)  # longer than a switch's own probing of its controller
        after = outside.received()
        seen["packets"] = {name: count - before[name] for name, count in after.items()}
        seen["flows"] = (flows, {switch: len(lines) for switch, lines in outside.all_flows().items()})
        seen["lost"] = losses(run.ledger_now()["chains"])
        run.controller.start()
        run.wait_controller()
        seen["problems"] = outside.await_whole(15)

    options = RunOptions("small", 1.0, "stay", 1, "", tmp_path, ("127.0.0.1", 0))
    run_live(options, Watcher(), actions=[act])
    assert len(seen["packets"]) == len(small.vnfs)
    assert min(seen["packets"].values()) > 200, seen["packets"]
    assert seen["flows"][0] == seen["flows"][1]
    assert (seen["lost"], seen["problems"]) == ({}, [])


def test_after_random_faults_everything_is_in_order() -> None:
    faults = run_faults(moves=12, seed=7, share=0.7)
    assert len({turn.fault for turn in faults.turns}) >= 4
    assert [turn.line() for turn in faults.turns if turn.problems] == []
