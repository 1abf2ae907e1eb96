"""`encode`: the one road from a state to what the policy sees, in training and live alike.

Every feature is a ratio, finite and clipped to ±5, so that one policy serves any number of servers, VNFs and chains.
The names below are the only declaration of the features; `SCHEMA_HASH` stands in every checkpoint.
Source: paper (the eight state components); ours: the rest (docs/model.md, "Features").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin.feature_kernels import Sheets, write_features
from twin.forecast import Forecast
from twin.model import changes, model, work
from twin.plan_kernels import plans
from twin.routing import Routes, configured_routes
from twin.scenario import Scenario
from twin.state import BoolArray, NetworkState
from twin.trial import see, try_moves

Float32Array = npt.NDArray[np.float32]

VNF_FEATURES = (
    "cpu_on_host",  # demand / cores of its host
    "cpu_of_mean_server",  # demand / mean cores of the servers
    "memory_on_host",  # demand / memory of its host
    "position",  # (index + 1) / (length of its chain + 1)
    "chain_length",  # VNFs in its chain / 7
    "traffic_of_mean_chain",  # offered traffic of its chain / mean over the chains
    "traffic_of_mean_link",  # offered traffic of its chain / mean link bandwidth
    "chain_delay_measured",  # measured E2E delay / tolerable delay
    "chain_delay_modelled",  # modelled E2E delay / tolerable delay
    "chain_loss",  # share of probes lost
    "forecast_growth",  # log(forecast / offered)
    "forecast_spread",  # standard deviation of the forecast / offered
    "alone",  # no other VNF on its host
    "state_size",  # log(1 + state in MB) / 5
    "reading_age",  # age of its chain's traffic reading / 10 periods, at most 1
)
SERVER_FEATURES = (
    "up",
    "awake",  # ξ
    "hosting",  # ψ
    "cpu",  # ρ
    "memory",  # ι
    "power",  # φ / greatest peak power of a server
    "processing_delay",  # ϱ / mean tolerable delay
    "core",  # 1 core tier, 0 edge tier
    "sleep_power",  # / greatest peak power, as the next two
    "idle_power",
    "dynamic_power",  # peak - idle
    "wake_energy",  # wake energy / (greatest peak power · period)
    "cores",  # / most cores of a server
    "memory_size",  # / most memory of a server
    "vnf_share",  # share of all VNFs that it hosts
    "forecast_cpu",  # modelled utilisation under the forecast traffic
    "reading_age",  # age of its CPU reading / 10 periods, at most 1
    "emptying_gain",  # of the best plan that empties it (-1: none), under the forecast traffic
)
PAIR_FEATURES = (
    "present",  # the VNF runs there now: all changes are 0
    "delay_change",  # modelled change of the traffic-weighted mean E2E delay / its present value
    "power_change",  # modelled change of total power / its present value
    "gain",  # -(τ1 · delay_change + τ2 · power_change)
    "gain_forecast",  # the same under the forecast traffic
    "chain_delay_after",  # modelled delay of the VNF's chain after the move / tolerable delay
    "cpu_after",  # utilisation of the target after the move
    "memory_after",
    "link_after",  # greatest utilisation on the two new segments after the move
    "detour",  # change of propagation / tolerable delay
    "wakes",  # the target sleeps
    "empties",  # the present host is left without a VNF
    "run_gain",  # of the best plan by which the VNF goes there with neighbours of its chain, under the forecast traffic
    "merge_gain",  # of the plan by which all VNFs of its host go there, as the next two
    "emptying_gain",  # of the plan that empties its host, the VNF's block going there
    "plan_gain",  # the greatest of these and of gain_forecast
)
GLOBAL_FEATURES = (
    "tau_delay",
    "tau_energy",
    "cpu_mean",
    "cpu_max",
    "memory_mean",
    "link_mean",  # measured load / bandwidth over both directions
    "link_max",
    "awake_share",
    "hosting_share",
    "delay",  # modelled mean E2E delay / mean tolerable delay
    "late_share",  # share of chains whose modelled delay is above the tolerable one
    "power",  # power of all servers / sum of their peaks
    "forecast_growth",  # log(forecast / offered), all chains together
    "feasible_share",  # share of (VNF, server) pairs that the mask allows
    "servers",  # log(1 + S) / 5
    "vnfs",  # log(1 + V) / 5
)
_SCHEMA = ("1", *VNF_FEATURES, "|", *SERVER_FEATURES, "|", *PAIR_FEATURES, "|", *GLOBAL_FEATURES)
SCHEMA_HASH = hashlib.sha256(" ".join(_SCHEMA).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Observation:
    """What the policy sees. V VNFs, S servers; all arrays float32 but the mask.

    `vnf` [V, Fv], `server` [S, Fs], `pair` [V, S, Fp], `glob` [Fg], `mask` [V, S] (True: the move is feasible).
    """

    vnf: Float32Array
    server: Float32Array
    pair: Float32Array
    glob: Float32Array
    mask: BoolArray


def encode(
    scenario: Scenario, state: NetworkState, forecast: Forecast, mask: BoolArray, routes: Routes | None = None
) -> Observation:
    """The observation of one state; of the forecast, the mean over its slots.

    `routes` default to those over the state's live links with configured delays.
    """
    routes = routes or configured_routes(scenario, state.link_up)
    m = model(scenario, routes)
    trial, seen, allowed = (
        try_moves(scenario, routes, state),
        see(scenario, m, state, forecast),
        np.asarray(mask, np.bool_),
    )
    seen.background[:] = trial.seen.background
    out = empty_sheets(1, len(scenario.vnfs), len(scenario.servers))
    sheets = Sheets(out.vnf[0], out.server[0], out.pair[0], out.glob[0])
    write_features(m, seen, allowed, trial.changes, trial.work, work(m), changes(m), plans(m), sheets)
    return Observation(*sheets, allowed)


def empty_sheets(batch: int, vnfs: int, servers: int) -> Sheets:
    """Zeroed feature arrays with a leading batch axis."""
    return Sheets(
        vnf=np.zeros((batch, vnfs, len(VNF_FEATURES)), dtype=np.float32),
        server=np.zeros((batch, servers, len(SERVER_FEATURES)), dtype=np.float32),
        pair=np.zeros((batch, vnfs, servers, len(PAIR_FEATURES)), dtype=np.float32),
        glob=np.zeros((batch, len(GLOBAL_FEATURES)), dtype=np.float32),
    )
