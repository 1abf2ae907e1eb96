"""The optimum over time on small networks, by dynamic programming over every placement.

Where every empty server is asleep again by the next slot, a network's future depends on its placement alone, so all of
them can be valued from the last slot back. Source: ours (docs/agent.md, "Clairvoyant").
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from agent.actions import STAY, moved
from agent.decision import MigrationDecision, Stay, View
from agent.lookahead import Lookahead
from agent.planners import planned
from twin.errors import InputError
from twin.feasibility import Limits
from twin.imagination import slots_of
from twin.model import Bounds, Seen, changes, model, work
from twin.move_modes import move_costs
from twin.period_kernels import feasible_actions, slot_rewards
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.search import PlannedMove
from twin.search_kernels import Level
from twin.state import BoolArray, FloatArray, IntArray, StateBuilder
from twin.tables import endpoint_switches, initial_hosts, tables
from twin.traffic import TrafficSource
from twin.trial import see

MOST_PLACEMENTS = 5000


class SmallNetwork:
    """Every placement of a small network, and what each action does in each: P placements, A = 1 + V·S actions.

    InputError where there are too many placements, or where a server may still be awake a slot after it was left.
    """

    def __init__(self, scenario: Scenario, *, limits: Limits | None = None) -> None:
        _refuse_large(scenario)
        self.scenario = scenario
        servers, vnfs = len(scenario.servers), len(scenario.vnfs)
        self.placements: IntArray = np.array(list(itertools.product(range(servers), repeat=vnfs)), dtype=np.int64)
        self._places = servers ** np.arange(vnfs - 1, -1, -1)
        self.successor = self._successors()
        self._model = model(scenario, configured_routes(scenario))
        self._slots = slots_of(scenario, np.full(servers, np.inf))
        self._bounds = _bounds(limits or Limits())
        m = self._model
        self._level = Level(np.empty(vnfs, dtype=np.int64), work(m), changes(m), np.zeros((0, 0), dtype=np.bool_))
        self._blank = see(scenario, m, StateBuilder(scenario).build(0.0))

    def row(self, hosts: IntArray) -> int:
        """The row of a placement [V]."""
        return int(hosts @ self._places)

    @property
    def first_row(self) -> int:
        """The row of the scenario's own placement."""
        return self.row(initial_hosts(self.scenario))

    def rewards(self, offered_mbps: FloatArray, ends: IntArray) -> FloatArray:
        """λ of one slot, [P, A], under its traffic [C] with endpoints at `ends` [E]."""
        result = np.zeros((len(self.placements), self.successor.shape[1]))
        slot_rewards(
            self._model, self._slots, self._seen(offered_mbps, ends), self.placements,
            np.ascontiguousarray(offered_mbps, dtype=np.float64), self._level, result,
        )  # fmt: skip
        return result

    def legal(self, offered_mbps: FloatArray, ends: IntArray) -> BoolArray:
        """Which actions are feasible, [P, A], by the traffic that was last read."""
        result = np.zeros(self.successor.shape, dtype=np.bool_)
        seen = self._seen(offered_mbps, ends)
        feasible_actions(self._model, self._slots, seen, self._bounds, self.placements, self._level, result)
        return result

    def _seen(self, offered_mbps: FloatArray, ends: IntArray) -> Seen:
        offered = np.ascontiguousarray(offered_mbps, dtype=np.float64)
        servers = self._blank.servers.copy()
        servers["cores"] = servers["memory_mb"] = 0.0
        vnfs = self._blank.vnfs.copy()
        vnfs["cores"] = vnfs["memory_mb"] = 0.0  # nothing was read: the model alone says what fits
        return self._blank._replace(
            offered_mbps=offered, forecast_mbps=offered, ends=ends, servers=servers, vnfs=vnfs,
            background=self._model.quiet,
        )  # fmt: skip

    def _successors(self) -> IntArray:
        servers, vnfs = len(self.scenario.servers), len(self.scenario.vnfs)
        rows = np.arange(len(self.placements))[:, None]
        change = (np.arange(servers)[None, None, :] - self.placements[:, :, None]) * self._places[None, :, None]
        return np.concatenate([rows, rows + change.reshape(len(rows), vnfs * servers)], axis=1)

    def action_values(self, rewards: Sequence[FloatArray], legal: BoolArray, final: FloatArray) -> FloatArray:
        """Sum of λ from each first action on when all is known, [P, A]; -inf where `legal` [P, A] forbids it.

        `rewards` [P, A] of each slot, `final` [P] what the last placement is worth. After the first slot actions are
        held to the same `legal`.
        """
        value = final
        for slot in reversed(range(len(rewards))):
            values: FloatArray = np.where(legal, rewards[slot] + value[self.successor], -np.inf)
            value = values.max(axis=1)
        return values


