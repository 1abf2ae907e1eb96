"""The mixed-integer programme of `agent.optimum`: columns, flows and tangents, numbered as there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from twin.costs import slowdown
from twin.errors import InputError
from twin.search import Search
from twin.state import FloatArray, IntArray

TOLERANCE = 1e-4  # of the cost: a gap that is smaller is none
MOST_COLUMNS = 40_000
_TANGENTS = (0.0, 0.02, 0.05, 0.08, 0.12, 0.17, 0.23, 0.3, 0.4, 0.5, 0.65, 0.9)  # utilisations


@dataclass(frozen=True, slots=True)
class _Column:
    """A server and the VNFs on it."""

    server: int
    vnfs: tuple[int, ...]
    cost: float


@dataclass(frozen=True, slots=True)
class _Flow:
    """Segment `segment` of a chain goes from switch `start` to switch `end`."""

    chain: int
    segment: int
    start: int
    end: int
    cost: float


class Programme:
    """Columns, then flows, then each directed link's queueing cost; `forbid` adds a row."""

    def __init__(self, found: Search) -> None:
        self.m, self.found = found.model, found
        offered = found.seen.offered_mbps
        total = float(offered.sum())
        self.share: FloatArray = offered / total if total > 0.0 else np.full(len(offered), 1.0 / len(offered))
        self.columns = list(self._columns())
        self.flows = list(self._flows())
        links = self.m.access
        self.cost = np.array([c.cost for c in self.columns] + [f.cost for f in self.flows] + [1.0] * links)
        self.rows = [self._each_server(), self._each_vnf(), *self._joined(), *self._queues()]
        links_at = len(self.cost) - self.m.access
        self._highest: FloatArray = np.where(np.arange(len(self.cost)) < links_at, 1.0, np.inf)
        self._chosen: list[int] = []

    def narrow(self, below: float) -> bool:
        """Leaves out what cannot be in a placement that costs less than `below`; False where nothing can."""
        rows = sparse.vstack([row.A for row in self.rows], format="csr")
        low, high = (np.concatenate([np.broadcast_to(getattr(row, side), row.A.shape[0]) for row in self.rows])
                     for side in ("lb", "ub"))  # fmt: skip
        same, upper, lower = low == high, np.isfinite(high) & (low != high), np.isfinite(low) & (low != high)
        relaxed = linprog(
            self.cost, method="highs", bounds=np.stack([np.zeros(len(self.cost)), self._highest], axis=1),
            A_eq=rows[same], b_eq=high[same], A_ub=sparse.vstack([rows[upper], -rows[lower]]),
            b_ub=np.concatenate([high[upper], -low[lower]]),
        )  # fmt: skip
        if relaxed.x is None or relaxed.fun + self._fixed_cost() >= below:
            return False
        dear = relaxed.fun + self._fixed_cost() + relaxed.lower.marginals > below
        self._highest[dear & np.isfinite(self._highest)] = 0.0
        return True

    def solve(self) -> tuple[IntArray, float] | None:
        """(placement, lower bound of the cost of all that are not forbidden), None where there is none."""
        columns = len(self.columns)
        whole = np.zeros(len(self.cost))
        whole[:columns] = 1.0
        result = milp(
            self.cost, integrality=whole, bounds=Bounds(0.0, self._highest), constraints=self.rows,
            options={"mip_rel_gap": TOLERANCE / 10.0},
        )  # fmt: skip
        if result.x is None:
            return None
        self._chosen = [int(i) for i in np.flatnonzero(result.x[:columns] > 0.5) if self.columns[i].vnfs]
        hosts = np.zeros(len(self.m.vnfs), dtype=np.int64)
        for i in self._chosen:
            hosts[list(self.columns[i].vnfs)] = self.columns[i].server
        return hosts, float(result.mip_dual_bound) + self._fixed_cost()

    def forbid(self) -> None:
        """Rules the placement that was found last out."""
        row = np.zeros((1, len(self.cost)))
        row[0, self._chosen] = 1.0
        self.rows.append(LinearConstraint(sparse.csr_array(row), -np.inf, len(self._chosen) - 1.0))

    def _fixed_cost(self) -> float:
        """What no placement changes: sleeping servers and the chains' ends."""
        m, offered = self.m, self.found.seen.offered_mbps
        ends = m.down - m.up
        delay_ms = 0.0
        for c, chain in enumerate(m.chains):
            units = 0.0
            for first, end, side in ((m.up, chain["ingress"], "ingress"), (m.down, chain["egress"], "egress")):
                resource = m.resources[first + end]
                load = offered[m.chains[side] == end].sum()
                units += resource["scale"] * float(slowdown(np.array(load / resource["capacity"])))
            delay_ms += self.share[c] * (chain["hops_ms"] + chain["packet_kbit"] * units)
        assert ends > 0
        return float(self.found.per_ms * delay_ms + self.found.per_w * m.servers["sleep_w"].sum())

    def _columns(self) -> Iterator[_Column]:
        count = 0
        for s in range(len(self.m.servers)):
            for vnfs in self._fitting(s):
                count += 1
                if count > MOST_COLUMNS:
                    raise InputError(
                        f"the exact optimum is for small networks: more than {MOST_COLUMNS} sets of VNFs fit on servers"
                    )
                yield _Column(s, vnfs, self._column_cost(s, vnfs))

    def _fitting(self, s: int) -> Iterator[tuple[int, ...]]:
        """Every set of VNFs that server s can hold, the empty one too."""
        server, demand = self.m.servers[s], self._cores()
        stack: list[tuple[tuple[int, ...], float, float]] = [((), 0.0, 0.0)]
        if not self.found.seen.servers[s]["up"]:
            yield ()
            return
        while stack:
            vnfs, cores, memory = stack.pop()
            yield vnfs
            for v in range(vnfs[-1] + 1 if vnfs else 0, len(demand)):
                more, most = cores + demand[v], memory + float(self.m.vnfs[v]["memory_mb"])
                if more <= self.found.bounds.cpu * server["cores"] and most <= server["memory_mb"]:
                    stack.append(((*vnfs, v), more, most))

    def _cores(self) -> FloatArray:
        vnfs = self.m.vnfs
        result: FloatArray = vnfs["cpu_base"] + vnfs["cpu_per_mbps"] * self.found.seen.offered_mbps[vnfs["chain"]]
        return result

    def _column_cost(self, s: int, vnfs: tuple[int, ...]) -> float:
        """Processing, the access link and power of a server with these VNFs, less what it draws asleep."""
        if not vnfs:
            return 0.0
        m, rows = self.m, list(vnfs)
        server, chains = m.servers[s], m.vnfs["chain"][rows]
        used = float(self._cores()[rows].sum() / server["cores"])
        access = m.resources[m.access + s]
        load = float(self.found.seen.offered_mbps[chains].sum() / access["capacity"])
        busy, waiting = (float(slowdown(np.array(u))) for u in (used, load))
        per_packet = m.vnfs["service_ms"][rows] * busy + m.chains["packet_kbit"][chains] * access["scale"] * waiting
        power_w = server["idle_w"] + (server["peak_w"] - server["idle_w"]) * min(used, 1.0) - server["sleep_w"]
        return float(self.found.per_ms * (self.share[chains] @ per_packet) + self.found.per_w * power_w)

    def _sites(self) -> list[int]:
        return sorted({int(s) for s in self.m.servers["switch"]})

    def _flows(self) -> Iterator[_Flow]:
        m, ends = self.m, self.found.seen.ends
        for c, chain in enumerate(m.chains):
            length = int(chain["last"] - chain["first"])
            for k in range(length + 1):
                starts = [int(ends[chain["ingress"]])] if k == 0 else self._sites()
                stops = [int(ends[chain["egress"]])] if k == length else self._sites()
                for a in starts:
                    for b in stops:
                        if np.isfinite(m.route_ms[a, b]):
                            yield _Flow(c, k, a, b, self._flow_cost(c, a, b))

    def _flow_cost(self, c: int, a: int, b: int) -> float:
        """Propagation and transmission of one segment."""
        m = self.m
        units = float(m.resources["scale"][self._route(a, b)].sum())
        travel_ms = float(m.route_ms[a, b]) + float(m.chains[c]["packet_kbit"]) * units
        return float(self.found.per_ms * self.share[c] * travel_ms)

    def _route(self, a: int, b: int) -> IntArray:
        at = a * len(self.m.route_ms) + b
        return self.m.route_links[self.m.route_first[at] : self.m.route_first[at + 1]]

    def _each_server(self) -> LinearConstraint:
        return self._equal([(c.server, i, 1.0) for i, c in enumerate(self.columns)], len(self.m.servers), 1.0)

    def _each_vnf(self) -> LinearConstraint:
        return self._equal(
            [(v, i, 1.0) for i, c in enumerate(self.columns) for v in c.vnfs], len(self.m.vnfs), 1.0
        )  # fmt: skip

    def _joined(self) -> Iterator[LinearConstraint]:
        """At every switch as much of each segment arrives and leaves as VNFs of the chain are there."""
        sites, m = self._sites(), self.m
        place = {site: i for i, site in enumerate(sites)}
        here = [
            (v * len(sites) + place[int(m.servers[c.server]["switch"])], i, 1.0)
            for i, c in enumerate(self.columns)
            for v in c.vnfs
        ]
        into, out, first = list(here), list(here), len(self.columns)
        for i, flow in enumerate(self.flows):
            v = int(m.chains[flow.chain]["first"]) + flow.segment
            if v < m.chains[flow.chain]["last"]:
                into.append((v * len(sites) + place[flow.end], first + i, -1.0))
            if flow.segment > 0:
                out.append(((v - 1) * len(sites) + place[flow.start], first + i, -1.0))
        for entries in (into, out):
            yield self._equal(entries, len(m.vnfs) * len(sites), 0.0)

    def _queues(self) -> Iterator[LinearConstraint]:
        """Load within the limit, and tangents of the queueing cost, of every directed link."""
        m, offered, first = self.m, self.found.seen.offered_mbps, len(self.columns)
        loads: dict[int, list[tuple[int, float]]] = {}
        for i, flow in enumerate(self.flows):
            for link in self._route(flow.start, flow.end):
                loads.setdefault(int(link), []).append((first + i, float(offered[flow.chain])))
        least_kbit, total = float(m.chains["packet_kbit"].min()), max(float(offered.sum()), 1e-9)
        for link, entries in loads.items():
            capacity, other = float(m.resources[link]["capacity"]), float(self.found.seen.background[link])
            room = max(self.found.bounds.link * capacity - other, 0.0)
            yield self._rows([(0, i, mbps) for i, mbps in entries], 1, -np.inf, room)
            scale = self.found.per_ms * least_kbit / (total * capacity)
            for slope, at_zero in _tangents(capacity, other, room):
                cells = [(0, i, -scale * slope * mbps) for i, mbps in entries]
                yield self._rows([*cells, (0, len(self.cost) - m.access + link, 1.0)], 1, scale * at_zero, np.inf)

    def _equal(self, entries: Sequence[tuple[int, int, float]], rows: int, value: float) -> LinearConstraint:
        return self._rows(entries, rows, value, value)

    def _rows(
        self, entries: Sequence[tuple[int, int, float]], rows: int, lowest: float, highest: float
    ) -> LinearConstraint:
        at = np.array([(row, column) for row, column, _ in entries]).T
        values = np.array([value for _, _, value in entries])
        return LinearConstraint(sparse.csr_array((values, at), shape=(rows, len(self.cost))), lowest, highest)


def _tangents(capacity: float, other: float, room: float) -> Iterator[tuple[float, float]]:
    """(slope, value at 0) of tangents to L·(slowdown((L + other) / capacity) − 1), convex in the load L ≥ 0."""
    for share in _TANGENTS:
        load, step = share * room, 1e-6 * capacity
        value, more = (
            at * (float(slowdown(np.array((at + other) / capacity))) - 1.0) for at in (load, load + step)
        )  # fmt: skip
        slope = (more - value) / step
        yield slope, value - slope * load
