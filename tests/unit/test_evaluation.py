"""The comparison: statistics by hand, runs by the road of a live run, numbers that add up."""

from __future__ import annotations

import io
import json
import math
from importlib import resources
from itertools import count
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from rich.console import Console

from agent.a2c_policy import A2CPolicy
from agent.baselines import make_policy
from agent.decision import MigrationDecision, Move, Prediction, Stay, View
from agent.evaluation import METRICS, Comparison, Run, compare, interval, summarise
from agent.network import PolicyNetwork
from agent.plots import hosts_over_time, save_comparison, save_curves
from agent.rollout import play
from agent.training import SIZES
from agent.training import play as play_batch
from twin.errors import InputError
from twin.fast import BatchSim
from twin.feasibility import Limits
from twin.forecast import SmoothedForecaster
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld
from twin.telemetry import EXACT

SLOTS = 6


def _clock() -> float:
    return 0.0


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("small")


@pytest.fixture(scope="module")
def comparison(scenario: Scenario) -> Comparison:
    makers = {name: lambda seed, name=name: make_policy(name, seed=seed) for name in ("stay", "random", "greedy")}
    ticks = count()
    return compare(scenario, makers, seeds=[3, 4, 5], slots=SLOTS, clock=lambda: 1e-4 * next(ticks))


def test_the_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3.0
    assert found.half == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5), rel=1e-5)  # t(0.975, 4) from a table


def test_one_run_has_no_interval_and_none_no_mean() -> None:
    assert math.isnan(interval([2.0]).half)
    with pytest.raises(ValueError, match="no runs"):
        interval([])


def test_never_moving_scores_nought(comparison: Comparison) -> None:
    assert all(run.objective == 0.0 and run.moves == 0.0 for run in comparison.runs["stay"])


def test_every_policy_meets_the_same_traffic(comparison: Comparison, scenario: Scenario) -> None:
    again = compare(scenario, {"stay": lambda seed: make_policy("stay")}, seeds=[3, 4, 5], slots=SLOTS, clock=_clock)
    for alone, beside in zip(again.runs["stay"], comparison.runs["stay"], strict=True):
        assert (alone.delay_ms, alone.energy_j) == (beside.delay_ms, beside.energy_j)
    assert len({run.delay_ms for run in comparison.runs["stay"]}) == 3


def test_greedy_moves_and_gains(comparison: Comparison) -> None:
    found = comparison.difference("greedy", "stay", "objective")
    assert found.mean > found.half
    assert comparison.interval("greedy", "moves").mean > 0.0


def test_the_objective_is_what_the_slots_say(scenario: Scenario) -> None:
    played = list(play(TwinWorld(scenario, seed=9), make_policy("greedy"), slots=SLOTS, clock=_clock))
    run = summarise(played, scenario)
    slots = [slot.outcome for slot in played]
    by_hand = [
        0.5 * (1 - s.delay_ms / s.delay0_ms) + 0.5 * (1 - s.energy_j / s.energy0_j) for s in slots
    ]  # weights of `small`
    assert run.objective == pytest.approx(np.mean(by_hand))
    assert run.power_w == pytest.approx(sum(s.energy_j for s in slots) / (SLOTS * scenario.period_s))
    assert run.moves == sum(isinstance(slot.decision, Move) for slot in played)


def test_a_decisions_time_is_by_the_clock_given(comparison: Comparison) -> None:
    assert comparison.interval("random", "decision_us").mean == pytest.approx(100.0)


class Mover:
    """Wants one VNF on e1 and then, every slot, on e2 and back."""

    name = "mover"

    def __init__(self) -> None:
        self.masks: list[bool] = []

    def decide(self, view: View) -> MigrationDecision:
        vnf = view.scenario.vnf_index["web2.firewall"]
        target = 5 if int(view.state.vnf_server[vnf]) != 5 else 4
        self.masks.append(bool(view.mask[vnf, target]))
        if not view.mask[vnf, target]:
            return Stay("masked")
        return Move("web2.firewall", view.scenario.servers[target].id, "", Prediction(0, 0, 0, 0))


