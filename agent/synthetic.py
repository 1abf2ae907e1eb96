"""Synthetic experience: the current actor played in the twin, from states that were really seen.

    1. start where a network was lately, or with the VNFs of that moment elsewhere (a counterfactual)
    2. offer it traffic that was recorded after that moment, or drawn (`agent.branch_sources`)
    3. play the actor k slots on one member's physics, drawn anew for every batch
    4. play the same actions on the other members: a branch on whose rewards they disagree is dropped
    5. while the newest readings are predicted worse than a bound, and no better than by the scenario file, there are no
       branches at all

What is known is computed: placement, feasibility, the reward's formula. Source: paper (synthetic experience); ours:
how (docs/agent.md, "Synthetic experience").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch

from agent.branch_sources import Origin, Sources, Traffic
from agent.network import PolicyNetwork
from agent.trajectory import Trajectory, play_slots
from twin.branches import Branches
from twin.experience import Experience, Reading, Starts
from twin.fast import BatchObservation
from twin.identification import Identification
from twin.model import Model
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray


class Physics(StrEnum):
    """What branches' delay and energy come from."""

    IDENTIFIED = "identified"  # the scenario file's model, corrected by what was read
    FILE = "file"  # the scenario file as it stands
    GUESSED = "guessed"  # corrections drawn from the prior and never fitted: a control


@dataclass(frozen=True, slots=True)
class TwinConfig:
    """`branches` B of `horizon` k slots per batch, `updates` batches per round of real steps, none before `warm_up`
    real slots of every stream. A share `elsewhere` starts with its VNFs at random servers; starts are of the `recent`
    newest slots. `traffic` and `starts` say what comes from recordings and what from the learned networks, which get
    `network_updates` gradient steps per fit.

    `members` of the ensemble, `disagreement` the greatest deviation of a branch's reward over them, `bound` the
    hold-out error above which the twin is off unless the scenario file's is greater. `physics` identified on at most
    `fit_rows` readings; `believed`: the policy's features are computed on that physics, too.
    """

    branches: int = 32
    horizon: int = 16
    updates: int = 8
    warm_up: int = 8
    elsewhere: float = 0.5
    recent: int = 256
    traffic: Traffic = Traffic.RECORDED
    starts: Origin = Origin.RECORDED
    network_updates: int = 60
    members: int = 3
    disagreement: float = 0.05
    bound: float = 0.15
    physics: Physics = Physics.IDENTIFIED
    believed: bool = False
    fit_rows: int = 512


class Synthesis:
    """The twin as a source of experience. `error` is its hold-out error, `file_error` the scenario file's on the same
    readings (nan before the first), `kept` the share of the last batch's branches that the members agreed on."""

    def __init__(self, scenario: Scenario, config: TwinConfig, rng: np.random.Generator) -> None:
        self.scenario, self.config, self._rng = scenario, config, rng
        self.identified = Identification(scenario, members=config.members, rng=rng)
        if config.physics is Physics.GUESSED:
            self.identified.guess()
        self._sources = Sources(
            scenario, traffic=config.traffic, origin=config.starts, elsewhere=config.elsewhere, recent=config.recent,
            updates=config.network_updates, rng=rng,
        )  # fmt: skip
        self._branches = Branches(scenario, config.branches, config.horizon)
        self._judges = Branches(scenario, config.branches, config.horizon, features=False)
        self.error, self.file_error, self.kept = float("nan"), float("nan"), 1.0
        self._fitted = 0

    @property
    def belief(self) -> Model:
        """What the policy's features are computed on: the network as the twin has it, if that is wanted."""
        return self.identified.physics(0) if self.config.believed else self.identified.nominal

    @property
    def trusted(self) -> bool:
        """Step 5."""
        return not self.error > self.config.bound or self.error < self.file_error

    def judge(self, rows: Reading) -> None:
        """Predicts readings that it was not fitted on."""
        self.error = self.identified.error(rows)
        self.file_error = self.identified.error(rows, self.identified.nominal)

    def learn(self, experience: Experience) -> None:
        """Judges the last fit by what was read since, then refits where a quarter more was read since."""
        if self._fitted and len(experience) > self._fitted:
            self.judge(experience.rows(max(self._fitted, len(experience) - 8)))
        if self.config.physics is Physics.IDENTIFIED and len(experience) >= 1.25 * self._fitted:
            rows = experience.rows()
            count = len(rows.hosts)
            pick = np.zeros(count, dtype=np.bool_)
            pick[self._rng.choice(count, min(count, self.config.fit_rows), replace=False)] = True
            self.identified.fit(rows.where(pick))
            self._fitted = len(experience)
        self._fitted = self._fitted or len(experience)
        self._sources.learn(experience)

    def roll_out(self, network: PolicyNetwork, experience: Experience, rng: torch.Generator) -> Trajectory | None:
        """A batch of branches that the members agree on; None without any, or while the twin is not trusted."""
        drawn = (
            self._sources.draw(experience, self.config.branches, self.config.horizon) if self.trusted else None
        )  # 1, 2
        if drawn is None:
            return None
        starts, traffic = drawn
        member = int(self._rng.integers(self.config.members))
        self._branches.physics = self.identified.physics(member)
        self._branches.belief = self._judges.belief = self.belief
        first = self._branches.begin(starts, traffic)  # 3
        played = play_slots(network, first, self._step, self.config.horizon, rng)
        keep = self._agreed(played, starts, traffic, member)
        self.kept = float(keep.mean())
        return played.take(torch.from_numpy(np.flatnonzero(keep))) if keep.any() else None

    def _step(self, actions: IntArray) -> tuple[BatchObservation, np.ndarray]:
        seen, reward, _ = self._branches.step(actions)
        return seen, reward

    def _agreed(self, played: Trajectory, starts: Starts, traffic: FloatArray, member: int) -> np.ndarray:
        """Step 4: which branches [B] the other members would have rewarded alike."""
        rewards = [played.rewards.numpy()]
        for other in range(self.config.members):
            if other != member:
                self._judges.physics = self.identified.physics(other)
                self._judges.begin(starts, traffic)
                rewards.append(np.stack([self._judges.step(slot)[1] for slot in played.actions.numpy()]))
        result: np.ndarray = np.stack(rewards).std(axis=0).max(axis=0) <= self.config.disagreement
        return result
