"""V-trace by hand, and the replay it learns from."""

from __future__ import annotations

import pytest
import torch

from agent.a2c import A2CConfig, Rollout, advantages
from agent.network import ObservationTensors
from agent.trajectory import Trajectory
from agent.vtrace import Replay, vtrace


def test_two_slots_by_hand() -> None:
    """γ = 0.5, λ = 1, ratios 2 (truncated to 1) and 0.5, rewards 4 and 8 (halved), values 1, 2, 3:
    δ0 = 2 + 1 − 1 = 2, δ1 = 0.5·(4 + 1.5 − 2) = 1.75, v1 = 2 + 1.75 = 3.75, v0 = 1 + 2 + 0.5·1·1.75 = 3.875."""
    ratios, rewards = torch.tensor([[2.0], [0.5]]), torch.tensor([[4.0], [8.0]])
    targets, found = vtrace(ratios, rewards, torch.tensor([[1.0], [2.0], [3.0]]), discount=0.5, trace=1.0)
    assert targets.flatten().tolist() == pytest.approx([3.875, 3.75])
    assert found.flatten().tolist() == pytest.approx([2.0 + 0.5 * 3.75 - 1.0, 0.5 * (4.0 + 1.5 - 2.0)])


def test_on_policy_its_targets_are_those_of_a2c() -> None:
    rng = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(6, 3, generator=rng), torch.randn(7, 3, generator=rng)
    config = A2CConfig(discount=0.9, gae=0.8)
    blank = ObservationTensors(*(torch.zeros(6, 3, 1) for _ in range(5)))
    rollout = Rollout(
        blank, torch.zeros(6, 3, 2), torch.zeros(6, 3), rewards, values[:-1], values[1:],
        torch.zeros(6, 3, dtype=torch.bool),
    )  # fmt: skip
    targets, _ = vtrace(torch.ones(6, 3), rewards, values, discount=0.9, trace=0.8)
    torch.testing.assert_close(targets, advantages(rollout, config) + values[:-1])


def _numbered(first: int, size: int) -> Trajectory:
    numbers = torch.arange(first, first + size).expand(2, size)
    seen = ObservationTensors(*(torch.zeros(3, size, 1) for _ in range(5)))
    return Trajectory(seen, numbers, numbers.float(), torch.zeros(2, size))


def test_a_replay_keeps_the_newest_and_draws_all_of_them() -> None:
    replay, rng = Replay(capacity=5), torch.Generator().manual_seed(1)
    with pytest.raises(ValueError, match="nothing to replay"):
        replay.sample(1, rng)
    replay.add(_numbered(0, 4))
    replay.add(_numbered(4, 4))
    assert set(replay.sample(200, rng).actions[0].tolist()) == {3, 4, 5, 6, 7}
