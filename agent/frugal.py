"""Learning from few real steps: A2C alone, with replay of real experience, or with a twin's synthetic experience.

One round: every stream plays a few real slots under the policy as it is; one on-policy update on them; then, with a
twin, `TwinConfig.updates` more on fresh branches, each batch thrown away after its update; with replay as many on
replayed real trajectories (V-trace) of the same size, with a black box as many on what that plays. Learning rate and
entropy coefficient do not change, so that no learner knows how long it has. Source: paper (A2C, synthetic experience);
ours: the regime (docs/agent.md, "Sample efficiency").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch

from agent.a2c import A2CConfig, Losses, update
from agent.black_box import BlackBox, BlackBoxConfig
from agent.network import FeatureSizes, PolicyNetwork
from agent.policy import PolicyFunction
from agent.streams import Streams
from agent.synthetic import Synthesis, TwinConfig
from agent.trajectory import rollout_of
from agent.vtrace import Replay, update_replayed
from twin.features import GLOBAL_FEATURES, PAIR_FEATURES, SERVER_FEATURES, VNF_FEATURES
from twin.model import Model
from twin.scenario import Scenario
from twin.telemetry import EXACT, Noise

SIZES = FeatureSizes(len(VNF_FEATURES), len(SERVER_FEATURES), len(PAIR_FEATURES), len(GLOBAL_FEATURES))
# What the cost model says, in the observation: a learner that is to start from nothing must not see it.
MODELLED = {
    "vnf": ("chain_delay_modelled",),
    "server": ("forecast_cpu", "emptying_gain"),
    "pair": (
        "delay_change", "power_change", "gain", "gain_forecast", "chain_delay_after", "cpu_after", "link_after",
        "run_gain", "merge_gain", "emptying_gain", "plan_gain",
    ),
    "glob": ("delay", "late_share"),
}  # fmt: skip
_NAMES = {"vnf": VNF_FEATURES, "server": SERVER_FEATURES, "pair": PAIR_FEATURES, "glob": GLOBAL_FEATURES}
_DULL = 1e9  # a deviation by which any feature is divided to nothing
_SCALER_SLOTS = 8


class Extra(StrEnum):
    """Where updates beyond the on-policy one come from."""

    NONE = "none"
    REPLAY = "replay"
    TWIN = "twin"
    BLACK_BOX = "black-box"


FROM_NOTHING = A2CConfig(
    discount=0.95, n_steps=8, batch=8, learning_rate=3e-3, entropy_coef=0.02, hidden=16, gain_prior=0.0
)
LIVELY = replace(FROM_NOTHING, entropy_coef=0.05, both_ways_coef=0.02)  # what keeps a seed from a plateau
WITH_TWIN = TwinConfig()
BLACK_BOX = BlackBoxConfig()


@dataclass(frozen=True, slots=True)
class FrugalConfig:
    """`a2c.batch` streams of `a2c.n_steps` slots are a round's real steps. `capacity` of the replay in trajectories.
    `blind`: hide what the cost model says from the policy."""

    a2c: A2CConfig = FROM_NOTHING
    extra: Extra = Extra.TWIN
    twin: TwinConfig = WITH_TWIN
    black_box: BlackBoxConfig = BLACK_BOX
    capacity: int = 1024
    blind: bool = False


class Learner:
    """One learner in one world. `steps` counts every real slot, those that the twin learns from included; `synthetic`
    the slots of the last round's branches."""

    def __init__(
        self,
        scenario: Scenario,
        config: FrugalConfig,
        *,
        seed: int,
        physics: Model | None = None,
        noise: Noise = EXACT,
        start: PolicyFunction | None = None,
    ) -> None:
        self.scenario, self.config, self.steps, self.synthetic = scenario, config, 0, 0
        a2c = config.a2c
        with torch.random.fork_rng():  # the layers' own initialisation knows only the global generator
            torch.manual_seed(seed)
            self.network = PolicyNetwork(SIZES, hidden=a2c.hidden)
        self._rng = torch.Generator().manual_seed(seed)
        self.streams = Streams(
            scenario, streams=a2c.batch, slots=a2c.n_steps, seed=1_000_000 * (seed + 1), physics=physics, noise=noise
        )
        if start is None:
            self._begin(np.random.default_rng([seed, 2]))
        else:
            self.network.restore(start)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=a2c.learning_rate, eps=1e-5)
        self.replay = Replay(capacity=config.capacity)
        self.black_box = BlackBox(SIZES, config.black_box, seed=seed)
        self.synthesis = Synthesis(scenario, config.twin, np.random.default_rng([seed, 3]))

    def _begin(self, rng: np.random.Generator) -> None:
        self.network.fit_scalers(self.streams.random_moves(_SCALER_SLOTS, rng))
        self.network.prefer(PAIR_FEATURES.index("gain"), self.config.a2c.gain_prior)
        if self.config.blind:
            hide_modelled(self.network)

    def round(self) -> tuple[Losses, float]:
        """Real slots and all updates that follow; (losses of the on-policy update, mean real reward)."""
        a2c = self.config.a2c
        self.synthetic = 0
        real = self.streams.collect(self.network, self._rng)
        self.steps += real.actions.numel()
        rollout = rollout_of(self.network, real)
        losses = update(self.network, self.optimizer, rollout, a2c, entropy_coef=a2c.entropy_coef)
        if self.config.extra is Extra.REPLAY:
            self.replay.add(real)
        elif self.config.extra is Extra.TWIN:
            self.synthesis.learn(self.streams.experience)
            self.streams.believe(self.synthesis.belief)
        elif self.config.extra is Extra.BLACK_BOX:
            self.black_box.learn(real)
        if len(self.streams.experience) > self.config.twin.warm_up:
            for _ in range(self.config.twin.updates):
                self._extra()
        return losses, float(real.rewards.mean())

    def _extra(self) -> None:
        a2c, twin = self.config.a2c, self.config.twin
        branch = None
        if self.config.extra is Extra.REPLAY:
            again = self.replay.sample(twin.branches * twin.horizon // a2c.n_steps, self._rng)
            update_replayed(self.network, self.optimizer, again, a2c, entropy_coef=a2c.entropy_coef)
        elif self.config.extra is Extra.TWIN:
            branch = self.synthesis.roll_out(self.network, self.streams.experience, self._rng)
        elif self.config.extra is Extra.BLACK_BOX:
            size = twin.branches * twin.horizon // self.config.black_box.horizon
            branch = self.black_box.roll_out(self.network, size, self._rng)
        if branch is not None:
            self.synthetic += branch.actions.numel()
            rollout = rollout_of(self.network, branch)
            update(self.network, self.optimizer, rollout, a2c, entropy_coef=a2c.entropy_coef)


@torch.no_grad()
def hide_modelled(network: PolicyNetwork) -> None:
    """Makes the network blind to the features that are the cost model's predictions."""
    for block, hidden in MODELLED.items():
        rows = [_NAMES[block].index(name) for name in hidden]
        network.get_buffer(f"{block}_std")[rows] = _DULL
