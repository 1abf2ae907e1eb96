"""The actor and the critic in torch: the same function as `agent.policy`, which explains it. Holds what is learnt.

`agent.fused` is what training calls; tests hold it to this one and its autograd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agent.policy import BLOCKS, CLIP, MASKED, PolicyFunction
from twin.features import Observation


class ObservationTensors(NamedTuple):
    """A batch of observations: `vnf` [B, V, Fv], `server` [B, S, Fs], `pair` [B, V, S, Fp], `glob` [B, Fg], `mask`."""

    vnf: Tensor
    server: Tensor
    pair: Tensor
    glob: Tensor
    mask: Tensor


_CACHED_PAIRS = 8192  # an embedding of 32 floats per pair is then 1 MB; all at once is 2.5 times slower


def cachefuls(observations: ObservationTensors) -> Iterator[slice]:
    """Slices of the batch axis such that a slice's pairs fit the processor's cache together."""
    batch, vnfs, servers = observations.mask.shape
    size = max(1, _CACHED_PAIRS // (vnfs * servers))
    return (slice(first, first + size) for first in range(0, batch, size))


@dataclass(frozen=True, slots=True)
class FeatureSizes:
    """How many features each block of the observation has."""

    vnf: int
    server: int
    pair: int
    glob: int


class PolicyNetwork(nn.Module):
    """Scores every (VNF, server) pair and stay, and values the observation. `hidden` is the embedding's width H."""

    def __init__(self, sizes: FeatureSizes, *, hidden: int = 32) -> None:
        super().__init__()
        self.sizes = sizes
        self.vnf = nn.Linear(sizes.vnf, hidden, bias=False)
        self.server = nn.Linear(sizes.server, hidden, bias=False)
        self.pair = nn.Linear(sizes.pair + 1, hidden)
        self.glob = nn.Linear(sizes.glob, hidden)
        self.own = nn.Linear(hidden, hidden)
        self.row = nn.Linear(2 * hidden, hidden, bias=False)
        self.column = nn.Linear(2 * hidden, hidden, bias=False)
        self.everything = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.direct = nn.Linear(sizes.pair + 1, 1, bias=False)
        self.stay = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.value = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        for block in BLOCKS:
            size = getattr(sizes, block)
            self.register_buffer(f"{block}_mean", torch.zeros(size))
            self.register_buffer(f"{block}_std", torch.ones(size))
        self._start_even()

    def _start_even(self) -> None:
        """The first policy is nearly uniform and the first values nearly zero, so that nothing has to be unlearnt."""
        for layer in (self.score, self.direct, self.stay[2], self.value[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.01)

    @torch.no_grad()
    def prefer(self, feature: int, weight: float) -> None:
        """Starts from a policy that adds `weight` to a move's logit per standard deviation of a pair feature."""
        self.direct.weight[0, feature] += weight

    def fit_scalers(self, *seen: ObservationTensors) -> None:
        """Freezes mean and deviation of every feature as seen in batches of one or several scenarios, which all count
        alike, whatever their size; a constant feature keeps deviation 1."""
        for block in BLOCKS:
            rows = [getattr(batch, block).reshape(-1, getattr(self.sizes, block)) for batch in seen]
            means = torch.stack([part.mean(dim=0) for part in rows])
            within = torch.stack([part.var(dim=0, unbiased=False) for part in rows]).mean(dim=0)
            std = (within + means.var(dim=0, unbiased=False)).sqrt()
            getattr(self, f"{block}_mean").copy_(means.mean(dim=0))
            getattr(self, f"{block}_std").copy_(torch.where(std > 1e-4, std, torch.ones_like(std)))

    def forward(self, observation: ObservationTensors) -> tuple[Tensor, Tensor]:
        """(logits [B, 1 + V·S], value [B])."""
        glob = self.glob(self._standard("glob", observation.glob))
        feasible = observation.mask.unsqueeze(-1).to(observation.pair.dtype)
        inputs = torch.cat([self._standard("pair", observation.pair), feasible], dim=-1)
        first = F.relu(
            self.vnf(self._standard("vnf", observation.vnf)).unsqueeze(-2)
            + self.server(self._standard("server", observation.server)).unsqueeze(-3)
            + self.pair(inputs)
            + glob[..., None, None, :]
        )
        pairs = self._exchange(first)
        context = torch.cat([pairs.mean(dim=(-3, -2)), pairs.amax(dim=(-3, -2)), F.relu(glob)], dim=-1)
        move = (self.score(pairs) + self.direct(inputs)).flatten(-3)
        logits = torch.cat([self.stay(context), move.masked_fill(~observation.mask.flatten(-2), float(MASKED))], dim=-1)
        return logits, self.value(context).squeeze(-1)

    def _exchange(self, pairs: Tensor) -> Tensor:
        row, column = pairs.mean(dim=-2, keepdim=True), pairs.mean(dim=-3, keepdim=True)
        mixed = (
            self.own(pairs)
            + self.row(torch.cat([row, pairs.amax(dim=-2, keepdim=True)], dim=-1))
            + self.column(torch.cat([column, pairs.amax(dim=-3, keepdim=True)], dim=-1))
            + self.everything(row.mean(dim=-3, keepdim=True))
        )
        return F.relu(mixed) + pairs

    def _standard(self, block: str, values: Tensor) -> Tensor:
        mean, std = self.get_buffer(f"{block}_mean"), self.get_buffer(f"{block}_std")
        return ((values - mean) / std).clamp(-CLIP, CLIP)

    def function(self) -> PolicyFunction:
        """A frozen copy in numpy."""
        arrays = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in self.state_dict().items()}
        scalers = {f"{block}.{kind}": arrays.pop(f"{block}_{kind}") for block in BLOCKS for kind in ("mean", "std")}
        return PolicyFunction(arrays, scalers)

    def restore(self, function: PolicyFunction) -> None:
        """Takes over the weights and scalers of a frozen copy. RuntimeError when they do not fit."""
        scalers = {name.replace(".", "_"): tensor for name, tensor in function.scalers.items()}
        arrays = {**function.weights, **scalers}
        self.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in arrays.items()})


def tensors(observation: Observation) -> ObservationTensors:
    """The same arrays as tensors; they share memory."""
    return ObservationTensors(*(torch.from_numpy(getattr(observation, name)) for name in ObservationTensors._fields))
