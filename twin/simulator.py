"""`TwinWorld`: the simulated network, in readable form. It answers like the live one: samples out, moves in.

Time goes in control periods ("slots"). In a slot traffic and endpoints stand still; a move that starts with the slot
takes effect when it is done, so the slot's delay and energy are those of both placements, each for its time.
`twin.fast.BatchSim` is the same in compiled code, and tests hold both together. Source: ours (docs/model.md,
"Simulator").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from twin.costs import Costs, evaluate, reward, scored_delay_ms, server_power_w, traffic_weights
from twin.errors import InputError
from twin.migration_cost import MigrationCost
from twin.move_modes import move_costs
from twin.routing import Routes, configured_routes
from twin.samples import Sample
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.tables import endpoint_switches, initial_hosts, tables
from twin.telemetry import Noise, Reading, samples_of
from twin.traffic import TrafficSource

_ROUNDING_S = 1e-9


@dataclass(frozen=True, eq=False)
class Slot:
    """What one control period brought: the truth, for scoring. `*0` is the same traffic with nothing ever moved."""

    at_s: float
    offered_mbps: FloatArray
    delay_ms: float
    delay0_ms: float
    energy_j: float
    energy0_j: float
    reward: float
    moved: str
    late_chains: int


@dataclass(frozen=True, eq=False)
class _Placed:
    """A placement under the slot's traffic."""

    hosts: IntArray
    costs: Costs
    delay_ms: float


@dataclass(frozen=True, eq=False)
class _Change:
    """The move of a slot: `vnf` (row), what was before, and when packets take the new way."""

    vnf: int
    before: _Placed
    switched_s: float
    energy_j: float
    delay_ms: float


