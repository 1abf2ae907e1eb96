"""Times and costs of instances, ports and VNFs on this machine: `python -m tests.contract.measure` (as root).

Prints one line per figure; medians, with the slowest in brackets.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from controller.containers import ContainerEngine, InstanceSpec
from controller.engines import PROCESS, engine_image, open_engine
from controller.ports import OvsPorts
from mininet_topos.engine import PrivateDocker, ServerCgroups
from tests.contract import conftest
from tests.contract.frames import Datagram, Wire, build
from twin.scenario import Server

RUN = "measure"
ROUNDS = 15
PACKETS, RATE = 3000, 1000
FUNCTIONS = {
    "firewall": ("rule deny udp 10.0.0.0/8 any 53", "rule deny tcp any any 1-1023"),
    "nat": ("external 10.9.0.1",),
    "monitor": (),
    "balancer": ("virtual 10.8.0.2", "backend 10.1.0.1", "backend 10.1.0.2"),
}


class Stopwatch:
    """Durations by name, in ms."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times_ms.setdefault(name, []).append((time.perf_counter() - began) * 1e3)

    def report(self, title: str) -> None:
        parts = (f"{name} {statistics.median(ms):.1f} ({max(ms):.1f})" for name, ms in self.times_ms.items())
        print(f"{title}: ms: " + " · ".join(parts), flush=True)


def spec(name: str, image: str, server: str, *lines: str) -> InstanceSpec:
    return InstanceSpec(name, name, lines[0].split()[-1], server, image, 24, lines, {})


def measure_lives(title: str, engine: ContainerEngine, image: str, server: Server) -> None:
    """Start, attach, ready, detach, stop of one instance after the other."""
    watch, ports = Stopwatch(), OvsPorts(RUN)
    for round_ in range(ROUNDS):
        with watch.part("start to ready"):
            with watch.part("start"):
                instance = engine.start(spec(f"life-{round_}", image, server.id, "function firewall"))
            with watch.part("attach"):
                ports.attach(instance, server)
            with watch.part("ready"):
                engine.wait_ready(instance, timeout_s=10)
        cpu_ms = engine.usage(instance).cpu_s * 1e3
        watch.times_ms.setdefault("CPU of the start, paid by the server", []).append(cpu_ms)
        with watch.part("usage"):
            engine.usage(instance)
        with watch.part("detach"):
            ports.detach(instance, server)
        with watch.part("stop"):
            engine.stop(instance.id, timeout_s=2)
    watch.report(title)


def pace(wire: Wire, frame: bytes) -> list[float]:
    """Sends at RATE and waits for each frame to come back: round trips in µs."""
    trips_us, due = [], time.perf_counter()
    for _ in range(PACKETS):
        due += 1 / RATE
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        sent = time.perf_counter()
        wire.send(frame)
        assert wire.receive(1)
        trips_us.append((time.perf_counter() - sent) * 1e6)
    return trips_us


def measure_function(engine: ContainerEngine, name: str, lines: Sequence[str]) -> None:
    instance = engine.start(spec(f"cost-{name}", "", "free", f"function {name}", *lines))
    wire = conftest.wire_up(instance.pid)
    engine.wait_ready(instance, timeout_s=5)
    before = engine.usage(instance).cpu_s
    trips_us = pace(wire, build(Datagram("10.0.0.1", "10.8.0.2", payload=b"x" * 470)))
    cpu_us = (engine.usage(instance).cpu_s - before) * 1e6 / PACKETS
    wire.close()
    engine.stop(instance.id, timeout_s=1)
    ordered = sorted(trips_us)
    print(f"{name}: {cpu_us:.1f} µs of CPU a packet at {RATE} packets/s; there and back {ordered[PACKETS // 2]:.0f} µs "
          f"median, {ordered[PACKETS * 99 // 100]:.0f} µs 99th percentile", flush=True)  # fmt: skip


def measure_lives_of(engine_url: str, title: str, folder: Path, server: Server) -> None:
    with ServerCgroups(RUN) as cgroups:
        for cores in (1.0, 0.1):
            capped = replace(server, id=f"s{round(cores * 10)}", cpu_cores=cores)
            groups = {capped.id: cgroups.add(capped)}
            engine = open_engine(engine_url, run_id=RUN, servers=groups, control_root=folder / "control")
            measure_lives(f"{title}, server of {cores:g} cores", engine, engine_image(engine), capped)


def run_with(fixture: Callable[..., Iterator[conftest.Switch]], folder: Path, stack: ExitStack) -> conftest.Switch:
    return stack.enter_context(contextmanager(fixture)(None, folder))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="vnfm-"))
    try:
        with ExitStack() as stack:
            docker = stack.enter_context(PrivateDocker(folder))
            stack.enter_context(conftest.own_network())
            switch = run_with(conftest.switch.__wrapped__, folder, stack)  # type: ignore[attr-defined]
            server = replace(conftest.make_server("s"), bridge=switch.bridge, ovsdb=switch.ovsdb)
            measure_lives_of(docker.url, "docker", folder, server)
            measure_lives_of(PROCESS, "process", folder, server)
            engine = open_engine(PROCESS, run_id=RUN, servers={"free": ""}, control_root=folder / "control")
            for name, lines in FUNCTIONS.items():
                measure_function(engine, name, lines)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
