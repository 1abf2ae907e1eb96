"""Power and energy of the servers: modelled from utilisation and sleep, or measured by RAPL where a host has it.

Every reading says which of the two it is, and whoever shows it shows that too. The formula of power is that of
`twin.costs`, so simulator and controller agree; here are the state that it needs (who sleeps) and the integral over
irregular times. RAPL counts the *whole host*: on an emulated network, where all servers share one host, it is reported
beside the servers' modelled energy, never as theirs. Source: ours (docs/telemetry.md, "Energy").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from twin.costs import server_power_w
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray
from twin.tables import tables

Origin = Literal["modelled", "measured"]
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Power now and energy since the meter began, of a server or of the host."""

    subject: str
    power_w: float
    energy_j: float
    origin: Origin


class EnergyMeter:
    """Who sleeps, what every server draws, and the energy since the first update. Modelled.

    1. A server that hosts no VNF sleeps once `sleep_after_s` have passed; at the first update those without a VNF are
       asleep already, as the state is taken to be settled.
    2. A server that hosts one again is awake at once and is charged `wake_j`.
    3. A CPU reading is the mean of the time before it, so it stands for the time since the last update; where a server
       fell asleep in between, for the part before that.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._tables = scenario, tables(scenario)
        servers = len(scenario.servers)
        self._cpu: FloatArray = np.zeros(servers)
        self._awake: BoolArray = np.zeros(servers, dtype=np.bool_)
        self._sleep_at_s: FloatArray = np.full(servers, np.inf)
        self._energy_j: FloatArray = np.zeros(servers)
        self._wakes = np.zeros(servers, dtype=np.int64)
        self._last_s = float("-inf")

    def update(self, now_s: float, hosting: Collection[str], cpu_cores: Mapping[str, float]) -> list[Sample]:
        """Takes in which servers host a VNF now and the cores in use where there is a fresh reading.

        Gives `SERVER_POWER` and `SERVER_AWAKE` of every server. A time before the last one changes nothing.
        """
        if now_s < self._last_s:
            return self._samples(self._last_s)
        hosts = np.array([server.id in hosting for server in self._scenario.servers], dtype=np.bool_)
        self._read(cpu_cores)
        if self._last_s == float("-inf"):
            self._awake = hosts
        else:
            self._integrate(now_s)  # 3.
            self._wake(hosts)  # 2.
        self._plan_sleep(now_s, hosts)
        self._last_s = now_s
        return self._samples(now_s)

    def readings(self) -> list[PowerReading]:
        """Power and energy of every server as of the last update, in the scenario's order."""
        power_w = self._power_w(self._awake)
        return [
            PowerReading(server.id, float(power_w[i]), float(self._energy_j[i]), "modelled")
            for i, server in enumerate(self._scenario.servers)
        ]

    @property
    def total_j(self) -> float:
        """Energy of all servers since the first update, waking included."""
        return float(self._energy_j.sum())

    def wakes(self, server: str) -> int:
        """How often a server was woken. KeyError for an unknown one."""
        return int(self._wakes[self._scenario.server_index[server]])

    def _read(self, cpu_cores: Mapping[str, float]) -> None:
        for server, cores in cpu_cores.items():
            index = self._scenario.server_index[server]
            self._cpu[index] = cores / self._tables.cpu_cores[index]

    def _integrate(self, now_s: float) -> None:
        """Charges the time since the last update, split where a server fell asleep within it."""
        awake_s = np.where(self._awake, np.clip(self._sleep_at_s, self._last_s, now_s) - self._last_s, 0.0)
        asleep_s = now_s - self._last_s - awake_s
        everyone = np.ones_like(self._awake)
        self._energy_j += awake_s * self._power_w(everyone) + asleep_s * self._power_w(~everyone)
        self._awake = self._awake & (self._sleep_at_s > now_s)

    def _wake(self, hosts: BoolArray) -> None:
        woken = hosts & ~self._awake
        self._energy_j += np.where(woken, self._tables.wake_j, 0.0)
        self._wakes += woken
        self._awake = self._awake | hosts

    def _plan_sleep(self, now_s: float, hosts: BoolArray) -> None:
        """The hold time runs from the first update without a VNF."""
        idle = self._awake & ~hosts
        begins = idle & np.isinf(self._sleep_at_s)
        kept = np.where(begins, now_s + self._tables.sleep_after_s, self._sleep_at_s)
        self._sleep_at_s = np.where(idle, kept, np.inf)

    def _power_w(self, awake: BoolArray) -> FloatArray:
        return server_power_w(self._tables, self._cpu, awake)

    def _samples(self, now_s: float) -> list[Sample]:
        power_w = self._power_w(self._awake)
        samples = list[Sample]()
        for i, server in enumerate(self._scenario.servers):
            samples.append(Sample(now_s, server.id, Quantity.SERVER_POWER, float(power_w[i])))
            samples.append(Sample(now_s, server.id, Quantity.SERVER_AWAKE, float(self._awake[i])))
        return samples


@dataclass(slots=True)
class _Zone:
    """One RAPL package: its counter file, the value at which the counter begins anew, and its last value."""

    energy: Path
    range_uj: int
    last_uj: int


class RaplMeter:
    """Energy of this host's processor packages by RAPL (Linux powercap: `intel-rapl:*`, also on AMD).

    Only packages are summed: their parts (cores, graphics) would count twice, `psys` and `intel-rapl-mmio` all again.
    The counter wraps about once an hour under load, so read it at least that often. Since Linux 5.10 only root may.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [zone for folder in sorted(root.glob("intel-rapl:*")) for zone in _open(folder)]
        self._energy_j = 0.0
        self._last_s = float("-inf")

    @property
    def available(self) -> bool:
        """Does this host let us read at least one package?"""
        return bool(self._zones)

    def read(self, now_s: float) -> PowerReading | None:
        """Energy since the first reading and mean power since the last; None where the host has no meter."""
        grown_j = sum(self._grown_uj(zone) for zone in list(self._zones)) * 1e-6
        if not self._zones:
            return None
        elapsed_s, self._last_s = now_s - self._last_s, now_s
        if elapsed_s == float("inf"):  # the first reading is where counting begins
            grown_j = 0.0
        self._energy_j += grown_j
        return PowerReading("host", grown_j / elapsed_s if elapsed_s > 0.0 else 0.0, self._energy_j, "measured")

    def _grown_uj(self, zone: _Zone) -> int:
        try:
            now_uj = int(zone.energy.read_text())
        except (OSError, ValueError):
            self._zones.remove(zone)  # a package that was taken offline, or access that was withdrawn
            return 0
        before_uj, zone.last_uj = zone.last_uj, now_uj
        return now_uj - before_uj if now_uj >= before_uj else now_uj + zone.range_uj - before_uj


def _open(folder: Path) -> list[_Zone]:
    """The zone in a powercap folder if it is a package that can be read, else nothing."""
    try:
        if not (folder / "name").read_text().startswith("package"):
            return []
        energy = folder / "energy_uj"
        return [_Zone(energy, int((folder / "max_energy_range_uj").read_text()), int(energy.read_text()))]
    except (OSError, ValueError):
        return []
