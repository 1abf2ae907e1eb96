"""Real experience for learning from little of it: a few networks, each slot of which is a real step and is recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from agent.actions import legal_actions
from agent.network import ObservationTensors, PolicyNetwork
from agent.trajectory import Step, Trajectory, copied, joined, play_slots, stacked
from twin.experience import Experience, Reading
from twin.fast import BatchObservation, BatchSim
from twin.model import Model
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray
from twin.telemetry import EXACT, Noise

GROUPS = 4  # simulators whose episodes start at different slots
EPISODE_SLOTS = 64
_GROUP_SEEDS = 10_000


class Streams:
    """`streams` networks, played `slots` slots at a time. `experience` holds what was read, with telemetry's `noise`.

    `physics` is the world where it is not the scenario file's. ValueError unless `slots` divides a quarter of an
    episode: no trajectory may span two.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        streams: int,
        slots: int,
        seed: int,
        physics: Model | None = None,
        noise: Noise = EXACT,
    ) -> None:
        if (EPISODE_SLOTS // GROUPS) % slots or streams % GROUPS:
            raise ValueError(f"{slots} slots and {streams} streams: must divide 16 and be a multiple of {GROUPS}")
        self._slots, self._noise, self._rng = slots, noise, np.random.default_rng([seed, 1])
        self._sims = [
            BatchSim(scenario, streams // GROUPS, seed + i * _GROUP_SEEDS, slots=EPISODE_SLOTS, physics=physics)
            for i in range(GROUPS)
        ]
        self.experience = Experience()
        self._seen = [sim.reset() for sim in self._sims]
        for number, sim in enumerate(self._sims):
            for _ in range(number * EPISODE_SLOTS // GROUPS):  # before the counting: no learner sees these
                self._seen[number] = sim.step(np.zeros(sim.size, dtype=np.int64))[0]
        self._record([self._reading(sim) for sim in self._sims])

    def collect(self, network: PolicyNetwork, rng: torch.Generator) -> Trajectory:
        """The next slots of all streams under the policy as it is."""
        parts, read = [], []
        for number in range(GROUPS):
            found: list[Reading] = []
            parts.append(play_slots(network, self._seen[number], self._stepper(number, found), self._slots, rng))
            read.append(found)
        for readings in zip(*read, strict=True):
            self._record(list(readings))
        return joined(parts)

    def believe(self, belief: Model) -> None:
        """What the policy is shown is computed on this model from the next slot on."""
        for sim in self._sims:
            sim.believe(belief)

    def random_moves(self, slots: int, rng: np.random.Generator) -> ObservationTensors:
        """What uniformly random legal moves show [slots, B, ...]; neither recorded nor a step: for scalers only."""
        shown = []
        for sim in self._sims:
            other = BatchSim(sim.scenario, sim.size, int(rng.integers(2**31)), slots=EPISODE_SLOTS)
            seen = other.reset()
            for _ in range(slots):
                legal = legal_actions(seen["mask"])
                seen = other.step((rng.random(legal.shape) * legal).argmax(axis=-1))[0]
                shown.append(copied(seen))
        return stacked(shown)

    def _stepper(self, number: int, found: list[Reading]) -> Step:
        sim = self._sims[number]

        def step(actions: IntArray) -> tuple[BatchObservation, np.ndarray]:
            self._seen[number], reward, _, happened = sim.step(actions)
            found.append(self._reading(sim))
            final = happened["final_obs"]
            return (self._seen[number] if final is None else final), reward

        return step

    def _reading(self, sim: BatchSim) -> Reading:
        """What telemetry would say: the truth with its noise."""
        true, noise, rng = sim.reading(), self._noise, self._rng

        def read(values: FloatArray) -> FloatArray:
            return np.maximum(values * (1.0 + noise.relative * rng.standard_normal(values.shape)), 0.0)

        delay_ms = true.chain_delay_ms + noise.delay_ms * rng.standard_normal(true.chain_delay_ms.shape)
        return replace(
            true,
            chain_delay_ms=np.maximum(delay_ms, 0.0),
            offered_mbps=read(true.offered_mbps),
            server_cores=read(true.server_cores),
        )

    def _record(self, readings: list[Reading]) -> None:
        self.experience.add([readings[0].joined(*readings[1:])])
