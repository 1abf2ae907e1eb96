"""Training learns something that is worth having, and does so again from the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.a2c_policy import load_policy, shipped_policies
from agent.baselines import GreedyPolicy, StayPolicy
from agent.evaluation import compare
from agent.training import DEFAULTS, VALIDATION_SEED, Progress, play, train, validation_score
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
    assert validation_score(scenario, trained.function) == pytest.approx(best)


def test_several_scenarios_train_one_policy(scenario: Scenario, tmp_path: Path) -> None:
    trained = train([scenario, load_scenario("abilene")], seed=0, real_steps=1024, config=replace(QUICK, batch=8))
    trained.save(tmp_path / "both")
    assert load_policy(tmp_path / "both").trained_on == "small+abilene"


def test_training_goes_on_from_another_policy(scenario: Scenario) -> None:
    first = train(scenario, seed=0, real_steps=512, config=QUICK).function
    untouched = replace(QUICK, learning_rate=0.0)
    second = train(scenario, seed=1, real_steps=512, config=untouched, start=first).function
    for name, tensor in first.weights.items():
        np.testing.assert_array_equal(tensor, second.weights[name])


@pytest.mark.slow
def test_a_minute_of_training_from_nothing_beats_stay_by_far(scenario: Scenario) -> None:
    """Without the greedy start: what is learnt here is learnt."""
    trained = train(scenario, seed=3, real_steps=40_000, config=replace(QUICK, gain_prior=0.0))
    assert play(scenario, trained.function, seed=VALIDATION_SEED + 100, runs=16, slots=30) > 0.35


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "medium"])
def test_the_shipped_policy_beats_stay_by_far_and_greedy_at_least_ties(name: str) -> None:
    """On seeds that neither training nor validation saw, by the road of a live run with its telemetry noise."""
    makers = {
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
