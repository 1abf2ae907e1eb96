"""What another library trained: kept without pickle, decides as it did, and is refused where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.a2c_policy import named_policy
from agent.decision import Move, Stay, View
from agent.flat import FlatFunction, FlatPolicy, Origin, flat, load_flat, save_flat, width
from agent.policy import MASKED
from tests.unit.small_worlds import line, state_of
from twin.errors import InputError
from twin.fast import BatchSim
from twin.feasibility import feasible_moves
from twin.features import Observation
from twin.forecast import PersistenceForecaster
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

HIDDEN = 5


def function_for(scenario: Scenario, *, prefer: int = 0) -> FlatFunction:
    """Random weights, but an action that is always the best feasible one."""
    rng, columns = np.random.default_rng(1), np.arange(0, width(scenario), 2)
    actions = 1 + len(scenario.vnfs) * len(scenario.servers)
    sizes = ((HIDDEN, len(columns)), (HIDDEN, HIDDEN), (actions, HIDDEN))
    layers = tuple((rng.normal(size=s).astype(np.float32), np.zeros(s[0], np.float32)) for s in sizes)
    layers[-1][1][prefer] = 1e3
    mean, variance = (rng.random(len(columns)).astype(np.float32) for _ in range(2))
    return FlatFunction(layers, columns, mean, variance, 10.0)


def observation(scenario: Scenario, batch: int = 3) -> Observation:
    seen = BatchSim(scenario, batch, 1).reset()
    return Observation(seen["vnf"], seen["server"], seen["pair"], seen["glob"], seen["mask"])


def view(scenario: Scenario) -> View:
    state, forecaster = state_of(scenario), PersistenceForecaster()
    forecaster.observe(state)
    return View(scenario, state, forecaster.forecast(2), feasible_moves(scenario, state, configured_routes(scenario)))


def test_the_vector_holds_every_block_row_by_row() -> None:
    scenario = load_scenario("small")
    seen = observation(scenario)
    vector = flat(seen)
    assert vector.shape == (3, width(scenario))
    np.testing.assert_array_equal(vector[1, : seen.vnf[1].size], seen.vnf[1].ravel())
    np.testing.assert_array_equal(vector[2, -seen.mask[2].size :], seen.mask[2].ravel())
    one = Observation(seen.vnf[0], seen.server[0], seen.pair[0], seen.glob[0], seen.mask[0])
    np.testing.assert_array_equal(flat(one), vector[0])


def test_the_function_is_what_its_formula_says() -> None:
    scenario = line()
    seen, function = observation(scenario), function_for(scenario)
    hidden = (flat(seen)[:, function.columns] - function.mean) / np.sqrt(function.variance + 1e-8)
    hidden = hidden.clip(-10.0, 10.0)
    for weight, bias in function.layers[:-1]:
        hidden = np.tanh(np.einsum("oi,bi->bo", weight, hidden) + bias)
    expected = np.einsum("oi,bi->bo", function.layers[-1][0], hidden) + function.layers[-1][1]
    logits, legal = function(seen), seen.mask.reshape(3, -1)
    np.testing.assert_allclose(logits[:, 1:][legal], expected[:, 1:][legal], rtol=1e-4, atol=1e-4)
    assert (logits[:, 1:][~legal] == MASKED).all()


def test_it_moves_what_it_prefers_and_else_stays() -> None:
    scenario = line()
    seen = view(scenario)
    vnf, server = np.argwhere(seen.mask)[-1]
    prefer = 1 + int(vnf) * len(scenario.servers) + int(server)
    decision = FlatPolicy(function_for(scenario, prefer=prefer), name="other").decide(seen)
    assert isinstance(decision, Move)
    assert (decision.vnf, decision.target) == (scenario.vnfs[vnf].id, scenario.servers[server].id)
    assert isinstance(FlatPolicy(function_for(scenario), name="other").decide(seen), Stay)
    none = replace(seen, mask=np.zeros_like(seen.mask))
    assert FlatPolicy(function_for(scenario, prefer=prefer), name="other").decide(none) == Stay("no move is feasible")


def test_a_file_gives_the_same_policy_by_its_name(tmp_path: Path) -> None:
    scenario, file = line(), tmp_path / "other.safetensors"
    function = function_for(scenario)
    save_flat(file, function, Origin(scenario, "other", 1))
    policy = named_policy(str(file), scenario)
    assert isinstance(policy, FlatPolicy)
    assert policy.name == "other"
    seen = observation(scenario)
    np.testing.assert_array_equal(policy.function(seen), function(seen))


def test_it_fits_no_network_of_other_sizes(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_flat(file, function_for(line()), Origin(line(), "other", 1))
    with pytest.raises(InputError, match="trained on line, 3 servers and 3 VNFs: it fits no other network"):
        named_policy(str(file), load_scenario("small"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": np.zeros(2, np.float32)},
        {"variance": -np.ones(1, np.float32)},
        {"columns": np.array([10**6])},
        {"layers": ()},
    ],
)
def test_tensors_that_do_not_fit_are_refused(wrong: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    layers = ((np.zeros((10, 1), np.float32), np.zeros(10, np.float32)),)
    good = FlatFunction(layers, np.arange(1), np.zeros(1, np.float32), np.ones(1, np.float32), 10.0)
    save_flat(file, good, Origin(line(), "other", 1))
    assert load_flat(file, line()).name == "other"
    save_flat(file, replace(good, **wrong), Origin(line(), "other", 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not those of a policy for this network"):
        load_flat(file, line())


def test_a_librarys_own_zip_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(b"PK\x03\x04 and a pickle")
    with pytest.raises(InputError, match="not a checkpoint, or damaged"):
        named_policy(str(file), line())


def _logits(model: Any, shown: Any) -> Any:
    """What the library's own actor says; normalised."""
    policy = model.policy
    return policy.get_distribution(policy.obs_to_tensor(shown)[0]).distribution.logits.detach().numpy()


