"""The launcher and the repairs, with real sockets on loopback: a switch is a socket that says what a switch says."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controller import openflow
from controller.ryu_compat import (
    CONFIG_DISPATCHER,
    OFP_VERSION,
    Manager,
    RyuApp,
    TlsFiles,
    handler_errors,
    hub,
    malformed_messages,
    ofp_event,
    patch,
    send,
    set_ev_cls,
)
from tests.unit.test_ryu_guard import ENDLESS, LEGITIMATE, message
from twin.errors import InputError

ROOT = Path(__file__).parents[2]
HELLO = LEGITIMATE["hello"]


class TroubledApp(RyuApp):  # type: ignore[misc]
    """Fails on every switch, and tells what was counted."""

    OFP_VERSIONS = (OFP_VERSION,)

    def __init__(self, *args: Any, greeting: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        print(json.dumps({"greeting": greeting}), flush=True)

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def switch_came(self, event: Any) -> None:
        if event.msg.datapath_id == 13:
            raise RuntimeError("an unlucky switch")
        if event.msg.datapath_id == 14:
            hub.spawn(lambda: 1 / 0)
        print(json.dumps({"switch": event.msg.datapath_id}), flush=True)


def main(port: str, *tls: str) -> None:
    patch()
    files = TlsFiles(*tls) if tls else None
    manager = Manager([__spec__.name], ofp_port=int(port), tls=files, context={"greeting": "hello"})
    manager.stop_on_signals()
    manager.run()
    print(json.dumps({"errors": dict(handler_errors()), "malformed": dict(malformed_messages())}), flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Served:
    """A controller process, its port and what it prints."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def says(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def stop(self, number: int = signal.SIGTERM) -> Any:
        self.process.send_signal(number)
        return self.says()


@contextmanager
def served(*arguments: str, command: tuple[str, ...] = ("-m", __name__)) -> Iterator[Served]:
    port = free_port()
    start = [sys.executable, "-W", "ignore", *command, *(a.format(port=port) for a in arguments or ("{port}",))]
    # plugins of the test library import what does not bear a patched socket
    bare = {**os.environ, "HYPOTHESIS_NO_PLUGINS": "1"}
    process = subprocess.Popen(start, cwd=ROOT, env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Served(process, port)
    finally:
        process.kill()
        process.communicate()


def connect(port: int, *, tls: ssl.SSLContext | None = None, dpid: int = 1) -> socket.socket:
    """A switch up to its features reply."""
    for _ in range(200):
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=10)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    link = tls.wrap_socket(plain) if tls else plain
    link.sendall(HELLO)
    wait_for(link, 5)  # features request
    link.sendall(message(6, struct.pack("!QIBB2xII", dpid, 256, 254, 0, 0x4F, 0)))
    return link


def wait_for(link: socket.socket, kind: int) -> bytes:
    """Reads messages until one of a kind comes."""
    stream = link.makefile("rb")
    while True:
        head = stream.read(8)
        if not head:
            raise EOFError
        _, found, length, _ = struct.unpack("!BBHI", head)
        body = stream.read(length - 8)
        if found == kind:
            return body


def test_it_serves_switches_and_stops_on_a_signal() -> None:
    with served() as controller:
        assert controller.says() == {"greeting": "hello"}
        first, second = connect(controller.port, dpid=1), connect(controller.port, dpid=2)
        assert [controller.says(), controller.says()] == [{"switch": 1}, {"switch": 2}]
        assert controller.stop() == {"errors": {}, "malformed": {}}
        assert controller.process.wait(60) == 0
        assert first.recv(4096) is not None
        second.close()
        with socket.create_server(("127.0.0.1", controller.port), reuse_port=False):
            pass  # the port is free again


def test_what_handlers_and_threads_raise_is_counted() -> None:
    with served() as controller:
        controller.says()
        links = [connect(controller.port, dpid=dpid) for dpid in (13, 13, 14, 7)]
        assert {controller.says()["switch"], controller.says()["switch"]} == {14, 7}
        assert controller.stop(signal.SIGINT)["errors"] == {"TroubledApp.switch_came": 2, "thread": 1}
        assert len(links) == 4