def _bounds(limits: Limits) -> Bounds:
    return Bounds(limits.cpu, limits.link)


def _refuse_large(scenario: Scenario) -> None:
    count, t = len(scenario.servers) ** len(scenario.vnfs), tables(scenario)
    if count > MOST_PLACEMENTS:
        raise InputError(f"{scenario.name} has {count:.3g} placements: a clairvoyant can value {MOST_PLACEMENTS}")
    longest_s = max(
        cost.move_s(float(mb), float(t.wake_s.max()))
        for cost, mb in zip(move_costs(scenario, None), t.state_mb, strict=True)
    )
    if t.sleep_after_s.max() > scenario.period_s - longest_s:
        raise InputError(
            f"{scenario.name}: a clairvoyant needs servers that sleep within the slot in which they are left"
            f" (sleep_after_s at most {max(0.0, scenario.period_s - longest_s):.2g})"
        )


class ClairvoyantPolicy:
    """Knows all traffic and roams of a run beforehand and takes the best of all ways through it."""

    name = "clairvoyant"

    def __init__(self, scenario: Scenario, *, seed: int, slots: int, network: SmallNetwork | None = None) -> None:
        self.network = network or SmallNetwork(scenario)
        self._lookahead = Lookahead()
        self._values = clairvoyant_values(self.network, *run_ahead(scenario, seed=seed, slots=slots))

    def decide(self, view: View) -> MigrationDecision:
        slot = round(view.state.at_s / view.scenario.period_s)
        values = self._values[slot][self.network.row(view.state.vnf_server)].copy()
        values[1:][~view.mask.ravel()] = -np.inf
        action = int(values.argmax())
        if action == STAY:
            return Stay("knows that nothing is better")
        vnf, server = moved(action, servers=len(view.scenario.servers))
        return planned(view, self._lookahead, PlannedMove(vnf, server, float(values[action] - values[STAY])))


def run_ahead(scenario: Scenario, *, seed: int, slots: int) -> tuple[FloatArray, IntArray]:
    """The traffic [1 + T, C] and endpoints [1 + T, E] of a run; the first row is what is read before the first slot."""
    source, period_s = TrafficSource(scenario, seed), scenario.period_s
    traffic = np.array([source.offered_mbps((slot + 0.5) * period_s) for slot in range(-1, slots)])
    ends = np.array([endpoint_switches(scenario, max(slot, 0) * period_s) for slot in range(-1, slots)])
    return traffic, ends


def clairvoyant_values(network: SmallNetwork, traffic: FloatArray, ends: IntArray) -> list[FloatArray]:
    """Sum of λ to the end of the run from each action of each slot on, T times [P, A]; -inf where it is forbidden."""
    value, result = np.zeros(len(network.placements)), []
    for slot in reversed(range(1, len(traffic))):
        rewards, legal = network.rewards(traffic[slot], ends[slot]), network.legal(traffic[slot - 1], ends[slot])
        values: FloatArray = np.where(legal, rewards + value[network.successor], -np.inf)
        value = values.max(axis=1)
        result.append(values)
    return result[::-1]
