"""`Bulk`: the cost model for many placements and traffics at once, with what the learned twin corrects it by."""

from __future__ import annotations

import numpy as np

from twin.bulk_kernels import Cases, Measures, measure_all
from twin.costs import server_power_w
from twin.model import model, work
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.tables import tables


class Bulk:
    """Measures B cases in one call: about a microsecond per chain. Links are taken to be up.

    `background_mbps` [2L] is load that is not ours.
    """

    def __init__(self, scenario: Scenario, background_mbps: FloatArray | None = None) -> None:
        self.scenario = scenario
        self._model = model(scenario, configured_routes(scenario))
        self._work = work(self._model)
        self._background = self._model.quiet if background_mbps is None else background_mbps

    def measure(self, hosts: IntArray, ends: IntArray, offered_mbps: FloatArray) -> Measures:
        """`hosts` [B, V] rows of servers, `ends` [B, E] rows of switches, `offered_mbps` [B, C]."""
        cases = Cases(
            np.ascontiguousarray(hosts, dtype=np.int64),
            np.ascontiguousarray(ends, dtype=np.int64),
            np.ascontiguousarray(offered_mbps, dtype=np.float64),
            self._background,
        )
        out = self._room(len(cases.hosts))
        measure_all(self._model, cases, self._work, out)
        return out

    def power_w(self, measures: Measures, awake: BoolArray) -> FloatArray:
        """Power of every server [B, S], those `awake` [B, S] drawing more than sleep power."""
        t = tables(self.scenario)
        return server_power_w(t, measures.cores / t.cpu_cores, awake)

    def _room(self, size: int) -> Measures:
        m = self._model
        chains, vnfs, servers, links = len(m.chains), len(m.vnfs), len(m.servers), m.access
        return Measures(
            mean_delay_ms=np.zeros(size),
            chain_delay_ms=np.zeros((size, chains)),
            vnf_ms=np.zeros((size, vnfs)),
            cores=np.zeros((size, servers)),
            memory_mb=np.zeros((size, servers)),
            link_mbps=np.zeros((size, links)),
            worst_cpu=np.zeros((size, chains)),
            worst_link=np.zeros((size, chains)),
            crossed=np.zeros((size, links, chains)),
        )
