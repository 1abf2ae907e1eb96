"""Advantage actor-critic over a batch of environments, in one readable file.

One round, with B environments, T slots and discount γ:

    1. act: draw each action from the softmax over the *legal* actions; keep observation, action, reward
    2. value every observation and every *successor*; a successor at a time limit is valued like any other, since a
       network does not end when an episode does
    3. δ_t = (1 − γ)·r_t + γ·V(s_{t+1}) − V(s_t);  advantage A_t = δ_t + γ·λ·A_{t+1}, the sum cut where an episode was
       cut; with the factor 1 − γ a value is a discounted *mean* reward per slot, of the same size for every γ
    4. returns R_t = A_t + V(s_t)
    5. loss = −mean(log π(a_t|s_t)·A_t) + c_v·mean((R_t − V(s_t))²) − c_e·mean(entropy of π(·|s_t))
       − c_b·mean(½·log π(stay|s_t) + ½·log π(any move|s_t))
    6. one gradient step, its norm bounded

Source: A2C from the paper; generalised advantage estimation, the numbers and the treatment of time limits are ours
(docs/agent.md, "A2C").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agent.fused import scored_before
from agent.network import ObservationTensors, PolicyNetwork
from agent.policy import MASKED
from agent.policy_loss import log_probability_and_entropy


@dataclass(frozen=True, slots=True)
class A2CConfig:
    """`discount` γ per slot, `gae` λ, `n_steps` T, `batch` B environments; coefficients c_v, c_e and c_b as above.

    `entropy_coef` falls linearly to `entropy_final`, the learning rate linearly to a tenth, over a training run.
    `gain_prior` is the logit that a move starts with per standard deviation of its modelled gain: training starts from
    a soft greedy policy and learns where greed is wrong. 0 starts from nothing. `plan_prior` is the same for the gain
    of the best plan (`plan_gain`).
    `both_ways_coef` c_b keeps staying and moving both alive: *stay* is one action among dozens, so that its share of
    the entropy is next to nothing, and what is never drawn is never learnt again (docs/agent.md, "Plateaus").
    `episode_slots`: time limit of an episode. `smoothing`: the forecast that the policy is shown is the past smoothed,
    with this weight of the newest reading (`twin.forecast.SmoothedForecaster`); 1 is persistence.
    """

    discount: float = 0.97
    gae: float = 0.95
    n_steps: int = 16
    batch: int = 64
    learning_rate: float = 1e-3
    value_coef: float = 5.0
    entropy_coef: float = 0.03
    entropy_final: float = 0.001
    both_ways_coef: float = 0.0
    max_grad_norm: float = 0.5
    hidden: int = 32
    gain_prior: float = 2.0
    plan_prior: float = 0.0
    episode_slots: int = 64
    smoothing: float = 1.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """T slots of B environments, each field [T, B, ...]; `successor_values` are V(s_{t+1}) before any reset.

    `logits` and `values` are those of the network that is to be updated, as it is: it has not changed since it acted.
    """

    observations: ObservationTensors
    logits: Tensor
    actions: Tensor
    rewards: Tensor
    values: Tensor
    successor_values: Tensor
    cut: Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """What one update logged: `policy`, `value` and `entropy` are the terms of step 5 before their coefficients;
    `explained` is the share of the returns' variance that the critic explained when it
    acted (1 is perfect, 0 is the mean)."""

    policy: float
    value: float
    entropy: float
    explained: float
    grad_norm: float


def advantages(rollout: Rollout, config: A2CConfig) -> Tensor:
    """Step 3: generalised advantages [T, B]."""
    deltas = (1.0 - config.discount) * rollout.rewards + config.discount * rollout.successor_values - rollout.values
    result = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[0])
    for t in reversed(range(deltas.shape[0])):
        running = deltas[t] + config.discount * config.gae * running * (~rollout.cut[t])
        result[t] = running
    return result


def update(
    network: PolicyNetwork,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    config: A2CConfig,
    *,
    entropy_coef: float,
) -> Losses:
    """Steps 3 to 6, in place."""
    advantage = advantages(rollout, config).flatten()  # 3
    returns = advantage + rollout.values.flatten()  # 4
    observations = ObservationTensors(*(field.flatten(0, 1) for field in rollout.observations))
    logits, values = scored_before(network, observations, rollout.logits.flatten(0, 1), rollout.values.flatten())
    policy, entropy = policy_terms(logits, rollout.actions.flatten(), standardised(advantage))
    value = (returns - values).square().mean()
    optimizer.zero_grad()
    loss = policy + config.value_coef * value - entropy_coef * entropy  # 5
    if config.both_ways_coef:
        loss = loss - config.both_ways_coef * both_ways(logits)
    torch.autograd.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)  # 6
    optimizer.step()
    explained = 1.0 - float(advantage.var() / returns.var().clamp_min(1e-9))
    return Losses(policy.item(), value.item(), entropy.item(), explained, norm.item())


def policy_terms(logits: Tensor, actions: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
    """(policy loss, mean entropy) of step 5; masked actions add nothing to either."""
    chosen, entropy = log_probability_and_entropy(logits, actions)
    return -(chosen * advantage).mean(), entropy.mean()


def both_ways(logits: Tensor) -> Tensor:
    """Mean ½·log π(stay) + ½·log π(any move) of step 5; a row without a legal move adds nothing.

    Unlike an entropy's its gradient does not vanish with a probability: it is ½ less the probability of staying.
    """
    moves = torch.logsumexp(logits[:, 1:], dim=-1)
    share = F.logsigmoid(logits[:, 0] - moves) + F.logsigmoid(moves - logits[:, 0])
    result: Tensor = 0.5 * share[moves > 0.5 * float(MASKED)].sum() / len(logits)
    return result


def standardised(advantage: Tensor) -> Tensor:
    """Mean 0 and deviation 1: the step's size does not depend on the reward's scale, which differs by scenario."""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-6)
