"""`EdgeCore-v0`: the simulated network as a Gymnasium environment, for other people's agents.

Our own training does not go through here (`agent.collector` steps many instances at once); the physics, features and
rewards are the same. Source: ours (docs/agent.md, "Environment").
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

ID = "EdgeCore-v0"
BOUND = 5.0  # every feature is clipped to this (twin.features)
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
        vnfs, servers = len(self.scenario.vnfs), len(self.scenario.servers)
        self.action_space = spaces.Discrete(action_count(self.scenario))
        self.observation_space: spaces.Space[Arrays] = _dict(
            {
                "vnf": _box(vnfs, len(VNF_FEATURES)),
                "server": _box(servers, len(SERVER_FEATURES)),
                "pair": _box(vnfs, servers, len(PAIR_FEATURES)),
                "glob": _box(len(GLOBAL_FEATURES)),
                "mask": spaces.MultiBinary((vnfs, servers)),
            }
        )
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


def _dict(blocks: dict[str, spaces.Space[Any]]) -> spaces.Space[Arrays]:
    space: spaces.Space[Any] = spaces.Dict(blocks)
    return space


def _box(*shape: int) -> spaces.Box:
    return spaces.Box(-BOUND, BOUND, shape, np.float32)


def _answer(seen: BatchObservation) -> tuple[Arrays, Arrays]:
    """(observation, info) of the one instance, copied since the simulator reuses its arrays."""
    observation: Arrays = {name: seen[name][0].copy() for name in ("vnf", "server", "pair", "glob")}
    observation["mask"] = seen["mask"][0].astype(np.int8)
    return observation, {"action_mask": legal_actions(seen["mask"][0]).astype(np.int8)}


def register() -> None:
    """Makes `gymnasium.make("EdgeCore-v0", scenario="small")` work; a second call changes nothing."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point="agent.environment:EdgeCoreEnv")


register()
