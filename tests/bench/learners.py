"""The learners that `tests.bench.versus_sb3` compares: ours, Stable-Baselines3's A2C and PPO with masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agent.a2c import A2CConfig, update
from agent.actions import legal_actions
from agent.collector import Collector
from agent.compiled_policy import CompiledPolicy
from agent.frugal import FROM_NOTHING, LIVELY, MODELLED, SIZES, Extra, FrugalConfig, Learner, hide_modelled
from agent.network import PolicyNetwork
from agent.sb3 import FlatVecEnv, function_of
from agent.synthetic import TwinConfig
from twin.fast import BatchObservation
from twin.features import GLOBAL_FEATURES, PAIR_FEATURES, SERVER_FEATURES, VNF_FEATURES, Observation
from twin.scenario import Scenario
from twin.state import IntArray

ENVIRONMENTS = 8
TUNED = "sb3-rate4e-3"
TOGETHER = (  # what helped by itself, put together
    ("rate4e-3", "entropy0.1"), ("rate4e-3", "entropy0.2"),
    ("rate4e-3", "entropy0.1", "slots16"), ("rate8e-3", "entropy0.1", "slots16"),
)  # fmt: skip
AS_SET = {"observed": False, "rewarded": False}
_CHUNK = 320  # steps of Stable-Baselines3 between two looks at the clock


class Learning(Protocol):
    """Something that learns a bit at a time and can choose meanwhile. `steps` counts slots of all networks."""

    @property
    def steps(self) -> int: ...

    def train(self) -> None: ...

    def choose(self, seen: BatchObservation) -> IntArray: ...


@dataclass(frozen=True)
class Contender:
    """How a learner is made from a seed; it gives up after `most_s` CPU seconds."""

    make: Callable[[int], Learning]
    most_s: float


def contenders(scenario: Scenario, *, blind: bool, most_s: float) -> Mapping[str, Contender]:
    """All learners by name. `sb3` is as the library sets it; `sb3-tuned` and `ours` were chosen on another seed."""
    columns = shown_columns(scenario, blind=blind)

    def rival(kind: type[OnPolicyAlgorithm], **settings: Any) -> Contender:
        return Contender(lambda seed: Rival(scenario, columns, kind, settings, seed), min(most_s, 120.0))

    def own(config: A2CConfig) -> Contender:
        return Contender(lambda seed: Own(scenario, config, blind=blind, seed=seed), min(most_s, 20.0))

    found = {"sb3": rival(A2C, **AS_SET), "ppo": rival(MaskablePPO, **AS_SET)}
    found |= {name: rival(A2C, **settings) for name, settings in a2c_settings().items()}
    for rate, slots in product((3e-4, 1e-3, 3e-3), (64, 256)):
        found[f"ppo-{rate:g}-{slots}"] = rival(
            MaskablePPO, learning_rate=rate, n_steps=slots, gamma=0.95, ent_coef=0.01, batch_size=64
        )
    for rate, slots, batch in product((1e-3, 3e-3, 1e-2), (2, 4, 8), (8, 32)):
        config = replace(FROM_NOTHING, learning_rate=rate, n_steps=slots, batch=batch)
        found[f"ours-{rate:g}-{slots}-{batch}"] = own(config)
    twin = FrugalConfig(blind=blind, extra=Extra.TWIN, twin=TwinConfig(updates=16))
    found["ours"] = own(replace(LIVELY, n_steps=4))
    found |= {"ours-before": found["ours-0.003-4-8"], "sb3-tuned": found[TUNED]}
    found["twin"] = Contender(lambda seed: Frugal(scenario, twin, seed=seed), min(most_s, 60.0))
    return found


def a2c_settings() -> dict[str, dict[str, Any]]:
    """What Stable-Baselines3's A2C was tuned over: one setting, everything near it that differs in one thing, and
    what helped put together. `observed` and `rewarded`: whether these are standardised; `slots` of an episode."""
    base: dict[str, Any] = {
        "learning_rate": 2e-3, "n_steps": 5, "ent_coef": 0.01, "gamma": 0.95, "gae_lambda": 0.95,
        "use_rms_prop": False, "normalize_advantage": True,
    }  # fmt: skip
    nets = {"net128": [128, 128], "net256": [256, 256], "net32": [32, 32]}
    one: dict[str, dict[str, Any]] = {
        "rate7e-4": {"learning_rate": 7e-4}, "rate4e-3": {"learning_rate": 4e-3}, "rate8e-3": {"learning_rate": 8e-3},
        "slots2": {"n_steps": 2}, "slots16": {"n_steps": 16},
        "entropy0": {"ent_coef": 0.0}, "entropy0.03": {"ent_coef": 0.03}, "entropy0.1": {"ent_coef": 0.1},
        "discount0.9": {"gamma": 0.9}, "discount0.99": {"gamma": 0.99}, "gae1": {"gae_lambda": 1.0},
        **{name: {"policy_kwargs": {"net_arch": sizes}} for name, sizes in nets.items()},
        "rmsprop": {"use_rms_prop": True}, "advantages": {"normalize_advantage": False},
        "rewards": {"rewarded": False}, "observations": {"observed": False}, "episodes32": {"slots": 32},
    }  # fmt: skip
    one["entropy0.2"] = {"ent_coef": 0.2}
    found = {"sb3-base": base} | {f"sb3-{name}": base | change for name, change in one.items()}
    for names in TOGETHER:
        changes = [one[name] for name in names]
        found["sb3-" + "+".join(names)] = base | {key: value for change in changes for key, value in change.items()}
    return found


def shown_columns(scenario: Scenario, *, blind: bool) -> IntArray:
    """Which numbers of the flat observation are shown: all, or all but the cost model's predictions."""
    vnfs, servers = len(scenario.vnfs), len(scenario.servers)
    blocks = (("vnf", VNF_FEATURES, vnfs), ("server", SERVER_FEATURES, servers),
              ("pair", PAIR_FEATURES, vnfs * servers), ("glob", GLOBAL_FEATURES, 1))  # fmt: skip
    shown = [np.tile([not blind or f not in MODELLED[block] for f in names], rows) for block, names, rows in blocks]
    return np.flatnonzero(np.concatenate([*shown, np.ones(vnfs * servers, dtype=np.bool_)]))


