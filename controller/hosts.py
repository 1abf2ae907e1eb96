"""VNF instances on their servers: started, attached to their switch, watched and stopped.

Engine and port calls take tens to hundreds of milliseconds, so they run in threads (`run_blocking`); the green threads
that ask wait without holding up the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from controller import hand_over
from controller.containers import ContainerEngine, ContainerError, Instance, InstanceSpec, ServerUsage, Usage
from controller.host_checkpoints import HostCheckpoints
from controller.ports import PortPlumber
from controller.steering import Attachment
from twin.errors import VnftwinError
from twin.rewrites import backend_addresses, external_address, option_text
from twin.scenario import Scenario, Server, Vnf, VnfType

log = logging.getLogger("vnftwin.hosts")
READY_S = 10.0
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class RunningVnf:
    """One instance that is up, and the switch port at which it hangs."""

    instance: Instance
    attachment: Attachment


class Hosts:
    """Every instance of this run by its name; which of them is in service is told by the steering."""

    def __init__(
        self,
        scenario: Scenario,
        engines: Mapping[str, ContainerEngine],
        plumber: PortPlumber,
        *,
        run_id: str,
        images: Mapping[str, str],
        run_blocking: Callable[..., Any],
    ) -> None:
        """`engines` and `images` (of VNFs that name none themselves) are by server; servers may share an engine."""
        self._scenario, self._engines, self._plumber = scenario, engines, plumber
        self._run_id, self._images, self._run = run_id, images, run_blocking
        self._checkpoints = HostCheckpoints(engines, plumber)
        self._running: dict[str, RunningVnf] = {}
        self._starting: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._ports_changed: Callable[[str, frozenset[int]], None] = lambda _switch, _ports: None

    def on_ports_changed(self, callback: Callable[[str, frozenset[int]], None]) -> None:
        """`callback(switch, its VNF ports)` is called whenever an instance comes or goes."""
        self._ports_changed = callback

    def running(self, name: str) -> RunningVnf:
        """ContainerError for an instance that is not up."""
        try:
            return self._running[name]
        except KeyError:
            raise ContainerError(f"instance {name} is not running") from None

    def names(self) -> tuple[str, ...]:
        return tuple(self._running)

    def new_name(self, vnf: str) -> str:
        """A name for the next instance of a VNF, never used before in this run."""
        self._numbers[vnf] = self._numbers.get(vnf, 0) + 1
        return f"{self._run_id}-{vnf}-{self._numbers[vnf]}"

    def start(
        self, vnf_id: str, server_id: str, name: str, *, standby: bool = False, hollow: bool = False
    ) -> Attachment:
        """Starts an instance and returns its port once it answers health. ContainerError, with nothing left behind.

        A `hollow` one is only a place with a port.
        """
        vnf, server = self._scenario.vnf(vnf_id), self._scenario.server(server_id)
        spec = replace(self._spec(vnf, server, name), standby=standby)
        self._starting.add(name)
        try:
            instance, port = self._run(self._checkpoints.reserve if hollow else self._start, spec, server)
            attachment = Attachment(server.at, port)
            self._running[name] = RunningVnf(instance, attachment)
        finally:
            self._starting.discard(name)
        self._tell_ports(server.at)
        return attachment

    def stop(self, name: str) -> None:
        """Stops and detaches; an instance that is gone already is no error."""
        running = self._running.get(name)
        if running is None:
            return
        self._run(self._stop, running.instance)
        self._running.pop(name, None)  # not before: what could not be stopped is still there, and is tried again
        self._tell_ports(running.attachment.switch)

    def stop_stranger(self, instance: Instance) -> None:
        """Stops an instance of this run that nobody here has started."""
        self._run(self._stop, instance)

    def can_hand_over(self, name: str) -> bool:
        """Whether an instance has state that it can give to another one."""
        return not self.hand_over_lack(name)

    def hand_over_lack(self, name: str) -> str:
        """Why an instance cannot hand its state over, in one line; '' where it can. ContainerError: it did not say."""
        end = self._end(name)
        lack = end.engine.descriptor_lack()
        return lack or ("" if self._run(hand_over.can_hand_over, end) else "its program cannot")

    def attachment(self, name: str) -> Attachment | None:
        """Where an instance hangs; None where it is not up."""
        running = self._running.get(name)
        return None if running is None else running.attachment

    def copy_state(self, source: str, target: str) -> None:
        """Copies a VNF's state between two instances. ContainerError where one of them cannot."""
        report = self._run(hand_over.copy_state, self._end(source), self._end(target))
        log.info("%s has the state of %s: %s", target, source, report)

    def take_over(self, owner: str, heir: str) -> None:
        """Makes `heir` serve in place of `owner`. ContainerError where it has no copy of its state."""
        report = self._run(hand_over.take_over, self._end(owner), self._end(heir))
        log.info("%s serves in place of %s: %s", heir, owner, report)

    def _end(self, name: str) -> hand_over.End:
        instance = self.running(name).instance
        return hand_over.End(self._engines[instance.server], instance)

    def checkpoint_lack(self, source: str, target: str) -> str:
        """Why no process can go from one server to another by checkpoint, in one line; '' where it can."""
        lack: str = self._run(self._checkpoints.lack, source, target)
        return lack

    def checkpoint(self, name: str) -> None:
        """Dumps an instance's process and ends it; its port stays."""
        self._run(self._checkpoints.dump, self.running(name).instance)

    def restore(self, source: str, target: str) -> None:
        """Brings a dumped process to life in the place of `target` and waits until it answers."""
        place = self.running(target)
        restored = self._run(self._checkpoints.restore, self.running(source).instance, place.instance)
        self._running[target] = replace(place, instance=restored)

    def stop_all(self) -> None:
        for name in list(self._running):
            try:
                self.stop(name)
            except VnftwinError as error:
                log.warning("%s was not stopped: %s", name, error)

    def adopt(self) -> Mapping[str, RunningVnf]:
        """Takes over the instances of this run that live and have a port; all else that is left of it is removed."""
        for name, running in self._run(self._adopt).items():
            self._running[name] = running
            self._note_number(running.instance)
        for switch in {server.at for server in self._scenario.servers}:
            self._tell_ports(switch)
        return dict(self._running)

    def is_serving(self, name: str) -> bool:
        """Whether an instance forwards packets; a standby does not, and one that does not answer is taken to."""
        running = self.running(name)
        try:
            health = self._run(self._engines[running.instance.server].ask, running.instance, "health")
        except ContainerError:
            return True
        return bool(health.get("active", True))

    def poll(self, active: Mapping[str, str]) -> HostReadings:
        """Usage of every server and of each VNF's active instance (vnf -> name), read in one thread."""
        wanted = {vnf: self._running[name].instance for vnf, name in active.items() if name in self._running}
        known = {*self._running, *self._starting}
        readings: HostReadings = self._run(self._poll, wanted)
        known.update(self._running, self._starting)  # one that was started meanwhile is no stranger
        return replace(readings, strangers=[i for i in readings.strangers if i.name not in known])

    def _note_number(self, instance: Instance) -> None:
        number = instance.name.rpartition("-")[2]
        if number.isdecimal():
            self._numbers[instance.vnf] = max(self._numbers.get(instance.vnf, 0), int(number))

    def _adopt(self) -> dict[str, RunningVnf]:
        for engine in self._all_engines():
            engine.remove_half_started()
        ports = {server.id: dict(self._plumber.attached(server)) for server in self._scenario.servers}
        adopted: dict[str, RunningVnf] = {}
        for instance in self._instances():
            number = ports.get(instance.server, {}).pop(instance.name, None)
            if instance.running and number is not None:
                adopted[instance.name] = RunningVnf(
                    instance, Attachment(self._scenario.server(instance.server).at, number)
                )
            else:
                self._stop(instance)
        self._remove_ports(ports, adopted)
        return adopted

    def _remove_ports(self, ports: Mapping[str, Mapping[str, int]], adopted: Mapping[str, RunningVnf]) -> None:
        """Of instances that are gone. Servers at one switch see the same ports, so each is asked of every one."""
        for server, names in ports.items():
            for name in names.keys() - adopted.keys():
                self._plumber.detach(Instance(name, name, "", server, 0, False, {}), self._scenario.server(server))

    def _spec(self, vnf: Vnf, server: Server, name: str) -> InstanceSpec:
        image = vnf.type.image or self._images[server.id]
        labels = {"run": self._run_id, "vnf": vnf.id, "server": server.id}
        config = vnf_config(vnf, self._scenario)
        return InstanceSpec(name, vnf.id, vnf.type.function, server.id, image, vnf.type.memory_mb, config, labels)

    def _start(self, spec: InstanceSpec, server: Server) -> tuple[Instance, int]:
        engine = self._engines[server.id]
        instance = engine.start(spec)
        try:
            port = self._plumber.attach(instance, server)
            engine.wait_ready(instance, timeout_s=READY_S)
        except BaseException:
            self._stop(instance)
            raise
        return instance, port

    def _stop(self, instance: Instance) -> None:
        self._plumber.detach(instance, self._scenario.server(instance.server))
        self._engines[instance.server].stop(instance.id, timeout_s=STOP_S)

    def _poll(self, wanted: Mapping[str, Instance]) -> HostReadings:
        there, silent = list[Instance](), set[str]()
        for engine in self._all_engines():
            try:
                there += engine.instances()
            except ContainerError as error:
                log.debug("%s", error)
                silent.update(server for server, its in self._engines.items() if its is engine)
        alive = {instance.name for instance in there if instance.running}
        dead = {vnf: i.name for vnf, i in wanted.items() if i.name not in alive and i.server not in silent}
        vnfs, servers = dict[str, tuple[Instance, Usage]](), dict[str, ServerUsage]()
        for vnf, instance in wanted.items():
            with suppress(ContainerError):  # it may have ended a moment ago; the next poll calls it dead
                vnfs[vnf] = (instance, self._engines[instance.server].usage(instance))
        for server in self._engines.keys() - silent:
            with suppress(ContainerError):  # no reading: its age will show it
                servers[server] = self._engines[server].server_usage(server)
        return HostReadings(vnfs, servers, dead, there, frozenset(silent))

    def _all_engines(self) -> Iterable[ContainerEngine]:
        return {id(engine): engine for engine in self._engines.values()}.values()

    def _instances(self) -> list[Instance]:
        return [instance for engine in self._all_engines() for instance in engine.instances()]

    def _tell_ports(self, switch: str) -> None:
        ports = (r.attachment.port for r in self._running.values() if r.attachment.switch == switch)
        self._ports_changed(switch, frozenset(ports))