class TwinWorld:
    """One simulated network.

    `truth` is the world as it is, where it differs from the scenario file (same objects, other numbers). `hosts` [V]
    is the initial placement where it is not the scenario's. The same arguments and calls give the same samples.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int,
        truth: Scenario | None = None,
        migration: MigrationCost | None = None,
        noise: Noise | None = None,
        poll_s: float = 1.0,
        start_slot: int = 0,
        hosts: IntArray | None = None,
    ) -> None:
        self.scenario = scenario
        self.world = truth or scenario
        self._costs = move_costs(self.world, migration)
        self.noise = noise or Noise()
        self.source = TrafficSource(self.world, seed)
        self.slots: list[Slot] = []
        self.link_up: BoolArray = np.ones(len(scenario.links), dtype=np.bool_)
        self.server_up: BoolArray = np.ones(len(scenario.servers), dtype=np.bool_)
        self._seed, self._poll_s = seed, poll_s
        self._slot = start_slot
        self._next_poll = math.ceil(self.now_s / poll_s - _ROUNDING_S)
        self._first_hosts = initial_hosts(scenario) if hosts is None else hosts.copy()
        self._hosts = self._first_hosts.copy()
        self._idle_s = np.full(len(scenario.servers), np.inf)
        self._chosen: tuple[int, int] | None = None
        self._placed = self._place(self._hosts, self._traffic(start_slot - 1), self.endpoint_switch)

    @property
    def now_s(self) -> float:
        """The start of the present slot."""
        return self._slot * self.scenario.period_s

    @property
    def hosts(self) -> IntArray:
        """The present placement [V] as server rows."""
        return self._hosts.copy()

    @property
    def awake(self) -> BoolArray:
        """Which servers are awake at the start of the present slot [S]."""
        hosting = np.bincount(self._hosts, minlength=len(self._idle_s)) > 0
        result: BoolArray = hosting | (self._idle_s < tables(self.world).sleep_after_s)
        return result

    @property
    def endpoint_switch(self) -> IntArray:
        """Where the endpoints are in the present slot [E]."""
        return endpoint_switches(self.world, self.now_s)

    def set_link(self, link: str, *, up: bool) -> None:
        """Cuts or mends a link from the present slot on. KeyError for an unknown link."""
        self.link_up[self.scenario.link_index[link]] = up

    def set_server(self, server: str, *, up: bool) -> None:
        """Stops or starts a server; while it is down its VNFs pass nothing. KeyError for an unknown server."""
        self.server_up[self.scenario.server_index[server]] = up

    def execute(self, vnf: str, target: str) -> None:
        """Starts a move with the present slot. InputError where the slot has a move already or the server is down."""
        v, s = self.scenario.vnf_index[vnf], self.scenario.server_index[target]
        if self._chosen is not None:
            raise InputError(f"a move is going on: {vnf} cannot move to {target} in the same period")
        if not self.server_up[s]:
            raise InputError(f"{target} is down: {vnf} cannot move there")
        if self._hosts[v] != s:
            self._chosen = (v, s)

    def observe(self, now_s: float) -> list[Sample]:
        """Lets time pass until `now_s` and returns what the poller read on the way, the reading at `now_s` included.

        A slot is over, and can be found in `slots`, once `now_s` has reached its end.
        """
        samples: list[Sample] = []
        period_s = self.scenario.period_s
        samples += self._poll(self.now_s, self.now_s, self._placed)
        while self.now_s + period_s <= now_s + _ROUNDING_S:
            samples += self._run_slot()
        return samples

    def _run_slot(self) -> list[Sample]:
        start_s, ends, awake = self.now_s, self.endpoint_switch, self.awake
        offered = self._traffic(self._slot)
        change = self._change(offered, ends)
        self._placed = self._place(self._hosts, offered, ends)
        self.slots.append(self._score(start_s, offered, ends, change))
        samples: list[Sample] = []
        switch_s = start_s
        if change is not None:
            switch_s = start_s + change.switched_s
            samples += self._poll(start_s, switch_s - 2 * _ROUNDING_S, change.before, awake)
        # The reading at the very end sees endpoints where they are next, as the one at `now_s` must.
        samples += self._poll(switch_s, start_s + self.scenario.period_s - 2 * _ROUNDING_S, self._placed)
        self._slot += 1
        self._chosen = None
        return samples + self._poll(switch_s, self.now_s, self._placed)

    def _traffic(self, slot: int) -> FloatArray:
        """Traffic of a slot [C]: that of its middle."""
        return self.source.offered_mbps((slot + 0.5) * self.scenario.period_s)

    def _place(self, hosts: IntArray, offered_mbps: FloatArray, ends: IntArray) -> _Placed:
        costs = evaluate(self.world, self._routes(), hosts, offered_mbps, ends)
        t = tables(self.world)
        broken = np.bincount(t.vnf_chain, weights=~self.server_up[hosts], minlength=len(offered_mbps)) > 0
        costs.chain_delay_ms[broken] = np.inf
        return _Placed(hosts.copy(), costs, scored_delay_ms(costs, offered_mbps))

    def _routes(self) -> Routes:
        return configured_routes(self.world, self.link_up)

    def _change(self, offered_mbps: FloatArray, ends: IntArray) -> _Change | None:
        """Carries the chosen move out: what it costs, and the placement before it."""
        if self._chosen is None:
            return None
        v, s = self._chosen
        t, cost = tables(self.world), self._costs[v]
        before = self._place(self._hosts, offered_mbps, ends)
        wake_s = 0.0 if self.awake[s] else float(t.wake_s[s])
        lasts_s = min(cost.move_s(float(t.state_mb[v]), wake_s), self.scenario.period_s)
        self._hosts[v] = s
        share = traffic_weights(offered_mbps)[t.vnf_chain[v]]
        return _Change(
            vnf=v,
            before=before,
            switched_s=lasts_s,
            energy_j=cost.energy_j(lasts_s, float(t.state_mb[v])),
            delay_ms=float(share) * cost.delay_ms(self.scenario.period_s),
        )

    def _score(self, start_s: float, offered_mbps: FloatArray, ends: IntArray, change: _Change | None) -> Slot:
        period_s, now = self.scenario.period_s, self._placed
        never = self._place(self._first_hosts, offered_mbps, ends)
        before, switched_s = (change.before, change.switched_s) if change else (now, 0.0)
        delay_ms = (switched_s * before.delay_ms + (period_s - switched_s) * now.delay_ms) / period_s
        energy_j = self._server_energy_j(before, now, switched_s)
        if change is not None:
            delay_ms, energy_j = delay_ms + change.delay_ms, energy_j + change.energy_j
        energy0_j = never.costs.total_power_w * period_s
        return Slot(
            at_s=start_s,
            offered_mbps=offered_mbps,
            delay_ms=delay_ms,
            delay0_ms=never.delay_ms,
            energy_j=energy_j,
            energy0_j=energy0_j,
            reward=reward(
                self.world, delay_ms=delay_ms, delay0_ms=never.delay_ms, energy_j=energy_j, energy0_j=energy0_j
            ),
            moved=self.scenario.vnfs[change.vnf].id if change else "",
            late_chains=int((now.costs.chain_delay_ms > tables(self.world).max_delay_ms).sum()),
        )

    def _server_energy_j(self, before: _Placed, now: _Placed, switched_s: float) -> float:
        """Energy of all servers in the slot, waking included; carries the time each has been idle on.

        1. A server that hosts at the end is awake all through, and was woken if it slept.
        2. One that was left behind idles for its hold time from the switch on, then sleeps.
        3. One that hosted nothing idles for what is left of its hold time, then sleeps.
        """
        t, period_s = tables(self.world), self.scenario.period_s
        rest_s = period_s - switched_s
        on = np.ones(len(t.cpu_cores), dtype=np.bool_)
        before_w = server_power_w(t, before.costs.server_cpu, on)
        now_w = server_power_w(t, now.costs.server_cpu, on)
        hosted = np.bincount(before.hosts, minlength=len(on)) > 0
        hosts = np.bincount(now.hosts, minlength=len(on)) > 0
        woken = hosts & ~hosted & (self._idle_s >= t.sleep_after_s)
        busy_j = switched_s * before_w + rest_s * now_w + np.where(woken, t.wake_j, 0.0)  # 1
        left_j = switched_s * before_w + _idle_j(t.sleep_after_s, t.idle_w, t.sleep_w, rest_s)  # 2
        idle_j = _idle_j(np.maximum(t.sleep_after_s - self._idle_s, 0.0), t.idle_w, t.sleep_w, period_s)  # 3
        self._idle_s = np.where(hosts, 0.0, np.where(hosted, rest_s, self._idle_s + period_s))
        return float(np.where(hosts, busy_j, np.where(hosted, left_j, idle_j)).sum())

    def _poll(self, from_s: float, until_s: float, placed: _Placed, awake: BoolArray | None = None) -> list[Sample]:
        """The readings of polls due from `from_s` to `until_s`, both included, of one placement."""
        samples: list[Sample] = []
        while (at_s := self._next_poll * self._poll_s) <= until_s + _ROUNDING_S:
            if at_s >= from_s - _ROUNDING_S:
                samples += samples_of(
                    self._reading(placed, awake), at_s, self.noise, [abs(self._seed), self._next_poll]
                )
            self._next_poll += 1
        return samples

    def _reading(self, placed: _Placed, awake: BoolArray | None) -> Reading:
        """All that can be read of the network now."""
        return Reading(
            scenario=self.world,
            hosts=placed.hosts,
            costs=placed.costs,
            offered_mbps=self.slots[-1].offered_mbps if self.slots else self._traffic(self._slot - 1),
            endpoint_switch=self.endpoint_switch,
            awake=(self.awake if awake is None else awake) & self.server_up,
            server_up=self.server_up,
            link_up=self.link_up,
        )


def _idle_j(hold_s: FloatArray, idle_w: FloatArray, sleep_w: FloatArray, lasts_s: float) -> FloatArray:
    """Energy over `lasts_s` of servers without VNFs that stay awake for `hold_s` more [S]."""
    awake_s = np.minimum(hold_s, lasts_s)
    result: FloatArray = awake_s * idle_w + (lasts_s - awake_s) * sleep_w
    return result
