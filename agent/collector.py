"""Plays the policy being trained in many simulated networks at once and keeps what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from agent.a2c import A2CConfig, Rollout
from agent.actions import legal_actions
from agent.compiled_policy import CompiledPolicy
from agent.network import ObservationTensors, PolicyNetwork, tensors
from agent.policy_loss import draw
from twin.fast import BatchObservation, BatchSim
from twin.features import Observation
from twin.scenario import Scenario

GROUPS = 4  # simulators whose episodes start at different slots, so that no rollout sees only young episodes
_GROUP_SEEDS = 10_000  # apart; one that is not randomised takes a new seed for every episode
_SCALER_SLOTS = 16


class Collector:
    """Endless rollouts of T slots in B instances of one scenario (`config.n_steps`, `config.batch`).

    Every other group plays the scenario as in its file, with fresh traffic in each episode; the others start anywhere.
    """

    def __init__(
        self,
        scenario: Scenario,
        network: PolicyNetwork,
        config: A2CConfig,
        *,
        rng: torch.Generator,
        seed: int,
    ) -> None:
        slots = config.episode_slots
        self._network, self._config, self._rng = network, config, rng
        sizes = [len(part) for part in np.array_split(np.arange(config.batch), min(GROUPS, config.batch))]
        ends = np.cumsum([0, *sizes]).tolist()
        self._groups = [slice(first, end) for first, end in pairwise(ends)]
        self._sims = [
            BatchSim(
                scenario,
                size,
                seed + number * _GROUP_SEEDS,
                randomise=number % 2 == 1,
                slots=slots,
                smoothing=config.smoothing,
            )
            for number, size in enumerate(sizes)
        ]
        self._seen = _joined([sim.reset() for sim in self._sims])
        self._room = _blank(self._seen, config.n_steps + 1)  # kept: fresh pages cost more than filling them
        for number, sim in enumerate(self._sims):
            self._stagger(sim, number * slots // len(self._sims), sizes[number])
        self._step(np.zeros(config.batch, dtype=np.int64), self._seen)

    @staticmethod
    def _stagger(sim: BatchSim, slots: int, size: int) -> None:
        for _ in range(slots):
            sim.step(np.zeros(size, dtype=np.int64))

    def wander(self, rng: np.random.Generator) -> ObservationTensors:
        """What uniformly random legal moves show, [slots, B, ...]: input scalers are frozen on it."""
        shown = _blank(self._seen, _SCALER_SLOTS)
        for slot in range(_SCALER_SLOTS):
            legal = legal_actions(self._seen.mask.numpy())
            self._step((rng.random(legal.shape) * legal).argmax(axis=-1), _at(shown, slot))
            self._seen = _copied(_at(shown, slot))
        return shown

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """All that changes in the simulators, as bytes."""
        return {f"{i}/{name}": array for i, sim in enumerate(self._sims) for name, array in sim.state().items()}

    def restore(self, state: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Goes on from what `state` gave. ValueError where it is of other simulators."""
        seen = []
        for i, sim in enumerate(self._sims):
            prefix = f"{i}/"
            own = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
            seen.append(sim.restore(own))
        self._seen = _joined(seen)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Steps 1 and 2 of `agent.a2c`: T slots with the network as it is. The next call writes over observations."""
        slots, scored, seen = self._config.n_steps, _scorer(self._network), self._room
        logs, actions, rewards, values, cuts = [], [], [], [], []
        finals: list[tuple[int, slice, torch.Tensor]] = []
        _put(self._seen, _at(seen, 0))
        for slot in range(slots):
            logits, value = scored(_at(seen, slot))
            action = draw(logits, self._rng)
            logs.append(logits)
            values.append(value)
            actions.append(action)
            reward, cut, ended = self._step(action.numpy(), _at(seen, slot + 1))
            rewards.append(reward)
            cuts.append(cut)
            finals += [(slot, group, scored(final)[1]) for group, final in ended]
        self._seen = _copied(_at(seen, slots))
        successors = torch.stack([*values[1:], scored(self._seen)[1]])
        for slot, group, final_value in finals:
            successors[slot, group] = torch.where(cuts[slot][group], final_value, successors[slot, group])
        before = ObservationTensors(*(field[:-1] for field in seen))
        parts = [torch.stack(part) for part in (logs, actions, rewards, values)]
        return Rollout(before, parts[0], parts[1], parts[2], parts[3], successors, torch.stack(cuts))

    def _step(
        self, actions: np.ndarray, into: ObservationTensors
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[slice, ObservationTensors]]]:
        """Writes the observation; (reward [B], cut by the time limit [B], and of each group in which any was cut the
        observation before the reset)."""
        rewards, cuts, ended = [], [], []
        for group, sim in zip(self._groups, self._sims, strict=True):
            _, reward, cut, happened = sim.step(actions[group], _part(into, group))
            rewards.append(torch.from_numpy(reward))
            cuts.append(torch.from_numpy(cut))
            if happened["final_obs"] is not None:
                ended.append((group, _shown(happened["final_obs"])))
        return torch.cat(rewards), torch.cat(cuts), ended


def _scorer(network: PolicyNetwork) -> Callable[[ObservationTensors], tuple[torch.Tensor, torch.Tensor]]:
    """(logits, values) of the network as it is now, compiled: torch takes several times as long."""
    compiled = CompiledPolicy(network.function())

    def scored(seen: ObservationTensors) -> tuple[torch.Tensor, torch.Tensor]:
        scores = compiled(Observation(*(field.numpy() for field in seen)))
        return torch.from_numpy(scores.logits), torch.from_numpy(scores.value)

    return scored


def _joined(parts: Sequence[BatchObservation]) -> ObservationTensors:
    """One batch of several; copies, since simulators reuse their arrays."""
    shown = [_shown(part) for part in parts]
    return ObservationTensors(*(torch.cat(field) for field in zip(*shown, strict=True)))


def _shown(part: BatchObservation) -> ObservationTensors:
    """As tensors, which share memory with the simulator's arrays."""
    return tensors(Observation(**part))


def _blank(like: ObservationTensors, slots: int) -> ObservationTensors:
    """Room for so many slots, [slots, B, ...]."""
    return ObservationTensors(*(field.new_empty(slots, *field.shape) for field in like))


def _at(seen: ObservationTensors, slot: int) -> ObservationTensors:
    return ObservationTensors(*(field[slot] for field in seen))


def _part(seen: ObservationTensors, group: slice) -> BatchObservation:
    """The rows of a group as a simulator writes them; they share memory."""
    vnf, server, pair, glob, mask = (field[group].numpy() for field in seen)
    return BatchObservation(vnf=vnf, server=server, pair=pair, glob=glob, mask=mask)


def _put(seen: ObservationTensors, into: ObservationTensors) -> None:
    for field, room in zip(seen, into, strict=True):
        room.copy_(field)


def _copied(seen: ObservationTensors) -> ObservationTensors:
    return ObservationTensors(*(field.clone() for field in seen))
