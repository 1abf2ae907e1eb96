"""Lowest-delay routes over live links: the one routine that simulator and controller share.

Every cost and every installed rule follows these routes, so ties are broken the same way everywhere: lowest delay,
then fewest hops, then the lowest index of the previous switch. Source: ours (docs/model.md, "Routes").
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

from twin.compiled import compiled
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray

_UNITS_PER_MS = 1_000_000  # delays are compared in whole nanoseconds, so that sums are exact and order-free
_HOP = 4096  # one nanosecond outweighs any number of hops below this


@dataclass(frozen=True, eq=False)
class Routes:
    """Routes between all N switches (indices as in the scenario).

    `delay_ms` [N, N] is the propagation along the route, inf where there is none. `previous` [N, N] is the switch
    before `b` on the way from `a`, -1 where there is none. `link_of` [N, N] is the directed link between two
    neighbours: 2·link from a to b, 2·link + 1 from b to a, -1 where they are not joined by a live link.
    `link_delay_ms` [L] are the delays that were used.
    """

    delay_ms: FloatArray
    previous: IntArray
    link_of: IntArray
    link_delay_ms: FloatArray
    switch_ids: tuple[str, ...]

    def reachable(self, a: int, b: int) -> bool:
        return bool(np.isfinite(self.delay_ms[a, b]))

    def path(self, a: int, b: int) -> tuple[int, ...]:
        """The switches from `a` to `b`, both included; empty where `b` cannot be reached."""
        if not self.reachable(a, b):
            return ()
        path = [b]
        while path[-1] != a:
            path.append(int(self.previous[a, path[-1]]))
        return tuple(reversed(path))

    def links(self, a: int, b: int) -> IntArray:
        """The directed links from `a` to `b`, in order; empty for a == b and where `b` cannot be reached."""
        starts, links = self.crossed
        at = a * len(self.switch_ids) + b
        return links[starts[at] : starts[at + 1]]

    def incidence(self, a: IntArray, b: IntArray) -> tuple[IntArray, IntArray]:
        """For segments a[g] -> b[g]: (directed links crossed, segment g of each), concatenated."""
        starts, links = self.crossed
        first = starts[a * len(self.switch_ids) + b]
        count = starts[a * len(self.switch_ids) + b + 1] - first
        segment = np.repeat(np.arange(len(a)), count)
        ends = np.cumsum(count)
        offset = np.arange(len(segment)) - np.repeat(ends - count, count)
        return links[np.repeat(first, count) + offset], segment

    def unreachable(self, stops: Sequence[int]) -> tuple[str, str] | None:
        """The first pair of consecutive stops that no route joins, by the names of their switches."""
        for a, b in pairwise(stops):
            if not self.reachable(a, b):
                return self.switch_ids[a], self.switch_ids[b]
        return None

    @cached_property
    def crossed(self) -> tuple[IntArray, IntArray]:
        """The directed links of all routes: those from a to b are links[starts[a·N + b] : starts[a·N + b + 1]]."""
        size = len(self.switch_ids)
        starts = np.zeros(size * size + 1, dtype=np.int64)
        _count_hops(self.previous, starts)
        links = np.empty(starts[-1], dtype=np.int64)
        _list_links(self.previous, self.link_of, starts, links)
        return starts, links


@compiled
def _count_hops(previous: IntArray, starts: IntArray) -> None:
    size = previous.shape[0]
    for a in range(size):
        for b in range(size):
            hops, at = 0, b
            while at != a and previous[a, at] >= 0:
                at = previous[a, at]
                hops += 1
            starts[a * size + b + 1] = starts[a * size + b] + hops


@compiled
def _list_links(previous: IntArray, link_of: IntArray, starts: IntArray, links: IntArray) -> None:
    size = previous.shape[0]
    for a in range(size):
        for b in range(size):
            at = b
            for i in range(starts[a * size + b + 1] - 1, starts[a * size + b] - 1, -1):
                links[i] = link_of[previous[a, at], at]
                at = previous[a, at]


def compute_routes(scenario: Scenario, link_up: BoolArray, link_delay_ms: FloatArray) -> Routes:
    """Routes over the links that are up, by the given delays [L] in ms."""
    size = len(scenario.switches)
    ends = _live_edges(scenario, link_up, link_delay_ms)
    graph = sp.csr_matrix((ends.weight, (ends.start, ends.end)), shape=(size, size))
    distance = dijkstra(graph)
    previous = np.full((size, size), -1, dtype=np.int64)
    # From the highest start to the lowest, so that of equal predecessors the lowest index is written last.
    for edge in np.argsort(-ends.start, kind="stable"):
        start, end = ends.start[edge], ends.end[edge]
        on_route = np.isfinite(distance[:, end]) & (distance[:, start] + ends.weight[edge] == distance[:, end])
        previous[on_route, end] = start
    link_of = np.full((size, size), -1, dtype=np.int64)
    link_of[ends.start, ends.end] = ends.link
    return Routes(
        delay_ms=np.floor(distance / _HOP) / _UNITS_PER_MS,
        previous=previous,
        link_of=link_of,
        link_delay_ms=np.array(link_delay_ms, dtype=np.float64),
        switch_ids=tuple(switch.id for switch in scenario.switches),
    )


@dataclass(frozen=True, eq=False)
class _Edges:
    start: IntArray
    end: IntArray
    weight: FloatArray
    link: IntArray


def _live_edges(scenario: Scenario, link_up: BoolArray, link_delay_ms: FloatArray) -> _Edges:
    """The directed edges of live links; of parallel links only the fastest (the first of equals) is used."""
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i, link in enumerate(scenario.links):
        if not link_up[i]:
            continue
        a, b = scenario.switch_index[link.a], scenario.switch_index[link.b]
        weight = float(round(float(link_delay_ms[i]) * _UNITS_PER_MS) * _HOP + 1)
        for ends, directed in (((a, b), 2 * i), ((b, a), 2 * i + 1)):
            if ends not in best or weight < best[ends][0]:
                best[ends] = (weight, directed)
    pairs = np.array(list(best), dtype=np.int64).reshape(-1, 2)
    values = list(best.values())
    return _Edges(
        start=pairs[:, 0],
        end=pairs[:, 1],
        weight=np.array([weight for weight, _ in values]),
        link=np.array([link for _, link in values], dtype=np.int64),
    )


class Router:
    """Keeps the routes and computes them anew only when a link went up or down or its delay really changed.

    Routing follows the *configured* delay. A measured one replaces it only when it departs by more than
    `tolerance_ms` from the value in use, and is given up again when it returns to within half the tolerance of the
    configured one: noise of a few tenths of a millisecond never makes routes flap.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        tolerance_ms: float = 1.0,
        keep: int = 64,
        known: dict[bytes, Routes] | None = None,
    ) -> None:
        self.scenario = scenario
        self.tolerance_ms = tolerance_ms
        self.configured_ms: FloatArray = np.array([link.delay_ms for link in scenario.links], dtype=np.float64)
        self.in_use_ms = self.configured_ms.copy()
        self._keep = keep
        self._cache = _known(scenario) if known is None else known

    def routes(self, link_up: BoolArray | None = None, link_delay_ms: FloatArray | None = None) -> Routes:
        """Routes for the links that are up [L] and the delays measured [L]; default: all up, as configured."""
        if link_delay_ms is not None:
            self._take(link_delay_ms)
        up = np.ones(len(self.in_use_ms), dtype=np.bool_) if link_up is None else np.asarray(link_up, dtype=np.bool_)
        key = up.tobytes() + self.in_use_ms.tobytes()
        if key not in self._cache:
            if len(self._cache) >= self._keep:
                self._cache.pop(next(iter(self._cache)), None)
            self._cache[key] = compute_routes(self.scenario, up, self.in_use_ms)
        return self._cache[key]

    def _take(self, measured_ms: FloatArray) -> None:
        departs = np.isfinite(measured_ms) & (np.abs(measured_ms - self.in_use_ms) > self.tolerance_ms)
        self.in_use_ms = np.where(departs, np.round(measured_ms, 1), self.in_use_ms)
        back = np.abs(measured_ms - self.configured_ms) <= self.tolerance_ms / 2
        self.in_use_ms = np.where(back, self.configured_ms, self.in_use_ms)


_KNOWN: dict[int, dict[bytes, Routes]] = {}


def _known(scenario: Scenario) -> dict[bytes, Routes]:
    """What all routers of a scenario share: the same links and delays give the same `Routes`, and what hangs on it."""
    key = id(scenario)
    if key not in _KNOWN:
        _KNOWN[key] = {}
        weakref.finalize(scenario, _KNOWN.pop, key, None)
    return _KNOWN[key]


_ROUTERS: dict[int, Router] = {}


def configured_routes(scenario: Scenario, link_up: BoolArray | None = None) -> Routes:
    """Routes by the configured delays over the links that are up [L] (default all), computed once per set of links."""
    key = id(scenario)
    if key not in _ROUTERS:
        # A copy, for a router that held the scenario itself would keep it alive for ever.
        _ROUTERS[key] = Router(dataclasses.replace(scenario), known=_known(scenario))
        weakref.finalize(scenario, _ROUTERS.pop, key, None)
    return _ROUTERS[key].routes(link_up)
