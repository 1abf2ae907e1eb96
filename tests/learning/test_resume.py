"""A training run that was interrupted gives what it would have given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.resume import load_run, save_run
from agent.training import DEFAULTS, TrainingRun
from twin.checkpoint import load_checkpoint, save_checkpoint
from twin.errors import InputError
from twin.features import SCHEMA_HASH
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

pytestmark = pytest.mark.learning
QUICK = replace(DEFAULTS, batch=16, hidden=8)
STEPS = 10 * QUICK.batch * QUICK.n_steps


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("small")


@pytest.fixture(autouse=True)
def _short_validations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.training.VALIDATION_SLOTS", 2)


def _interrupted(scenario: Scenario, path: Path, *, after: int) -> TrainingRun:
    run = TrainingRun([scenario], seed=4, real_steps=STEPS, config=QUICK)
    told = run.rounds()
    for _ in range(after):
        next(told)
    save_run(path, run)
    return run


@pytest.mark.parametrize("after", [1, 7])
def test_the_resumed_run_gives_the_policy_of_the_uninterrupted_one(
    scenario: Scenario, tmp_path: Path, after: int
) -> None:
    """After 7 of 10 rounds validations are past and episodes have been cut."""
    whole = TrainingRun([scenario], seed=4, real_steps=STEPS, config=QUICK)
    told = list(whole.rounds())
    _interrupted(scenario, tmp_path / "run", after=after)
    resumed = load_run(tmp_path / "run")
    assert list(resumed.rounds()) == told[after:]
    assert resumed.validations == whole.validations
    for one, other in ((whole.best, resumed.best), (whole.network.function(), resumed.network.function())):
        for name, tensor in one.weights.items():
            np.testing.assert_array_equal(tensor, other.weights[name])


def test_several_scenarios_resume_in_turns(scenario: Scenario, tmp_path: Path) -> None:
    both = [scenario, load_scenario("abilene")]
    config = replace(QUICK, batch=4)
    run, told = TrainingRun(both, seed=1, real_steps=4 * 4 * 16, config=config, judged_on=both[1:]), []
    for progress in run.rounds():
        if progress.steps == 4 * 16:
            save_run(tmp_path / "run", run)
        told.append(progress.reward)
    resumed = load_run(tmp_path / "run")
    assert [s.name for s in resumed.judged_on] == ["abilene"]
    assert [progress.reward for progress in resumed.rounds()] == told[1:]
    assert resumed.validations == run.validations


def test_what_is_no_run_of_this_version_is_refused_in_one_line(scenario: Scenario, tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = _interrupted(scenario, path, after=1)
    kept = load_checkpoint(path, kind="training", schema_hash=SCHEMA_HASH)
    shorter = {name: array[:-1] if name.endswith("idle_s") else array for name, array in kept.state.items()}
    spoilt = {
        "other simulator": replace(kept, state=shorter),
        "other settings": replace(kept, details={**kept.details, "config": {"discount": 0.9}}),
        "nothing of the simulator": replace(kept, state={"rng": kept.state["rng"]}),
        "other generator": replace(kept, state={**kept.state, "rng": kept.state["rng"][:-1]}),
        "no scenario": replace(kept, details={**kept.details, "scenarios": [""]}),
    }
    for checkpoint in spoilt.values():
        save_checkpoint(path, checkpoint)
        with pytest.raises(InputError, match="run") as caught:
            load_run(path)
        assert str(path) in str(caught.value)
    save_checkpoint(path, replace(kept, kind="policy"))
    with pytest.raises(InputError, match="holds a 'policy', a 'training' is needed"):
        load_run(path)
    save_run(path, run)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_run(path)
