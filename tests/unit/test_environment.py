"""`vnftwin/EdgeCore-v0` keeps the contracts of Gymnasium and Stable-Baselines3 and gives the simulator's rewards."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from agent.environment import ID, OLD_ID, EdgeCoreEnv, EdgeCoreVectorEnv
from twin.fast import BatchSim
from twin.scenario import Scenario
from twin.scenario_file import load_scenario


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("small")


@pytest.fixture
def env(scenario: Scenario) -> EdgeCoreEnv:
    return EdgeCoreEnv(scenario, slots=10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("randomise", [True, False])
def test_gymnasiums_own_checker_passes(scenario: Scenario, randomise: bool) -> None:
    check_env(EdgeCoreEnv(scenario, slots=10, randomise=randomise), skip_render_check=True)


@pytest.mark.filterwarnings("ignore:It seems that your observation:UserWarning")  # it takes 3 axes for an image
def test_stable_baselines_own_checker_passes(scenario: Scenario) -> None:
    from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

    check_for_stable_baselines(EdgeCoreEnv(scenario, slots=10), skip_render_check=True)


@pytest.mark.parametrize("name", [ID, OLD_ID])
def test_it_is_registered_by_name(name: str) -> None:
    env = gymnasium.make(name, scenario="small", slots=3)
    env.reset(seed=0)
    assert [env.step(np.int64(0))[3] for _ in range(3)] == [False, False, True]


def _episode(env: EdgeCoreEnv, seed: int, slots: int = 10) -> list[float]:
    """Rewards of random legal actions."""
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    rewards = []
    for _ in range(slots):
        action = np.int64(rng.choice(np.flatnonzero(info["action_mask"])))
        _, reward, terminated, _, info = env.step(action)
        assert not terminated
        assert not info["illegal"]
        rewards.append(reward)
    return rewards


def test_the_same_seed_gives_the_same_episode_and_another_another(env: EdgeCoreEnv, scenario: Scenario) -> None:
    first = _episode(env, 5)
    assert _episode(EdgeCoreEnv(scenario, slots=10), 5) == first
    assert _episode(env, 5) == first
    assert _episode(env, 6) != first


def test_episodes_differ_when_no_seed_is_given(env: EdgeCoreEnv) -> None:
    env.reset(seed=1)
    first, second = env.reset()[0], env.reset()[0]
    assert any((first[name] != second[name]).any() for name in first)


def test_an_infeasible_action_is_stay_with_a_penalty(env: EdgeCoreEnv) -> None:
    _, info = env.reset(seed=2)
    action = np.int64(np.flatnonzero(info["action_mask"] == 0)[0])
    _, illegal, *_, info = env.step(action)
    assert info["illegal"]
    assert not info["moved"]
    env.reset(seed=2)
    _, stay, *_, info = env.step(np.int64(0))
    assert not info["illegal"]
    assert illegal < stay


def test_the_last_observation_is_the_one_before_the_reset(scenario: Scenario) -> None:
    """Bootstrapping needs the successor, not the start of the next episode: with placement kept, a moved VNF shows."""
    env = EdgeCoreEnv(scenario, slots=1, randomise=False)
    before, info = env.reset(seed=3)
    action = np.int64(np.flatnonzero(info["action_mask"])[1])
    after, *_, truncated, info = env.step(action)
    assert truncated
    assert info["moved"]
    present = 0  # the first pair feature: which server hosts the VNF
    assert (before["pair"][..., present] != after["pair"][..., present]).any()


def test_rewards_are_the_simulators(scenario: Scenario) -> None:
    env = EdgeCoreEnv(scenario, slots=5, randomise=False)
    env.reset(seed=4)
    first = int(np.random.default_rng(np.random.SeedSequence(4)).integers(2**31 - 1))
    sim = BatchSim(scenario, 1, first, randomise=False, slots=5)
    sim.reset()
    for _ in range(5):
        assert env.step(np.int64(0))[1] == sim.step(np.zeros(1, np.int64))[1][0]


def test_a_step_before_the_first_reset_is_refused(env: EdgeCoreEnv) -> None:
    with pytest.raises(RuntimeError, match="before reset"):
        env.step(np.int64(0))


@pytest.mark.parametrize("randomise", [True, False])
def test_the_vectorised_environment_is_the_simulator_with_masks(scenario: Scenario, randomise: bool) -> None:
    env = gymnasium.make_vec(ID, num_envs=3, scenario=scenario, slots=4, randomise=randomise)
    seen, info = env.reset(seed=4)
    first = int(np.random.default_rng(np.random.SeedSequence(4)).integers(2**31 - 1))
    sim = BatchSim(scenario, 3, first, randomise=randomise, slots=4)
    expected = sim.reset()
    rng = np.random.default_rng(1)
    for slot in range(9):
        assert seen in env.observation_space
        np.testing.assert_array_equal(seen["pair"], expected["pair"])
        np.testing.assert_array_equal(info["action_mask"][:, 1:], expected["mask"].reshape(3, -1))
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in info["action_mask"]])
        seen, reward, terminated, truncated, info = env.step(actions)
        expected, rewards, _, happened = sim.step(actions)
        np.testing.assert_array_equal(reward, rewards)
        assert not terminated.any()
        assert not info["illegal"].any()
        assert truncated.all() == (slot % 4 == 3)
        if truncated.all():
            final = happened["final_obs"]
            assert final is not None
            for row in range(3):
                np.testing.assert_array_equal(info["final_obs"][row]["vnf"], final["vnf"][row])


def test_instances_of_the_vectorised_environment_differ_and_a_seed_repeats_them(scenario: Scenario) -> None:
    env = EdgeCoreVectorEnv(scenario, num_envs=2, slots=4)
    first, again = env.reset(seed=1)[0], env.reset(seed=1)[0]
    assert (first["pair"][0] != first["pair"][1]).any()
    np.testing.assert_array_equal(first["pair"], again["pair"])
    assert (env.reset()[0]["pair"] != first["pair"]).any()
    with pytest.raises(RuntimeError, match="before reset"):
        EdgeCoreVectorEnv(scenario).step(np.zeros(1, dtype=np.int64))
