"""The test bed: Open vSwitch, container engine, server cgroups, network and traffic as one thing with one protocol.

Runs inside the sandbox. Commands come as JSON lines on stdin, events go out as JSON lines on stdout; the end of stdin
is the command `stop` (docs/testbed.md, "Protocol").
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mininet_topos.engine import PrivateDocker, ServerCgroups, engine_available
from mininet_topos.events import Events
from mininet_topos.lines import LineReader
from mininet_topos.links import DelayLineLinks, LinkEmulator, LinkError, NetemLinks
from mininet_topos.network import CONTROLLER, Network, write_bound
from mininet_topos.ovs import PrivateOvs, kernel_datapath_works, netem_works
from mininet_topos.sandbox import Inside
from mininet_topos.traffic_process import TestBedFailed, TrafficProcess
from twin.errors import InputError, VnftwinError
from twin.scenario import Scenario

ENGINES = ("docker", "process", "none")
WATCH_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """`engine` is one of ENGINES, or empty: docker where it can run, else processes."""

    run_dir: Path
    engine: str = ""
    seed: int = 0


class StartingDocker:
    """A private engine that starts in a thread of its own while the network is built; `wait` gives it."""

    def __init__(self, state: Path) -> None:
        self._docker = PrivateDocker(state)
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._start)

    def __enter__(self) -> StartingDocker:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join()
        self._docker.stop()

    def wait(self) -> PrivateDocker:
        """The running engine; raises what its start raised."""
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        return self._docker

    def _start(self) -> None:
        try:
            self._docker.start()
        except BaseException as error:
            self._failed = error


class TestBed:
    """Everything of one run. A context manager: entered, it is ready; left, all of it has ended, last made first."""

    __test__ = False

    def __init__(self, scenario: Scenario, options: Options, inside: Inside, events: Events) -> None:
        self.scenario, self.options, self.inside, self.events = scenario, options, inside, events
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stack = contextlib.ExitStack()
        self._cgroups: ServerCgroups | None = None
        self._tcp: TrafficProcess | None = None
        self._began = time.monotonic()

    def __enter__(self) -> TestBed:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        engine, lack = choose_engine(self.options.engine)
        if lack:
            self._say(f"no container engine ({lack}): VNFs run as processes in namespaces")
        self.traffic = stack.enter_context(TrafficProcess("mininet_topos.traffic", self.events))
        docker = stack.enter_context(StartingDocker(self.inside.state)) if engine == "docker" else None
        self._say("switches and links")
        logs = self.options.run_dir / "log"
        kernel = kernel_datapath_works()
        self.ovs = stack.enter_context(PrivateOvs(run_dir=self.inside.state / "ovs", log_dir=logs))
        os.environ.update(self.ovs.environment)  # Mininet calls ovs-vsctl without a word on where
        self.links: LinkEmulator = stack.enter_context(self._link_emulator())
        self.network = stack.enter_context(Network(self.scenario, self.links, kernel_datapath=kernel))
        if engine != "none":
            self._cgroups = stack.enter_context(ServerCgroups(self.inside.run_id))
            self._cgroups.add_all(self.scenario.servers)
        if docker is not None:
            self._say("container engine")
        url = docker.wait().url if docker is not None else "process:" if engine == "process" else ""
        self._ready(url, kernel)

    def _link_emulator(self) -> LinkEmulator:
        return NetemLinks() if netem_works() else DelayLineLinks(run_dir=self.inside.state, seed=self.options.seed)

    def _ready(self, engine_url: str, kernel: bool) -> None:
        """Writes bound.json, places the traffic, says that all is there."""
        bound = self.network.bound(
            engines={server.id: engine_url for server in self.scenario.servers},
            ovsdb=self.ovs.database,
            cgroups={s.id: self._cgroups.path(s.id) for s in self.scenario.servers} if self._cgroups else {},
        )
        path = self.options.run_dir / "bound.json"
        write_bound(bound, path)
        hosts = {
            e.id: {"pid": self.network.pid(e.id), "attachments": self.network.attachments(e.id)}
            for e in self.scenario.endpoints
        }
        self._where = {"scenario": str(path), "hosts": hosts, "run_dir": str(self.options.run_dir)}
        self.traffic.send(**self._where)
        self.events.emit(
            "ready", pid=self.inside.host_pid, scenario=str(path), run_id=self.inside.run_id, engine=engine_url,
            controller=f"tcp:{CONTROLLER[0]}:{CONTROLLER[1]}", ovs_rundir=str(self.ovs.run_dir),
            datapath="kernel" if kernel else "userspace", links=self.links.name,
            attachments={name: host["attachments"] for name, host in hosts.items()},
            pids={name: host["pid"] for name, host in hosts.items()},
            start_s=round(time.monotonic() - self._began, 3),
        )  # fmt: skip

    def serve(self) -> None:
        """Obeys until `stop`. TestBedFailed when a part ends by itself."""
        while True:
            try:
                command = self.commands.get(timeout=WATCH_EVERY_S)
            except queue.Empty:
                self._watch()
                continue
            if command.get("op") == "stop":
                return
            self._obey(command)

    def _obey(self, command: dict[str, Any]) -> None:
        """One command; a wrong one is answered with an `error` event and changes nothing."""
        try:
            operation, arguments = command.get("op"), {k: v for k, v in command.items() if k != "op"}
            if operation in ("traffic_start", "traffic_stop", "roam"):
                self.traffic.send(op=operation.removeprefix("traffic_"), **arguments)
                return
            if operation in ("tcp_start", "tcp_stop"):
                self._tcp_process().send(op=operation.removeprefix("tcp_"), **arguments)
                return
            self._operation(operation)(**arguments)
            self.events.emit("done", **command)
        except (VnftwinError, TypeError, ValueError, OSError) as error:
            self.events.emit("error", message=f"{command.get('op')}: {error}")

    def _tcp_process(self) -> TrafficProcess:
        """The process of TCP connections, started when first asked for."""
        if self._tcp is None:
            self._tcp = self._stack.enter_context(TrafficProcess("mininet_topos.tcp_load", self.events))
            self._tcp.send(**self._where)
        return self._tcp

    def _operation(self, name: object) -> Callable[..., None]:
        operations: dict[object, Callable[..., None]] = {
            "link": self._link, "link_set": self._link_set, "server": self._server, "counters": self._counters,
        }  # fmt: skip
        if name not in operations:
            known = ", ".join([*map(str, operations), "roam", "stop", "traffic_start", "traffic_stop"])
            raise InputError(f"unknown command, known are {known}")
        return operations[name]

    def _link(self, link: str, up: bool) -> None:
        self.links.cable(self._known_link(link), up=up)

    def _link_set(self, link: str, delay_ms: float | None = None, loss: float | None = None) -> None:
        self.links.set(self._known_link(link), delay_ms=delay_ms, loss=loss)

    def _server(self, server: str, up: bool) -> None:
        if self._cgroups is None or server not in self.scenario.server_index:
            raise InputError(f"unknown server {server!r}" if self._cgroups else "servers need a container engine")
        (self._cgroups.power_on if up else self._cgroups.power_off)(server)

    def _counters(self) -> None:
        self.events.emit("counters", **self.links.counters())

    def _known_link(self, link: str) -> str:
        if link not in self.scenario.link_index:
            raise LinkError(f"unknown link {link!r}")
        return link

    def _watch(self) -> None:
        processes: list[subprocess.Popen[Any]] = [*self.ovs.daemons, self.traffic.process, *self.links.processes]
        processes += [self._tcp.process] if self._tcp is not None else []
        for process in processes:
            if process.poll() is not None:
                name = " ".join(map(str, process.args[:3]))  # type: ignore[index]
                raise TestBedFailed(f"{name} ended by itself")

    def _say(self, what: str) -> None:
        self.events.emit("progress", what=what)


def choose_engine(asked: str) -> tuple[str, str]:
    """One of ENGINES (docker where it can run, else process), and why it is not docker where nobody asked."""
    lack = "" if asked else engine_available()
    return asked or ("process" if lack else "docker"), lack


def run(scenario: Scenario, options: Options, inside: Inside) -> int:
    """The whole life of a test bed; returns the exit code. What ends it early is an `error` event, too."""
    events = Events()
    try:
        with TestBed(scenario, options, inside, events) as bed:
            threading.Thread(target=_read_commands, args=(bed.commands, events), daemon=True).start()
            bed.serve()
            events.emit("progress", what="test bed ends")
    except VnftwinError as error:
        events.emit("error", message=str(error))
        raise
    return 0


def _read_commands(commands: queue.SimpleQueue[dict[str, Any]], events: Events) -> None:
    reader = LineReader(0)
    while not reader.ended:
        for line in reader.read():
            try:
                command = json.loads(line)
                if not isinstance(command, dict):
                    raise ValueError("not an object")
                commands.put(command)
            except ValueError as error:
                events.emit("error", message=f"not a command ({error}): {line[:80]}")
    commands.put({"op": "stop"})


def capabilities() -> Mapping[str, str]:
    """What this machine offers and what will be used for it, for `doctor`."""
    docker = engine_available()
    return {
        "datapath": "kernel" if kernel_datapath_works() else "userspace (no openvswitch module in this kernel)",
        "link emulation": NetemLinks.name if netem_works() else f"{DelayLineLinks.name}; the kernel has no netem",
        "container engine": f"processes in namespaces ({docker})" if docker else "docker, private",
    }
