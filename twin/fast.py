"""`BatchSim`: many seeded instances of the simulated network at once, compiled, for training.

It shares costs, routing, feasibility and features with `twin.simulator.TwinWorld`, which is the readable reference.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from twin.costs import MigrationCost
from twin.feasibility import Limits
from twin.scenario import Scenario

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]


class BatchObservation(TypedDict):
    """`twin.features.Observation` with a leading batch axis B. The arrays are reused: copy what must outlive a step."""

    vnf: Float32Array  # [B, V, Fv]
    server: Float32Array  # [B, S, Fs]
    pair: Float32Array  # [B, V, S, Fp]
    glob: Float32Array  # [B, Fg]
    mask: npt.NDArray[np.bool_]  # [B, V, S]


class BatchInfo(TypedDict):
    """The slot just simulated, per instance [B]."""

    delay_ms: FloatArray  # traffic-weighted mean E2E delay
    delay0_ms: FloatArray  # the same had nothing ever moved
    energy_j: FloatArray
    energy0_j: FloatArray
    moved: npt.NDArray[np.bool_]
    illegal: npt.NDArray[np.bool_]  # the action was masked: the instance stayed and was charged the penalty
    late_chains: npt.NDArray[np.int64]  # chains above their tolerable delay
    final_obs: BatchObservation | None  # before the auto-reset, where any instance is done (bootstrap from it)


class BatchSim:
    """`batch` instances of `slots` control periods each, auto-reset.

    Action 0 is stay, 1 + v·S + s moves VNF v to server s. With `randomise`, every episode starts at a random time of
    the day, with another traffic seed, scaled traffic and a random feasible placement (which is also the never-move
    reference of its reward); without, instance b is the scenario itself with seed `seed + b`, from time 0.
    `forecast_slots` > 0 shows the mean of the true traffic of that many next slots as the forecast, with a relative
    Gaussian error `forecast_error`; 0 shows persistence. `features=False` leaves all but `mask` of the observation
    untouched (physics only, for look-ahead and speed).
    """

    def __init__(
        self,
        scenario: Scenario,
        batch: int,
        seed: int,
        *,
        randomise: bool = True,
        slots: int = 64,
        migration: MigrationCost | None = None,
        limits: Limits | None = None,
        illegal_penalty: float = 0.1,
        forecast_slots: int = 0,
        forecast_error: float = 0.0,
        truth: Scenario | None = None,
        features: bool = True,
    ) -> None:
        raise NotImplementedError

    def reset(self) -> BatchObservation:
        """Starts a new episode in every instance."""
        raise NotImplementedError

    def step(
        self, actions: npt.NDArray[np.integer]
    ) -> tuple[BatchObservation, Float32Array, npt.NDArray[np.bool_], BatchInfo]:
        """One control period: (observation after it, reward [B], done by time limit [B], what happened)."""
        raise NotImplementedError
