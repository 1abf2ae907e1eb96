"""Trains the A2C policy of a scenario on the simulator.

Half of the training episodes start as the scenario's file says, under fresh traffic; the other half start anywhere
(random feasible placement, time of day, traffic scale), so that the policy has seen what a live network will show it
after the first hour. Every tenth of the run the policy is played,
always taking its likeliest action, on fixed validation seeds of the scenario as it stands in the file; the best of
these is what is returned. Source: A2C from the paper; the regime is ours (docs/agent.md, "Training").
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from agent.a2c import A2CConfig, Losses, update
from agent.a2c_policy import KIND
from agent.collector import Collector
from agent.compiled_policy import CompiledPolicy
from agent.network import FeatureSizes, PolicyNetwork
from agent.policy import PolicyFunction
from twin.checkpoint import Checkpoint, save_checkpoint
from twin.fast import BatchSim
from twin.features import GLOBAL_FEATURES, PAIR_FEATURES, SCHEMA_HASH, SERVER_FEATURES, VNF_FEATURES, Observation
from twin.scenario import Scenario
from twin.state import FloatArray

DEFAULTS = A2CConfig()
SIZES = FeatureSizes(len(VNF_FEATURES), len(SERVER_FEATURES), len(PAIR_FEATURES), len(GLOBAL_FEATURES))
VALIDATION_SEED, VALIDATION_RUNS, VALIDATION_SLOTS = 500_000, 16, 60
VALIDATIONS = 10
# Evaluation uses seeds below the validation seeds, training those from here on: no traffic is shared.
CALM_MARGINS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
CALM_LOSS = 0.002  # λ per slot that sparing needless moves may cost
_TRAINING_SEED, _SEED_SPAN, _SCENARIO_SPAN = 1_000_000, 1_000_000, 50_000


@dataclass(frozen=True, slots=True)
class Course:
    """What validations play: `slots` periods with a forecast smoothed as in `A2CConfig`."""

    slots: int = VALIDATION_SLOTS
    smoothing: float = 1.0

    @classmethod
    def of(cls, config: A2CConfig) -> Course:
        """Never shorter than the episodes of the training."""
        return cls(max(VALIDATION_SLOTS, config.episode_slots), config.smoothing)


SHORT = Course()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands. `reward` is the mean λ per slot of the newest rollout, while still exploring;
    `validation` the newest mean λ per slot on the validation seeds (nan before the first), `validated`: it is new.
    With a twin: `twin_error` is its hold-out error (nan before the first), `synthetic` how many synthetic slots were
    learnt from in this round (0: the gate has turned the twin off, or it is still being fitted)."""

    steps: int
    of: int
    reward: float
    validation: float
    losses: Losses
    validated: bool
    twin_error: float = float("nan")
    synthetic: int = 0


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """A policy and how it came to be; `validations` are (steps, mean λ per slot)."""

    function: PolicyFunction
    scenarios: tuple[str, ...]
    seed: int
    steps: int
    config: A2CConfig
    validations: tuple[tuple[int, float], ...]

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            kind=KIND,
            schema_hash=SCHEMA_HASH,
            scenario="+".join(self.scenarios),
            seed=self.seed,
            tensors=self.function.weights,
            scalers=self.function.scalers,
            versions=versions(),
            details={"steps": self.steps, "config": asdict(self.config), "validations": list(self.validations)},
        )

    def save(self, path: Path) -> None:
        """Writes the checkpoint. OSError where it cannot be written."""
        save_checkpoint(path, self.checkpoint())


def versions() -> dict[str, str]:
    """What a checkpoint says of the software that made it."""
    return {"python": platform.python_version(), "torch": version("torch"), "numpy": version("numpy")}


def ignore(_: Progress) -> None:
    """The progress of nobody watching."""


def train(
    scenario: Scenario | Sequence[Scenario],
    *,
    seed: int,
    real_steps: int,
    progress: Callable[[Progress], None] = ignore,
    config: A2CConfig = DEFAULTS,
    start: PolicyFunction | None = None,
    judged_on: Sequence[Scenario] = (),
) -> TrainedPolicy:
    """A policy after `real_steps` slots of simulated network (rounded up to whole rollouts).

    Several scenarios are trained in turns, one rollout each. `start` continues from another policy's weights.
    Validations play `judged_on`, or else the scenarios themselves. The same arguments give the same policy bit for bit
    on the same machine and number of threads.
    """
    scenarios = (scenario,) if isinstance(scenario, Scenario) else tuple(scenario)
    run = TrainingRun(scenarios, seed=seed, real_steps=real_steps, config=config, start=start, judged_on=judged_on)
    for told in run.rounds():
        progress(told)
    return run.result()


