"""Fits the LSTM ensemble: windows drawn from recordings, every head's loss by name, members on draws of their own.

1. A batch of windows of one scenario is drawn; traffic is shifted by a random factor per chain, so that no level is
   learnt by heart, and some windows lose all inputs that depend on placement, so that traffic alone can be continued.
2. The LSTM reads each window from the start; from its hidden states the next increment of demand and the traffic
   1..HORIZON slots ahead are predicted at every slot.
3. One distance ahead is drawn; the corrections are predicted for the slots that lie so far ahead, from the hidden state
   now and from what the cost model says of that slot. Some windows lose the hidden state: the correction must also
   stand for placements and traffic that were never seen.
4. The weighted losses are summed, the gradient is clipped, Adam steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twin.learned.function import SCALE_LIMITS, FloatTensor, TwinFunction
from twin.learned.inputs import CORRECTED, HEADS, HORIZON, PLACED
from twin.learned.inputs import Sequence as Seen
from twin.learned.network import TwinNetwork, laplace_loss, mixture_loss, restore, stacked, total_loss
from twin.state import FloatArray, IntArray

_LEAST_STD = 0.005  # of a log ratio: what is known better than that gains nothing from a network
_EXACT = 1e-6  # a head whose ratio never differs by more is exact: it is computed, and its std is 0
_POOLED = {"server_cpu": "server", "server_memory": "server", "link": "link"}


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How the ensemble is fitted; `shift` is the standard deviation of the random factor's log, `drop` the share of
    windows that lose what step 1 and 3 say."""

    members: int = 3
    units: int = 48
    window: int = 40
    burn_in: int = 3
    windows: int = 8
    learning_rate: float = 4e-3
    gradient_norm: float = 5.0
    shift: float = 0.2
    drop: float = 0.25


@dataclass(frozen=True, eq=False)
class _Pool:
    """All recordings of one scenario end to end, as tensors; `starts` are where a window fits into one of them."""

    inputs: Tensor  # [T, C, F]
    levels: Tensor  # [T, C], NaN: not read
    filled: Tensor  # [T, C]
    contexts: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    pools: Mapping[str, Tensor]
    starts: IntArray


def ignore(_steps: int) -> None:
    """The progress of nobody watching."""


