"""Watches servers and VNF instances: reads what they use, and sees to it that every VNF has an instance that lives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controller.chain_keeper import ChainKeeper
from controller.containers import Instance
from controller.energy import EnergyMeter
from controller.executor import Shell
from controller.host_usage import HostUsage
from controller.hosts import HostReadings, Hosts
from controller.migrations import Migrations
from controller.telemetry import Telemetry
from controller.tick import predict
from twin.errors import VnftwinError
from twin.feasibility import feasible_moves
from twin.routing import Routes
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.state import NetworkState

SURPLUS_AFTER_S = 5.0  # since the last change of its chain
SERVER_LOST_S = 5.0  # an engine that has not answered for so long is taken to be gone with its server


class Thread(Protocol):
    """A green thread; `wait` returns when it has ended."""

    def wait(self) -> object: ...


Spawn = Callable[..., Thread]


@dataclass(slots=True)
class HostWatch:
    """Called with every poll. `tell` says a thing once; `known` gives the newest state (None: not yet) and routes."""

    scenario: Scenario
    hosts: Hosts
    keeper: ChainKeeper
    migrations: Migrations
    telemetry: Telemetry
    shell: Shell
    spawn: Spawn
    tell: Callable[[str, str], None]
    known: Callable[[], tuple[NetworkState | None, Routes]]
    steered_as_wanted: Callable[[int], bool]  # told a chain's number
    _usage: HostUsage = field(init=False)
    energy: EnergyMeter = field(init=False)
    surplus: int = 0  # instances that served nothing and were stopped
    _starting: set[str] = field(default_factory=set)
    _stopping: set[str] = field(default_factory=set)
    _silent_since_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._usage, self.energy = HostUsage(self.scenario), EnergyMeter(self.scenario)

    def start_missing(self) -> list[Thread]:
        """Starts every VNF that has no instance yet, side by side, each in a green thread of its own."""
        missing = [v.id for v in self.scenario.vnfs if v.id not in self.keeper.active and v.id not in self._starting]
        self._starting.update(missing)
        return [self.spawn(self._start_first, vnf) for vnf in missing]

    def poll(self) -> None:
        """Reads usage, says what it means, replaces what died."""
        readings = self.hosts.poll(self.keeper.active)
        now_s = self.shell.clock()
        self.telemetry.add(self._samples(now_s, readings))
        self._replace(readings.dead, readings.silent)
        self._remove_surplus(readings.strangers)
        self.start_missing()

    def _start_first(self, vnf: str) -> None:
        server = self._refuge(vnf)
        try:
            self.migrations.start_instance(vnf, server, self.hosts.new_name(vnf))
        except VnftwinError as error:
            self.tell(vnf, f"{vnf} could not be started on {server}: {error}")
        finally:
            self._starting.discard(vnf)

    def _samples(self, now_s: float, readings: HostReadings) -> list[Sample]:
        samples = [s for i, usage in readings.vnfs.values() for s in self._usage.vnf(now_s, i, usage)]
        servers = self._server_samples(now_s, readings)
        cpu_cores = {s.subject: s.value for s in servers if s.quantity is Quantity.SERVER_CPU}
        power = self.energy.update(now_s, set(self.keeper.server_of.values()), cpu_cores)
        return [*samples, *servers, *power, *self._placement(now_s)]

    def _server_samples(self, now_s: float, readings: HostReadings) -> list[Sample]:
        """A server whose engine does not answer, or where nothing would start, is down.

        One whose engine answers but could not be read is neither: an instance that ends while it is read does that.
        """
        down, samples = self.migrations.resting(now_s) | readings.silent, list[Sample]()
        for server in (s.id for s in self.scenario.servers):
            if server in down:
                samples += self._usage.server_lost(now_s, server)
            elif server in readings.servers:
                samples += self._usage.server(now_s, server, readings.servers[server])
        return samples

    def _placement(self, now_s: float) -> list[Sample]:
        index, hosts = self.scenario.server_index, self.keeper.server_of
        return [Sample(now_s, v.id, Quantity.VNF_HOST, float(index[hosts[v.id]])) for v in self.scenario.vnfs]

    def _replace(self, dead: Mapping[str, str], silent: Collection[str]) -> None:
        """A VNF whose instance died is started again: where it was, or on the next best server that takes it."""
        for vnf, name in {**dead, **self._lost_with_their_server(silent)}.items():
            # A move may have ended while the poll was under way: then another instance serves.
            if self.keeper.active.get(vnf) == name and self.scenario.vnf(vnf).chain not in self.migrations.busy:
                target = self._refuge(vnf)
                self.tell(vnf, f"{vnf} died on {self.keeper.server_of[vnf]}: it is started on {target}")
                record = self.migrations.request(vnf, target, reason="its instance died", predicted=None, died=True)
                self.spawn(self.migrations.run, record)

    def _lost_with_their_server(self, silent: Collection[str]) -> dict[str, str]:
        """VNFs of servers whose engine has not answered for a while, if there are others that do."""
        now_s = self.shell.clock()
        self._silent_since_s = {server: self._silent_since_s.get(server, now_s) for server in silent}
        lost = {server for server, since_s in self._silent_since_s.items() if now_s - since_s >= SERVER_LOST_S}
        if len(lost) == len(self.scenario.servers):
            return {}
        for server in lost:
            self.migrations.rest(server)
        return {vnf: name for vnf, name in self.keeper.active.items() if self.keeper.server_of[vnf] in lost}

    def _remove_surplus(self, strangers: Iterable[Instance]) -> None:
        """One active instance per VNF: whatever else of this run is there is stopped, and counted.

        Not what belongs to a change under way, and nothing while a switch is away: its packets go on by rules that
        cannot be read now.
        """
        if len(self.telemetry.discovery.switches) < len(self.scenario.switches):
            return
        surplus = {
            name: lambda name=name: self.hosts.stop(name) for name in self.hosts.names() if self._is_surplus(name)
        }
        surplus |= {i.name: lambda i=i: self.hosts.stop_stranger(i) for i in strangers}
        for name, stop in surplus.items():
            if name not in self._stopping:
                self._stopping.add(name)
                self.spawn(self._stop_surplus, name, stop)

    def _is_surplus(self, name: str) -> bool:
        running = self.hosts.running(name)
        vnf = running.instance.vnf
        chain = self.scenario.chain(self.scenario.vnf(vnf).chain)
        if vnf in self._starting or chain.number in self.migrations.unsettled(self.shell.clock(), SURPLUS_AFTER_S):
            return False
        steering = self.keeper.installed.get(chain.id)
        steered = steering is not None and running.attachment in (*steering.vnfs, *steering.back_vnfs)
        # While an entry rule is not known to be right, packets may still be led to the instance before.
        return self.keeper.active.get(vnf) != name and not steered and self.steered_as_wanted(chain.number)

    def _stop_surplus(self, name: str, stop: Callable[[], None]) -> None:
        self.surplus += 1
        try:
            stop()
            self.tell(name, f"instance {name} served nothing: it was stopped")
        except VnftwinError as error:
            self.tell(name, f"instance {name} serves nothing and could not be stopped: {error}")
        finally:
            self._stopping.discard(name)

    def _refuge(self, vnf: str) -> str:
        """Where it is placed, unless that server is left alone; else the one of the others with the least delay.

        Of those where it is feasible, if there are any: a poor place is better than none.
        """
        resting = self.migrations.resting(self.shell.clock())
        here = self.keeper.server_of[vnf]
        state, routes = self.known()
        left = [s.id for s in self.scenario.servers if s.id not in resting]
        if here not in resting or not left:
            return here
        if state is None:
            return left[0]
        feasible = feasible_moves(self.scenario, state, routes)[self.scenario.vnf_index[vnf]]
        fit = [server for server in left if feasible[self.scenario.server_index[server]]]
        return min(fit or left, key=lambda server: predict(self.scenario, state, routes, vnf, server).delay_after_ms)
