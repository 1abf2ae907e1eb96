"""`Trial`: every single move of one state tried out on the model, for feasibility, features and planners alike."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twin.feature_kernels import model_seen
from twin.forecast import Forecast
from twin.kernels import measure, settled_power_w
from twin.model import SEEN_CHAIN, SEEN_SERVER, SEEN_VNF, Model, Records, Seen, Work, changes, model, work
from twin.move_kernels import trial_moves
from twin.refusal_kernels import COOLDOWN, FEASIBLE, IN_FLIGHT
from twin.routing import Routes
from twin.samples import Quantity
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray, NetworkState


@dataclass(frozen=True, eq=False)
class Trial:
    """The present placement measured on the model, and what every move would change.

    `mean_ms` and `power_w` are the modelled mean delay and settled total power now; `changes` [V, S] are records
    described in `twin.move_kernels`.
    """

    model: Model
    work: Work
    seen: Seen
    mean_ms: float
    power_w: float
    changes: Records

    @property
    def delay_change_ms(self) -> FloatArray:
        """Change [V, S] of the traffic-weighted mean delay."""
        return np.asarray(self.changes["mean_ms"], dtype=np.float64)

    @property
    def power_change_w(self) -> FloatArray:
        """Change [V, S] of total power once the network has settled."""
        return np.asarray(self.changes["power_w"], dtype=np.float64)


def try_moves(
    scenario: Scenario,
    routes: Routes,
    state: NetworkState,
    *,
    offered_mbps: FloatArray | None = None,
) -> Trial:
    """Tries every move under the traffic that was read, or under `offered_mbps` [C], such as a forecast.

    The newest state's trial is kept, since mask, features and planners all ask for it. States are never written.
    """
    m = model(scenario, routes)
    if offered_mbps is not None:
        return _try(scenario, m, state, np.asarray(offered_mbps, dtype=np.float64))
    newest: tuple[weakref.ref[NetworkState], Trial] | None = getattr(_KEPT, "newest", None)
    if newest is None or newest[0]() is not state or newest[1].model is not m:
        newest = _KEPT.newest = (weakref.ref(state), _try(scenario, m, state, None))
    return newest[1]


_KEPT = threading.local()  # a trial's work space serves one thread


def _try(scenario: Scenario, m: Model, state: NetworkState, offered: FloatArray | None) -> Trial:
    w, seen, found = work(m), see(scenario, m, state), changes(m)
    mean_ms = model_seen(m, seen, w)
    if offered is None:
        offered = seen.offered_mbps
    else:
        mean_ms = measure(m, seen.hosts, offered, seen.ends, seen.background, w)
    trial_moves(m, seen.hosts, offered, seen.ends, w, found)
    return Trial(m, w, seen, mean_ms, settled_power_w(m, w), found)


def see(
    scenario: Scenario,
    m: Model,
    state: NetworkState,
    forecast: Forecast | None = None,
    *,
    stale_after_s: float = float("inf"),
    blocked: IntArray | None = None,
) -> Seen:
    """What feasibility and features need of a state; without a forecast, that of persistence. `blocked` [V]: codes."""
    servers, vnfs, chains = (
        np.zeros(len(rows), dtype=kind)
        for rows, kind in ((m.servers, SEEN_SERVER), (m.vnfs, SEEN_VNF), (m.chains, SEEN_CHAIN))
    )
    servers["awake"], servers["up"], servers["power_w"] = state.awake, state.server_up, state.server_power_w
    servers["cores"] = state.server_cpu * m.servers["cores"]
    servers["memory_mb"] = state.server_memory * m.servers["memory_mb"]
    servers["stale"] = state.stale(Quantity.SERVER_CPU, limit_s=stale_after_s)
    servers["age"] = state.age_s[Quantity.SERVER_CPU] / scenario.period_s
    vnfs["blocked"] = FEASIBLE if blocked is None else blocked
    vnfs["cores"], vnfs["memory_mb"] = state.vnf_cpu_cores, state.vnf_memory_mb
    chains["stale"] = state.stale(Quantity.CHAIN_OFFERED, limit_s=stale_after_s)
    chains["age"] = state.age_s[Quantity.CHAIN_OFFERED] / scenario.period_s
    chains["delay_ms"], chains["loss"] = state.chain_delay_ms, state.chain_loss
    chains["spread_mbps"] = 0.0 if forecast is None else forecast.spread_mbps.mean(axis=0)
    expected = state.offered_mbps if forecast is None else forecast.offered_mbps.mean(axis=0)
    return Seen(
        hosts=state.vnf_server,
        ends=state.endpoint_switch,
        offered_mbps=state.offered_mbps,
        forecast_mbps=np.ascontiguousarray(expected, dtype=np.float64),
        link_mbps=np.ascontiguousarray(state.link_load_mbps).ravel(),
        background=np.zeros(m.access),
        servers=servers,
        vnfs=vnfs,
        chains=chains,
    )


def blocked_vnfs(
    scenario: Scenario, now_s: float, cooldown_s: float, moved_at_s: Mapping[str, float], in_flight: frozenset[str]
) -> IntArray:
    """Code [V] of the VNFs that may not move now: their chain's move is in flight, or they moved lately."""
    codes = np.full(len(scenario.vnfs), FEASIBLE, dtype=np.int64)
    for i, vnf in enumerate(scenario.vnfs):
        if vnf.chain in in_flight:
            codes[i] = IN_FLIGHT
        elif now_s - moved_at_s.get(vnf.id, float("-inf")) < cooldown_s:
            codes[i] = COOLDOWN
    return codes
