"""`CompiledPolicy`: the actor and the critic of `agent.policy`, compiled; what decides live and plays validations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agent.policy import BLOCKS, PolicyFunction, Scores
from agent.policy_kernels import forward
from agent.policy_space import Records, padded, room, weights_type
from agent.space import Space
from twin.checkpoint import Tensor
from twin.features import Observation


class CompiledPolicy:
    """The same function of an observation as the `PolicyFunction` that it is made of, to float32's rounding.

    Keeps work space between calls, so one object serves one thread.
    """

    def __init__(self, function: PolicyFunction) -> None:
        self.function = function
        self.weights = _weights(function.weights, function.scalers)
        self._spaces: dict[tuple[int, ...], Space] = {}

    def __call__(self, observation: Observation) -> Scores:
        """Scores of every action, of one observation or of a batch [B, ...]."""
        mask = observation.mask
        *lead, vnfs, servers = mask.shape
        pairs = vnfs * servers
        size = mask.size // pairs
        space = self._spaces.get((vnfs, servers))
        if space is None:
            space = self._spaces[vnfs, servers] = room(self.weights, vnfs, servers)
        logits, values = np.empty((size, 1 + pairs), np.float32), np.empty(size, np.float32)
        forward(
            self.weights,
            rows(observation.vnf, size, vnfs),
            rows(observation.server, size, servers),
            rows(observation.pair, size, pairs),
            np.ascontiguousarray(observation.glob, np.float32).reshape(size, -1),
            np.ascontiguousarray(mask).reshape(size, pairs),
            *space,
            logits,
            values,
        )
        if not lead:
            return Scores(logits[0], values.reshape(()))
        return Scores(logits.reshape(*lead, -1), values.reshape(lead))


def rows(array: Tensor, batch: int, rows: int) -> Tensor:
    """[batch, rows, features], together in memory."""
    return np.ascontiguousarray(array, np.float32).reshape(batch, rows, array.shape[-1])


def _weights(weights: Mapping[str, Tensor], scalers: Mapping[str, Tensor]) -> Records:
    """The record of `weights_type`, [1]."""
    vnf, server, pair, glob = (len(scalers[f"{name}.mean"]) for name in BLOCKS)
    hidden = weights["score.weight"].size
    result = np.zeros(1, dtype=weights_type(vnf, server, pair, glob, hidden))
    w, whole = result[0], padded(hidden)
    for name in BLOCKS:
        w[f"{name}_mean"] = scalers[f"{name}.mean"]
        w[f"{name}_scale"] = 1.0 / scalers[f"{name}.std"]
        w[f"{name}_weight"][:, :hidden] = weights[f"{name}.weight"].T[: len(w[f"{name}_mean"])]
    w["feasible"][:hidden] = weights["pair.weight"][:, -1]
    w["direct"][:pair], w["feasible_direct"] = weights["direct.weight"][0, :-1], weights["direct.weight"][0, -1]
    w["score"][:hidden] = weights["score.weight"][0]
    for name in ("pair", "glob", "own"):
        w[f"{name}_bias"][:hidden] = weights[f"{name}.bias"]
    for name in ("own", "row", "column", "everything"):
        _spread(weights[f"{name}.weight"], w[name], hidden, whole)
    for head in ("stay", "value"):
        _spread(weights[f"{head}.0.weight"], w[f"{head}_first"], hidden, whole)
        w[f"{head}_first_bias"][:hidden] = weights[f"{head}.0.bias"]
        w[f"{head}_last"][:hidden] = weights[f"{head}.2.weight"][0]
        w[f"{head}_last_bias"] = weights[f"{head}.2.bias"]
    return result


def _spread(weight: Tensor, out: Tensor, hidden: int, whole: int) -> None:
    """A weight [H, k·H] turned into [k·padded H, padded H]: each of its k inputs begins at a whole register."""
    for k in range(weight.shape[1] // hidden):
        out[k * whole : k * whole + hidden, :hidden] = weight[:, k * hidden : (k + 1) * hidden].T
