"""Plays the policy being trained in many simulated networks at once and keeps what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from agent.a2c import A2CConfig, Rollout, draw
from agent.actions import legal_actions
from agent.compiled_policy import CompiledPolicy
from agent.network import ObservationTensors, PolicyNetwork, tensors
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
        self._firsts = np.cumsum([0, *sizes])[:-1]
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
        for number, sim in enumerate(self._sims):
            self._stagger(sim, number * slots // len(self._sims), sizes[number])
        self._seen = self._step(np.zeros(config.batch, dtype=np.int64))[0]

    @staticmethod
    def _stagger(sim: BatchSim, slots: int, size: int) -> None:
        for _ in range(slots):
            sim.step(np.zeros(size, dtype=np.int64))

    def fit_scalers(self, rng: np.random.Generator) -> None:
        """Freezes the network's input scalers on what uniformly random legal moves show."""
        seen = []
        for _ in range(_SCALER_SLOTS):
            legal = legal_actions(self._seen.mask.numpy())
            self._seen = self._step((rng.random(legal.shape) * legal).argmax(axis=-1))[0]
            seen.append(self._seen)
        self._network.fit_scalers(_stacked(seen))

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
        """Steps 1 and 2 of `agent.a2c`: T slots with the network as it is."""
        seen, actions, rewards, values, cuts = [], [], [], [], []
        finals: dict[int, torch.Tensor] = {}
        scored = _scorer(self._network)
        for slot in range(self._config.n_steps):
            logits, value = scored(self._seen)
            action = draw(logits, self._rng)
            seen.append(self._seen)
            values.append(value)
            actions.append(action)
            self._seen, reward, cut, final = self._step(action.numpy())
            rewards.append(reward)
            cuts.append(cut)
            if final is not None:
                finals[slot] = scored(final)[1]
        successors = [*values[1:], scored(self._seen)[1]]
        for slot, final_value in finals.items():
            successors[slot] = torch.where(cuts[slot], final_value, successors[slot])
        stacked = (torch.stack(part) for part in (actions, rewards, values, successors, cuts))
        return Rollout(_stacked(seen), *stacked)

    def _step(
        self, actions: np.ndarray
    ) -> tuple[ObservationTensors, torch.Tensor, torch.Tensor, ObservationTensors | None]:
        """(observation, reward [B], cut by the time limit [B], observation before the reset where any was cut)."""
        parts = np.split(actions, self._firsts[1:])
        seen, rewards, cuts, finals = [], [], [], []
        for sim, part in zip(self._sims, parts, strict=True):
            observation, reward, cut, happened = sim.step(part)
            seen.append(observation)
            rewards.append(reward.copy())
            cuts.append(cut.copy())
            finals.append(happened["final_obs"])
        final = None
        if any(f is not None for f in finals):
            final = _joined([o if f is None else f for f, o in zip(finals, seen, strict=True)])
        return (
            _joined(seen),
            torch.from_numpy(np.concatenate(rewards)),
            torch.from_numpy(np.concatenate(cuts)),
            final,
        )


def _scorer(network: PolicyNetwork) -> Callable[[ObservationTensors], tuple[torch.Tensor, torch.Tensor]]:
    """(logits, values) of the network as it is now, compiled: torch takes several times as long."""
    compiled = CompiledPolicy(network.function())

    def scored(seen: ObservationTensors) -> tuple[torch.Tensor, torch.Tensor]:
        scores = compiled(Observation(*(field.numpy() for field in seen)))
        return torch.from_numpy(scores.logits), torch.from_numpy(scores.value)

    return scored


def _joined(parts: Sequence[BatchObservation]) -> ObservationTensors:
    """One batch of several; copies, since simulators reuse their arrays."""
    fields = ObservationTensors._fields
    return tensors(Observation(*(np.concatenate([part[f] for part in parts]) for f in fields)))  # type: ignore[literal-required]


def _stacked(slots: Sequence[ObservationTensors]) -> ObservationTensors:
    return ObservationTensors(*(torch.stack(field) for field in zip(*slots, strict=True)))
