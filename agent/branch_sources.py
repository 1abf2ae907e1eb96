"""Where branches start and what traffic they are offered: what was recorded, or what the learned networks make.

Source: paper (a VAE that generates states, an LSTM that predicts); ours: that both are options, and that a start's
level and its course are taken apart (docs/agent.md, "Synthetic experience").
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from twin.branches import random_placements
from twin.experience import Experience, Starts
from twin.learned.growing import GrowingTwin
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray

HISTORY = 8  # slots that the LSTM reads before it continues them


class Traffic(StrEnum):
    """What is offered in a branch's slots."""

    RECORDED = "recorded"  # what was offered after that moment, so that there must be such slots
    SAMPLED = "sampled"  # drawn from the LSTM, slot after slot
    HELD = "held"  # what was offered before the branch: persistence


class Origin(StrEnum):
    """Whose traffic a branch starts from."""

    RECORDED = "recorded"
    GENERATED = "generated"  # the VAE's, of a plausible state with this placement


class Drawn(NamedTuple):
    """B starts, and the traffic [B, H, C] that follows them."""

    starts: Starts
    traffic_mbps: FloatArray


class Sources:
    """Draws starts and traffic. A share `elsewhere` of the starts has its VNFs at random servers; the moments are of
    the `recent` newest slots. `updates` per fit of the networks, if any is used."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        traffic: Traffic,
        origin: Origin,
        elsewhere: float,
        recent: int,
        updates: int,
        rng: np.random.Generator,
    ) -> None:
        self.scenario, self._rng = scenario, rng
        self._traffic, self._origin, self._elsewhere, self._recent = traffic, origin, elsewhere, recent
        generates = origin is Origin.GENERATED
        self._learned: GrowingTwin | None = None
        if generates or traffic is Traffic.SAMPLED:
            own = rng.spawn(1)[0]  # so that what else is drawn does not depend on whether networks are used
            self._learned = GrowingTwin(
                scenario, updates=updates, generates=generates, seed=int(own.integers(2**31)), rng=own
            )

    def learn(self, experience: Experience) -> None:
        """Fits the networks that are used, where enough more was read."""
        if self._learned is not None:
            self._learned.learn(experience)

    def draw(self, experience: Experience, count: int, horizon: int) -> Drawn | None:
        """`count` starts, and `horizon` slots of traffic; None while nothing can be drawn."""
        if self._learned is not None and not self._learned.ready:
            return None
        follow = horizon if self._traffic is Traffic.RECORDED else 0
        windows = experience.windows(follow)
        windows = windows[windows[:, 0] >= len(experience) - follow - self._recent]
        if not len(windows):
            return None
        at: IntArray = windows[self._rng.integers(len(windows), size=count)]
        starts = self._placed(experience.starts(at))
        factor = self._factor(starts)
        traffic = self._following(experience, at, horizon, factor)
        return Drawn(replace(starts, offered_mbps=starts.offered_mbps * factor), traffic)

    def _placed(self, starts: Starts) -> Starts:
        """Some of them with the VNFs elsewhere."""
        hosts = random_placements(self.scenario, len(starts), self._rng, offered_mbps=starts.offered_mbps)
        return starts.either(starts.placed(hosts), self._rng.random(len(starts)) < self._elsewhere)

    def _factor(self, starts: Starts) -> FloatArray:
        """[B, C] from the recorded traffic to the generated one: the course that follows keeps its shape."""
        if self._origin is Origin.RECORDED or self._learned is None:
            return np.ones_like(starts.offered_mbps)
        encoder = self._learned.encoder
        drawn, seen = self._learned.levels(starts.hosts), encoder.levels(starts.offered_mbps)
        result: FloatArray = np.exp(np.clip(drawn - seen, -2.0, 2.0))
        return result

    def _following(self, experience: Experience, at: IntArray, horizon: int, factor: FloatArray) -> FloatArray:
        if self._traffic is Traffic.RECORDED:
            return experience.traffic(at, horizon) * factor[:, None]
        if self._traffic is Traffic.SAMPLED and self._learned is not None:
            return self._learned.continued(experience.history(at, HISTORY) * factor[:, None], horizon)
        return np.repeat(experience.history(at, 1) * factor[:, None], horizon, axis=1)
