"""The controller alone on switches and servers that exist: no emulator, a hand-written scenario, remote engines.

Run as a program (`... lab DIR`, in fresh namespaces) this file builds the site of `tests.fakes.field`, starts
`ryu-manager controller.app`, then `vnftwin controller`, which takes over what is there, and moves a VNF to and fro
under traffic with each. What was found comes out as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from controller.client import ControllerClient, Unreachable
from tests.fakes.field import OPENFLOW_PORT, SERVERS, SWITCHES, Site, await_true, run

ROOT = Path(__file__).parents[2]
LISTEN = "127.0.0.1:8080"
MOVES = (("web1.firewall", "two"), ("web1.firewall", "one"), ("web1.monitor", "one"), ("web1.monitor", "two"))
PAUSE_S = 0.004


class Stream:
    """Numbered packets from the user to the web server, as fast as `PAUSE_S` says; what came is counted."""

    def __init__(self) -> None:
        self._out, self._in = _socket_in("user", 40000), _socket_in("web", 5001)
        self._in.settimeout(1.5)
        self.sent, self.heard = 0, list[int]()
        self._stop = threading.Event()

    def __enter__(self) -> Stream:
        self._threads = [threading.Thread(target=work) for work in (self._listen, self._talk)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._out.close()
        self._in.close()

    def _talk(self) -> None:
        while not self._stop.is_set():
            self._out.sendto(struct.pack("!I60x", self.sent), ("10.0.0.2", 5001))
            self.sent += 1
            time.sleep(PAUSE_S)

    def _listen(self) -> None:
        while True:
            try:
                self.heard.append(struct.unpack_from("!I", self._in.recv(2048))[0])
            except TimeoutError:
                if self._stop.is_set():
                    return

    def summary(self) -> dict[str, int]:
        different = len(set(self.heard))
        return {"sent": self.sent, "lost": self.sent - different, "extra": len(self.heard) - different}


def _socket_in(namespace: str, port: int) -> socket.socket:
    """A UDP socket of another network namespace: it stays there, though its thread comes back."""
    libc, own = ctypes.CDLL(None, use_errno=True), os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    assert libc.setns(there, 0) == 0
    try:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", port))
    finally:
        assert libc.setns(own, 0) == 0
        os.close(own)
        os.close(there)
    return made


def ryu_manager(site: Site) -> tuple[list[str], dict[str, str]]:
    """The command as Ryu's users start it, and its environment."""
    pki = site.folder / "pki" / "controller"
    settings = {"SCENARIO": site.scenario, "POLICY": "stay", "LISTEN": LISTEN, "JOURNAL": site.folder / "journal.db"}
    return [
        sys.executable, "-m", "controller.ryu_compat", "--ofp-listen-host", "127.0.0.1",
        "--ofp-ssl-listen-port", str(OPENFLOW_PORT), "--ctl-privkey", str(pki / "key.pem"),
        "--ctl-cert", str(pki / "cert.pem"), "--ca-certs", str(pki / "ca.pem"), "controller.app",
    ], {f"VNFTWIN_{name}": str(value) for name, value in settings.items()}  # fmt: skip


def vnftwin_controller(site: Site) -> tuple[list[str], dict[str, str]]:
    return [
        sys.executable, "-m", "controller.cli", "controller", str(site.scenario), "--policy", "stay",
        "--mode", "manual", "--listen", LISTEN, "--openflow", f"127.0.0.1:{OPENFLOW_PORT}",
        "--openflow-tls", str(site.folder / "pki" / "controller"), "--journal", str(site.folder / "journal.db"),
    ], {}  # fmt: skip


def explore(site: Site) -> dict[str, Any]:
    site.connect_switches()
    return {start.__name__: run_one(site, *start(site)) for start in (ryu_manager, vnftwin_controller)}


