"""State handed over between engines that are reached over a network: through relays instead of descriptors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from controller.containers import ContainerEngine, ContainerError, InstanceSpec
from controller.engines import PROCESS, engine_image, open_engine
from controller.hand_over import copy_state, take_over
from mininet_topos.engine import PrivateDocker
from tests.contract.conftest import Rig, wire_up
from tests.contract.frames import Datagram, build, parse, wait_until
from tests.contract.test_hand_over import NAT, OUTSIDE, end, kill, status

pytestmark = pytest.mark.root
RUN = "across"
SENT = [Datagram(f"10.0.0.{n}", OUTSIDE, src_port=5000) for n in range(1, 6)]


@contextmanager
def door(unix_socket: Path) -> Iterator[str]:
    """A TCP address behind which a unix socket answers, half-closes included; in the caller's network namespace."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    came, _ = listener.accept()
                    behind = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    behind.connect(str(unix_socket))
                    for one, other in ((came, behind), (behind, came)):
                        threading.Thread(target=carry, args=(one, other), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Places:
    """Two engines reached by TCP and one on this host; starts VNFs in each, behind a wire of their own."""

    def __init__(self, engine: PrivateDocker, run_dir: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self.wires = run_dir, stack, 0
        self.urls = {name: stack.enter_context(door(engine.socket)) for name in ("left", "right")}
        self.engines: dict[str, ContainerEngine] = {name: self.open(name) for name in (*self.urls, "here")}

    def open(self, name: str) -> ContainerEngine:
        """Each far engine shows only its own instances: there is one behind both doors."""
        url = self.urls.get(name, PROCESS)
        return open_engine(url, run_id=f"{RUN}-{name}", servers={name: ""}, control_root=self._folder / name)

    def start(self, place: str, *lines: str, standby: bool = False) -> Rig:
        engine, self.wires = self.engines[place], self.wires + 1
        name = f"{place}-{self.wires}"
        spec = InstanceSpec(name, name, lines[0].split()[-1], place, engine_image(engine), 32, lines, {}, standby)
        instance = engine.start(spec)
        self._stack.callback(engine.stop, instance.id, timeout_s=1)
        wire = wire_up(instance.pid, f"w{self.wires}")
        self._stack.callback(wire.close)
        engine.wait_ready(instance, timeout_s=10)
        return Rig(wire, engine, instance)


@pytest.fixture
def places(network: None, private_docker: PrivateDocker, run_dir: Path, vnf_binary: Path) -> Iterator[Places]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with ExitStack() as stack:
        yield Places(private_docker, run_dir, stack)


@pytest.mark.parametrize(("source", "target"), [("left", "right"), ("here", "left"), ("right", "here")])
def test_a_nats_ports_go_to_another_engine_and_back(places: Places, source: str, target: str) -> None:
    a, b = places.start(source, *NAT), places.start(target, *NAT, standby=True)
    before = a.wire.pass_through(*SENT)
    report = copy_state(end(a), end(b))
    assert report.entries == len(SENT)
    taken = take_over(end(a), end(b))
    assert taken.digest == status(b)["digest"]
    assert b.wire.pass_through(*SENT) == before
    new = Datagram("10.0.0.9", OUTSIDE, src_port=5000)
    [told] = b.wire.pass_through(new)
    take_over(end(b), end(a))
    assert a.wire.pass_through(*SENT, new) == [*before, told]


def test_packets_that_come_late_to_the_old_engine_are_sent_out_by_the_new_one(places: Places) -> None:
    a, b = places.start("left", *NAT), places.start("right", *NAT, standby=True)
    before = a.wire.pass_through(*SENT)
    copy_state(end(a), end(b))
    take_over(end(a), end(b))
    for datagram in SENT:
        a.wire.send(build(datagram))
    assert [parse(frame) for frame in b.wire.receive(len(SENT))] == before
    assert status(a)["tunnelled_packets"] == len(SENT)


def test_the_stream_outlives_the_controller(places: Places, run_dir: Path) -> None:
    a, b = places.start("left", *NAT), places.start("right", *NAT, standby=True)
    before = a.wire.pass_through(*SENT)
    program = f"""
from pathlib import Path
from controller.engines import open_engine
from controller.hand_over import End, copy_state
ends = []
for name, url in {places.urls!r}.items():
    engine = open_engine(url, run_id={RUN!r} + "-" + name, servers={{name: ""}}, control_root=Path({str(run_dir)!r}))
    ends.append(End(engine, engine.instances()[0]))
copy_state(*ends)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    take_over(end(a), end(b))
    assert b.wire.pass_through(*SENT) == before


def test_a_relay_that_is_killed_leaves_the_owner_serving_and_the_copy_can_be_made_again(places: Places) -> None:
    a, b = places.start("left", *NAT), places.start("right", *NAT, standby=True)
    before = a.wire.pass_through(*SENT)
    copy_state(end(a), end(b))
    [relay, _] = relays(a) + relays(b)
    os.kill(relay, signal.SIGKILL)
    assert wait_until(lambda: not status(a)["session"] and not status(b)["session"])
    assert a.wire.pass_through(*SENT) == before
    copy_state(end(a), end(b))
    take_over(end(a), end(b))
    assert b.wire.pass_through(*SENT) == before


def test_an_owner_that_dies_leaves_its_state_to_the_heir_on_the_other_engine(places: Places) -> None:
    a, b = places.start("left", *NAT), places.start("right", *NAT, standby=True)
    before = a.wire.pass_through(*SENT)
    copy_state(end(a), end(b))
    kill(a)
    take_over(end(a), end(b))
    assert b.wire.pass_through(*SENT) == before


def test_another_secret_is_refused_and_nothing_is_left_of_it(places: Places) -> None:
    a = places.start("left", *NAT)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs, pytest.raises(ContainerError, match="handover: "):
        a.engine.ask(a.instance, "handover join name not-hex", pass_fd=theirs.fileno())
    with pytest.raises(ContainerError, match="no descriptor can go with 'health'"):
        a.engine.ask(a.instance, "health", pass_fd=0)
    assert wait_until(lambda: not relays(a))
    assert status(a)["session"] == ""


def test_nothing_is_left_when_the_two_part(places: Places) -> None:
    a, b = places.start("left", *NAT), places.start("right", *NAT, standby=True)
    copy_state(end(a), end(b))
    assert len(relays(a)) == len(relays(b)) == 1
    a.ask("handover leave")
    assert wait_until(lambda: not relays(a) and not relays(b))


def relays(rig: Rig) -> list[int]:
    """The programs on the controller's machine that carry a stream to an instance."""
    found = subprocess.run(["pgrep", "-f", f"exec -i -e VNF_JOIN {rig.instance.id}"], capture_output=True, text=True)
    return [pid for pid in map(int, found.stdout.split()) if _runs(pid)]


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
