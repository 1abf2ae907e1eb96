"""The real components that the contract tests run against, in namespaces of their own."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.containers import ContainerEngine, ContainerError, Instance, InstanceSpec
from controller.engines import PROCESS, engine_image, open_engine
from controller.images import ensure_binary
from mininet_topos.engine import PrivateDocker, ServerCgroups, engine_available
from tests.contract.frames import Wire
from twin.scenario import PowerModel, Server

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a new network namespace, which goes when nobody is in it."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert _libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert _libc.setns(outside, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(outside)


def command(*words: str) -> str:
    """Output of a command that must succeed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def network() -> Iterator[None]:
    """The test in a network namespace of its own."""
    with own_network():
        yield


@pytest.fixture(scope="session")
def vnf_binary() -> Path:
    return ensure_binary()


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="vnft-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def private_docker() -> Iterator[PrivateDocker]:
    if reason := engine_available():
        pytest.fail(f"no container engine: {reason}")  # it can be installed, so a skip would hide the lack
    folder = Path(tempfile.mkdtemp(prefix="vnft-"))
    try:
        with PrivateDocker(folder) as engine:
            yield engine
    finally:
        shutil.rmtree(folder)


def make_server(name: str, *, cpu_cores: float = 1.0, memory_mb: float = 256) -> Server:
    return Server(name, "edge", "s1", cpu_cores, memory_mb, PowerModel())


@dataclass
class Bench:
    """One engine with two emulated servers, and how to make another adapter for the same engine."""

    engine: ContainerEngine
    image: str
    servers: ServerCgroups
    reopen: Callable[[], ContainerEngine]
    control_root: Path

    def spec(self, name: str, *lines: str, server: str = "e1", image: str | None = None) -> InstanceSpec:
        config = lines or ("function firewall",)
        return InstanceSpec(name, f"chain.{name}", config[0].split()[-1], server, image or self.image, 32, config, {})

    def clear(self) -> None:
        for instance in self.engine.instances():
            self.engine.stop(instance.id, timeout_s=2)


@pytest.fixture(params=["docker", "process"])
def bench(request: pytest.FixtureRequest, run_dir: Path) -> Iterator[Bench]:
    """The same bench over each engine: a contract is what holds on both."""
    docker = request.param == "docker"
    url = request.getfixturevalue("private_docker").url if docker else PROCESS
    run_id = "test-" + uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        cgroups = stack.enter_context(ServerCgroups(run_id))
        cgroups.add_all([make_server("e1"), make_server("slow", cpu_cores=0.2)])
        paths = {name: cgroups.path(name) for name in ("e1", "slow")}

        def reopen() -> ContainerEngine:
            return open_engine(url, run_id=run_id, servers=paths, control_root=run_dir / "control")

        engine = reopen()
        made = Bench(engine, engine_image(engine), cgroups, reopen, run_dir / "control")
        stack.callback(made.clear)
        yield made


@dataclass
class Rig:
    """One VNF behind a wire."""

    wire: Wire
    engine: ContainerEngine
    instance: Instance

    def ask(self, request: str) -> dict[str, object]:
        return dict(self.engine.ask(self.instance, request))


def wire_up(pid: int, name: str = "w0") -> Wire:
    """A veth pair into a process's namespace; the near end is up before the far one, as `controller.ports` does."""
    command("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    command("ip", "link", "set", name, "up")
    command("nsenter", "-t", str(pid), "-n", "sh", "-c",
            "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set eth0 up")  # fmt: skip
    return Wire(name)


@pytest.fixture
def rig(network: None, run_dir: Path, vnf_binary: Path) -> Iterator[Callable[..., Rig]]:
    """Starts VNFs with the configuration given, each behind a wire of its own."""
    engine = open_engine(PROCESS, run_id="rig", servers={"here": ""}, control_root=run_dir)
    wires: list[Wire] = []

    def start(*lines: str, standby: bool = False) -> Rig:
        name = f"vnf-{len(wires)}"
        instance = engine.start(InstanceSpec(name, name, lines[0].split()[-1], "here", "", 32, lines, {}, standby))
        wires.append(wire_up(instance.pid, f"w{len(wires)}"))
        engine.wait_ready(instance, timeout_s=5)
        return Rig(wires[-1], engine, instance)

    yield start
    for wire in wires:
        wire.close()
    for instance in engine.instances():
        with suppress(ContainerError):
            engine.stop(instance.id, timeout_s=1)


@dataclass
class Switch:
    """A private Open vSwitch with one bridge, userspace datapath, in the caller's namespace."""

    bridge: str
    ovsdb: str
    folder: Path

    def ports(self) -> list[str]:
        return command("ovs-vsctl", f"--db={self.ovsdb}", "list-ports", self.bridge).split()

    def openflow(self, *words: str) -> str:
        return command("ovs-ofctl", "-O", "OpenFlow13", words[0], f"unix:{self.folder}/{self.bridge}.mgmt", *words[1:])


@pytest.fixture
def switch(network: None, run_dir: Path) -> Iterator[Switch]:
    """ovsdb-server and ovs-vswitchd of the test's own, ended by their pids."""
    folder = run_dir / "ovs"
    folder.mkdir()
    db, env = f"unix:{folder}/db.sock", {**os.environ, "OVS_RUNDIR": str(folder), "OVS_DBDIR": str(folder)}
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    command("ovsdb-tool", "create", str(folder / "conf.db"), schema)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        for words in (
            ["ovsdb-server", f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/db.ctl", str(folder / "conf.db")],
            ["ovs-vswitchd", "--disable-system", f"--unixctl={folder}/sw.ctl", db],
        ):
            process = subprocess.Popen(words, stdout=log, stderr=log, env=env)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            command("ovs-vsctl", f"--db={db}", "--retry", "--no-wait", "--timeout=10", "init")
        command("ovs-vsctl", f"--db={db}", "--timeout=10", "add-br", "br0", "--", "set", "Bridge", "br0",
                "datapath_type=netdev", "protocols=OpenFlow13", "fail_mode=secure")  # fmt: skip
        yield Switch("br0", db, folder)
        command("ovs-vsctl", f"--db={db}", "--timeout=10", "del-br", "br0")
