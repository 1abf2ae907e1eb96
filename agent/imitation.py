"""Learning from search before learning from reward: a policy is shown the way to the best placement that is known.

One round, with B simulated networks, T slots:

    1. play: in a share `led` of the slots by search, else by the policy being trained, so that it sees where its own
       moves lead
    2. label: iterated local search knows a best placement for every network and improves on it in every slot. Where all
       the way there repays its cost within `payback_slots`, every feasible move on the way that is worth at least half
       of the best is right; where it does not, the best single move that repays its own, or else staying
    3. loss = -mean(log Σ π(a|s) over the right a), which leaves it to the policy which of them comes first
    4. a few gradient steps on this round and as much of earlier ones

Search needs the model and time; the policy needs one pass. What search cannot tell, what is worth a detour in time, is
left to A2C, which goes on from here. Source: ours (docs/agent.md, "Imitation"); step 1 is DAgger's
(arXiv:1011.0686).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.compiled_policy import CompiledPolicy
from agent.fused import scored
from agent.iterated import Target
from agent.network import ObservationTensors, PolicyNetwork, cachefuls, tensors
from agent.planners import moved_to
from twin.fast import BatchSim
from twin.features import Observation
from twin.search import Search
from twin.state import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ImitationConfig:
    """As above; `kicks` searches per slot and network, `first_kicks` in an episode's first. `steps` gradient steps of
    `batch` labelled states after each round, from the newest `kept` of its networks' size."""

    led: float = 0.3
    kicks: int = 10
    first_kicks: int = 150
    payback_slots: float = 10.0
    steps: int = 24
    batch: int = 256
    kept: int = 8192
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0


class Guide:
    """What search would do in every instance of a simulator."""

    def __init__(self, sim: BatchSim, config: ImitationConfig) -> None:
        self._sim, self._config, self._slot = sim, config, 0
        self._targets = [Target() for _ in range(sim.size)]

    def labels(self, mask: BoolArray) -> BoolArray:
        """Step 2: which actions are right, [B, 1 + V·S]; `mask` [B, V, S] is what is feasible."""
        kicks = self._config.kicks if self._slot else self._config.first_kicks
        self._slot += 1
        right = np.zeros((len(mask), 1 + mask[0].size), dtype=np.bool_)
        for b, target in enumerate(self._targets):
            found = self._sim.search(b)
            best = target.improve(found, float(self._slot), kicks=kicks)
            self._label(found, best, mask[b], right[b])
        return right

    def _label(self, found: Search, best: IntArray, mask: BoolArray, right: BoolArray) -> None:
        now, payback = found.seen.hosts, self._config.payback_slots
        way = np.flatnonzero(now != best)
        pays = payback * (found.cost(now) - found.cost(best)) > float(found.move_price[way].sum())
        steps = [int(v) for v in way if mask[v, best[v]]] if pays else []
        if steps:
            worth = _worths(found, best, steps)
            chosen = [(v, int(best[v])) for v, w in zip(steps, worth, strict=True) if w >= 0.5 * worth.max()
                      or worth.max() <= 0.0]  # fmt: skip
        else:
            chosen = [(p.vnf, p.server) for p in found.plan(mask, payback_slots=payback, deep=False)]
        for v, s in chosen:
            right[1 + v * mask.shape[1] + s] = True
        right[0] = not chosen


def _worths(found: Search, best: IntArray, steps: Sequence[int]) -> FloatArray:
    now, cost = found.seen.hosts, found.cost(found.seen.hosts)
    costs = []
    for v in steps:
        costs.append(found.cost(moved_to(now, v, int(best[v]))))
    return cost - np.array(costs)


@dataclass(frozen=True, eq=False)
class Lessons:
    """Labelled states, [N, ...]."""

    seen: ObservationTensors
    right: Tensor

    def __len__(self) -> int:
        return len(self.right)

    def rows(self, rows: Tensor | slice) -> Lessons:
        return Lessons(ObservationTensors(*(field[rows] for field in self.seen)), self.right[rows])


def joined(parts: Sequence[Lessons]) -> Lessons:
    fields = zip(*(part.seen for part in parts), strict=True)
    return Lessons(ObservationTensors(*(torch.cat(field) for field in fields)), torch.cat([p.right for p in parts]))


def play_guided(
    sims: Sequence[BatchSim], network: PolicyNetwork, config: ImitationConfig, *, slots: int, rng: np.random.Generator
) -> Iterator[Lessons]:
    """Steps 1 and 2: one slot of all the simulators at a time, from a reset; their networks are of one size."""
    scores, guides = CompiledPolicy(network.function()), [Guide(sim, config) for sim in sims]
    seen = [sim.reset() for sim in sims]
    for _ in range(slots):
        right = np.concatenate([guide.labels(o["mask"]) for guide, o in zip(guides, seen, strict=True)])
        fields = ObservationTensors._fields
        both = Observation(*(np.concatenate([o[f] for o in seen]) for f in fields))  # type: ignore[literal-required]
        yield Lessons(tensors(both), torch.from_numpy(right))
        actions = _played(scores(both).logits, right, config.led, rng)
        ends = np.cumsum([sim.size for sim in sims])[:-1]
        seen = [sim.step(part)[0] for sim, part in zip(sims, np.split(actions, ends), strict=True)]


def _played(logits: np.ndarray, right: BoolArray, led: float, rng: np.random.Generator) -> IntArray:
    """Step 1: an action per row, drawn from the policy or among the right ones."""
    noise = rng.gumbel(size=logits.shape)
    own = (logits + noise).argmax(axis=-1)
    shown = np.where(right, noise, -np.inf).argmax(axis=-1)
    result: IntArray = np.where(rng.random(len(logits)) < led, shown, own)
    return result


def study(
    network: PolicyNetwork,
    optimizer: torch.optim.Optimizer,
    lessons: Lessons,
    config: ImitationConfig,
    rng: torch.Generator,
) -> float:
    """Step 4: some gradient steps; the mean loss of the last."""
    loss = float("nan")
    for _ in range(config.steps):
        batch = lessons.rows(torch.randint(len(lessons), (config.batch,), generator=rng))
        optimizer.zero_grad()
        loss = 0.0
        for rows in cachefuls(batch.seen):
            part = batch.rows(rows)
            value = imitation_loss(network, part) * (len(part) / len(batch))
            value.backward()  # type: ignore[no-untyped-call]
            loss += float(value.detach())
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        optimizer.step()
    return loss


def imitation_loss(network: PolicyNetwork, lessons: Lessons) -> Tensor:
    """Step 3."""
    log_probabilities = torch.log_softmax(scored(network, lessons.seen)[0], dim=-1)
    return -torch.logsumexp(log_probabilities.masked_fill(~lessons.right, -1e9), dim=-1).mean()
