"""The hand-over's protocol as a stranger speaks it: the Python side of docs/handover.md against the C program."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.containers import ContainerError, InstanceSpec
from controller.hand_over import End, copy_state, is_standby, take_over
from controller.process_engine import ProcessEngine
from tests.contract.conftest import Rig, wire_up
from tests.contract.frames import Datagram, build, wait_until
from twin.resources import docker_path

pytestmark = pytest.mark.root
SDK = docker_path() / "sdk"
Start = Callable[..., Rig]
INSIDE, OUTSIDE = "10.0.0.1", "10.8.0.2"
MONITOR = ("function monitor", "entries 8")
FITS = "entries=8"
PUT, REMOVE, ROUND, FREEZE, READY, COMMIT = 4, 5, 6, 8, 9, 11


@pytest.fixture(scope="module")
def sdk() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SDK))
    import hand_over_session  # type: ignore[import-not-found]

    yield hand_over_session
    sys.path.remove(str(SDK))


class Stranger:
    """A peer in Python for one instance: `session` is its end."""

    def __init__(self, sdk: ModuleType, rig: Rig, **changes: Any) -> None:
        self.rig, self.sdk = rig, sdk
        name, secret = secrets.token_hex(8), secrets.token_hex(32)
        mine, theirs = socket.socketpair()
        role = sdk.OWNER if rig.ask("health")["standby"] else sdk.HEIR
        self.state = sdk.State()
        given: dict[str, Any] = {"function": "monitor", "fits": FITS, "secret": bytes.fromhex(secret), **changes}
        self.session = sdk.Session(mine, name, given.pop("secret"), role, self.state, **given)
        with theirs:
            rig.engine.ask(rig.instance, f"handover join {name} {secret}", pass_fd=theirs.fileno())

    def work(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        self.session.stream.settimeout(0.01)
        while self.session.open and not until():
            assert time.monotonic() < deadline
            self.session.turn()
            self.session.receive()

    def sync(self) -> None:
        self.work(lambda: self.session.complete and self.session.lacking == 0)

    def failure(self) -> str:
        """What the instance says when the session has ended."""
        assert wait_until(lambda: self.rig.ask("handover status")["session"] == "")
        return str(self.rig.ask("handover status")["error"])


def entry(port: int, *, packets: int = 1, mapped: bytes = bytes(13)) -> tuple[bytes, bytes]:
    key = bytes([10, 0, 0, 1, 10, 8, 0, 2]) + struct.pack("!HHB", port, 2000, 17)
    return key, mapped + struct.pack("!QQqq", packets, 100, -5, 0)


def test_state_goes_to_python_and_back(sdk: ModuleType, rig: Start) -> None:
    owner = rig(*MONITOR)
    owner.wire.pass_through(*[Datagram(INSIDE, OUTSIDE, src_port=port) for port in (1, 2, 1)])
    peer = Stranger(sdk, owner)
    peer.sync()
    with pytest.raises(ContainerError, match="timeout"):
        owner.ask("handover take")  # nobody here answers meanwhile
    owner.wire.pass_through(Datagram(INSIDE, OUTSIDE, src_port=3))
    peer.work(lambda: len(peer.state.entries) == 3)
    assert [struct.unpack_from("!H", key, 8)[0] for key in peer.state.entries] == [2, 1, 3]  # by last use
    assert not is_standby(End(owner.engine, owner.instance))


def test_python_hands_over_to_the_program(sdk: ModuleType, rig: Start) -> None:
    heir = rig(*MONITOR, standby=True)
    peer = Stranger(sdk, heir, numbers=[42])
    for port in (7, 8):
        peer.state.put(*entry(port))
    peer.sync()
    peer.state.put(*entry(7, packets=9))
    peer.state.remove(entry(8)[0])
    peer.state.put(*entry(9))
    peer.sync()
    peer.session.take()
    told = heir.ask("counters")
    assert isinstance(told["flows"], list)
    assert {f["flow"]["src_port"]: f["packets"] for f in told["flows"]} == {7: 9, 9: 1}
    assert told["evicted_flows"] == 42
    heir.wire.pass_through(Datagram(INSIDE, OUTSIDE, src_port=9))
    peer.session.tunnel(build(Datagram(INSIDE, OUTSIDE, src_port=9)))
    assert heir.wire.receive(1)
    peer.work(lambda: peer.state.entries[entry(9)[0]][13:21] == struct.pack("!Q", 3))


def test_an_heir_that_ends_when_told_to_serve_never_did(
    sdk: ModuleType, rig: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between COMMIT and ACTIVE: the owner goes on, with what came to its port meanwhile."""
    owner = rig(*MONITOR)
    peer = Stranger(sdk, owner)
    peer.sync()

    def leave_at_commit(kind: int, _body: bytes) -> None:
        assert kind == COMMIT
        owner.wire.send(build(Datagram(INSIDE, OUTSIDE)))
        peer.session.open = False
        peer.session.stream.close()

    monkeypatch.setattr(peer.session, "_agree", leave_at_commit)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(peer.work, lambda: False)
        with pytest.raises(ContainerError, match="peer_gone"):
            owner.ask("handover take")
        working.result()
    assert owner.wire.receive(1) == [build(Datagram(INSIDE, OUTSIDE))]
    assert not is_standby(End(owner.engine, owner.instance))


