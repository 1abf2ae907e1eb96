"""The actions that `tests.bench.disturbance` compares: each is what a move does, or one part of that."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from controller.containers import ContainerEngine, Instance, InstanceSpec
from controller.engines import engine_image, open_engine
from controller.ports import OvsPorts
from mininet_topos.engine import PrivateDocker, ServerCgroups
from mininet_topos.ovs import PrivateOvs
from twin.scenario import PowerModel, Server

NOTHING_S = 0.2
SETTLE_S = 0.06  # what an action sets going goes on for a moment


class Site:
    """What actions act on: the switch, a spare veth pair at it, a namespace, and an engine where one is asked for."""

    def __init__(self, folder: Path, ovs: PrivateOvs, *, engine: bool) -> None:
        self.folder, self.ovs, self._with_engine = folder, ovs, engine
        self._stack = ExitStack()
        self.count = 0
        self.instance: Instance | None = None

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            self.namespace = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
            stack.callback(self.namespace.wait)
            stack.callback(self.namespace.kill)
            run("ip", "link", "add", "parked", "type", "veth", "peer", "name", "far")
            run("ip", "link", "set", "parked", "up")
            self.ovs.run(["ovs-vsctl", "add-port", "br0", "parked"])
            run("ip", "link", "add", "loose", "type", "veth", "peer", "name", "end")
            run("ip", "link", "set", "loose", "up")
            self.guest = Instance("guest", "guest", "v", "e1", self.namespace.pid, True, {})
            server = Server("e1", "edge", "s1", 1.0, 512, PowerModel(), bridge="br0", ovsdb=self.ovs.database)
            self.server, self.ports = server, OvsPorts("bench", quarantine_s=0.0)
            if self._with_engine:
                docker = stack.enter_context(PrivateDocker(self.folder))
                cgroups = stack.enter_context(ServerCgroups(f"bench{self.namespace.pid}{time.monotonic_ns() % 10**6}"))
                group = cgroups.add(server)
                self.engine: ContainerEngine = open_engine(
                    docker.url, run_id="bench", servers={"e1": group}, control_root=self.folder / "control"
                )
                self.image = engine_image(self.engine)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def spec(self) -> InstanceSpec:
        self.count += 1
        name = f"vnf-{self.count}"
        return InstanceSpec(name, name, "firewall", "e1", self.image, 32, ("function firewall",), {})


@dataclass(frozen=True, slots=True)
class Action:
    do: Callable[[Site], None]
    needs_engine: bool = False


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def nothing(_site: Site) -> None:
    time.sleep(NOTHING_S)


def forks(_site: Site) -> None:
    for _ in range(20):
        run("true")


def ask_vsctl(site: Site) -> None:
    for _ in range(4):
        site.ovs.run(["ovs-vsctl", "get", "Interface", "left", "ofport"])


def add_port(site: Site) -> None:
    site.ovs.run(["ovs-vsctl", "add-port", "br0", "loose"])


def del_port(site: Site) -> None:
    site.ovs.run(["ovs-vsctl", "del-port", "br0", "loose"])


def record(site: Site) -> None:
    site.count += 1
    site.ovs.run(["ovs-vsctl", "--no-wait", "set", "Port", "parked", f"external_ids:user=x{site.count}"])


def record_waiting(site: Site) -> None:
    site.count += 1
    site.ovs.run(["ovs-vsctl", "set", "Port", "parked", f"external_ids:user=x{site.count}"])


def record_interface(site: Site) -> None:
    site.count += 1
    site.ovs.run(["ovs-vsctl", "--no-wait", "set", "Interface", "parked", f"external_ids:user=x{site.count}"])


def make_pair(_site: Site) -> None:
    run("ip", "link", "add", "pair0", "type", "veth", "peer", "name", "pair1")
    run("ip", "link", "set", "pair0", "up")


def delete_pair(_site: Site) -> None:
    run("ip", "link", "del", "pair0")


def lend_end(site: Site) -> None:
    run("ip", "link", "set", "far", "netns", str(site.namespace.pid))
    run("nsenter", "-t", str(site.namespace.pid), "-n", "ip", "link", "set", "far", "up")


def return_end(site: Site) -> None:
    run("nsenter", "-t", str(site.namespace.pid), "-n", "ip", "link", "set", "far", "netns", "1")


def start(site: Site) -> None:
    site.instance = site.engine.start(site.spec())


def stop(site: Site) -> None:
    assert site.instance is not None
    site.engine.stop(site.instance.id, timeout_s=2)


def attach(site: Site) -> None:
    site.ports.attach(site.guest, site.server)


def detach(site: Site) -> None:
    site.ports.detach(site.guest, site.server)


ACTIONS = {
    "nothing": Action(nothing),
    "20 forks": Action(forks),
    "ask vsctl": Action(ask_vsctl),
    "add-port": Action(add_port),
    "del-port": Action(del_port),
    "record": Action(record),
    "record and wait": Action(record_waiting),
    "record in Interface": Action(record_interface),
    "make pair": Action(make_pair),
    "delete pair": Action(delete_pair),
    "lend end": Action(lend_end),
    "return end": Action(return_end),
    "attach": Action(attach),
    "detach": Action(detach),
    "start": Action(start, needs_engine=True),
    "stop": Action(stop, needs_engine=True),
}
