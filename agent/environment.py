"""`vnftwin/EdgeCore-v0`: the simulated network as a Gymnasium environment, single or vectorised, for other agents.

Our own training does not go through here (`agent.collector` does without Gymnasium's bookkeeping); the physics,
features and rewards are the same. Source: ours (docs/agent.md, "Environment").
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from agent.actions import action_count, legal_actions
from twin.fast import BatchObservation, BatchSim
from twin.features import GLOBAL_FEATURES, PAIR_FEATURES, SERVER_FEATURES, VNF_FEATURES
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

ID = "vnftwin/EdgeCore-v0"
OLD_ID = "EdgeCore-v0"
BOUND = 5.0  # every feature is clipped to this (twin.features)
_BLOCKS = ("vnf", "server", "pair", "glob")
_SEEDS = 2**31 - 1

Arrays = dict[str, npt.NDArray[Any]]


class EdgeCoreEnv(gymnasium.Env[Arrays, np.int64]):
    """One network, one decision per control period.

    Observation: the blocks of `twin.features.Observation` as a Dict, `mask` as 0/1. Action: as in `agent.actions`; an
    infeasible one is *stay* and costs a penalty, `info["action_mask"]` [1 + V·S] says beforehand which are feasible.
    Reward: λ of the slot. Episodes end by truncation only, after `slots` periods: a network does not terminate.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own attribute)

    def __init__(self, scenario: Scenario | str = "small", *, slots: int = 64, randomise: bool = True) -> None:
        self.scenario = load_scenario(scenario) if isinstance(scenario, str) else scenario
        self._slots, self._randomise = slots, randomise
        self.action_space = spaces.Discrete(action_count(self.scenario))
        self.observation_space = _observation_space(self.scenario)
        self._sim: BatchSim | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, Arrays]:
        """A new episode. The same seed gives the same episodes; without one the generator goes on."""
        super().reset(seed=seed)
        if seed is not None or self._sim is None:
            first = int(self.np_random.integers(_SEEDS))
            self._sim = BatchSim(self.scenario, 1, first, randomise=self._randomise, slots=self._slots)
        return _answer(self._sim.reset())

    def step(self, action: np.int64) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """One control period. RuntimeError before the first `reset`."""
        if self._sim is None:
            raise RuntimeError("step before reset")
        seen, reward, cut, happened = self._sim.step(np.array([action], dtype=np.int64))
        final = happened["final_obs"]
        observation, info = _answer(seen if final is None else final)
        scores = {name: float(happened[name][0]) for name in ("delay_ms", "delay0_ms", "energy_j", "energy0_j")}
        flags = {name: bool(happened[name][0]) for name in ("moved", "illegal")}
        late = int(happened["late_chains"][0])
        return observation, float(reward[0]), False, bool(cut[0]), {**info, **scores, **flags, "late_chains": late}


class EdgeCoreVectorEnv(gymnasium.vector.VectorEnv[Arrays, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """`num_envs` networks stepped together by compiled code; each alone is `EdgeCoreEnv`.

    All arrays have a leading axis B = `num_envs`. An episode that ends is reset in the same step: the observation
    is the new episode's first, `info["final_obs"]` holds the last one where `info["_final_obs"]` says so.
    """

    metadata = {"render_modes": [], "autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        scenario: Scenario | str = "small",
        *,
        num_envs: int = 1,
        slots: int = 64,
        randomise: bool = True,
    ) -> None:
        self.scenario = load_scenario(scenario) if isinstance(scenario, str) else scenario
        self.num_envs, self._slots, self._randomise = num_envs, slots, randomise
        self.single_action_space = spaces.Discrete(action_count(self.scenario))
        self.single_observation_space = _observation_space(self.scenario)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self._sim: BatchSim | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """New episodes in all instances. The same seed gives the same episodes; without one the generator goes on."""
        super().reset(seed=seed)
        if seed is not None or self._sim is None:
            first = int(self.np_random.integers(_SEEDS))
            self._sim = BatchSim(self.scenario, self.num_envs, first, randomise=self._randomise, slots=self._slots)
        return _answers(self._sim.reset())

    def step(
        self, actions: npt.NDArray[np.int64]
    ) -> tuple[Arrays, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:
        """One control period in every instance. RuntimeError before the first `reset`."""
        if self._sim is None:
            raise RuntimeError("step before reset")
        seen, reward, cut, happened = self._sim.step(np.asarray(actions))
        observation, info = _answers(seen)
        info |= {name: value for name, value in happened.items() if name != "final_obs"}
        final = happened["final_obs"]
        if final is not None:
            # Gymnasium's form: one entry per instance, None where the episode goes on
            rows = [_answer(final, b)[0] if cut[b] else None for b in range(self.num_envs)]
            info |= {"final_obs": np.array(rows, dtype=object), "_final_obs": cut.copy()}
        return observation, reward, np.zeros(self.num_envs, dtype=np.bool_), cut, info


def _observation_space(scenario: Scenario) -> spaces.Space[Arrays]:
    vnfs, servers = len(scenario.vnfs), len(scenario.servers)
    blocks: dict[str, spaces.Space[Any]] = {
        "vnf": _box(vnfs, len(VNF_FEATURES)),
        "server": _box(servers, len(SERVER_FEATURES)),
        "pair": _box(vnfs, servers, len(PAIR_FEATURES)),
        "glob": _box(len(GLOBAL_FEATURES)),
        "mask": spaces.MultiBinary((vnfs, servers)),
    }
    space: spaces.Space[Any] = spaces.Dict(blocks)
    return space


def _box(*shape: int) -> spaces.Box:
    return spaces.Box(-BOUND, BOUND, shape, np.float32)


def _answer(seen: BatchObservation, b: int = 0) -> tuple[Arrays, Arrays]:
    """(observation, info) of one instance, copied since the simulator reuses its arrays."""
    observation: Arrays = {name: seen[name][b].copy() for name in _BLOCKS}  # type: ignore[literal-required]
    observation["mask"] = seen["mask"][b].astype(np.int8)
    return observation, {"action_mask": legal_actions(seen["mask"][b]).astype(np.int8)}


def _answers(seen: BatchObservation) -> tuple[Arrays, dict[str, Any]]:
    """(observation, info) of all instances, copied."""
    observation: Arrays = {name: seen[name].copy() for name in _BLOCKS}  # type: ignore[literal-required]
    observation["mask"] = seen["mask"].astype(np.int8)
    return observation, {"action_mask": legal_actions(seen["mask"]).astype(np.int8)}


def register() -> None:
    """Makes `gymnasium.make` and `make_vec` know the environment; a second call changes nothing."""
    for name in (ID, OLD_ID):
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="agent.environment:EdgeCoreEnv",
                vector_entry_point="agent.environment:EdgeCoreVectorEnv",
            )


register()
