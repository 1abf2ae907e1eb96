"""V-trace: off-policy actor-critic on replayed real experience, the control that any twin has to beat.

With ρ_t = π(a_t|s_t)/μ(a_t|s_t), truncated at 1 (ρ̄ = c̄ = 1), γ, λ and rewards times (1 − γ) as in `agent.a2c`:

    1. δ_t = ρ_t·((1 − γ)·r_t + γ·V(s_{t+1}) − V(s_t))
    2. v_t = V(s_t) + δ_t + γ·λ·c_t·(v_{t+1} − V(s_{t+1}))
    3. the actor's advantage is ρ_t·((1 − γ)·r_t + γ·v_{t+1} − V(s_t)), the critic's target v_t

Source: IMPALA (arXiv:1802.01561), with λ as in its section 4.1, remark 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent.a2c import A2CConfig, both_ways, policy_terms, standardised
from agent.fused import scored
from agent.network import ObservationTensors, PolicyNetwork
from agent.trajectory import Trajectory, joined


def vtrace(ratios: Tensor, rewards: Tensor, values: Tensor, *, discount: float, trace: float) -> tuple[Tensor, Tensor]:
    """(targets v_t, advantages) [T, B] of ratios π/μ and rewards [T, B] and values [T + 1, B]."""
    rho = ratios.clamp(max=1.0)
    scaled = (1.0 - discount) * rewards
    deltas = rho * (scaled + discount * values[1:] - values[:-1])  # 1
    targets, running = torch.empty_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):  # 2
        running = deltas[t] + discount * trace * rho[t] * running
        targets[t] = values[t] + running
    following = torch.cat([targets[1:], values[-1:]])
    return targets, rho * (scaled + discount * following - values[:-1])  # 3


class Replay:
    """Real trajectories of equal length, the newest `capacity` of them."""

    def __init__(self, *, capacity: int) -> None:
        self.capacity = capacity
        self._kept: Trajectory | None = None

    def add(self, trajectory: Trajectory) -> None:
        kept = trajectory if self._kept is None else joined([self._kept, trajectory])
        size = kept.actions.shape[1]
        self._kept = kept.take(torch.arange(size)[-self.capacity :])

    def sample(self, size: int, rng: torch.Generator) -> Trajectory:
        """`size` of them, with replacement. ValueError while there are none."""
        if self._kept is None:
            raise ValueError("nothing to replay yet")
        return self._kept.take(torch.randint(self._kept.actions.shape[1], (size,), generator=rng))


def update_replayed(
    network: PolicyNetwork,
    optimizer: torch.optim.Optimizer,
    trajectory: Trajectory,
    config: A2CConfig,
    *,
    entropy_coef: float,
) -> None:
    """One gradient step on replayed trajectories, in place; loss terms and norm as in `agent.a2c`."""
    slots, batch = trajectory.actions.shape
    flat = ObservationTensors(*(field.flatten(0, 1) for field in trajectory.observations))
    all_logits, all_values = scored(network, flat)
    logits, values = all_logits[: slots * batch], all_values.reshape(slots + 1, batch)
    logs = torch.log_softmax(logits, dim=-1).gather(-1, trajectory.actions.reshape(-1, 1)).reshape(slots, batch)
    ratios = (logs.detach() - trajectory.log_probabilities).exp()
    targets, advantage = vtrace(ratios, trajectory.rewards, values.detach(), discount=config.discount, trace=config.gae)
    policy, entropy = policy_terms(logits, trajectory.actions.flatten(), standardised(advantage).flatten())
    critic = (targets - values[:-1]).square().mean()
    optimizer.zero_grad()
    loss = policy + config.value_coef * critic - entropy_coef * entropy
    if config.both_ways_coef:
        loss = loss - config.both_ways_coef * both_ways(logits)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
    optimizer.step()
