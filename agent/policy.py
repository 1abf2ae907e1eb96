"""The actor and the critic as a function of an observation, in numpy: what decides on a live network.

Every (VNF, server) pair is scored by the same weights, so one policy serves scenarios of any size, and the scores
do not depend on the order in which VNFs or servers are listed: a permutation of rows permutes the scores. What a pair
must know of the others reaches it through means and maxima over its row (the other servers for this VNF), its column
(the other VNFs for this server) and the whole table. Two such layers let "the last VNF on its server" be seen.
Source: paper (actor, critic); the shape of the network is ours (docs/agent.md, "Network").

`agent.network` is the same function in torch, for training; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.actions import legal_actions
from twin.checkpoint import Tensor
from twin.features import Observation

CLIP = 5.0  # standardised inputs beyond this say "far out", not how far
MASKED = np.float32(-1e9)  # finite, so that a softmax over nothing else but stay stays finite
BLOCKS = ("vnf", "server", "pair", "glob")

FloatTensor = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scores:
    """`logits` [..., 1 + V·S] (masked actions at -1e9; order of `agent.actions`) and `value` [...], the critic's."""

    logits: FloatTensor
    value: FloatTensor

    @property
    def probabilities(self) -> FloatTensor:
        """Softmax of the logits, [..., 1 + V·S]."""
        shifted = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        result: FloatTensor = shifted / shifted.sum(axis=-1, keepdims=True)
        return result


@dataclass(frozen=True, eq=False)
class PolicyFunction:
    """`weights` are named as in `agent.network.PolicyNetwork`; `scalers` are `BLOCK.mean` and `BLOCK.std`."""

    weights: Mapping[str, Tensor]
    scalers: Mapping[str, Tensor]

    def __call__(self, observation: Observation) -> Scores:
        """Scores of every action. Works on one observation and on a batch [B, ...] alike."""
        pairs, glob = self._pairs(observation)
        context = np.concatenate([pairs.mean(axis=(-3, -2)), pairs.max(axis=(-3, -2)), glob], axis=-1)
        move = self._linear("score", pairs)[..., 0] + self._linear("direct", self._pair_inputs(observation))[..., 0]
        stay = self._head("stay", context)
        logits = np.concatenate([stay, move.reshape(*move.shape[:-2], -1)], axis=-1)
        masked = np.where(legal_actions(observation.mask), logits, MASKED)
        return Scores(masked, self._head("value", context)[..., 0])

    def _pairs(self, observation: Observation) -> tuple[FloatTensor, FloatTensor]:
        """Embedding of every pair [..., V, S, H] and of the whole [..., H]."""
        glob = self._linear("glob", self._standard("glob", observation.glob))
        first = _relu(
            self._linear("vnf", self._standard("vnf", observation.vnf))[..., :, None, :]
            + self._linear("server", self._standard("server", observation.server))[..., None, :, :]
            + self._linear("pair", self._pair_inputs(observation))
            + glob[..., None, None, :]
        )
        return self._exchange(first), _relu(glob)

    def _exchange(self, pairs: FloatTensor) -> FloatTensor:
        """One layer in which each pair hears of its row, its column and the whole."""
        row, column = pairs.mean(axis=-2, keepdims=True), pairs.mean(axis=-3, keepdims=True)
        row_max, column_max = pairs.max(axis=-2, keepdims=True), pairs.max(axis=-3, keepdims=True)
        everything = row.mean(axis=-3, keepdims=True)
        mixed = (
            self._linear("own", pairs)
            + self._linear("row", np.concatenate([row, row_max], axis=-1))
            + self._linear("column", np.concatenate([column, column_max], axis=-1))
            + self._linear("everything", everything)
        )
        return _relu(mixed) + pairs

    def _pair_inputs(self, observation: Observation) -> FloatTensor:
        feasible = observation.mask[..., None].astype(np.float32)
        return np.concatenate([self._standard("pair", observation.pair), feasible], axis=-1)

    def _standard(self, block: str, values: FloatTensor) -> FloatTensor:
        scaled = (values - self.scalers[f"{block}.mean"]) / self.scalers[f"{block}.std"]
        result: FloatTensor = np.clip(scaled, -CLIP, CLIP)
        return result

    def _head(self, name: str, context: FloatTensor) -> FloatTensor:
        return self._linear(f"{name}.2", _relu(self._linear(f"{name}.0", context)))

    def _linear(self, name: str, values: FloatTensor) -> FloatTensor:
        product: FloatTensor = values @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return product if bias is None else product + bias


def _relu(values: FloatTensor) -> FloatTensor:
    result: FloatTensor = np.maximum(values, np.float32(0))
    return result
