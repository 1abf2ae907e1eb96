"""`CompiledPolicy`: the actor and the critic of `agent.policy`, compiled; what decides live and plays validations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agent.policy import BLOCKS, PolicyFunction, Scores
from agent.policy_kernels import Block, Head, Room, Weights, forward, room
from twin.checkpoint import Tensor
from twin.features import Observation


class CompiledPolicy:
    """The same function of an observation as the `PolicyFunction` that it is made of, to float32's rounding.

    Keeps work space between calls, so one object serves one thread.
    """

    def __init__(self, function: PolicyFunction) -> None:
        self.function = function
        self._weights = _weights(function.weights, function.scalers)
        self._rooms: dict[tuple[int, int], Room] = {}

    def __call__(self, observation: Observation) -> Scores:
        """Scores of every action, of one observation or of a batch [B, ...]."""
        vnfs, servers = observation.mask.shape[-2:]
        if (vnfs, servers) not in self._rooms:
            self._rooms[vnfs, servers] = room(self._weights, vnfs, servers)
        space, lead = self._rooms[vnfs, servers], observation.mask.shape[:-2]
        blocks = [_rows(getattr(observation, name), len(lead), np.float32) for name in BLOCKS]
        mask = _rows(observation.mask, len(lead), np.bool_)
        logits = np.empty((len(mask), 1 + vnfs * servers), dtype=np.float32)
        values = np.empty((len(mask), 1), dtype=np.float32)
        for b in range(len(mask)):
            vnf, server, pair, glob = (block[b] for block in blocks)
            forward(self._weights, vnf, server, pair, glob, mask[b], space, logits[b], values[b])
        return Scores(logits.reshape(*lead, -1), values.reshape(lead))


def _rows(array: np.ndarray, lead: int, kind: type[np.generic]) -> np.ndarray:
    """One leading axis, contiguous and writable or not alike to the compiled code."""
    return np.ascontiguousarray(array, dtype=kind).reshape(-1, *array.shape[lead:])


def _weights(weights: Mapping[str, Tensor], scalers: Mapping[str, Tensor]) -> Weights:
    def turned(name: str) -> Tensor:
        return np.ascontiguousarray(weights[f"{name}.weight"].T, dtype=np.float32)

    def plain(name: str) -> Tensor:
        return np.ascontiguousarray(weights[name], dtype=np.float32).reshape(-1)

    def block(name: str) -> Block:
        mean = np.ascontiguousarray(scalers[f"{name}.mean"], dtype=np.float32)
        return Block(mean, (1.0 / scalers[f"{name}.std"]).astype(np.float32), turned(name))

    def head(name: str) -> Head:
        return Head(turned(f"{name}.0"), plain(f"{name}.0.bias"), plain(f"{name}.2.weight"), plain(f"{name}.2.bias"))

    return Weights(
        vnf=block("vnf"),
        server=block("server"),
        pair=block("pair"),
        glob=block("glob"),
        pair_bias=plain("pair.bias"),
        glob_bias=plain("glob.bias"),
        own=turned("own"),
        own_bias=plain("own.bias"),
        row=turned("row"),
        column=turned("column"),
        everything=turned("everything"),
        score=plain("score.weight"),
        direct=plain("direct.weight"),
        stay=head("stay"),
        value=head("value"),
    )
