"""What moving a VNF costs, by mode; overridden by the scenario's section `migration` (docs/moves.md, "Costs")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class MigrationCost:
    """What a move costs, calibrated from 49 real moves: about 1.0 s in all, silence below 10 ms.

    Most of the time the new instance is starting while the old one still serves (make before break). `extra_power_w`
    is drawn by both servers while the move lasts; `transfer_j_per_mb` and `transfer_mbps` are for the VNF's state.
    """

    duration_s: float = 1.0
    silence_ms: float = 10.0
    extra_power_w: float = 5.0
    transfer_mbps: float = 200.0
    transfer_j_per_mb: float = 0.1

    def move_s(self, state_mb: float, wake_s: float) -> float:
        """How long a move lasts until packets take the new way; `wake_s` is 0 where the target is awake."""
        return wake_s + self.duration_s + 8.0 * state_mb / self.transfer_mbps

    def energy_j(self, move_s: float, state_mb: float) -> float:
        """Extra energy of both servers and of the transfer; waking is charged to the server that wakes."""
        return 2.0 * self.extra_power_w * move_s + self.transfer_j_per_mb * state_mb

    def delay_ms(self, period_s: float) -> float:
        """Mean delay added to the moved chain in the slot: a packet that meets the silence waits for its end."""
        return self.silence_ms**2 / (2000.0 * period_s)


# What is charged where nothing was measured. A checkpoint of 10 MB through an engine was seen to silence a VNF for
# 0.5 to 1.7 s, stopping and starting for 0.1 to 0.3 s and the VNF's own start.
PRIORS: Mapping[str, MigrationCost] = MappingProxyType({
    "stateless": MigrationCost(),
    "hand_over": MigrationCost(),
    "checkpoint": MigrationCost(duration_s=2.0, silence_ms=1000.0),
    "cold": MigrationCost(duration_s=1.0, silence_ms=500.0),
})  # fmt: skip