def test_the_program_hands_over_to_python(sdk: ModuleType, rig: Start) -> None:
    owner = rig(*MONITOR)
    owner.wire.pass_through(*[Datagram(INSIDE, OUTSIDE, src_port=port) for port in range(1, 11)])  # two are evicted
    peer = Stranger(sdk, owner, numbers=[0])
    peer.sync()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(peer.work, lambda: peer.session.role == sdk.OWNER)
        assert owner.ask("handover take")["phase"] in ("committed", "tunnelling")
        working.result()
    assert (peer.session.numbers, len(peer.state.entries)) == ([2], 8)
    owner.wire.send(build(Datagram(INSIDE, OUTSIDE)))
    peer.work(lambda: peer.session.tunnelled == 1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"secret": bytes(32)}, "unauthenticated"),
        ({"function": "nat"}, "wrong_function: mine is monitor, the peer's nat"),
        ({"fits": "entries=9"}, "wrong_configuration: mine has entries=8, the peer's entries=9"),
    ],
)
def test_a_stranger_is_refused(
    sdk: ModuleType, rig: Start, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], error: str
) -> None:
    owner = rig(*MONITOR)
    peer = Stranger(sdk, owner, **changes)
    peer.session.function, peer.session.fits = "monitor", FITS  # it does not mind
    monkeypatch.setattr(peer.session, "_check_proof", lambda _body: None)
    peer.work(lambda: False)
    assert peer.failure() == error  # in its own words, not the stranger's
    assert len(owner.wire.pass_through(Datagram(INSIDE, OUTSIDE))) == 1


def test_another_version_is_refused(sdk: ModuleType, rig: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "VERSION", 2)
    assert Stranger(sdk, rig(*MONITOR)).failure() == "wrong_version: mine is 1, the peer's 2"


@contextmanager
def synced(sdk: ModuleType, heir: Rig) -> Iterator[Stranger]:
    peer = Stranger(sdk, heir)
    peer.state.put(*entry(1))
    peer.work(lambda: peer.session.sent == 1)
    yield peer
    peer.session.end("left")


def record(key: bytes, value: bytes) -> bytes:
    return bytes([len(key)]) + key + struct.pack("!H", len(value)) + value


BAD = {
    "an entry cut short": (PUT, record(*entry(2))[:-1]),
    "no entry": (PUT, b""),
    "a short key": (PUT, record(b"abc", entry(2)[1])),
    "an answer that the function never makes": (PUT, record(*entry(2, mapped=b"\1" * 13))),
    "used before it was made": (PUT, record(entry(2)[0], bytes(29) + struct.pack("!qq", 5, 4))),
    "a removal of nothing": (REMOVE, bytes([13]) + entry(99)[0]),
    "an unknown kind": (16, b""),
    "a commit out of the blue": (COMMIT, bytes(4)),
    "an answer to nothing": (READY, struct.pack("!I", 77)),
    "a frame of one that never served": (14, bytes(60)),
    "a second hello": (1, b"VNFH"),
    "a freeze with other counters": (FREEZE, bytes(28) + b"\0\2" + bytes(16)),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_record_ends_the_session_and_the_copy(sdk: ModuleType, rig: Start, what: str) -> None:
    heir = rig(*MONITOR, standby=True)
    with synced(sdk, heir) as peer:
        assert wait_until(lambda: heir.ask("handover status")["entries"] == 1)
        peer.session.send(*BAD[what])
        assert peer.failure().startswith("malformed")
    told = heir.ask("handover status")
    assert (told["entries"], told["standby"]) == (0, True)


def test_too_many_entries(sdk: ModuleType, rig: Start) -> None:
    with synced(sdk, rig(*MONITOR, standby=True)) as peer:
        for port in range(2, 12):
            peer.state.put(*entry(port))
        peer.work(lambda: False)
        assert peer.failure() == "table_full"


def test_another_digest_is_refused(sdk: ModuleType, rig: Start) -> None:
    heir = rig(*MONITOR, standby=True)
    with synced(sdk, heir) as peer:
        peer.session.numbers = [0]
        peer.sync()
        peer.state.marks[entry(1)[0]] = (1, 2)
        with pytest.raises(sdk.HandOverError, match="digest_mismatch"):
            peer.session.take()
        assert peer.failure().startswith("digest_mismatch: 1 entries here, 1 there")
    assert heir.ask("handover status")["entries"] == 0
    assert peer.session.role == sdk.OWNER


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_that_ends_within_a_record(sdk: ModuleType, rig: Start, whole: bool) -> None:
    """A whole copy of one that is gone is kept, half a copy is not."""
    heir = rig(*MONITOR, standby=True)
    peer = Stranger(sdk, heir)
    peer.work(lambda: peer.session.started)
    peer.session.send(PUT, record(*entry(1)))
    if whole:
        peer.session.send(ROUND, bytes(8))
    peer.session.stream.sendall(struct.pack("!IB", 100, PUT) + b"half")
    peer.session.stream.close()
    assert peer.failure() == "truncated"
    assert heir.ask("handover status")["entries"] == (1 if whole else 0)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=200)), min_size=1, max_size=6),
       proven=st.booleans(), role=st.booleans())  # fmt: skip
