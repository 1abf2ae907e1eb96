"""`Forecast`: what is predicted of the next slots, and the seam by which any twin gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from twin.state import FloatArray, NetworkState


@dataclass(frozen=True, eq=False)
class Forecast:
    """Offered traffic predicted for the next H slots.

    `offered_mbps` [H, C] is the mean, `spread_mbps` [H, C] one standard deviation. `source` names the forecaster.
    """

    offered_mbps: FloatArray
    spread_mbps: FloatArray
    source: str

    @property
    def horizon(self) -> int:
        return int(self.offered_mbps.shape[0])


class Forecaster(Protocol):
    """Sees every state in order and predicts what follows the newest."""

    def observe(self, state: NetworkState) -> None: ...

    def forecast(self, horizon: int) -> Forecast: ...


class PersistenceForecaster:
    """Tomorrow is like today: the newest reading, repeated. The forecast to beat."""

    def __init__(self) -> None:
        self._last: FloatArray | None = None

    def observe(self, state: NetworkState) -> None:
        self._last = state.offered_mbps

    def forecast(self, horizon: int) -> Forecast:
        """RuntimeError before the first `observe`."""
        if self._last is None:
            raise RuntimeError("forecast asked for before any state was observed")
        offered = np.tile(self._last, (horizon, 1))
        return Forecast(offered, np.zeros_like(offered), "persistence")


class SmoothedForecaster:
    """Exponential smoothing of the readings: for traffic whose noise is greater than its change from slot to slot.

    `weight` is that of the newest reading. As persistence it gives no spread.
    """

    def __init__(self, *, weight: float = 0.2) -> None:
        self.weight = weight
        self._level: FloatArray | None = None

    def observe(self, state: NetworkState) -> None:
        seen = state.offered_mbps
        self._level = seen if self._level is None else self._level + self.weight * (seen - self._level)

    def forecast(self, horizon: int) -> Forecast:
        """RuntimeError before the first `observe`."""
        if self._level is None:
            raise RuntimeError("forecast asked for before any state was observed")
        offered = np.tile(self._level, (horizon, 1))
        return Forecast(offered, np.zeros_like(offered), "smoothed")
