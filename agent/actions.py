"""Actions as numbers and as words: 0 is stay, 1 + v·S + s moves VNF v to server s (rows of the scenario's order).

One decision per control period. Source: paper (the target server of a VNF of a VNF-FG); which VNF, and staying, are
ours (docs/agent.md, "Actions").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twin.scenario import Scenario
from twin.state import BoolArray

STAY = 0


def action_count(scenario: Scenario) -> int:
    """1 + V·S."""
    return 1 + len(scenario.vnfs) * len(scenario.servers)


def move_action(vnf: int, server: int, *, servers: int) -> int:
    """The number of moving VNF row `vnf` to server row `server` where there are `servers` servers."""
    return 1 + vnf * servers + server


def moved(action: int, *, servers: int) -> tuple[int, int]:
    """(VNF row, server row) of a move. ValueError for stay, which moves nothing."""
    if action == STAY:
        raise ValueError("stay moves nothing")
    return divmod(action - 1, servers)


def legal_actions(mask: BoolArray) -> BoolArray:
    """[..., 1 + V·S] from a mask [..., V, S] of feasible moves; stay is always legal."""
    flat = mask.reshape(*mask.shape[:-2], -1)
    stay: npt.NDArray[np.bool_] = np.ones((*flat.shape[:-1], 1), dtype=np.bool_)
    return np.concatenate([stay, flat], axis=-1)