def test_a_vnf_that_moved_cools_down(scenario: Scenario) -> None:
    mover = Mover()
    limits = Limits(cooldown_s=2.5 * scenario.period_s)
    list(play(TwinWorld(scenario, seed=1), mover, slots=SLOTS, clock=_clock, limits=limits))
    assert mover.masks == [True, False, False, True, False, False]


@pytest.mark.parametrize("weight", [1.0, 0.2])
def test_a_policy_scores_alike_in_the_readable_and_the_compiled_simulator(scenario: Scenario, weight: float) -> None:
    """No skew between where it is trained and the road of a live run, telemetry noise apart."""
    torch.manual_seed(2)
    network = PolicyNetwork(SIZES, hidden=8)
    head = network.stay[2]
    assert isinstance(head, torch.nn.Linear)
    torch.nn.init.constant_(head.bias, -0.5)  # else an untrained policy may always stay
    function = network.function()
    world = TwinWorld(scenario, seed=77, noise=EXACT)
    policy = A2CPolicy(function, trained_on="nothing")
    played = list(play(world, policy, slots=12, clock=_clock, forecaster=SmoothedForecaster(weight=weight)))
    assert sum(isinstance(slot.decision, Move) for slot in played) > 3
    compiled = play_batch(BatchSim(scenario, 1, 77, randomise=False, slots=12, smoothing=weight), function, slots=12)
    assert summarise(played, scenario).objective == pytest.approx(compiled, abs=1e-4)


def test_json_holds_every_run_and_no_nan(comparison: Comparison, scenario: Scenario) -> None:
    back = json.loads(json.dumps(comparison.as_json(), allow_nan=False))
    assert (back["scenario"], back["slots"], back["seeds"]) == ("small", SLOTS, [3, 4, 5])
    assert set(back["summary"]["greedy"]) == set(METRICS)
    assert Run(**back["runs"]["greedy"][1]) == comparison.runs["greedy"][1]
    single = compare(scenario, {"stay": lambda seed: make_policy("stay")}, seeds=[1], slots=2, clock=_clock)
    summary = cast(dict[str, dict[str, dict[str, object]]], single.as_json()["summary"])
    assert summary["stay"]["objective"]["half"] is None
    json.dumps(single.as_json(), allow_nan=False)


def test_the_table_names_policies_and_units(comparison: Comparison) -> None:
    out = io.StringIO()
    Console(file=out, width=160).print(comparison.table())
    text = out.getvalue()
    for words in ("stay", "random", "greedy", "delay ms", "power W (modelled)", "±", "3 seeds"):
        assert words in text


def test_gaps_are_to_the_reference_where_one_plays(comparison: Comparison) -> None:
    assert comparison.reference == ""
    runs = {"exact": (_run(0.6), _run(0.5)), "greedy": (_run(0.5), _run(0.5))}
    against = Comparison("x", 1, (1, 2), runs, most=1.0)
    assert against.reference == "exact"
    assert against.gap("exact").mean == 0.0
    assert against.gap("greedy").mean == pytest.approx(0.5 * (0.1 / 0.4))
    assert cast(dict[str, object], against.as_json()["gap"]).keys() == runs.keys()


def _run(objective: float) -> Run:
    return Run(objective, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0)


def test_plots_show_where_vnfs_went(comparison: Comparison, scenario: Scenario, tmp_path: Path) -> None:
    paths = save_comparison(comparison, scenario, tmp_path)
    assert next(path.name for path in paths) == "small-day.png"
    assert all(path.stat().st_size > 10_000 for path in paths)
    assert len(paths) == 1 + len(comparison.days)
    world = TwinWorld(scenario, seed=3)
    list(play(world, make_policy("greedy", seed=3), slots=SLOTS, clock=_clock))
    assert hosts_over_time(comparison.days["greedy"], scenario)[-1].tolist() == world.hosts.tolist()


def test_a_learning_curve_needs_a_policy_that_tells_of_its_training(tmp_path: Path) -> None:
    shipped = Path(str(resources.files("agent") / "policies" / "small.safetensors"))
    save_curves([shipped, shipped], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5_000
    with pytest.raises(InputError):
        save_curves([tmp_path / "none.safetensors"], tmp_path / "curves.png")
