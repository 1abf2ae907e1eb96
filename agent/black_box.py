"""A black-box twin: the next observation and the reward learned from observation and action, and nothing computed.

The control that the analytic half of the twin is held to (docs/agent.md, "Sample efficiency"); nothing else uses it.

    1. every real slot is a pair (observation and action, next observation and reward), each column normalised by itself
    2. an ensemble learns them, the next observation directly, not its difference; the mask as a probability
    3. a branch starts at a real observation; a member drawn anew for every batch plays it on, each column drawn around
       its prediction with the deviation that the predictions had

VNFs and servers share weights as in the policy, so that it learns from as little as the policy does. Source: the recipe
of MBPO (arXiv:1906.08253), sampled as in World Models (arXiv:1803.10122); its shape is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agent.network import FeatureSizes, ObservationTensors, PolicyNetwork
from agent.trajectory import Trajectory, play_slots
from twin.fast import BatchObservation
from twin.state import IntArray

_BLOCKS = ("vnf", "server", "pair", "glob")
_LEAST_STD = 1e-3


@dataclass(frozen=True, slots=True)
class BlackBoxConfig:
    """`members` networks of width `hidden`, `fits` gradient steps of `batch` slots each per round of real steps, in
    branches of `horizon` slots."""

    members: int = 3
    hidden: int = 32
    fits: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    horizon: int = 4


class Predicted(dict[str, Tensor]):
    """Normalised next blocks by name, `mask` as logits [B, V, S], `reward` [B]."""


class Dynamics(nn.Module):
    """One member: pairs hear the action, their rows, columns and the whole; blocks are read from them."""

    def __init__(self, sizes: FeatureSizes, hidden: int) -> None:
        super().__init__()
        self.vnf, self.server = nn.Linear(sizes.vnf, hidden), nn.Linear(sizes.server, hidden)
        self.pair, self.glob = nn.Linear(sizes.pair + 2, hidden), nn.Linear(sizes.glob, hidden)
        self.mixed = nn.ModuleList([nn.Linear(6 * hidden, hidden) for _ in range(2)])
        self.to_pair, self.to_mask = nn.Linear(hidden, sizes.pair), nn.Linear(hidden, 1)
        self.to_vnf, self.to_server = nn.Linear(3 * hidden, sizes.vnf), nn.Linear(3 * hidden, sizes.server)
        self.to_glob, self.to_reward = nn.Linear(3 * hidden, sizes.glob), nn.Linear(3 * hidden, 1)

    def forward(self, blocks: dict[str, Tensor], mask: Tensor, chosen: Tensor) -> Predicted:
        """`chosen` [B, V, S] is 1 at the pair that the action moves, 0 everywhere for *stay*."""
        vnf, server = self.vnf(blocks["vnf"])[:, :, None], self.server(blocks["server"])[:, None]
        inputs = torch.cat([blocks["pair"], mask[..., None], chosen[..., None]], dim=-1)
        pairs = F.relu(vnf + server + self.pair(inputs) + self.glob(blocks["glob"])[:, None, None])
        for layer in self.mixed:
            pairs = pairs + F.relu(layer(_surrounded(pairs)))
        rows, columns, everything = _pooled(pairs, 2), _pooled(pairs, 1), _pooled(pairs.flatten(1, 2), 1)
        own = (vnf.expand_as(pairs)[:, :, 0], server.expand_as(pairs)[:, 0])
        return Predicted(
            vnf=self.to_vnf(torch.cat([rows, own[0]], dim=-1)),
            server=self.to_server(torch.cat([columns, own[1]], dim=-1)),
            pair=self.to_pair(pairs),
            glob=self.to_glob(torch.cat([everything, F.relu(self.glob(blocks["glob"]))], dim=-1)),
            mask=self.to_mask(pairs).squeeze(-1),
            reward=self.to_reward(torch.cat([everything, F.relu(self.glob(blocks["glob"]))], dim=-1)).squeeze(-1),
        )


def _pooled(values: Tensor, dim: int) -> Tensor:
    return torch.cat([values.mean(dim=dim), values.amax(dim=dim)], dim=-1)


def _surrounded(pairs: Tensor) -> Tensor:
    """Every pair with mean and maximum of its row and column, and the mean of all."""
    row, column = (torch.cat([pairs.mean(d, keepdim=True), pairs.amax(d, keepdim=True)], dim=-1) for d in (2, 1))
    whole = pairs.mean(dim=(1, 2), keepdim=True)
    return torch.cat([pairs, *(v.expand(*pairs.shape[:3], -1) for v in (row, column, whole))], dim=-1)


class BlackBox:
    """The ensemble, and all real slots so far."""

    def __init__(self, sizes: FeatureSizes, config: BlackBoxConfig, *, seed: int) -> None:
        self.config, self._rng = config, torch.Generator().manual_seed(seed)
        with torch.random.fork_rng():  # the layers' own initialisation knows only the global generator
            torch.manual_seed(seed)
            self._members = [Dynamics(sizes, config.hidden) for _ in range(config.members)]
        self._optimizers = [torch.optim.Adam(m.parameters(), lr=config.learning_rate) for m in self._members]
        self._slots: list[Trajectory] = []
        self._mean: dict[str, Tensor] = {}
        self._std: dict[str, Tensor] = {}
        self._off: dict[str, Tensor] = {}

    def learn(self, real: Trajectory) -> None:
        """Steps 1 and 2, with these slots added."""
        self._slots.append(real)
        self._normalise()
        before, after = (self._flat(slice(first, last)) for first, last in ((None, -1), (1, None)))
        actions = torch.cat([t.actions.flatten() for t in self._slots])
        rewards = torch.cat([t.rewards.flatten() for t in self._slots])
        for _ in range(self.config.fits):
            for member, optimizer in zip(self._members, self._optimizers, strict=True):
                rows = torch.randint(len(actions), (self.config.batch,), generator=self._rng)
                seen, then = _rows(before, rows), _rows(after, rows)
                said = member(self._standard(seen), seen.mask.float(), _chosen(actions[rows], seen.mask))
                optimizer.zero_grad()
                torch.autograd.backward(self._loss(said, then, rewards[rows]))
                torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
                optimizer.step()

    def roll_out(self, network: PolicyNetwork, branches: int, rng: torch.Generator) -> Trajectory:
        """Step 3. ValueError before `learn`."""
        if not self._slots:
            raise ValueError("nothing was seen yet")
        starts = self._flat(slice(None, -1))
        now = _rows(starts, torch.randint(len(starts.mask), (branches,), generator=self._rng))
        member = self._members[int(torch.randint(self.config.members, (1,), generator=self._rng))]

        @torch.no_grad()
        def step(actions: IntArray) -> tuple[BatchObservation, np.ndarray]:
            nonlocal now
            chosen = _chosen(torch.from_numpy(actions), now.mask)
            said = member(self._standard(now), now.mask.float(), chosen)
            blocks = {b: self._drawn(b, said[b]) * self._std[b] + self._mean[b] for b in _BLOCKS}
            now = ObservationTensors(**blocks, mask=said["mask"] > 0.0)
            reward = self._drawn("reward", said["reward"]) * self._std["reward"] + self._mean["reward"]
            return _observation(now), reward.numpy()

        return play_slots(network, _observation(now), step, self.config.horizon, rng)

    def _drawn(self, block: str, said: Tensor) -> Tensor:
        return said + self._off[block] * torch.randn(said.shape, generator=self._rng)

    def _flat(self, slots: slice) -> ObservationTensors:
        """These slots of every trajectory as rows."""
        parts = [[field[slots].flatten(0, 1) for field in t.observations] for t in self._slots]
        return ObservationTensors(*(torch.cat(field) for field in zip(*parts, strict=True)))

    def _normalise(self) -> None:
        columns = self._flat(slice(None))._asdict()
        columns["reward"] = torch.cat([t.rewards.flatten() for t in self._slots])[:, None]
        for block in (*_BLOCKS, "reward"):
            flat = columns[block].reshape(-1, columns[block].shape[-1])
            self._mean[block] = flat.mean(dim=0)
            self._std[block] = flat.std(dim=0).clamp_min(_LEAST_STD)
        self._mean["reward"], self._std["reward"] = self._mean["reward"][0], self._std["reward"][0]

    def _standard(self, seen: ObservationTensors) -> dict[str, Tensor]:
        return {b: ((getattr(seen, b) - self._mean[b]) / self._std[b]).clamp(-5.0, 5.0) for b in _BLOCKS}

    def _loss(self, said: Predicted, then: ObservationTensors, rewards: Tensor) -> Tensor:
        """A mean square per block, and the mask's cross-entropy; keeps how far off the predictions were."""
        wanted = self._standard(then) | {"reward": (rewards - self._mean["reward"]) / self._std["reward"]}
        parts = [F.binary_cross_entropy_with_logits(said["mask"], then.mask.float())]
        for block, target in wanted.items():
            square = (said[block] - target).square()
            columns = square.mean() if block == "reward" else square.flatten(0, -2).mean(dim=0)
            self._off[block] = columns.detach().sqrt()
            parts.append(square.mean())
        return torch.stack(parts).sum()


def _rows(seen: ObservationTensors, rows: Tensor) -> ObservationTensors:
    return ObservationTensors(*(field[rows] for field in seen))


def _chosen(actions: Tensor, mask: Tensor) -> Tensor:
    """1 at the pair that each action [B] moves."""
    flat = F.one_hot(actions, 1 + mask[0].numel())[:, 1:]
    return flat.reshape(mask.shape).float()


def _observation(seen: ObservationTensors) -> BatchObservation:
    vnf, server, pair, glob, mask = (field.numpy() for field in seen)
    return BatchObservation(vnf=vnf, server=server, pair=pair, glob=glob, mask=mask)
