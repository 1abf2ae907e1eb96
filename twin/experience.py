"""`Experience`: what was seen of a network, slot after slot: what a twin is fitted on and branches start from.

One form for all sources: the simulator (`twin.fast.BatchSim.reading`) and a live or dry run's journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from twin.samples import Quantity
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray, NetworkState
from twin.tables import initial_hosts, tables


@dataclass(frozen=True, eq=False)
class Starts:
    """Where B branches begin: what a controller knows of a network between two slots.

    `hosts` and `first_hosts` [B, V] (the never-move reference), `ends` [B, E] switches of the endpoints, `offered_mbps`
    [B, C] in the slot before, `idle_s` [B, S] since a server hosts nothing (inf: long asleep), `since_move_s` [B, V].
    """

    hosts: IntArray
    first_hosts: IntArray
    ends: IntArray
    offered_mbps: FloatArray
    idle_s: FloatArray
    since_move_s: FloatArray

    def __len__(self) -> int:
        return len(self.hosts)

    def take(self, rows: IntArray) -> Starts:
        """These rows, copied."""
        return Starts(*(getattr(self, field.name)[rows] for field in fields(self)))

    def either(self, other: Starts, where: BoolArray) -> Starts:
        """The other's rows where `where` [B] holds, else these."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Starts(*(np.where(where[:, None], theirs, own) for own, theirs in pairs))

    def placed(self, hosts: IntArray) -> Starts:
        """The same moments had the VNFs been on `hosts` [B, V] for long, which is then also the reference."""
        empty = ~(hosts[:, :, None] == np.arange(self.idle_s.shape[1])).any(axis=1)
        idle_s, long_ago = np.where(empty, np.inf, 0.0), np.full(self.since_move_s.shape, np.inf)
        return Starts(hosts, hosts, self.ends, self.offered_mbps, idle_s, long_ago)


@dataclass(frozen=True, eq=False)
class Reading:
    """One moment between two slots of B networks ("streams"); all arrays are [B, ...].

    `offered_mbps`, `chain_delay_ms` [B, C], `server_cores` and `server_power_w` [B, S] are of the slot that ended (nan:
    not measured); `ends` [B, E] is where endpoints are now. `first` [B]: no reading of the same episode came before;
    `roamed` [B]: an endpoint has just moved, so that delays were measured with it elsewhere.
    The rest as in `Starts`.
    """

    hosts: IntArray
    first_hosts: IntArray
    ends: IntArray
    offered_mbps: FloatArray
    chain_delay_ms: FloatArray
    server_cores: FloatArray
    server_power_w: FloatArray
    idle_s: FloatArray
    since_move_s: FloatArray
    first: BoolArray
    roamed: BoolArray

    def where(self, rows: BoolArray) -> Reading:
        """The rows for which this holds."""
        return Reading(*(getattr(self, f.name)[rows] for f in fields(self)))

    def joined(self, *others: Reading) -> Reading:
        """The streams of all, side by side."""
        parts = (self, *others)
        return Reading(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(self)))


