"""What A2C does to the logits of many actions, compiled: drawing one of them, and the losses with their derivatives.

In torch each step of these is a pass over an array of all logits, some megabytes. Masked actions have probability 0 in
float32; they are left out. `agent.policy_loss` makes functions of torch of them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from agent.lanes import Float32Array
from twin.compiled import compiled, inner

_NONE = np.float32(-1e8)  # below are masked actions only (agent.policy.MASKED)


@inner
def _weigh(logits: Float32Array, weights: Float32Array) -> tuple[float, float]:
    """Writes exp(logit − maximum); (the maximum, the sum of what was written)."""
    top, total = logits[0], 0.0
    for i in range(1, len(logits)):
        top = max(top, logits[i])
    for i in range(len(logits)):
        weights[i] = np.float32(math.exp(logits[i] - top)) if logits[i] > _NONE else np.float32(0.0)
        total += weights[i]
    return float(top), total


@compiled
def draw_actions(
    logits: Float32Array, uniform: npt.NDArray[np.float64], weights: Float32Array, actions: npt.NDArray[np.int64]
) -> None:
    """One action per row [B, A] into `actions`: the first at which the running sum of softmax exceeds `uniform` [B].

    `weights` [A] is work space. Rounding never yields an action of probability 0.
    """
    for b in range(len(logits)):
        _, total = _weigh(logits[b], weights)
        left = uniform[b] * total
        for i in range(len(weights)):
            if weights[i] > 0.0:
                actions[b] = i
                left -= weights[i]
                if left < 0.0:
                    break


@compiled
def policy_losses(
    logits: Float32Array,
    actions: npt.NDArray[np.int64],
    probabilities: Float32Array,
    chosen: Float32Array,
    entropies: Float32Array,
    norms: Float32Array,
) -> None:
    """Of every row [N, A]: softmax, log probability of its action [N], entropy [N] in nats, and log Σ exp [N]."""
    for n in range(len(logits)):
        row, shares = logits[n], probabilities[n]
        top, total = _weigh(row, shares)
        norm, mean, share = top + math.log(total), 0.0, np.float32(1.0 / total)
        for i in range(len(row)):
            shares[i] *= share
            if shares[i] > 0.0:
                mean += shares[i] * row[i]
        chosen[n], entropies[n], norms[n] = row[actions[n]] - norm, norm - mean, norm


@compiled
def policy_derivatives(
    logits: Float32Array,
    actions: npt.NDArray[np.int64],
    probabilities: Float32Array,
    entropies: Float32Array,
    norms: Float32Array,
    d_chosen: Float32Array,
    d_entropies: Float32Array,
    d_logits: Float32Array,
) -> None:
    """By logits [N, A], given those of a loss by the log probabilities and entropies [N] of `policy_losses`."""
    for n in range(len(logits)):
        for i in range(logits.shape[1]):
            share, d = probabilities[n, i], np.float32(0.0)
            if share > 0.0:
                d = -share * (d_chosen[n] + d_entropies[n] * (logits[n, i] - norms[n] + entropies[n]))
            d_logits[n, i] = d
        d_logits[n, actions[n]] += d_chosen[n]