class Fitter:
    """The ensemble while it is fitted. `scalers` are found by the first fit and frozen then."""

    def __init__(self, config: FitConfig, *, seed: int, start: TwinFunction | None = None) -> None:
        self.config = config
        with torch.random.fork_rng():  # the layers' own initialisation knows only the global generator
            torch.manual_seed(seed)
            self.networks = [TwinNetwork(units=config.units) for _ in range(config.members)]
        self.scalers: dict[str, FloatTensor] = {}
        if start is not None:
            self.scalers = dict(start.scalers)
            for index, network in enumerate(self.networks):
                restore(network, start.weights, index % start.members)
        self._optimizers = [torch.optim.Adam(n.parameters(), lr=config.learning_rate) for n in self.networks]

    def function(self) -> TwinFunction:
        """The ensemble as it stands, in numpy."""
        return TwinFunction(stacked(self.networks), dict(self.scalers))

    def fit(
        self, groups: Sequence[Sequence[Seen]], *, steps: int, rng: np.random.Generator,
        progress: Callable[[int], None] = ignore,
    ) -> dict[str, float]:  # fmt: skip
        """`steps` updates of every member on recordings grouped by scenario; the newest mean loss by head.

        ValueError where no recording is long enough for one window and HORIZON slots.
        """
        window = self._window(groups)
        self.scalers = frozen(self.scalers, scalers([s for group in groups for s in group]))
        pools = [_pool(group, window + HORIZON) for group in groups if any(len(s) >= window + HORIZON for s in group)]
        losses: dict[str, float] = dict.fromkeys(HEADS, float("nan"))
        for step in range(steps):
            for optimizer in self._optimizers:
                _set_rate(optimizer, self.config.learning_rate * (1.0 - 0.9 * step / steps))
            pool = pools[int(rng.integers(len(pools)))]
            losses = self._update(pool, window, rng)
            progress(step + 1)
        return losses

    def _window(self, groups: Sequence[Sequence[Seen]]) -> int:
        longest = max((len(s) for group in groups for s in group), default=0)
        window = min(self.config.window, longest - HORIZON)
        if window <= self.config.burn_in:
            raise ValueError(f"the longest recording has {longest} slots; more than {HORIZON + self.config.burn_in} "
                             "are needed")  # fmt: skip
        return window

    def _update(self, pool: _Pool, window: int, rng: np.random.Generator) -> dict[str, float]:
        told: dict[str, list[float]] = {head: [] for head in HEADS}
        for network, optimizer in zip(self.networks, self._optimizers, strict=True):
            losses = self._losses(network, pool, window, rng)  # 1-3
            optimizer.zero_grad(set_to_none=True)
            total_loss(losses).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.config.gradient_norm)  # 4
            optimizer.step()
            for head, loss in losses.items():
                told[head].append(float(loss.detach()))
        return {head: float(np.mean(values)) for head, values in told.items()}

    def _losses(self, network: TwinNetwork, pool: _Pool, window: int, rng: np.random.Generator) -> dict[str, Tensor]:
        config = self.config
        starts = rng.choice(pool.starts, size=config.windows)
        rows = torch.from_numpy(starts[:, None] + np.arange(window)[None, :])  # [B, W]
        hidden = self._read(network, pool, rows, rng)  # [B, W, C, H]
        later, at = hidden[:, config.burn_in :], rows[:, config.burn_in :]
        return self._traffic(network, pool, later, at) | self._corrections(network, pool, later, at, rng)

    def _read(self, network: TwinNetwork, pool: _Pool, rows: Tensor, rng: np.random.Generator) -> Tensor:
        inputs = pool.inputs[rows].clone()  # [B, W, C, F]
        batch, window, chains, size = inputs.shape
        inputs[..., 0] += _tensor(self.config.shift * rng.standard_normal((batch, 1, chains)))
        inputs[torch.from_numpy(rng.random(batch) < self.config.drop), :, :, PLACED] = 0.0
        flat = inputs.permute(0, 2, 1, 3).reshape(batch * chains, window, size)
        hidden: Tensor = network(flat)
        return hidden.reshape(batch, chains, window, -1).permute(0, 2, 1, 3)

    def _traffic(self, network: TwinNetwork, pool: _Pool, hidden: Tensor, at: Tensor) -> dict[str, Tensor]:
        now = pool.filled[at]  # [B, W, C]
        ahead = torch.stack([pool.levels[at + k] - now for k in range(1, HORIZON + 1)], dim=-1)
        values = network.traffic_ahead(hidden)
        middle, log_scale = values[..., :HORIZON], values[..., HORIZON:].clamp(*SCALE_LIMITS)
        std = _tensor(self.scalers["traffic_ahead.std"])
        return {
            "traffic": mixture_loss(network.traffic(hidden), ahead[..., 0] / _tensor(self.scalers["traffic.std"])),
            "traffic_ahead": laplace_loss(middle, log_scale, ahead / std),
        }

    def _corrections(
        self, network: TwinNetwork, pool: _Pool, hidden: Tensor, at: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        ahead = int(rng.integers(1, HORIZON + 1))
        picked = torch.from_numpy(rng.integers(0, at.shape[1], size=4))
        hidden, then = hidden[:, picked], at[:, picked] + ahead
        keep = torch.from_numpy(rng.random(len(hidden)) >= self.config.drop)[:, None, None, None]
        hidden = hidden * keep
        losses = {}
        for head in CORRECTED:
            context = pool.contexts[head][then].clone()  # [B, P, N, Fh]
            context[..., -1] = ahead / HORIZON
            heard = hidden
            if head in _POOLED:
                heard = pool.pools[_POOLED[head]][then] @ hidden
            elif head == "energy":
                heard = hidden.mean(dim=2, keepdim=True)
            mean, std = (self.scalers[f"{head}.{kind}"].item() for kind in ("mean", "std"))
            exact = std == 0.0  # nothing is left to learn, and a likelihood without bound would drown the others
            target = (
                torch.full_like(pool.targets[head][then], torch.nan)
                if exact
                else (pool.targets[head][then] - mean) / std
            )
            losses[head] = laplace_loss(*network.correction(head, heard, context), target)
        return losses


def scalers(sequences: Sequence[Seen]) -> dict[str, FloatTensor]:
    """Each head's own normaliser from the recordings it is fitted on; spreads are not yet calibrated."""
    found: dict[str, FloatArray] = {}
    for k in range(1, HORIZON + 1):
        steps = np.concatenate([(_read_levels(s)[k:] - s.levels[:-k]).ravel() for s in sequences])
        found[f"ahead {k}"] = np.asarray(max(_std(steps), _LEAST_STD))
    ahead = np.stack([found[f"ahead {k}"] for k in range(1, HORIZON + 1)])
    scales: dict[str, FloatArray] = {"traffic.std": ahead[0], "traffic_ahead.std": ahead}
    for head in CORRECTED:
        values = np.concatenate([s.targets[head].ravel() for s in sequences])
        values = values[np.isfinite(values)]
        scales[f"{head}.std"] = np.asarray(_std(values))
        scales[f"{head}.mean"] = np.asarray(np.median(values) if len(values) else 0.0)
    for head in HEADS:
        scales[f"{head}.spread"] = np.ones(HORIZON)
    return {name: np.asarray(value, dtype=np.float32) for name, value in scales.items()}


def frozen(first: Mapping[str, FloatTensor], found: Mapping[str, FloatTensor]) -> dict[str, FloatTensor]:
    """What was found first. But a head that had nothing to learn there (in a simulator memory is what the file says)
    and has something now takes what is found now."""
    if not first:
        return dict(found)
    late = [head for head in CORRECTED if not first[f"{head}.std"].any() and found[f"{head}.std"].any()]
    return dict(first) | {name: value for name, value in found.items() if name.rpartition(".")[0] in late}


def _std(values: FloatArray) -> float:
    """Standard deviation of what was read; 0 where nothing was, or all is the same."""
    values = values[np.isfinite(values)]
    std = float(values.std()) if len(values) > 1 else 0.0
    return 0.0 if std < _EXACT else max(std, _LEAST_STD)


def _read_levels(sequence: Seen) -> FloatArray:
    return np.where(np.isfinite(sequence.recording.offered_mbps), sequence.levels, np.nan)


def _pool(group: Sequence[Seen], span: int) -> _Pool:
    """The recordings of one scenario that have room for a window."""
    fitting = [s for s in group if len(s) >= span]
    firsts = np.cumsum([0, *(len(s) for s in fitting)])
    starts = [np.arange(first, first + len(s) - span + 1) for first, s in zip(firsts, fitting, strict=False)]

    def joined(parts: Sequence[FloatArray]) -> Tensor:
        return _tensor(np.concatenate(parts))

    return _Pool(
        inputs=joined([s.inputs for s in fitting]),
        levels=joined([_read_levels(s) for s in fitting]),
        filled=joined([s.levels for s in fitting]),
        contexts={head: joined([s.contexts[head] for s in fitting]) for head in CORRECTED},
        targets={head: joined([s.targets[head] for s in fitting]) for head in CORRECTED},
        pools={name: joined([s.pools[name] for s in fitting]) for name in ("server", "link")},
        starts=np.concatenate(starts).astype(np.int64),
    )


def _tensor(values: FloatArray | FloatTensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
