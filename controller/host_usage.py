"""From usage totals of instances and servers to CPU, memory and network rates.

The totals come from `controller.containers` (an engine reads them, in a thread); here they become samples. A total
that went down, another instance id or another process means a restart: that reading is a new base and gives memory
only, so no rate is ever negative or spans two lives. Source: ours (docs/telemetry.md, "Hosts").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.containers import Instance, ServerUsage, Usage
from controller.rates import RateWindow, Reading
from twin.samples import Quantity, Sample
from twin.scenario import Scenario

_NANO = 1e9
_NEVER_WRAPS = -1.0  # these totals are of 64 bits: one that goes down has begun anew
_CEILING_CORES = 4096.0
_CEILING_BYTES = 50e9  # per second: 400 Gbit/s


@dataclass(frozen=True, slots=True)
class VnfRates:
    """Mean rates of a VNF's instance over the window, for metrics; `taken_s` is when the newest reading was taken."""

    taken_s: float
    cpu_cores: float
    rx_mbps: float
    tx_mbps: float


@dataclass(slots=True)
class _Life:
    """One process of one instance."""

    instance: str
    pid: int
    window: RateWindow


class HostUsage:
    """Rates are means over `window_s` (default: the scenario's control period)."""

    def __init__(self, scenario: Scenario, *, window_s: float = 0.0) -> None:
        self._scenario = scenario
        self._window_s = window_s or scenario.period_s
        self._vnfs: dict[str, _Life] = {}
        self._servers: dict[str, RateWindow] = {}

    def vnf(self, now_s: float, instance: Instance, usage: Usage) -> list[Sample]:
        """`VNF_MEMORY`, and `VNF_CPU` from the second reading on. Give only the instance that is in service.

        KeyError for an instance of a VNF that the scenario lacks.
        """
        vnf = self._scenario.vnf(instance.vnf).id
        life = self._vnfs.get(vnf)
        if life is None or (life.instance, life.pid) != (instance.id, instance.pid):
            ceiling = (_CEILING_CORES * _NANO, _CEILING_BYTES, _CEILING_BYTES)
            life = self._vnfs[vnf] = _Life(instance.id, instance.pid, RateWindow(self._window_s, ceiling=ceiling))
        totals = (round(usage.cpu_s * _NANO), usage.rx_bytes, usage.tx_bytes)
        samples = [Sample(now_s, vnf, Quantity.VNF_MEMORY, usage.memory_mb)]
        if life.window.add(Reading(now_s, math.nan, totals), wrap_ceiling=(_NEVER_WRAPS,) * 3):
            samples.append(Sample(now_s, vnf, Quantity.VNF_CPU, life.window.rates()[0] / _NANO))
        return samples

    def server(self, now_s: float, server: str, usage: ServerUsage) -> list[Sample]:
        """`SERVER_UP` and `SERVER_MEMORY`, and `SERVER_CPU` from the second reading on. KeyError for an unknown one."""
        name = self._scenario.server(server).id
        window = self._servers.get(name)
        if window is None:
            window = self._servers[name] = RateWindow(self._window_s, ceiling=(_CEILING_CORES * _NANO,))
        samples = [
            Sample(now_s, name, Quantity.SERVER_UP, 1.0),
            Sample(now_s, name, Quantity.SERVER_MEMORY, usage.memory_mb),
        ]
        total = (round(usage.cpu_s * _NANO),)
        if window.add(Reading(now_s, math.nan, total), wrap_ceiling=(_NEVER_WRAPS,)):
            samples.append(Sample(now_s, name, Quantity.SERVER_CPU, window.rates()[0] / _NANO))
        return samples

    def server_lost(self, now_s: float, server: str) -> list[Sample]:
        """Its engine does not answer: `SERVER_UP` is 0, and what it counted before is no base any more."""
        self._servers.pop(server, None)
        return [Sample(now_s, self._scenario.server(server).id, Quantity.SERVER_UP, 0.0)]

    def vnf_rates(self, now_s: float, vnf: str) -> VnfRates | None:
        """The newest rates of a VNF; None without a reading younger than two windows."""
        life = self._vnfs.get(vnf)
        if life is None or now_s - life.window.taken_s > 2 * self._window_s:
            return None
        cpu_ns, rx_bytes, tx_bytes = life.window.rates()
        return VnfRates(life.window.taken_s, cpu_ns / _NANO, rx_bytes * 8e-6, tx_bytes * 8e-6)
