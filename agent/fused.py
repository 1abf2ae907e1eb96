"""The policy network for learning, compiled: logits, values and gradients of `agent.network`, several times faster.

To torch it is one function of all weights (`torch.autograd.Function`): losses are written in torch as ever. Tests
hold logits, values and every derivative to those of `PolicyNetwork`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agent.compiled_policy import CompiledPolicy, rows
from agent.gradient_kernels import gradient
from agent.gradient_space import back
from agent.network import ObservationTensors, PolicyNetwork
from agent.policy import PolicyFunction
from agent.policy_space import padded, room
from twin.features import Observation

Float32Array = npt.NDArray[np.float32]


def scored(network: PolicyNetwork, seen: ObservationTensors) -> tuple[Tensor, Tensor]:
    """(logits [B, 1 + V·S], values [B]) of a batch, of any size. Derivatives are by the network's parameters only."""
    return _scores(network, seen, None)


def scored_before(
    network: PolicyNetwork, seen: ObservationTensors, logits: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where both are known, since the network that gave them has not changed."""
    return _scores(network, seen, (logits, values))


def _scores(
    network: PolicyNetwork, seen: ObservationTensors, known: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    parameters = dict(network.named_parameters())
    inputs = (network, seen, tuple(parameters), known, *parameters.values())
    scores: tuple[Tensor, Tensor] = _Scored.apply(*inputs)  # type: ignore[no-untyped-call]
    return scores


class _Scored(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: PolicyNetwork, seen: ObservationTensors, names: tuple[str, ...],
        known: tuple[Tensor, Tensor] | None, *_: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        observation = Observation(*(field.numpy() for field in seen))
        ctx.policy, ctx.observation, ctx.names = CompiledPolicy(network.function()), observation, names
        if known is not None:
            return known[0].clone(), known[1].clone()
        scores = ctx.policy(observation)
        return torch.from_numpy(scores.logits), torch.from_numpy(scores.value)

    @staticmethod
    def backward(ctx: Any, *derivatives: Tensor) -> tuple[Tensor | None, ...]:
        d_logits, d_values = (np.ascontiguousarray(d.numpy(), dtype=np.float32) for d in derivatives)
        found = gradients(ctx.policy, ctx.observation, d_logits, d_values)
        return None, None, None, None, *(torch.from_numpy(found[name]) for name in ctx.names)


def gradients(
    policy: CompiledPolicy, observation: Observation, d_logits: Float32Array, d_values: Float32Array
) -> dict[str, Float32Array]:
    """Derivatives of a loss by every weight, by the names of `PolicyNetwork`, from those by logits and values."""
    weights = policy.weights
    batch, vnfs, servers = observation.mask.shape
    sums = np.zeros_like(weights)
    gradient(
        weights,
        rows(observation.vnf, batch, vnfs),
        rows(observation.server, batch, servers),
        rows(observation.pair, batch, vnfs * servers),
        np.ascontiguousarray(observation.glob, dtype=np.float32),
        np.ascontiguousarray(observation.mask).reshape(batch, -1),
        d_logits,
        d_values,
        *room(weights, vnfs, servers, keep=True),
        *back(weights, vnfs, servers),
        sums,
    )
    return _named(sums[0], policy.function)


def _named(g: Any, function: PolicyFunction) -> dict[str, Float32Array]:
    """The record of `agent.policy_kernels.weights_type` as weights of `PolicyNetwork`, [outputs, inputs]."""
    hidden, features = function.weights["score.weight"].size, len(function.scalers["pair.mean"])
    whole = padded(hidden)
    found = {f"{name}.weight": g[f"{name}_weight"][:, :hidden].T for name in ("vnf", "server", "glob")}
    found["pair.weight"] = np.vstack([g["pair_weight"], g["feasible"]])[:, :hidden].T
    found["direct.weight"] = np.concatenate([g["direct"][:features], g["feasible_direct"]])[None]
    found["score.weight"] = g["score"][None, :hidden]
    found |= {f"{name}.bias": g[f"{name}_bias"][:hidden] for name in ("pair", "glob", "own")}
    found |= {f"{name}.weight": _gathered(g[name], hidden, whole) for name in ("own", "row", "column", "everything")}
    for head in ("stay", "value"):
        found[f"{head}.0.weight"] = _gathered(g[f"{head}_first"], hidden, whole)
        found[f"{head}.0.bias"] = g[f"{head}_first_bias"][:hidden]
        found[f"{head}.2.weight"] = g[f"{head}_last"][None, :hidden]
        found[f"{head}.2.bias"] = g[f"{head}_last_bias"]
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def _gathered(padded_weight: Float32Array, hidden: int, whole: int) -> Float32Array:
    """[k·padded H, padded H] without its padding, turned: [H, k·H]."""
    inputs = padded_weight.reshape(-1, whole, whole)[:, :hidden, :hidden]
    return inputs.reshape(-1, hidden).T