class Rival:
    """A model of Stable-Baselines3 (or its contrib) on eight networks, its logger silent."""

    def __init__(
        self,
        scenario: Scenario,
        columns: IntArray,
        kind: type[OnPolicyAlgorithm],
        settings: Mapping[str, Any],
        seed: int,
    ) -> None:
        own = dict(settings)
        observed, rewarded, slots = own.pop("observed", True), own.pop("rewarded", True), own.pop("slots", 64)
        env: VecEnv = FlatVecEnv(
            scenario, num_envs=ENVIRONMENTS, seed=1_000_000 * (seed + 1), slots=slots, columns=columns
        )
        if observed or rewarded:
            env = VecNormalize(env, norm_obs=observed, norm_reward=rewarded, gamma=float(own.get("gamma", 0.99)))
        self.model = kind("MlpPolicy", env, seed=seed, device="cpu", **own)
        self.model.set_logger(Logger(None, []))

    @property
    def steps(self) -> int:
        return self.model.num_timesteps

    def train(self) -> None:
        self.model.learn(_CHUNK, reset_num_timesteps=False)

    def choose(self, seen: BatchObservation) -> IntArray:
        observation = Observation(seen["vnf"], seen["server"], seen["pair"], seen["glob"], seen["mask"])
        return np.asarray(function_of(self.model)(observation).argmax(axis=-1))


class Own:
    """Our A2C by the road of `agent.training`: compiled collector, one update a rollout."""

    def __init__(self, scenario: Scenario, config: A2CConfig, *, blind: bool, seed: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._network = PolicyNetwork(SIZES, hidden=config.hidden)
        self._config, self.steps = config, 0
        rng = torch.Generator().manual_seed(seed)
        self._collector = Collector(scenario, self._network, config, rng=rng, seed=1_000_000 * (seed + 1))
        self._network.fit_scalers(self._collector.wander(np.random.default_rng([seed, 2])))
        if blind:
            hide_modelled(self._network)
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.learning_rate, eps=1e-5)

    def train(self) -> None:
        rollout = self._collector.collect()
        update(self._network, self._optimizer, rollout, self._config, entropy_coef=self._config.entropy_coef)
        self.steps += rollout.actions.numel()

    def choose(self, seen: BatchObservation) -> IntArray:
        return _likeliest(self._network, seen)


class Frugal:
    """Our A2C by the road of `agent.frugal`: few real steps, with the twin."""

    def __init__(self, scenario: Scenario, config: FrugalConfig, *, seed: int) -> None:
        self._learner = Learner(scenario, config, seed=seed)

    @property
    def steps(self) -> int:
        return self._learner.steps

    def train(self) -> None:
        self._learner.round()

    def choose(self, seen: BatchObservation) -> IntArray:
        return _likeliest(self._learner.network, seen)


def _likeliest(network: PolicyNetwork, seen: BatchObservation) -> IntArray:
    observation = Observation(seen["vnf"], seen["server"], seen["pair"], seen["glob"], seen["mask"])
    logits = CompiledPolicy(network.function())(observation).logits
    return np.asarray(np.where(legal_actions(seen["mask"]), logits, -np.inf).argmax(axis=-1))
