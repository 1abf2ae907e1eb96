"""Stable-Baselines3 on the compiled simulator, and what it trained as a policy of ours (extra `sb3`).

    env = FlatVecEnv("small", num_envs=8, seed=1)
    model = A2C("MlpPolicy", env).learn(100_000)
    save_policy(Path("sb3.safetensors"), model, env.scenario, name="sb3-a2c")

and then `vnftwin evaluate small --policies greedy,sb3.safetensors`. The library's own .zip holds pickle, which runs
code when it is read: none is ever read here. Source: ours (docs/agent.md, "Other libraries").
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import nn

from agent.actions import action_count, legal_actions
from agent.environment import BOUND
from agent.flat import FlatFunction, IntTensor, Origin, flat, save_flat, width
from twin.checkpoint import Tensor
from twin.errors import InputError
from twin.fast import BatchObservation, BatchSim
from twin.features import Observation
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

_NO_CLIP = 1e9


class FlatVecEnv(VecEnv):
    """`num_envs` networks stepped together by compiled code; the observation is one vector (`agent.flat`).

    `columns` of it are shown (default all). Actions, rewards and episodes are those of `agent.environment`: an
    infeasible action is *stay* and costs a penalty; episodes end by the time limit only and say so
    (`TimeLimit.truncated`, `terminal_observation`), so that values are bootstrapped there. `action_masks` serves
    sb3-contrib's MaskablePPO.
    """

    def __init__(
        self,
        scenario: Scenario | str = "small",
        *,
        num_envs: int = 8,
        seed: int = 0,
        slots: int = 64,
        randomise: bool = True,
        columns: IntTensor | None = None,
    ) -> None:
        self.scenario = load_scenario(scenario) if isinstance(scenario, str) else scenario
        self._sim = BatchSim(self.scenario, num_envs, seed, randomise=randomise, slots=slots)
        self._seen = self._sim.reset()
        self.columns = np.arange(width(self.scenario)) if columns is None else columns
        self._all = columns is None
        self._actions: npt.NDArray[np.int64] = np.zeros(num_envs, dtype=np.int64)
        box = spaces.Box(-BOUND, BOUND, (len(self.columns),), np.float32)
        super().__init__(num_envs, box, spaces.Discrete(action_count(self.scenario)))

    def reset(self) -> npt.NDArray[np.float32]:
        """New episodes everywhere; the generators go on."""
        self._seen = self._sim.reset()
        return self._flat(self._seen)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        self._actions = np.asarray(actions, dtype=np.int64)

    def step_wait(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[Any], list[dict[str, Any]]]:
        self._seen, reward, cut, happened = self._sim.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if happened["final_obs"] is not None:
            last = self._flat(happened["final_obs"])
            for b in np.flatnonzero(cut):
                infos[b] = {"TimeLimit.truncated": True, "terminal_observation": last[b]}
        return self._flat(self._seen), reward, cut, infos

    def _flat(self, seen: BatchObservation) -> npt.NDArray[np.float32]:
        """A copy, since the simulator reuses its arrays."""
        row = flat(_observation(seen))
        return row if self._all else row[:, self.columns]

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """[B, 1 + V·S] of the present observation."""
        return legal_actions(self._seen["mask"])

    def close(self) -> None:
        """Nothing is held."""

    def has_attr(self, attr_name: str) -> bool:
        return hasattr(self, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"{attr_name} cannot be set: all instances are one simulator")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Of `action_masks`: a row for each instance."""
        if method_name != "action_masks":
            raise AttributeError(f"no method {method_name} of an instance: all are one simulator")
        return list(self.action_masks()[self._rows(indices)])

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(self._rows(indices))

    def _rows(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))


def _observation(seen: BatchObservation) -> Observation:
    return Observation(seen["vnf"], seen["server"], seen["pair"], seen["glob"], seen["mask"])


def function_of(model: OnPolicyAlgorithm) -> FlatFunction:
    """The actor of a model that was trained on a `FlatVecEnv`, or on one in a `VecNormalize`; copies.

    InputError for a model whose policy is not `MlpPolicy` with tanh between its layers.
    """
    policy: Any = model.policy  # ActorCriticPolicy, or sb3-contrib's with masks, which is no subclass of it
    env = model.get_env()
    if not hasattr(policy, "mlp_extractor") or policy.activation_fn is not nn.Tanh:
        raise InputError("only an MlpPolicy with tanh between its layers can be kept as a policy")
    hidden = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    layers = tuple((_array(layer.weight), _array(layer.bias)) for layer in (*hidden, policy.action_net))
    assert env is not None
    columns = env.get_attr("columns")[0]
    mean, variance, clip = np.zeros(len(columns)), np.ones(len(columns)), _NO_CLIP
    if isinstance(env, VecNormalize) and env.norm_obs:
        seen: Any = env.obs_rms  # of one vector, not of a dict of them
        mean, variance, clip = seen.mean, seen.var, env.clip_obs
    return FlatFunction(layers, columns, mean.astype(np.float32), variance.astype(np.float32), clip)


def save_policy(path: Path, model: OnPolicyAlgorithm, scenario: Scenario, *, name: str) -> None:
    """Keeps a model's actor as a policy that `vnftwin` takes wherever it takes one."""
    versions = {package: importlib.metadata.version(package) for package in ("stable-baselines3", "torch")}
    origin = Origin(scenario, name, model.seed or 0, versions, {"steps": model.num_timesteps})
    save_flat(path, function_of(model), origin)


def _array(tensor: Any) -> Tensor:
    result: Tensor = tensor.detach().numpy().astype(np.float32)
    return result