def test_a_freezer_ends_its_own_connection_only() -> None:
    with served() as controller:
        controller.says()
        good, bad = connect(controller.port, dpid=1), connect(controller.port, dpid=2)
        bad.sendall(ENDLESS["group description, 56 bytes"])
        with pytest.raises((EOFError, ConnectionError)):
            wait_for(bad, 3)
        good.sendall(openflow.echo_request(b"still there?"))
        assert wait_for(good, 3) == b"still there?"
        controller.says()
        controller.says()
        assert controller.stop()["malformed"] == {"127.0.0.1": 1}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=vnftwin"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


def test_tls_takes_more_than_one_switch_and_only_known_ones(certificate: tuple[str, str]) -> None:
    key, own = certificate
    with served("{port}", key, own, own) as controller:
        controller.says()
        known = ssl.create_default_context(cafile=own)
        known.check_hostname = False
        known.load_cert_chain(own, key)
        links = [connect(controller.port, tls=known, dpid=dpid) for dpid in (1, 2, 3)]
        assert [controller.says()["switch"] for _ in links] == [1, 2, 3]
        unknown = ssl.create_default_context(cafile=own)
        unknown.check_hostname = False
        with pytest.raises((ssl.SSLError, OSError, EOFError)):
            connect(controller.port, tls=unknown)
        with pytest.raises((OSError, EOFError)):
            connect(controller.port)  # without TLS


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"switches on 127.0.0.1:{port}: Address already in use"):
            Manager([], ofp_port=port).run()


@pytest.mark.parametrize(
    "command",
    [("-m", "controller.ryu_compat"), ("-c", "import sys; from controller.ryu_compat import main; sys.exit(main())")],
    ids=["module", "script"],
)
def test_ryu_manager_runs_an_app(command: tuple[str, ...]) -> None:
    arguments = ("--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", "{port}", __name__)
    with served(*arguments, command=command) as controller:
        assert controller.says() == {"greeting": ""}
        link = connect(controller.port, dpid=5)
        assert controller.says() == {"switch": 5}
        link.close()


@pytest.mark.parametrize(("app", "patched"), [("controller.app", False), ("tests.nothing", True)])
def test_threads_stay_those_of_the_system_for_our_app_alone(app: str, patched: bool) -> None:
    """Container engines are called in them (docs/steering.md); other apps count on what Ryu's own command does."""
    script = (
        "import sys, eventlet.patcher\nfrom controller.ryu_compat import main\n"
        "try: main(sys.argv[1:])\nexcept (SystemExit, ImportError) as error: print(error)\n"
        "print(eventlet.patcher.is_monkey_patched('thread'), eventlet.patcher.is_monkey_patched('socket'))"
    )
    bare = {name: value for name, value in os.environ.items() if name != "VNFTWIN_SCENARIO"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, app],
        cwd=ROOT,
        env=bare,
        capture_output=True,
        text=True,
        timeout=60,
    )
    *_, why, found = done.stdout.splitlines()
    assert found == f"{patched} {patched}", done.stderr
    assert ("set VNFTWIN_SCENARIO" in why) is not patched


def test_plain_ryu_does_not_start_here() -> None:
    """The reason for the shim; when this fails, Ryu or eventlet has changed and the shim may go."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import ryu.cmd.manager"], capture_output=True, text=True, timeout=60
    )
    assert "ALREADY_HANDLED" in done.stderr


class Recorder:
    """The part of Ryu's `Datapath` that `send` uses."""

    xid = 0xFFFFFFFE

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


def test_messages_go_out_together_each_with_its_own_id() -> None:
    datapath = Recorder()
    assert send(datapath, [openflow.barrier_request()] * 3) == (0xFFFFFFFF, 0, 1)
    assert datapath.sent == [b"".join(openflow.stamp(openflow.barrier_request(), x) for x in (0xFFFFFFFF, 0, 1))]
    assert send(datapath, []) == ()
    assert len(datapath.sent) == 1


if __name__ == "__main__":
    main(*sys.argv[1:])
