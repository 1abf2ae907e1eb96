"""Learning with a twin: from few real steps, with a gate, and the same again from the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.a2c_policy import load_policy
from agent.black_box import BlackBox, BlackBoxConfig
from agent.branch_sources import Origin, Traffic
from agent.frugal import MODELLED, SIZES, Extra, FrugalConfig, Learner, hide_modelled
from agent.fused import scored
from agent.network import PolicyNetwork
from agent.policy import PolicyFunction
from agent.synthetic import Physics, Synthesis, TwinConfig
from agent.training import play
from agent.trajectory import copied
from agent.twin_training import DEFAULTS, TwinRun, fine_tune, longest
from controller.cli import main
from tests.unit.small_worlds import line
from twin.correction import Correction
from twin.errors import InputError
from twin.fast import BatchSim
from twin.model import Model, model
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

pytestmark = pytest.mark.learning
QUICK = FrugalConfig(twin=TwinConfig(updates=4, branches=16, warm_up=8))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Batches are small: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return line()


def _weights(scenario: Scenario, seed: int, config: FrugalConfig = QUICK) -> PolicyFunction:
    learner = Learner(scenario, config, seed=seed)
    for _ in range(3):
        learner.round()
    assert learner.steps == 3 * 64
    return learner.network.function()


@pytest.mark.parametrize("extra", list(Extra))
def test_the_same_seed_gives_the_same_policy_and_another_another(scenario: Scenario, extra: Extra) -> None:
    one, same, other = (_weights(scenario, seed, replace(QUICK, extra=extra)) for seed in (1, 1, 2))
    for name, tensor in one.weights.items():
        np.testing.assert_array_equal(tensor, same.weights[name])
    assert any((tensor != other.weights[name]).any() for name, tensor in one.weights.items())


def test_drawn_traffic_needs_no_slots_that_followed_and_the_same_seed_draws_the_same(scenario: Scenario) -> None:
    """Fitted on the same real steps as the rest; after the first round no moment has sixteen slots behind it."""
    drawn = replace(QUICK, twin=replace(QUICK.twin, traffic=Traffic.SAMPLED, starts=Origin.GENERATED))
    learners = [Learner(scenario, config, seed=1) for config in (drawn, drawn, QUICK)]
    for learner in learners:
        learner.round()
    assert [learner.synthetic > 0 for learner in learners] == [True, True, False]
    assert learners[0].steps == 64
    one, same = (learner.network.function().weights for learner in learners[:2])
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, same[name])


@pytest.mark.slow
def test_a_few_hundred_real_steps_from_nothing_beat_stay_by_far() -> None:
    """A2C alone needs thousands for it: see tests/bench/sample_efficiency.py."""
    scenario = load_scenario("small")
    learner = Learner(scenario, FrugalConfig(twin=TwinConfig(updates=24, warm_up=8), blind=True), seed=0)
    while learner.steps < 256:
        learner.round()
    assert play(BatchSim(scenario, 8, 40, slots=30), learner.network.function(), slots=30) > 0.35


def _distorted(scenario: Scenario) -> Model:
    nominal = model(scenario, configured_routes(scenario))
    return Correction.drawn(scenario, np.random.default_rng(3)).apply(nominal, scenario)


def test_a_twin_that_predicts_badly_is_off_and_one_that_learns_is_on(scenario: Scenario) -> None:
    """In a distorted world: the scenario file as it stands is not trusted, what was identified is."""
    physics, made = _distorted(scenario), {}
    for identify in (False, True):
        using = Physics.IDENTIFIED if identify else Physics.FILE
        config = replace(QUICK, twin=replace(QUICK.twin, physics=using))
        learner = Learner(scenario, config, seed=0, physics=physics)
        for _ in range(4):
            learner.round()
        made[identify] = learner.synthetic
        assert learner.synthesis.trusted is identify
        assert (learner.synthesis.error > config.twin.bound) is not identify
    assert made[False] == 0
    assert made[True] > 0


def test_a_twin_above_the_bound_is_on_where_it_predicts_better_than_the_file(scenario: Scenario) -> None:
    """No twin is exact in a world that it cannot express; it is of use while it is nearer to it than the file."""
    config = replace(QUICK, twin=replace(QUICK.twin, bound=0.0))
    learner = Learner(scenario, config, seed=0, physics=_distorted(scenario))
    for _ in range(4):
        learner.round()
    synthesis = learner.synthesis
    assert 0.0 < synthesis.error < synthesis.file_error
    assert synthesis.trusted
    synthesis.error = 1.01 * synthesis.file_error
    assert not synthesis.trusted


def test_branches_on_which_the_members_disagree_are_dropped(scenario: Scenario) -> None:
    """Two members that believe in other worlds keep few; equal ones keep all."""
    learner = Learner(scenario, replace(QUICK, extra=Extra.NONE), seed=0)
    for _ in range(3):
        learner.round()
    experience, rng = learner.streams.experience, torch.Generator().manual_seed(0)
    synthesis = Synthesis(scenario, replace(QUICK.twin, members=2, physics=Physics.FILE), np.random.default_rng(0))
    synthesis.roll_out(learner.network, experience, rng)
    assert synthesis.kept == 1.0
    synthesis.identified.corrections[1] = Correction.drawn(scenario, np.random.default_rng(1))
    kept = synthesis.roll_out(learner.network, experience, rng)
    assert synthesis.kept < 0.8
    assert kept is None or kept.actions.shape[1] == round(synthesis.kept * 16)


def test_a_blind_policy_does_not_see_what_the_cost_model_says(scenario: Scenario) -> None:
    learner = Learner(scenario, replace(QUICK, blind=True), seed=0)
    seen = copied(BatchSim(scenario, 4, 0).reset())
    changed = seen._replace(glob=seen.glob.clone(), pair=seen.pair.clone())
    changed.pair[..., [1, 2, 3, 4, 5, 6, 8]] += 3.0
    changed.glob[..., [9, 10]] += 3.0
    assert {name for names in MODELLED.values() for name in names} >= {"gain", "delay_change", "power_change"}
    torch.testing.assert_close(scored(learner.network, seen)[0], scored(learner.network, changed)[0])
    sighted = PolicyNetwork(learner.network.sizes, hidden=16)
    assert not torch.allclose(scored(sighted, seen)[0], scored(sighted, changed)[0])
    hide_modelled(sighted)
    torch.testing.assert_close(scored(sighted, seen)[0], scored(sighted, changed)[0])


def test_a_run_with_a_twin_tells_its_error_and_saves_a_policy(
    scenario: Scenario, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = TwinRun(scenario, seed=0, real_steps=200, config=replace(DEFAULTS, twin=QUICK.twin))
    told = list(run.rounds())
    assert told[-1].steps == told[-1].of == 256
    assert told[-1].synthetic > 0
    assert 0.0 <= told[-1].twin_error < 0.05  # the simulator is what the file says
    run.result().save(tmp_path / "p.safetensors")
    assert load_policy(tmp_path / "p.safetensors").trained_on == "line"


def test_tuning_from_a_recording_never_gives_back_a_worse_policy(scenario: Scenario) -> None:
    learner = Learner(scenario, replace(QUICK, extra=Extra.NONE), seed=0)
    for _ in range(12):
        learner.round()
    start = learner.network.function()
    config = replace(QUICK, twin=replace(QUICK.twin, horizon=4))
    tuned = fine_tune(scenario, start, learner.streams.experience, seed=0, updates=20, config=config)
    assert tuned.better == (tuned.after > tuned.before)
    assert (tuned.function is start) is not tuned.better
    with pytest.raises(InputError, match="too few"):
        fine_tune(scenario, start, learner.streams.experience.part(0, 8), seed=0, config=config)


def test_a_short_recording_gives_shorter_branches(scenario: Scenario) -> None:
    learner = Learner(scenario, replace(QUICK, extra=Extra.NONE), seed=0)
    for _ in range(6):
        learner.round()
    recorded, start = learner.streams.experience.part(0, 40), learner.network.function()
    newest = recorded.part(30, 40)
    lengths = [longest(newest, most) for most in (2, 16, 64)]
    assert lengths[0] == 2
    assert 4 <= lengths[1] == lengths[2] <= 10
    assert len(newest.windows(lengths[2])) >= lengths[2] > 0
    fine_tune(scenario, start, recorded, seed=0, updates=2, config=replace(QUICK, twin=replace(QUICK.twin, horizon=64)))


def test_a_twin_of_a_network_that_is_not_the_recorded_one_is_refused(scenario: Scenario) -> None:
    learner = Learner(scenario, replace(QUICK, extra=Extra.NONE), seed=0, physics=_distorted(scenario))
    for _ in range(6):
        learner.round()
    config = replace(QUICK, twin=replace(QUICK.twin, horizon=4, physics=Physics.FILE))
    with pytest.raises(InputError, match="hold-out error"):
        fine_tune(scenario, learner.network.function(), learner.streams.experience, seed=0, config=config)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "small", "-o", "/nowhere/p", "--from", "x.db"], "no such folder"),
        (["train", "small", "--from", "x.db"], "needs a SCENARIO and -o POLICY"),
        (["train", "small", "-o", "p", "--from", "/nowhere/x.db"], "no such journal"),
        (["train", "small", "-o", "p", "--from", __file__], "not a journal"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_a_black_box_learns_what_a_move_is_worth(scenario: Scenario) -> None:
    """The reward of the slots that it saw: nothing of the cost model is told to it."""
    learner = Learner(scenario, replace(QUICK, extra=Extra.NONE), seed=0)
    box = BlackBox(SIZES, BlackBoxConfig(members=2, fits=60, horizon=3), seed=0)
    with pytest.raises(ValueError, match="nothing was seen"):
        box.roll_out(learner.network, 8, torch.Generator())
    real = [learner.streams.collect(learner.network, torch.Generator().manual_seed(k)) for k in range(4)]
    for trajectory in real:
        box.learn(trajectory)
    branch = box.roll_out(learner.network, 256, torch.Generator().manual_seed(9))
    assert branch.actions.shape == (3, 256)
    seen, moved = (torch.cat([t.rewards.flatten() for t in real]), torch.cat([t.actions.flatten() for t in real]) > 0)
    assert abs(float(branch.rewards.mean() - seen.mean())) < 0.5 * float(seen.std())
    assert moved.any()