@dataclass(frozen=True, slots=True)
class HostReadings:
    """One poll: usage per VNF with the instance it was read of, and usage per server.

    `dead` are VNFs with the name of the instance that was theirs when the poll began and is no more; `strangers`
    instances of this run that nobody here has started; `silent` servers whose engine did not answer.
    """

    vnfs: Mapping[str, tuple[Instance, Usage]]
    servers: Mapping[str, ServerUsage]
    dead: Mapping[str, str]
    strangers: Sequence[Instance]
    silent: frozenset[str]


def vnf_config(vnf: Vnf, scenario: Scenario) -> tuple[str, ...]:
    """The configuration lines of a VNF (docs/vnf.md): its type's own, with defaults that fit its chain."""
    chain = scenario.chain(vnf.chain)
    lines = [f"function {vnf.type.function}", f"work_us {work_us(vnf.type, chain.packet_bytes):.0f}"]
    own = [line for key, value in vnf.type.config.items() for line in _lines(key, value)]
    keys = {line.split()[0] for line in own}
    if vnf.type.function == "nat" and "external" not in keys:
        lines.append(f"external {external_address(vnf, chain.number)}")
    if vnf.type.function == "balancer" and "backend" not in keys:
        lines += _lines("backend", backend_addresses(vnf, chain))
    return (*lines, *own)


def work_us(vnf_type: VnfType, packet_bytes: int) -> float:
    """CPU time per packet that makes a VNF cost what the scenario says: cores per Mbit/s times bits per packet."""
    return vnf_type.cpu_per_mbps * packet_bytes * 8.0


def _lines(key: str, value: object) -> Iterable[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [f"{key} {option_text(item)}" for item in values]
