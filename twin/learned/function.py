"""`TwinFunction`: the LSTM ensemble and its heads in numpy, for serving, sampling and counterfactuals.

`twin.learned.network` is the same function in torch, for fitting; a test holds both together. All weights have a
leading axis M, the ensemble's members. Source: paper (a multi-task LSTM that predicts); its shape is ours
(docs/twin.md, "Networks").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twin.learned.inputs import HORIZON

COMPONENTS = 3  # of the mixture on the log increment of demand
SCALE_LIMITS = (-3.0, 3.0)  # of the log of a predicted spread, in normalised units

FloatTensor = npt.NDArray[np.float32]


class Hidden(NamedTuple):
    """The LSTM's state: `h` and `c`, both [M, N, H] for N chains."""

    h: FloatTensor
    c: FloatTensor


class Spread(NamedTuple):
    """A predicted middle and scale (Laplace), both of one shape."""

    middle: FloatTensor
    scale: FloatTensor


class Mixture(NamedTuple):
    """Gaussians on the log increment: `share`, `mean` and `std`, all [..., COMPONENTS]."""

    share: FloatTensor
    mean: FloatTensor
    std: FloatTensor


@dataclass(frozen=True, eq=False)
class TwinFunction:
    """`weights` as in `twin.learned.network`, stacked over members; `scalers`: HEAD.mean, HEAD.std, HEAD.spread [H].

    `spread` are factors, found on held-out slots, by which predicted scales are multiplied to cover what they claim.
    """

    weights: Mapping[str, FloatTensor]
    scalers: Mapping[str, FloatTensor]

    @property
    def members(self) -> int:
        return len(self.weights["lstm.bias"])

    @property
    def units(self) -> int:
        return int(self.weights["lstm.bias"].shape[1]) // 4

    def member(self, index: int) -> TwinFunction:
        """One member alone."""
        return replace(self, weights={name: value[index : index + 1] for name, value in self.weights.items()})

    def start(self, rows: int) -> Hidden:
        """The state before anything was seen, for `rows` chains."""
        zeros = np.zeros((self.members, rows, self.units), dtype=np.float32)
        return Hidden(zeros, zeros)

    def step(self, inputs: FloatTensor, state: Hidden) -> Hidden:
        """One slot: `inputs` [N, F], or [M, N, F] where members see different ones."""
        w, x = self.weights, np.asarray(inputs, dtype=np.float32)
        gates = x @ w["lstm.input"] + state.h @ w["lstm.hidden"] + w["lstm.bias"][:, None, :]
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = _sigmoid(f) * state.c + _sigmoid(i) * np.tanh(g)
        return Hidden(_sigmoid(o) * np.tanh(c), c)

    def run(self, inputs: npt.NDArray[np.floating]) -> FloatTensor:
        """Hidden states after every slot [M, T, N, H] of `inputs` [T, N, F], from the start."""
        state, states = self.start(inputs.shape[1]), []
        for row in inputs:
            state = self.step(np.asarray(row, dtype=np.float32), state)
            states.append(state.h)
        return np.stack(states, axis=1)

    def ahead(self, h: FloatTensor) -> Spread:
        """Log of offered traffic in 1..HORIZON slots over the present one, [M, ..., HORIZON], for `h` [M, ..., H]."""
        values = self._linear("traffic_ahead", h)
        middle, scale = values[..., :HORIZON], np.exp(np.clip(values[..., HORIZON:], *SCALE_LIMITS))
        std = self.scalers["traffic_ahead.std"]
        return Spread(middle * std, scale * std)

    def mixture(self, h: FloatTensor) -> Mixture:
        """The next log increment, [M, ..., COMPONENTS], for `h` [M, ..., H]."""
        share, mean, log_std = np.split(self._linear("traffic", h), 3, axis=-1)
        share = np.exp(share - share.max(axis=-1, keepdims=True))
        std = self.scalers["traffic.std"]
        return Mixture(
            share / share.sum(axis=-1, keepdims=True), mean * std, np.exp(np.clip(log_std, *SCALE_LIMITS)) * std
        )

    def correction(self, head: str, heard: FloatTensor, context: npt.NDArray[np.floating]) -> Spread:
        """log(measured / modelled) of a corrected head: `heard` [M, ..., H] hidden states, `context` [..., Fh]."""
        seen = np.broadcast_to(context.astype(np.float32), (*heard.shape[:-1], context.shape[-1]))
        values = self._linear(f"{head}.1", np.tanh(self._linear(f"{head}.0", np.concatenate([heard, seen], axis=-1))))
        mean, std = self.scalers[f"{head}.mean"], self.scalers[f"{head}.std"]
        return Spread(values[..., 0] * std + mean, np.exp(np.clip(values[..., 1], *SCALE_LIMITS)) * std)

    def calibrated(self, head: str, spread: Spread, *, slots: int | None = None) -> Spread:
        """The ensemble's middle and standard deviation: members' own spread and their disagreement, calibrated.

        Members lie on the first axis. `slots` ahead picks the factor; None where the last axis runs over them.
        """
        factor = self.scalers[f"{head}.spread"]
        variance = 2.0 * (spread.scale**2).mean(axis=0) + spread.middle.var(axis=0)
        return Spread(spread.middle.mean(axis=0), np.sqrt(variance) * (factor if slots is None else factor[slots - 1]))

    def _linear(self, name: str, values: FloatTensor) -> FloatTensor:
        """A layer on [M, ..., F], every member by its own weights [M, F, G]."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        flat = values.reshape(self.members, -1, values.shape[-1]) @ weight + bias[:, None, :]
        result: FloatTensor = flat.reshape(*values.shape[:-1], -1)
        return result


def _sigmoid(values: FloatTensor) -> FloatTensor:
    result: FloatTensor = np.float32(0.5) * (np.tanh(np.float32(0.5) * values) + np.float32(1))
    return result
