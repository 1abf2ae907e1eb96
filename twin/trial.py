"""`Trial`: every single move of one state tried out on the model, for feasibility, features and planners alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twin.feature_kernels import find_background
from twin.kernels import measure, settled_power_w
from twin.model import Model, Work, model, work
from twin.move_kernels import COLUMNS, MEAN_MS, POWER_W, trial_moves
from twin.refusal_kernels import COOLDOWN, FEASIBLE, IN_FLIGHT, Readings
from twin.routing import Routes
from twin.samples import Quantity
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray, NetworkState


@dataclass(frozen=True, eq=False)
class Trial:
    """The present placement measured on the model, and what every move would change.

    `mean_ms` and `power_w` are the modelled mean delay and settled total power now; `changes` [V, S, 7] has the
    columns named in `twin.move_kernels`; `background` [2L] is load on the links that is not ours.
    """

    model: Model
    work: Work
    background: FloatArray
    mean_ms: float
    power_w: float
    changes: FloatArray

    @property
    def delay_change_ms(self) -> FloatArray:
        """Change [V, S] of the traffic-weighted mean delay."""
        return self.changes[:, :, MEAN_MS]

    @property
    def power_change_w(self) -> FloatArray:
        """Change [V, S] of total power once the network has settled."""
        return self.changes[:, :, POWER_W]


def try_moves(
    scenario: Scenario,
    routes: Routes,
    state: NetworkState,
    *,
    offered_mbps: FloatArray | None = None,
    link_limit: float = 0.95,
) -> Trial:
    """Tries every move under the traffic that was read, or under `offered_mbps` [C], such as a forecast."""
    m = model(scenario, routes)
    w = work(m)
    hosts, ends = state.vnf_server, state.endpoint_switch
    background = np.zeros_like(m.background)
    measure(m, hosts, state.offered_mbps, ends, background, w)
    find_background(m, w, state.link_load_mbps.ravel(), background)
    offered = state.offered_mbps if offered_mbps is None else np.asarray(offered_mbps, dtype=np.float64)
    mean_ms = measure(m, hosts, offered, ends, background, w)
    changes = np.zeros((len(hosts), len(scenario.servers), COLUMNS))
    trial_moves(m, hosts, offered, ends, link_limit, w, changes)
    return Trial(m, w, background, mean_ms, settled_power_w(m, w), changes)


def readings(
    scenario: Scenario,
    m: Model,
    state: NetworkState,
    *,
    stale_after_s: float = float("inf"),
    cooldown_s: float = 0.0,
    moved_at_s: Mapping[str, float] | None = None,
    in_flight: frozenset[str] = frozenset(),
) -> Readings:
    """What feasibility and features need of a state besides placement and traffic."""
    return Readings(
        server_cores=state.server_cpu * m.t.cpu_cores,
        server_memory_mb=state.server_memory * m.t.memory_mb,
        vnf_cores=state.vnf_cpu_cores,
        vnf_memory_mb=state.vnf_memory_mb,
        server_up=state.server_up,
        server_stale=state.stale(Quantity.SERVER_CPU, limit_s=stale_after_s),
        chain_stale=state.stale(Quantity.CHAIN_OFFERED, limit_s=stale_after_s),
        vnf_blocked=_blocked(scenario, state.at_s, cooldown_s, moved_at_s or {}, in_flight),
    )


def _blocked(
    scenario: Scenario, now_s: float, cooldown_s: float, moved_at_s: Mapping[str, float], in_flight: frozenset[str]
) -> IntArray:
    codes = np.full(len(scenario.vnfs), FEASIBLE, dtype=np.int64)
    for i, vnf in enumerate(scenario.vnfs):
        if vnf.chain in in_flight:
            codes[i] = IN_FLIGHT
        elif now_s - moved_at_s.get(vnf.id, float("-inf")) < cooldown_s:
            codes[i] = COOLDOWN
    return codes
