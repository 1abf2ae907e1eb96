"""`BatchSim`: many seeded instances of the simulated network at once, compiled, for training.

It shares costs, routing, feasibility and features with `twin.simulator.TwinWorld`, which is the readable reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import astuple
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from twin.batch import Life, Settings, new_batch, new_life
from twin.experience import Reading
from twin.feasibility import Limits
from twin.feature_kernels import Sheets
from twin.features import empty_sheets
from twin.handed import Handed
from twin.migration_cost import MigrationCost
from twin.model import Bounds, Model, Records, Seen, model
from twin.move_modes import move_costs
from twin.routing import configured_routes
from twin.scenario import DiurnalTraffic, Scenario, TraceTraffic
from twin.search import Search, search_seen
from twin.slot_kernels import MOVE_COST
from twin.step_kernels import NONE, RESET, REST, retrace_all, run

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
    reference of its reward); without, instance b is the scenario itself from time 0 with seed
    `seed + b` in its first episode, `seed + b + batch` in its second, and so on.
    `forecast_slots` > 0 shows the mean of the true traffic of that many next slots as the forecast, with a relative
    Gaussian error `forecast_error`; 0 shows the past smoothed as by `twin.forecast.SmoothedForecaster`, `smoothing`
    being the weight of the newest reading: 1 is persistence. `features=False` leaves the observation untouched (physics
    only, for search and speed). `truth` is the world as it is where it differs from the scenario file that features
    and feasibility believe in (same objects, other numbers). Links stay up; `TwinWorld` can cut them.
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
        smoothing: float = 1.0,
        truth: Scenario | None = None,
        features: bool = True,
        physics: Model | None = None,
    ) -> None:
        self.scenario, self.size = scenario, batch
        world = truth or scenario
        _check(scenario, world, batch, slots)
        belief, bounds = model(scenario, configured_routes(scenario)), limits or Limits()
        reality = physics or model(world, configured_routes(world))
        settings = Settings(
            costs=np.array([astuple(cost) for cost in move_costs(world, migration)], dtype=MOVE_COST),
            bounds=Bounds(bounds.cpu, bounds.link),
            cooldown_s=bounds.cooldown_s,
            illegal_penalty=illegal_penalty,
            randomise=randomise,
            slots=slots,
            start_slots=_start_slots(world),
            forecast_slots=forecast_slots,
            forecast_error=forecast_error,
            smoothing=smoothing,
            features=features,
            known=belief is reality,
        )
        arrays = new_batch(belief, batch, seed, truth=reality)
        self._handed = Handed(new_life(scenario, settings, arrays, belief=belief, truth=reality, world=world))
        self._own = self._newest = observation(
            empty_sheets(batch, len(scenario.vnfs), len(scenario.servers)), self._life.mask
        )
        self._actions = 1 + len(scenario.vnfs) * len(scenario.servers)

    @property
    def _life(self) -> Life:
        return self._handed.value

    @property
    def hosts(self) -> npt.NDArray[np.int64]:
        """The present placement [B, V] as rows of servers (a copy)."""
        return self._life.batch.seen.hosts.copy()

    @property
    def offered_mbps(self) -> FloatArray:
        """The traffic of the last slot [B, C] (a copy)."""
        return self._life.batch.seen.offered_mbps.copy()

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """All that changes, as bytes (copies): with it `restore` makes another simulator of the same arguments go on
        from here, bit for bit."""
        return {name: array.reshape(-1).view(np.uint8).copy() for name, array in self._changing().items()}

    def restore(self, state: Mapping[str, npt.NDArray[np.uint8]]) -> BatchObservation:
        """Takes over what `state` gave. ValueError where it is of a simulator of other sizes."""
        self._newest = self._own
        for name, array in self._changing().items():
            kept = state.get(name)
            if kept is None or kept.size != array.nbytes:
                raise ValueError(f"{name}: not of this simulator")
            array.reshape(-1).view(np.uint8)[:] = kept
        retrace_all(self._handed)
        return self._newest

    def _changing(self) -> dict[str, npt.NDArray[Any]]:
        batch, seen = self._life.batch._asdict(), self._life.batch.seen._asdict()
        del batch["seen"], batch["ways"], batch["coming_mbps"]
        return {**batch, **seen, **dict(self._newest)}

    def believe(self, belief: Model) -> None:
        """From now on features and feasibility believe this model of the network instead of the scenario file's."""
        life = self._life
        settings = life.settings._replace(known=belief is life.truth)
        self._handed = Handed(life._replace(belief=belief, settings=settings))

    def reading(self) -> Reading:
        """What can be measured now, copied. After a reset: as it stood before the first slot."""
        batch, seen, settings = self._life.batch, self._life.batch.seen, self._life.settings
        rows = batch.instances
        return Reading(
            hosts=seen.hosts.copy(),
            first_hosts=batch.first_hosts.copy(),
            ends=seen.ends.copy(),
            offered_mbps=seen.offered_mbps.copy(),
            chain_delay_ms=seen.chains["delay_ms"].copy(),
            server_cores=seen.servers["cores"].copy(),
            server_power_w=seen.servers["power_w"].copy(),
            idle_s=batch.idle_s.copy(),
            since_move_s=rows["slot"][:, None] * self._life.profiles.period_s - batch.moved_s,
            first=rows["left"] == settings.slots,
            roamed=self._roamed(rows["slot"]) & (rows["left"] < settings.slots),
        )

    def search(self, b: int) -> Search:
        """Instance b as it is seen now, under the forecast that it is shown, ready to be searched. Copies."""
        seen = self._life.batch.seen
        one = Seen(*(array if name == "background" else array[b].copy() for name, array in seen._asdict().items()))
        quiet = one._replace(offered_mbps=one.forecast_mbps, background=self._life.belief.quiet)
        return search_seen(self.scenario, self._life.belief, quiet)

    def _roamed(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        roam_s, period_s = self._life.profiles.roam_s, self._life.profiles.period_s
        before, now = (slots - 1)[:, None] * period_s, slots[:, None] * period_s
        return np.asarray(((roam_s > before) & (roam_s <= now)).any(axis=1), dtype=np.bool_)

    def reset(self) -> BatchObservation:
        """Starts a new episode in every instance."""
        self._run(np.full(self.size, RESET), REST, self._own)
        return self._own

    def step(
        self, actions: npt.NDArray[np.integer], into: BatchObservation | None = None
    ) -> tuple[BatchObservation, Float32Array, npt.NDArray[np.bool_], BatchInfo]:
        """One control period: (observation after it, reward [B], done by time limit [B], what happened).

        The observation is written into the arrays `into`, for which the caller answers until the next step, or else
        into the simulator's own.
        ValueError for an action that names no VNF and server; one that the mask forbids is a stay with a penalty.
        """
        chosen, seen = np.ascontiguousarray(actions, dtype=np.int64), into or self._own
        ended = self._run(chosen, 0, seen) if chosen.shape == (self.size,) else NONE
        if ended == NONE:
            raise ValueError(f"actions must be {self.size} numbers from 0 to {self._actions - 1}")
        results = self._life.results.copy()
        done, info = results["done"], happened(results)
        if ended:
            info["final_obs"] = deepcopy(seen) if self._life.settings.features else seen
            self._run(np.where(done, RESET, REST), REST, seen)
        return seen, results["reward"].astype(np.float32), done, info

    def _run(self, actions: npt.NDArray[np.int64], least: int, into: BatchObservation) -> int:
        ended = run(self._handed, actions, least, Sheets(into["vnf"], into["server"], into["pair"], into["glob"]))
        if into["mask"] is not self._life.mask:
            into["mask"][:] = self._life.mask
        self._newest = into
        return ended


def observation(sheets: Sheets, mask: npt.NDArray[np.bool_]) -> BatchObservation:
    """The same arrays."""
    return BatchObservation(vnf=sheets.vnf, server=sheets.server, pair=sheets.pair, glob=sheets.glob, mask=mask)


def happened(results: Records) -> BatchInfo:
    """What RESULT records say; no copies."""
    return BatchInfo(
        delay_ms=results["delay_ms"],
        delay0_ms=results["delay0_ms"],
        energy_j=results["energy_j"],
        energy0_j=results["energy0_j"],
        moved=results["moved"],
        illegal=results["illegal"],
        late_chains=results["late_chains"],
        final_obs=None,
    )


def _start_slots(scenario: Scenario) -> int:
    """How many slots an episode's start is drawn from: a day, all roams and a minute, or ten minutes."""
    span_s = [600.0, *(roam.at_s + 60.0 for roam in scenario.moves)]
    for chain in scenario.chains:
        if isinstance(chain.traffic, DiurnalTraffic):
            span_s.append(chain.traffic.day_s)
        if isinstance(chain.traffic, TraceTraffic):
            span_s.append(chain.traffic.points[-1][0])
    return int(max(span_s) / scenario.period_s)


def _check(scenario: Scenario, world: Scenario, batch: int, slots: int) -> None:
    if batch < 1 or slots < 1:
        raise ValueError(f"batch and slots must be at least 1, not {batch} and {slots}")
    same = all(
        [thing.id for thing in getattr(scenario, kind)] == [thing.id for thing in getattr(world, kind)]
        for kind in ("servers", "vnfs", "links", "switches", "endpoints", "chains")
    )
    if not same or scenario.period_s != world.period_s:
        raise ValueError("truth must have the servers, VNFs, links, switches, endpoints, chains and period of scenario")
