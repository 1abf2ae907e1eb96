"""Training learns something that is worth having, and does so again from the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.a2c_policy import load_policy, shipped_policies
from agent.baselines import GreedyPolicy, StayPolicy
from agent.decision import Policy
from agent.evaluation import compare
from agent.policy import PolicyFunction
from agent.training import CALM_LOSS, DEFAULTS, SHORT, Course, Progress, calm, play, train, validation_score
from twin.fast import BatchSim
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

pytestmark = pytest.mark.learning
QUICK = replace(DEFAULTS, batch=32, hidden=16)
HELD_OUT = range(40, 48)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("small")


def _clock() -> float:
    return 0.0


def test_the_same_seed_gives_the_same_policy_and_another_another(scenario: Scenario) -> None:
    one, same, other = (train(scenario, seed=s, real_steps=2048, config=QUICK).function for s in (1, 1, 2))
    for name, tensor in one.weights.items():
        np.testing.assert_array_equal(tensor, same.weights[name])
    assert any((tensor != other.weights[name]).any() for name, tensor in one.weights.items())


def test_progress_is_told_and_the_best_validation_is_what_comes_back(scenario: Scenario) -> None:
    seen: list[Progress] = []
    trained = train(scenario, seed=1, real_steps=10_000, config=QUICK, progress=seen.append)
    assert seen[-1].steps == seen[-1].of == trained.steps >= 10_000
    assert [p.steps for p in seen] == sorted({p.steps for p in seen})
    best = max(score for _, score in trained.validations)
    assert len({score for _, score in trained.validations}) > 1
    assert best - CALM_LOSS <= validation_score(scenario, trained.function, course=Course.of(QUICK)) <= best + 1e-6


def test_several_scenarios_train_one_policy(scenario: Scenario, tmp_path: Path) -> None:
    trained = train([scenario, load_scenario("abilene")], seed=0, real_steps=1024, config=replace(QUICK, batch=8))
    trained.save(tmp_path / "both")
    assert load_policy(tmp_path / "both").trained_on == "small+abilene"


def test_training_goes_on_from_another_policy(scenario: Scenario) -> None:
    first = train(scenario, seed=0, real_steps=512, config=QUICK).function
    untouched = replace(QUICK, learning_rate=0.0)
    second = train(scenario, seed=1, real_steps=512, config=untouched, start=first).function
    for name, tensor in first.weights.items():
        if name != "stay.2.bias":  # set afterwards, by `calm`
            np.testing.assert_array_equal(tensor, second.weights[name])


def test_the_greatest_margin_that_is_free_both_ways_is_taken(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_policy("small").function
    base = float(shipped.weights["stay.2.bias"][0])
    filed = {0: 0.5, 1: 0.5, 2: 0.4995, 3: 0.4985, 4: 0.4981, 5: 0.497, 6: 0.3}
    anywhere = {0: 0.4, 1: 0.4, 2: 0.4, 3: 0.3985, 4: 0.39, 5: 0.4, 6: 0.4}

    def score(_: Scenario, function: PolicyFunction, *, randomise: bool, course: Course) -> float:
        assert course == SHORT
        return (anywhere if randomise else filed)[round(float(function.weights["stay.2.bias"][0]) - base)]

    monkeypatch.setattr("agent.training.validation_score", score)
    assert calm([scenario], shipped).weights["stay.2.bias"][0] == pytest.approx(base + 3.0)
    monkeypatch.setattr("agent.training.CALM_LOSS", 0.0)
    assert calm([scenario], shipped).weights["stay.2.bias"][0] == pytest.approx(base + 1.0)


@pytest.mark.slow
def test_a_minute_of_training_from_nothing_beats_stay_by_far(scenario: Scenario) -> None:
    """Without the greedy start: what is learnt here is learnt."""
    trained = train(scenario, seed=3, real_steps=40_000, config=replace(QUICK, gain_prior=0.0))
    held_out = BatchSim(scenario, 16, HELD_OUT[0], randomise=False, slots=30)
    assert play(held_out, trained.function, slots=30) > 0.35


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "medium"])
def test_the_shipped_policy_beats_stay_by_far_and_greedy_at_least_ties(name: str) -> None:
    """On seeds that neither training nor validation saw, by the road of a live run with its telemetry noise."""
    makers: dict[str, Callable[[int], Policy]] = {
        "stay": lambda seed: StayPolicy(),
        "greedy": lambda seed: GreedyPolicy(),
        "a2c": lambda seed: load_policy(name),
    }
    assert name in shipped_policies()
    found = compare(load_scenario(name), makers, seeds=HELD_OUT, slots=30, clock=_clock)
    stay, greedy = (found.difference("a2c", other, "objective") for other in ("stay", "greedy"))
    assert stay.mean - stay.half > 0.3
    assert greedy.mean + greedy.half > 0.0
    assert found.interval("a2c", "late_share").mean <= found.interval("greedy", "late_share").mean + 0.01
