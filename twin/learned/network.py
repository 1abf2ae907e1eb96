"""The LSTM ensemble in torch, for fitting: one member; `twin.learned.function` is the same in numpy and explains it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twin.learned.function import COMPONENTS, SCALE_LIMITS, FloatTensor
from twin.learned.inputs import CHAIN_INPUTS, CONTEXTS, CORRECTED, HORIZON

UNITS, HEAD_UNITS = 48, 24
# Every loss is a negative log likelihood of a target normalised by itself. Demand weighs most: the corrections start
# from a cost model that is nearly right, and must not take the LSTM's memory from what nothing else tells.
LOSS_WEIGHTS: Mapping[str, float] = {"traffic": 1.0, "traffic_ahead": 1.0} | dict.fromkeys(CORRECTED, 0.1)


class TwinNetwork(nn.Module):
    """One member of the ensemble. All rows (chains, servers, links) pass the same weights."""

    def __init__(self, *, units: int = UNITS) -> None:
        super().__init__()
        self.lstm = nn.LSTM(len(CHAIN_INPUTS), units, batch_first=True)
        self.traffic = _quiet(nn.Linear(units, 3 * COMPONENTS))
        self.traffic_ahead = _quiet(nn.Linear(units, 2 * HORIZON))
        self.corrections = nn.ModuleDict({
            head: nn.ModuleList([nn.Linear(units + len(names), HEAD_UNITS), _quiet(nn.Linear(HEAD_UNITS, 2))])
            for head, names in CONTEXTS.items()
        })  # fmt: skip
        with torch.no_grad():  # three components that start apart
            self.traffic.bias[COMPONENTS : 2 * COMPONENTS] = torch.linspace(-0.5, 0.5, COMPONENTS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Hidden states [B, W, H] after every slot of windows [B, W, F], each from the start."""
        hidden: Tensor = self.lstm(inputs)[0]
        return hidden

    def correction(self, head: str, heard: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Middle and log scale, normalised, from hidden states [..., H] and contexts [..., Fh]."""
        layers = self.corrections[head]
        assert isinstance(layers, nn.ModuleList)
        first, second = layers
        values = second(torch.tanh(first(torch.cat([heard, context], dim=-1))))
        return values[..., 0], values[..., 1].clamp(*SCALE_LIMITS)


def _quiet(layer: nn.Linear) -> nn.Linear:
    """A last layer that starts at nothing: before anything is learnt the cost model and persistence stand."""
    nn.init.zeros_(layer.bias)
    nn.init.normal_(layer.weight, std=1e-3)
    return layer


def laplace_loss(middle: Tensor, log_scale: Tensor, target: Tensor) -> Tensor:
    """Mean negative log likelihood over the targets that are not NaN; its middle is a median, so outliers pull little.

    0 where there are none.
    """
    known = torch.isfinite(target)
    error = (torch.where(known, target, middle) - middle).abs() * torch.exp(-log_scale) + log_scale + math.log(2.0)
    return (error * known).sum() / known.sum().clamp(min=1)


def mixture_loss(values: Tensor, target: Tensor) -> Tensor:
    """Mean negative log likelihood of normalised increments [...] under the mixture of `values` [..., 3·COMPONENTS]."""
    share, mean, log_std = values.chunk(3, dim=-1)
    known = torch.isfinite(target)
    log_std = log_std.clamp(*SCALE_LIMITS)
    z = (torch.where(known, target, 0.0)[..., None] - mean) * torch.exp(-log_std)
    parts = F.log_softmax(share, dim=-1) - 0.5 * z**2 - log_std - 0.5 * math.log(2.0 * math.pi)
    return -(torch.logsumexp(parts, dim=-1) * known).sum() / known.sum().clamp(min=1)


def total_loss(losses: Mapping[str, Tensor], weights: Mapping[str, float] = LOSS_WEIGHTS) -> Tensor:
    """The weighted sum. AssertionError where a loss has no weight or a weight no loss."""
    assert losses.keys() == weights.keys(), f"losses {sorted(losses)} are not the weights' {sorted(weights)}"
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def stacked(members: Sequence[TwinNetwork]) -> dict[str, FloatTensor]:
    """The members' weights as `TwinFunction` names them: matrices [M, in, out], biases [M, out]."""
    rows = [_named(member) for member in members]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _named(member: TwinNetwork) -> dict[str, FloatTensor]:
    lstm = dict(member.lstm.named_parameters())
    named: dict[str, Tensor] = {
        "lstm.input": lstm["weight_ih_l0"].T,
        "lstm.hidden": lstm["weight_hh_l0"].T,
        "lstm.bias": lstm["bias_ih_l0"] + lstm["bias_hh_l0"],
    }
    for name, layer in _layers(member).items():
        named |= {f"{name}.weight": layer.weight.T, f"{name}.bias": layer.bias}
    return {name: np.array(value.detach().numpy(), dtype=np.float32) for name, value in named.items()}


def restore(member: TwinNetwork, weights: Mapping[str, FloatTensor], index: int) -> None:
    """Puts member `index` of stacked weights into the network."""

    def put(parameter: Tensor, value: FloatTensor) -> None:
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    lstm = dict(member.lstm.named_parameters())
    with torch.no_grad():
        put(lstm["weight_ih_l0"], weights["lstm.input"][index].T)
        put(lstm["weight_hh_l0"], weights["lstm.hidden"][index].T)
        put(lstm["bias_ih_l0"], weights["lstm.bias"][index])
        lstm["bias_hh_l0"].zero_()
        for name, layer in _layers(member).items():
            put(layer.weight, weights[f"{name}.weight"][index].T)
            put(layer.bias, weights[f"{name}.bias"][index])


def _layers(member: TwinNetwork) -> dict[str, nn.Linear]:
    layers = {"traffic": member.traffic, "traffic_ahead": member.traffic_ahead}
    for head in CONTEXTS:
        pair = member.corrections[head]
        assert isinstance(pair, nn.ModuleList)
        layers |= {f"{head}.{k}": layer for k, layer in enumerate(pair) if isinstance(layer, nn.Linear)}
    return layers
