"""How sparingly a live controller moves VNFs: the settings of `controller.thrift`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """How sparingly a live controller moves VNFs (docs/model.md, "Sparing moves"). Source: ours.

    A VNF rests `cooldown_s` after a move and `failed_rest_s` after one that failed, doubled by each further failure.
    The gains are of the objective's weighted reductions, by one move alone: `min_gain` of any move (negative: moves may
    prepare others that pay), `min_gain_again` of a VNF that was moved in the last ten minutes.
    """

    cooldown_s: float = 30.0
    moves_per_minute: int = 10
    moves_per_server_minute: int = 8
    max_parallel: int = 2
    min_gain: float = -0.05
    min_gain_again: float = 0.01
    failed_rest_s: float = 20.0