def test_noise_never_stops_it(sdk: ModuleType, noisy: tuple[Rig, Rig], noise: list[tuple[int, bytes]],
                              proven: bool, role: bool) -> None:  # fmt: skip
    one = noisy[role]
    peer = Stranger(sdk, one)
    if proven:
        peer.work(lambda: peer.session.started)
    for kind, body in noise:
        peer.session.send(kind, body)
    peer.session.stream.close()
    peer.failure()
    told = one.ask("health")
    assert (told["ok"], told["standby"]) == (True, role)


@pytest.fixture
def noisy(rig: Start) -> tuple[Rig, Rig]:
    return rig(*MONITOR), rig(*MONITOR, standby=True)


def example() -> str:
    """The VNF of docs/handover.md."""
    page = (Path(__file__).parents[2] / "docs" / "handover.md").read_text()
    return page.split("```python\n", 1)[1].split("```", 1)[0]


@pytest.fixture
def quota(run_dir: Path) -> Path:
    """The example of the page as a program."""
    program = run_dir / "quota"
    for module in SDK.glob("*.py"):
        (run_dir / module.name).write_text(module.read_text())
    program.write_text(f"#!{sys.executable}\n{example()}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_the_example_of_the_page_hands_its_state_over(network: None, run_dir: Path, quota: Path) -> None:
    with quotas(quota, run_dir) as (first, second):
        use_up(first, second)


def test_the_example_is_introduced_through_relays_as_on_two_machines(network: None, run_dir: Path, quota: Path) -> None:
    with quotas(quota, run_dir) as rigs, ExitStack() as stack:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for rig, own in zip(rigs, ends, strict=True):
            control = run_dir / "control" / rig.instance.name / "control.sock"
            relay = subprocess.Popen(
                [quota, "--control", control, "relay"], stdin=own.fileno(), stdout=own.fileno(), stderr=subprocess.PIPE,
                env={**os.environ, "VNF_JOIN": f"name {'ab' * 32}"},
            )  # fmt: skip
            own.close()
            stack.callback(relay.wait)
            assert relay.stderr is not None
            assert json.loads(stack.enter_context(relay.stderr).readline())["session"] == "name"
            asked = subprocess.run([quota, "--control", control, "ctl", "handover", "status"], capture_output=True)
            assert (json.loads(asked.stdout)["session"], asked.returncode) == ("name", 0)
        use_up(*rigs)
        rigs[0].ask("handover leave")


def test_the_example_takes_its_configuration_from_the_command_line_and_refuses(run_dir: Path, quota: Path) -> None:
    control = run_dir / "control.sock"
    text = base64.b64encode(b"function quota\npackets 7\n").decode()
    with subprocess.Popen([quota, "--config-base64", text, "--control", control]) as program:
        assert wait_until(control.exists)
        health = subprocess.run([quota, "--control", control, "ctl", "health"], capture_output=True, text=True)
        wrong = subprocess.run([quota, "--control", control, "ctl", "dance"], capture_output=True, text=True)
        program.terminate()
    assert json.loads(health.stdout)["function"] == "quota"
    assert (json.loads(wrong.stdout)["error"], wrong.returncode) == ("unknown request", 1)


@contextmanager
def quotas(quota: Path, run_dir: Path) -> Iterator[tuple[Rig, Rig]]:
    """One that serves and one that stands by."""
    engine = ProcessEngine("page", {"here": ""}, run_dir / "control", binary=quota)
    rigs: list[Rig] = []
    try:
        for number, standby in enumerate((False, True)):
            spec = InstanceSpec(f"quota-{number}", "v", "quota", "here", "", 32, ("function quota", "packets 5"), {},
                                standby)  # fmt: skip
            instance = engine.start(spec)
            rigs.append(Rig(wire_up(instance.pid, f"w{number}"), engine, instance))
            engine.wait_ready(instance, timeout_s=5)
        yield rigs[0], rigs[1]
    finally:
        for one in rigs:
            one.wire.close()
        for instance in engine.instances():
            engine.stop(instance.id, timeout_s=1)


def use_up(first: Rig, second: Rig) -> None:
    """Three of five packets here, two there, one more through the stream: five pass in all."""
    ends = End(first.engine, first.instance), End(second.engine, second.instance)
    one, other = Datagram(INSIDE, OUTSIDE), Datagram("10.0.0.2", OUTSIDE)
    assert first.wire.pass_through(one, one, one) == [one] * 3
    assert copy_state(*ends).entries >= 1
    take_over(*ends)
    assert second.wire.pass_through(one, other) == [one, other]
    first.wire.send(build(other))
    assert second.wire.receive(1) == [build(other)]
    take_over(ends[1], ends[0])
    assert first.wire.pass_through(one, one, other) == [one, other]
