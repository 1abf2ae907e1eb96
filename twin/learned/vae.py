"""Fits the multi-task VAE: an encoder of (state, action) to a latent, a head per block of the state that follows.

1. A batch of slots is drawn: the state's blocks, each normalised by itself, the placement and the action (which VNF
   moves where, nothing for *stay*).
2. The encoder gives mean and log variance of the latent; one latent is drawn by the reparametrisation.
3. From the latent and the placement after the action, each head reconstructs its block with a spread of its own.
4. Losses by name, weighted and summed; Adam steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from twin.learned.function import FloatTensor
from twin.learned.generator import BLOCKS, LATENT, one_hot
from twin.learned.inputs import Encoder
from twin.learned.inputs import Sequence as Seen
from twin.learned.network import total_loss
from twin.state import FloatArray
from twin.tables import tables

LATENT_LOSS = "latent"  # Kullback-Leibler distance to the prior
VAE_WEIGHTS: Mapping[str, float] = dict.fromkeys((*BLOCKS, LATENT_LOSS), 1.0)
_UNITS, _BATCH, _RATE, _LEAST_STD = 48, 64, 3e-3, 1e-3
_LOG_STD = (-4.0, 1.0)


class StateVae(nn.Module):
    """`sizes` by block, `placement` V·S, `action` V·S (one move, or nothing)."""

    def __init__(self, sizes: Mapping[str, int], placement: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(sum(sizes.values()) + 2 * placement, _UNITS), nn.Tanh())
        self.latent = nn.Linear(_UNITS, 2 * LATENT)
        self.decoder = nn.Linear(LATENT + placement, _UNITS)
        self.heads = nn.ModuleDict({block: nn.Linear(_UNITS, size) for block, size in sizes.items()})
        self.log_std = nn.ParameterDict({block: nn.Parameter(torch.zeros(size)) for block, size in sizes.items()})

    def losses(
        self, blocks: Mapping[str, Tensor], placement: Tensor, action: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """By name, each a mean over the batch of sums over what was read (NaN: not read); steps 2 and 3."""
        seen = torch.cat([torch.nan_to_num(blocks[b]) for b in BLOCKS] + [placement, action], dim=1)
        mean, log_var = self.latent(self.encoder(seen)).chunk(2, dim=1)
        log_var = log_var.clamp(-8.0, 4.0)
        latent = mean + torch.exp(0.5 * log_var) * noise
        hidden = torch.tanh(self.decoder(torch.cat([latent, placement], dim=1)))
        losses = {block: self._loss(block, hidden, blocks[block]) for block in BLOCKS}
        losses[LATENT_LOSS] = 0.5 * (mean**2 + log_var.exp() - 1.0 - log_var).sum(dim=1).mean()
        return losses

    def _loss(self, block: str, hidden: Tensor, target: Tensor) -> Tensor:
        middle, log_std = self.heads[block](hidden), self.log_std[block].clamp(*_LOG_STD)
        known = torch.isfinite(target)
        error = (torch.where(known, target, middle) - middle) * torch.exp(-log_std)
        loss: Tensor = ((0.5 * error**2 + log_std) * known).sum(dim=1).mean()
        return loss


def fit_vae(
    encoder: Encoder, sequences: Sequence[Seen], *, seed: int, rng: np.random.Generator, steps: int
) -> dict[str, FloatTensor]:
    """The decoder after `steps` updates, as `generate` reads it."""
    blocks, shifts, scales = _normalised(encoder, sequences)
    servers = len(encoder.scenario.servers)
    placement = np.concatenate([one_hot(s.recording.hosts, servers) for s in sequences])
    before = np.concatenate([one_hot(_earlier(s), servers) for s in sequences])
    tensors = {block: _tensor(values) for block, values in blocks.items()}
    places, actions = _tensor(placement), _tensor(np.maximum(placement - before, 0.0))
    with torch.random.fork_rng():  # the layers' own initialisation knows only the global generator
        torch.manual_seed(seed)
        vae = StateVae({block: values.shape[1] for block, values in blocks.items()}, placement.shape[1])
    optimizer = torch.optim.Adam(vae.parameters(), lr=_RATE)
    for _ in range(steps):
        rows = torch.from_numpy(rng.integers(0, len(placement), size=_BATCH))  # 1
        noise = _tensor(rng.standard_normal((_BATCH, LATENT)))
        losses = vae.losses({b: t[rows] for b, t in tensors.items()}, places[rows], actions[rows], noise)
        optimizer.zero_grad(set_to_none=True)
        total_loss(losses, VAE_WEIGHTS).backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # 4
    return _decoder(vae, shifts, scales)


def _earlier(sequence: Seen) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The placement one slot before each slot: that of the first slot for itself."""
    hosts = sequence.recording.hosts
    return np.concatenate([hosts[:1], hosts[:-1]])


def _normalised(
    encoder: Encoder, sequences: Sequence[Seen]
) -> tuple[dict[str, FloatArray], dict[str, FloatArray], dict[str, FloatArray]]:
    """Every block of all slots, normalised by itself; shifts and scales."""
    t, r = tables(encoder.scenario), [s.recording for s in sequences]
    with np.errstate(divide="ignore", invalid="ignore"):
        blocks = {
            "traffic": np.concatenate([encoder.levels(x.offered_mbps) for x in r]),
            "server_cpu": np.concatenate([x.cores for x in r]) / t.cpu_cores,
            "link": np.concatenate([x.link_mbps for x in r]) / np.repeat(t.bandwidth_mbps, 2),
            "delay": np.log(np.concatenate([x.delay_ms for x in r])),
            "energy": np.log(np.concatenate([x.power_w.sum(axis=1, keepdims=True) for x in r])),
        }
    known = {block: np.where(np.isfinite(values), values, np.nan) for block, values in blocks.items()}
    shifts = {block: _mean(values) for block, values in known.items()}
    scales = {block: np.maximum(np.sqrt(_mean((values - shifts[block]) ** 2)), _LEAST_STD)
              for block, values in known.items()}  # fmt: skip
    return {b: (v - shifts[b]) / scales[b] for b, v in known.items()}, shifts, scales


def _mean(values: FloatArray) -> FloatArray:
    """Over the rows that were read; 0 for a column without any."""
    known = np.isfinite(values)
    result: FloatArray = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return result


def _decoder(
    vae: StateVae, shifts: Mapping[str, FloatArray], scales: Mapping[str, FloatArray]
) -> dict[str, FloatTensor]:
    found: dict[str, Tensor] = {"decoder.weight": vae.decoder.weight.T, "decoder.bias": vae.decoder.bias}
    for block in BLOCKS:
        head = vae.heads[block]
        assert isinstance(head, nn.Linear)
        found |= {f"{block}.weight": head.weight.T, f"{block}.bias": head.bias}
        found[f"{block}.log_std"] = vae.log_std[block].clamp(*_LOG_STD)
    weights = {name: np.array(value.detach().numpy(), dtype=np.float32) for name, value in found.items()}
    for block in BLOCKS:
        weights[f"{block}.shift"] = shifts[block].astype(np.float32)
        weights[f"{block}.scale"] = scales[block].astype(np.float32)
    return weights


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