class Experience:
    """Readings of B streams in order of time."""

    def __init__(self) -> None:
        self._readings: list[Reading] = []
        self._stacked: Reading | None = None

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, readings: Sequence[Reading]) -> None:
        self._readings += readings
        self._stacked = None

    def part(self, first: int, last: int) -> Experience:
        """The slots from `first` up to but not `last`."""
        result = Experience()
        result.add(self._readings[first:last])
        return result

    @property
    def all(self) -> Reading:
        """Everything, each field [T, B, ...]."""
        if self._stacked is None:
            columns = ([getattr(r, f.name) for r in self._readings] for f in fields(Reading))
            self._stacked = Reading(*(np.stack(column) for column in columns))
        return self._stacked

    def rows(self, since: int = 0) -> Reading:
        """The readings from slot `since` on as rows [N, ...]."""
        flat = (getattr(self.all, f.name)[since:] for f in fields(Reading))
        return Reading(*(field.reshape(-1, *field.shape[2:]) for field in flat))

    def windows(self, horizon: int) -> IntArray:
        """(slot, stream) [N, 2] of all readings that `horizon` more of the same episode follow."""
        first = self.all.first
        slots = len(first) - horizon
        if slots <= 0:
            return np.zeros((0, 2), dtype=np.int64)
        whole = np.ones((slots, first.shape[1]), dtype=np.bool_)
        for k in range(1, horizon + 1):
            whole &= ~first[k : k + slots]
        return np.argwhere(whole)

    def starts(self, at: IntArray) -> Starts:
        """Branches' starts at (slot, stream) [N, 2]."""
        return Starts(*(getattr(self.all, f.name)[at[:, 0], at[:, 1]] for f in fields(Starts)))

    def traffic(self, at: IntArray, horizon: int) -> FloatArray:
        """What was offered in the `horizon` slots after (slot, stream) [N, 2]: [N, H, C]."""
        t, b = at[:, :1] + np.arange(1, horizon + 1), at[:, 1:]
        result: FloatArray = self.all.offered_mbps[t, b]
        return result

    def history(self, at: IntArray, slots: int) -> FloatArray:
        """What was offered in the `slots` slots up to (slot, stream) [N, 2]: [N, W, C]; the first of an episode, or of
        all, is repeated where there were fewer."""
        seen, b = self.all, at[:, 1]
        t, columns = at[:, 0].copy(), []
        for _ in range(slots):
            columns.append(seen.offered_mbps[t, b])
            t = np.where(seen.first[t, b] | (t == 0), t, t - 1)
        return np.stack(columns[::-1], axis=1)


_LATE = 1.5  # periods between two states that are not of one piece


def recorded(scenario: Scenario, states: Iterable[NetworkState]) -> list[Reading]:
    """The states of one run as readings of a single stream. The reference is the scenario's own placement.

    A reading older than a period is nan, but for traffic, which the newest reading stands for.
    """
    keeper, found = _Keeper(scenario), []
    for state in states:
        found.append(keeper.reading(state))
    return found


class _Keeper:
    """What a state does not say: since when servers host nothing and VNFs stand where they are."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._tables, self._first = scenario, tables(scenario), initial_hosts(scenario)
        self._last: NetworkState | None = None
        self._hosted_s, self._moved_s = np.zeros(0), np.zeros(0)

    def reading(self, state: NetworkState) -> Reading:
        last, period_s = self._last, self._scenario.period_s
        fresh = last is None or not 0.0 < state.at_s - last.at_s <= _LATE * period_s
        if fresh:
            self._hosted_s = np.where(state.hosting, state.at_s, -np.inf)
            self._moved_s = np.full(len(state.vnf_server), -np.inf)
        elif last is not None:
            self._moved_s = np.where(state.vnf_server != last.vnf_server, last.at_s, self._moved_s)
        self._hosted_s = np.where(state.hosting, state.at_s, self._hosted_s)
        roamed = not fresh and last is not None and (state.endpoint_switch != last.endpoint_switch).any()
        self._last = state
        fields_of = {
            "hosts": state.vnf_server, "first_hosts": self._first, "ends": state.endpoint_switch,
            "offered_mbps": state.offered_mbps,
            "chain_delay_ms": _read(state, state.chain_delay_ms, Quantity.CHAIN_DELAY, period_s),
            "server_cores": _read(state, state.server_cpu, Quantity.SERVER_CPU, period_s) * self._tables.cpu_cores,
            "server_power_w": _read(state, state.server_power_w, Quantity.SERVER_POWER, period_s),
            "idle_s": state.at_s - self._hosted_s, "since_move_s": state.at_s - self._moved_s,
            "first": np.array(fresh), "roamed": np.array(roamed),
        }  # fmt: skip
        return Reading(**{name: np.asarray(value)[None].copy() for name, value in fields_of.items()})


def _read(state: NetworkState, values: FloatArray, quantity: Quantity, period_s: float) -> FloatArray:
    return np.where(state.stale(quantity, limit_s=_LATE * period_s), np.nan, values)