def test_a_model_of_stable_baselines_is_kept_as_it_decides(tmp_path: Path) -> None:
    from stable_baselines3 import A2C
    from stable_baselines3.common.vec_env import VecNormalize

    from agent.sb3 import FlatVecEnv, save_policy

    scenario = line()
    env = VecNormalize(FlatVecEnv(scenario, num_envs=2, seed=1, slots=4, columns=np.arange(0, width(scenario), 3)))
    model = A2C("MlpPolicy", env, seed=1, device="cpu").learn(40)
    save_policy(tmp_path / "a.safetensors", model, scenario, name="sb3-a2c")
    function = load_flat(tmp_path / "a.safetensors", scenario).function
    seen = observation(scenario, batch=16)
    shown = env.normalize_obs(flat(seen)[:, function.columns])
    theirs, legal = _logits(model, shown), seen.mask.reshape(16, -1)
    shift = function(seen)[:, :1] - theirs[:, :1]  # stay is always legal
    np.testing.assert_allclose(function(seen)[:, 1:][legal], (theirs + shift)[:, 1:][legal], rtol=1e-3, atol=1e-4)


def test_a_model_with_masks_learns_and_is_kept() -> None:
    import sb3_contrib as contrib

    from agent.sb3 import FlatVecEnv, function_of

    scenario = line()
    model = contrib.MaskablePPO("MlpPolicy", FlatVecEnv(scenario, num_envs=2, seed=1), n_steps=8, batch_size=16, seed=1)
    assert function_of(model.learn(16))(observation(scenario)).shape == (3, 10)


def test_an_episode_of_the_vector_environment_ends_by_its_time_limit() -> None:
    from agent.sb3 import FlatVecEnv

    scenario = line()
    env, sim = FlatVecEnv(scenario, num_envs=2, seed=5, slots=2), BatchSim(scenario, 2, 5, slots=2)
    sim.reset()
    sim.reset()
    first = env.reset()
    assert first.dtype == np.float32
    for slot in range(4):
        masks = np.stack(env.env_method("action_masks"))
        actions = masks.shape[1] - 1 - masks[:, ::-1].argmax(axis=1)  # the last feasible one
        env.step_async(actions)
        seen, reward, done, infos = env.step_wait()
        expected, rewards, cut, happened = sim.step(actions)
        np.testing.assert_array_equal(reward, rewards)
        np.testing.assert_array_equal(done, cut)
        assert done.all() == (slot % 2 == 1)
        if done.all():
            final = happened["final_obs"]
            assert final is not None
            last = flat(Observation(final["vnf"], final["server"], final["pair"], final["glob"], final["mask"]))
            np.testing.assert_array_equal(np.stack([i["terminal_observation"] for i in infos]), last)
            assert all(info["TimeLimit.truncated"] for info in infos)
        np.testing.assert_array_equal(seen[:, : expected["vnf"][0].size], expected["vnf"].reshape(2, -1))
