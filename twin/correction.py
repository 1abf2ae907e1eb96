"""`Correction`: by which factors a world departs from its scenario file, and the model with these factors applied.

It says what a file is most often wrong about: how long a VNF works on a packet, how fast waiting grows with load, how
much of a link strangers use, what a server draws. Bandwidth that cross-traffic takes is bandwidth that is not there:
for M/M/1 queueing, 1/(C − X − load) either way. Waiting grows by Pollaczek and Khinchine's factor, (1 + cv²)/2 of
M/M/1's: 0.5 is constant service time. `twin.identification` finds these factors from readings.
Source: ours (docs/agent.md, "Synthetic experience").
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from twin.model import Model
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Correction:
    """Factors, 1 where the file is right: `service` [K] of the VNF types' service times (in order of their names),
    `waiting` [1] of the processors' queueing, `bandwidth` [L], `idle` and `dynamic` [S] of the servers' idle power and
    of what they draw above it at full load."""

    service: FloatArray
    waiting: FloatArray
    bandwidth: FloatArray
    idle: FloatArray
    dynamic: FloatArray

    @staticmethod
    def none(scenario: Scenario) -> Correction:
        """The file is right."""
        servers, kinds = len(scenario.servers), len(vnf_types(scenario))
        return Correction(*(np.ones(size) for size in (kinds, 1, len(scenario.links), servers, servers)))

    @staticmethod
    def drawn(scenario: Scenario, rng: np.random.Generator, *, most: float = 0.5) -> Correction:
        """Every factor uniform in 1 ± `most`."""
        plain = Correction.none(scenario)
        return Correction(*(1.0 + most * (2.0 * rng.random(len(getattr(plain, f.name))) - 1.0) for f in fields(plain)))

    def apply(self, m: Model, scenario: Scenario) -> Model:
        """The same network with these factors."""
        vnfs, chains, resources, servers = m.vnfs.copy(), m.chains.copy(), m.resources.copy(), m.servers.copy()
        service_ms = vnfs["service_ms"] * self.service[vnf_kinds(scenario)]
        waiting = float(self.waiting[0])
        vnfs["service_ms"] = waiting * service_ms  # s·(1 + w·(slowdown − 1)) = (1 − w)·s + w·s·slowdown
        np.add.at(chains["hops_ms"], vnfs["chain"], (1.0 - waiting) * service_ms)
        links = np.repeat(self.bandwidth, 2)
        resources["capacity"][: m.access] *= links
        resources["scale"][: m.access] /= links
        dynamic_w = (servers["peak_w"] - servers["idle_w"]) * self.dynamic
        servers["idle_w"] *= self.idle
        servers["peak_w"] = servers["idle_w"] + dynamic_w
        return m._replace(vnfs=vnfs, chains=chains, resources=resources, servers=servers)


def vnf_types(scenario: Scenario) -> tuple[str, ...]:
    """The names of the types that occur."""
    return tuple(sorted({vnf.type.name for vnf in scenario.vnfs}))


def vnf_kinds(scenario: Scenario) -> IntArray:
    """The row [V] of each VNF's type in `vnf_types`."""
    names = vnf_types(scenario)
    return np.array([names.index(vnf.type.name) for vnf in scenario.vnfs], dtype=np.int64)
