"""Trajectories: what a policy saw, did and got, in real or in synthetic slots, and how A2C's rollout is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.a2c import Rollout
from agent.fused import scored
from agent.network import ObservationTensors, PolicyNetwork, tensors
from twin.fast import BatchObservation
from twin.features import Observation
from twin.state import IntArray


@dataclass(frozen=True, slots=True)
class Trajectory:
    """T slots of B networks in which no episode ends, but for the last slot.

    `observations` [T + 1, B, ...], `actions`, `rewards` and `log_probabilities` (of the actions, when they were drawn)
    [T, B].
    """

    observations: ObservationTensors
    actions: Tensor
    rewards: Tensor
    log_probabilities: Tensor

    def take(self, rows: Tensor) -> Trajectory:
        """These networks [B], copied."""
        seen = ObservationTensors(*(field[:, rows] for field in self.observations))
        return Trajectory(seen, self.actions[:, rows], self.rewards[:, rows], self.log_probabilities[:, rows])


Step = Callable[[IntArray], tuple[BatchObservation, np.ndarray]]
"""Takes actions [B]; gives the observation after the slot (before any reset) and rewards [B]."""


@torch.no_grad()
def play_slots(
    network: PolicyNetwork, first: BatchObservation, step: Step, slots: int, rng: torch.Generator
) -> Trajectory:
    """Draws every action from the policy."""
    seen, actions, rewards, chosen_log = [copied(first)], [], [], []
    for _ in range(slots):
        logs = torch.log_softmax(scored(network, seen[-1])[0], dim=-1)
        action = torch.multinomial(logs.exp(), 1, generator=rng)
        observation, reward = step(action.squeeze(-1).numpy())
        seen.append(copied(observation))
        actions.append(action.squeeze(-1))
        rewards.append(torch.from_numpy(reward.astype(np.float32)))
        chosen_log.append(logs.gather(-1, action).squeeze(-1))
    return Trajectory(stacked(seen), torch.stack(actions), torch.stack(rewards), torch.stack(chosen_log))


@torch.no_grad()
def rollout_of(network: PolicyNetwork, trajectory: Trajectory) -> Rollout:
    """The same with what actor and critic say now."""
    slots, batch = trajectory.actions.shape
    seen = trajectory.observations
    flat = ObservationTensors(*(field.flatten(0, 1) for field in seen))
    logits, flat_values = scored(network, flat)
    values = flat_values.reshape(slots + 1, batch)
    before = ObservationTensors(*(field[:-1] for field in seen))
    cut = torch.zeros(slots, batch, dtype=torch.bool)
    chosen_from = logits.reshape(slots + 1, batch, -1)[:-1]
    return Rollout(before, chosen_from, trajectory.actions, trajectory.rewards, values[:-1], values[1:], cut)


def joined(parts: Sequence[Trajectory]) -> Trajectory:
    """The networks of all, side by side."""
    seen = ObservationTensors(*(torch.cat(f, dim=1) for f in zip(*(p.observations for p in parts), strict=True)))
    rest = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("actions", "rewards", "log_probabilities"))
    return Trajectory(seen, *rest)


def copied(seen: BatchObservation) -> ObservationTensors:
    """As tensors; copies, since simulators reuse their arrays."""
    return tensors(Observation(*(seen[name].copy() for name in ObservationTensors._fields)))  # type: ignore[literal-required]


def stacked(slots: Sequence[ObservationTensors]) -> ObservationTensors:
    return ObservationTensors(*(torch.stack(field) for field in zip(*slots, strict=True)))