class TrainingRun:
    """One training run: all that changes while it goes on. Between two rounds it is whole and can be kept
    (`agent.resume`)."""

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        *,
        seed: int,
        real_steps: int,
        config: A2CConfig = DEFAULTS,
        start: PolicyFunction | None = None,
        judged_on: Sequence[Scenario] = (),
    ) -> None:
        self.scenarios, self.seed, self.config = tuple(scenarios), seed, config
        self.judged_on = tuple(judged_on) or self.scenarios
        self.done, self.of = 0, -(-real_steps // (config.batch * config.n_steps))  # rounds
        with torch.random.fork_rng():  # the layers' own initialisation knows only the global generator
            torch.manual_seed(seed)
            self.network = PolicyNetwork(SIZES, hidden=config.hidden)
        self.rng = torch.Generator().manual_seed(seed)
        first = _TRAINING_SEED + seed * _SEED_SPAN
        self.collectors = [
            Collector(s, self.network, config, rng=self.rng, seed=first + i * _SCENARIO_SPAN)
            for i, s in enumerate(self.scenarios)
        ]
        if start is None:
            self.network.fit_scalers(*(c.wander(np.random.default_rng(seed)) for c in self.collectors))
            gain = "gain" if config.smoothing == 1.0 else "gain_forecast"
            self.network.prefer(PAIR_FEATURES.index(gain), config.gain_prior)
            self.network.prefer(PAIR_FEATURES.index("plan_gain"), config.plan_prior)
        else:
            self.network.restore(start)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, eps=1e-5)
        self.validations: list[tuple[int, float]] = []
        self.best = self.network.function()

    @property
    def steps(self) -> int:
        """Real environment steps so far."""
        return self.done * self.config.batch * self.config.n_steps

    @property
    def newest(self) -> float:
        """The last validation's score, nan before the first."""
        return self.validations[-1][1] if self.validations else float("nan")

    def rounds(self) -> Iterator[Progress]:
        """What is left of the run, one rollout and one update at a time. Stop between two, and go on with it later."""
        while self.done < self.of:
            losses, reward = self._round()
            validated = self.done % max(1, self.of // VALIDATIONS) == 0 or self.done == self.of
            if validated:
                self._validate()
            steps = self.of * self.config.batch * self.config.n_steps
            yield Progress(self.steps, steps, reward, self.newest, losses, validated)

    def result(self) -> TrainedPolicy:
        """The best policy so far, made calm."""
        names = tuple(s.name for s in self.scenarios)
        function = calm(self.judged_on, self.best, Course.of(self.config))
        return TrainedPolicy(function, names, self.seed, self.steps, self.config, tuple(self.validations))

    def _round(self) -> tuple[Losses, float]:
        """One rollout and one update; (losses, mean reward)."""
        left = 1.0 - self.done / self.of
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(0.1, left)
        entropy = self.config.entropy_final + (self.config.entropy_coef - self.config.entropy_final) * left
        rollout = self.collectors[self.done % len(self.collectors)].collect()
        losses = update(self.network, self.optimizer, rollout, self.config, entropy_coef=entropy)
        self.done += 1
        return losses, float(rollout.rewards.mean())

    def _validate(self) -> None:
        """Plays the policy as it is, and keeps it if it is the best so far."""
        function, course = self.network.function(), Course.of(self.config)
        score = float(np.mean([validation_score(s, function, course=course) for s in self.judged_on]))
        if not self.validations or score >= max(best for _, best in self.validations):
            self.best = function
        self.validations.append((self.steps, score))


def calm(scenarios: Sequence[Scenario], function: PolicyFunction, course: Course = SHORT) -> PolicyFunction:
    """The policy with the greatest margin in favour of *stay* that costs at most `CALM_LOSS` on the validation seeds,
    both where runs start as the files say and where they start anywhere.

    Moves that gain next to nothing cost next to nothing in the model; on a live network each is a risk.
    """
    before = _calm_scores(scenarios, function, course)
    for calmer in reversed(_calmer(function)):
        if (_calm_scores(scenarios, calmer, course) >= before - CALM_LOSS).all():
            return calmer
    return function


def _calm_scores(scenarios: Sequence[Scenario], function: PolicyFunction, course: Course) -> FloatArray:
    """Mean λ per slot, [2]: from the files' start, from anywhere."""
    scores = [
        [validation_score(s, function, randomise=randomise, course=course) for s in scenarios]
        for randomise in (False, True)
    ]
    result: FloatArray = np.array(scores).mean(axis=1)
    return result


def _calmer(function: PolicyFunction) -> list[PolicyFunction]:
    """The policy with ever greater margins added to the logit of *stay*."""
    name = "stay.2.bias"
    biases = [function.weights[name] + np.float32(margin) for margin in CALM_MARGINS]
    return [replace(function, weights={**function.weights, name: bias}) for bias in biases]


def validation_score(
    scenario: Scenario, function: PolicyFunction, *, randomise: bool = False, course: Course = SHORT
) -> float:
    """Mean λ per slot of the likeliest actions on the validation seeds."""
    sim = BatchSim(
        scenario, VALIDATION_RUNS, VALIDATION_SEED,
        randomise=randomise, slots=course.slots, smoothing=course.smoothing,
    )  # fmt: skip
    return play(sim, function, slots=course.slots)


def play(sim: BatchSim, function: PolicyFunction, *, slots: int) -> float:
    """Mean λ per slot over all instances of a simulator, from a reset, the likeliest action in every slot."""
    seen, total, scores = sim.reset(), 0.0, CompiledPolicy(function)
    for _ in range(slots):
        actions = scores(Observation(**seen)).logits.argmax(axis=-1)
        seen, rewards, _, _ = sim.step(actions)
        total += float(rewards.mean())
    return total / slots