def run_one(site: Site, command: list[str], settings: dict[str, str]) -> dict[str, Any]:
    path, began = site.folder / "controller.log", time.monotonic()
    path_to = f"{site.programs}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(site.home), "PATH": path_to, **settings}
    with path.open("wb") as log:
        controller = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            return drive(site, controller) | {"seconds": round(time.monotonic() - began, 1)}
        except BaseException:
            sys.stderr.write(path.read_text()[-4000:])
            raise
        finally:
            controller.send_signal(signal.SIGTERM)
            controller.wait(20)


def drive(site: Site, controller: subprocess.Popen[bytes]) -> dict[str, Any]:
    client = ControllerClient(f"http://{LISTEN}")

    def ready() -> bool:
        assert controller.poll() is None, "the controller has ended"
        try:
            return not client.waiting_for()
        except Unreachable:
            return False

    await_true(ready, 60, "the controller did not get ready")
    found: dict[str, Any] = {"moves": [], "counted": []}
    with Stream() as stream:
        await_true(lambda: len(stream.heard) > 50, 20, "no packet came")
        first = stream.heard[0]
        for vnf, target in MOVES:
            counted = _counted(site)
            record = client.wait_migration(client.move(vnf, target)["id"], timeout_s=40)
            found["moves"].append([record["mode"], record["status"], record["error"]])
            found["counted"].append([counted, _counted(site)])
            time.sleep(2.2)  # the port that was left rests
    found["stream"] = stream.summary() | {"before the first": first}
    found["containers"] = {name: _containers(site, name) for name in ("one", "two")}
    found["rules"] = {switch: len(site.flows(switch)) for switch in SWITCHES}
    found["chain"] = client.get("chains")[0]
    return found


def _containers(site: Site, server: str) -> list[str]:
    return _docker(site, server, "ps", "--format", "{{.Names}} {{.Networks}}").splitlines()


def _counted(site: Site) -> int:
    """Packets of the stream that the chain's monitor has counted in its life, wherever it is."""
    [(server, name)] = [
        (server, line.split()[0])
        for server in SERVERS
        for line in _containers(site, server)
        if line.startswith("field-web1.monitor")
    ]
    counters = json.loads(_docker(site, server, "exec", name, "/vnf", "ctl", "counters"))
    return max(int(flow["packets"]) for flow in counters["flows"])


def _docker(site: Site, server: str, *command: str) -> str:
    return run("docker", "-H", f"unix://{site.folder}/{server}/engine/docker.sock", *command)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("f")
    command = ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", sys.executable, "-m", __name__]
    done = subprocess.run([*command, "lab", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-6000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("start", [ryu_manager.__name__, vnftwin_controller.__name__])
def test_chain_flows_and_moves_lose_nothing(found: dict[str, Any], start: str) -> None:
    assert found[start]["moves"] == [["stateless", "done", ""]] * 2 + [["hand_over", "done", ""]] * 2
    stream = found[start]["stream"]
    assert stream["sent"] > 500
    assert stream["lost"] <= stream["before the first"]  # what was sent before the way was open
    assert stream["extra"] == 0


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("start", [ryu_manager.__name__, vnftwin_controller.__name__])
def test_state_goes_from_one_engine_to_the_other_and_back(found: dict[str, Any], start: str) -> None:
    for before, after in found[start]["counted"]:
        assert after >= before > 50


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(("start", "instance"), [(ryu_manager.__name__, 3), (vnftwin_controller.__name__, 5)])
def test_each_vnf_has_the_cable_that_its_server_has(found: dict[str, Any], start: str, instance: int) -> None:
    containers = found[start]["containers"]  # the second controller has taken over what the first one left
    assert [line.split()[0] for line in containers["one"]] == [f"field-web1.firewall-{instance}"]
    assert [line.split()[0] for line in containers["two"]] == [f"field-web1.monitor-{instance}"]
    assert all(line.split()[1].startswith("cable") for lines in containers.values() for line in lines)


def main(_word: str, folder: str) -> None:
    with Site(Path(folder)) as site:
        print(json.dumps(explore(site)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
