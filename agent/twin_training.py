"""Training with a twin: few real steps, many synthetic ones; and fine-tuning in the twin from a journal alone.

Source: paper (the twin's synthetic experience trains the agent); the regime is ours (docs/agent.md, "Training with
the twin").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from agent.a2c import A2CConfig, update
from agent.frugal import FrugalConfig, Learner
from agent.network import PolicyNetwork
from agent.policy import PolicyFunction
from agent.synthetic import Synthesis, TwinConfig
from agent.training import SIZES, VALIDATIONS, Progress, TrainedPolicy, calm, validation_score
from agent.trajectory import rollout_of
from twin.branches import Branches
from twin.errors import InputError
from twin.experience import Experience
from twin.features import Observation
from twin.model import Model
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray

DEFAULTS = FrugalConfig(
    a2c=A2CConfig(discount=0.95, n_steps=8, batch=8, learning_rate=2e-3, entropy_coef=0.01), twin=TwinConfig()
)
TUNING = replace(DEFAULTS, a2c=replace(DEFAULTS.a2c, learning_rate=5e-4))
HELD_OUT_SHARE = 0.25  # newest part of a journal: the tuned policy must be better there, or the old one stays
_TUNING_UPDATES, _JUDGED = 200, 256
_LEAST_SLOTS = 4  # of a branch: shorter ones end before a move has paid


class TwinRun:
    """A training run that counts real steps and makes the rest of its experience in the twin."""

    def __init__(self, scenario: Scenario, *, seed: int, real_steps: int, config: FrugalConfig = DEFAULTS) -> None:
        self.scenario, self.seed, self.config = scenario, seed, config
        self.learner = Learner(scenario, config, seed=seed)
        self.of = -(-real_steps // (config.a2c.batch * config.a2c.n_steps))  # rounds
        self.done = 0
        self.validations: list[tuple[int, float]] = []
        self.best = self.learner.network.function()

    @property
    def steps(self) -> int:
        return self.learner.steps

    def rounds(self) -> Iterator[Progress]:
        """Real slots, the twin's refit and the updates that follow, a round at a time."""
        for done in range(1, self.of + 1):
            losses, reward = self.learner.round()
            self.done = done
            validated = done % max(1, self.of // VALIDATIONS) == 0 or done == self.of
            if validated:
                self._validate()
            newest = self.validations[-1][1] if self.validations else float("nan")
            of = self.of * self.config.a2c.batch * self.config.a2c.n_steps
            error = self.learner.synthesis.error
            yield Progress(self.steps, of, reward, newest, losses, validated, error, self.learner.synthetic)

    def result(self) -> TrainedPolicy:
        """The best policy so far, made calm."""
        function = calm((self.scenario,), self.best)
        return TrainedPolicy(
            function, (self.scenario.name,), self.seed, self.steps, self.config.a2c, tuple(self.validations)
        )

    def _validate(self) -> None:
        function = self.learner.network.function()
        score = validation_score(self.scenario, function)
        if not self.validations or score >= max(best for _, best in self.validations):
            self.best = function
        self.validations.append((self.steps, score))


@dataclass(frozen=True, eq=False)
class Tuned:
    """What fine-tuning gave: `before` and `after` are mean λ per slot in the twin, on traffic that it was not tuned on;
    `function` is the tuned policy where that is better, else the one it started from."""

    function: PolicyFunction
    before: float
    after: float
    error: float

    @property
    def better(self) -> bool:
        return self.after > self.before


def fine_tune(
    scenario: Scenario,
    start: PolicyFunction,
    experience: Experience,
    *,
    seed: int,
    updates: int = _TUNING_UPDATES,
    config: FrugalConfig = TUNING,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Tuned:
    """Trains a policy in the twin of one network, from what was recorded of it; no real step is taken.

    The oldest part of the recording fits the twin and starts the branches, the newest judges old policy and new in the
    twin. Branches are as long as `config` says, or as the recording allows. InputError where too little was recorded,
    or where the twin predicts it too badly to be used.
    """
    cut = int(len(experience) * (1.0 - HELD_OUT_SHARE))
    past, newest = experience.part(0, cut), experience.part(cut, len(experience))
    horizon, judged = (longest(part, config.twin.horizon) for part in (past, newest))
    if min(horizon, judged) < min(_LEAST_SLOTS, config.twin.horizon):
        raise InputError(f"{len(experience)} slots were recorded: too few to train on and to judge by")
    rng = np.random.default_rng([seed, 3])
    synthesis = Synthesis(scenario, replace(config.twin, horizon=horizon), rng)
    synthesis.learn(past)
    synthesis.judge(newest.rows())
    if not synthesis.trusted:
        raise InputError(
            f"the twin's hold-out error is {synthesis.error:.2f}, above {config.twin.bound} and no better "
            f"than the scenario file's {synthesis.file_error:.2f}: not used"
        )
    network, draws = PolicyNetwork(SIZES, hidden=start.weights["own.weight"].shape[0]), torch.Generator()
    network.restore(start)
    draws.manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.a2c.learning_rate, eps=1e-5)
    for done in range(updates):
        branch = synthesis.roll_out(network, past, draws)
        if branch is not None:
            rollout = rollout_of(network, branch)
            update(network, optimizer, rollout, config.a2c, entropy_coef=config.a2c.entropy_coef)
        progress(done + 1, updates)
    tuned, physics = network.function(), synthesis.identified.physics(0)
    before, after = (_judged(scenario, f, newest, judged, physics, seed) for f in (start, tuned))
    return Tuned(tuned if after > before else start, before, after, synthesis.error)


def longest(experience: Experience, most: int) -> int:
    """The greatest length k up to `most` of which there are k windows at least; 0 where there is none."""
    return max((k for k in range(1, most + 1) if len(experience.windows(k)) >= k), default=0)


def _judged(
    scenario: Scenario, function: PolicyFunction, experience: Experience, horizon: int, physics: Model, seed: int
) -> float:
    """Mean λ per slot of the likeliest actions on recorded traffic: half from where the network really was, half from
    the scenario's own placement, where a session begins."""
    rng, windows = np.random.default_rng([seed, 4]), experience.windows(horizon)
    at: IntArray = windows[rng.integers(len(windows), size=_JUDGED)]
    branches = Branches(scenario, _JUDGED, horizon, physics=physics)
    traffic: FloatArray = experience.traffic(at, horizon)
    starts = experience.starts(at)
    home = starts.placed(starts.first_hosts)
    seen, total = branches.begin(home.either(starts, np.arange(_JUDGED) % 2 == 0), traffic), 0.0
    for _ in range(horizon):
        seen, reward, _ = branches.step(function(Observation(**seen)).logits.argmax(axis=-1))
        total += float(reward.mean())
    return total / horizon
