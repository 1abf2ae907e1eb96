"""The delay line on real TAPs: what `LinkEmulator` promises holds for frames.

The probes run in a network namespace of their own, as this file executed by itself; they print JSON.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mininet_topos import syscalls
from mininet_topos.links import DelayLineLinks
from mininet_topos.ovs import kernel_datapath_works, netem_works

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ETHERTYPE = 0x88B5
HEAD = b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!H", ETHERTYPE)


class Ends:
    """Raw sockets at both ends of one link, beside which nothing speaks."""

    def __init__(self, links: DelayLineLinks, *, rate_mbps: float = 1000.0, delay_ms: float = 2.0) -> None:
        self.links = links
        links.ask(op="add", link="l", a="end0", b="end1", rate_mbps=rate_mbps, delay_ms=delay_ms)
        for name in ("end0", "end1"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.sender.bind(("end0", 0))
        self.receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        self.receiver.bind(("end1", ETHERTYPE))
        self.receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_TIMESTAMPNS, 1)
        self.receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_RCVBUFFORCE, 8 << 20)
        self.receiver.settimeout(0.5)

    def send(self, number: int, size: int = 500) -> None:
        self.sender.send(HEAD + struct.pack("!IQ", number, time.time_ns()) + bytes(size - 26))

    def receive(self) -> list[tuple[int, float]]:
        """(number, one-way ms) of all that comes, until half a second is silent."""
        got: list[tuple[int, float]] = []
        while True:
            try:
                frame, control, _, _ = self.receiver.recvmsg(2048, 64)
            except TimeoutError:
                return got
            number, sent_ns = struct.unpack_from("!IQ", frame, 14)
            got.append((number, (syscalls.kernel_time_ns(control) - sent_ns) / 1e6))


@contextmanager
def delay_line() -> Iterator[DelayLineLinks]:
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")  # else TAPs speak by themselves
    with (
        tempfile.TemporaryDirectory(prefix="vnftwin-test-") as folder,
        DelayLineLinks(run_dir=Path(folder), seed=7) as links,
    ):
        yield links


def probe_delays() -> dict[str, Any]:
    """Median one-way delay for each nominal one, changed while it runs."""
    with delay_line() as links:
        ends, medians = Ends(links), {}
        for delay_ms in (1.0, 2.0, 5.0, 10.0, 20.0):
            links.set("l", delay_ms=delay_ms)
            for number in range(60):
                ends.send(number)
                time.sleep(0.002)
            medians[str(delay_ms)] = statistics.median(ms for _, ms in ends.receive())
        return {"medians": medians, "overhead_ms": links.overhead_ms}


def probe_rate() -> dict[str, Any]:
    """A burst of 50 frames of 1,000 bytes at 10 Mbit/s takes 40 ms, in order."""
    with delay_line() as links:
        ends = Ends(links, rate_mbps=10.0)
        for number in range(50):
            ends.send(number, 1000)
        got = ends.receive()
        return {"numbers": [n for n, _ in got], "first_ms": got[0][1], "last_ms": got[-1][1]}


def probe_queue() -> dict[str, Any]:
    """What would wait longer than the queue holds is dropped and counted."""
    with delay_line() as links:
        ends = Ends(links, rate_mbps=1.0)
        for number in range(100):
            ends.send(number, 1000)
        return {"received": len(ends.receive()), **links.counters()["links"]["l"]}


def probe_loss() -> dict[str, Any]:
    with delay_line() as links:
        ends = Ends(links)
        links.set("l", loss=0.25)
        for number in range(2000):
            ends.send(number)
            if number % 50 == 0:
                time.sleep(0.005)
        return {"received": len(ends.receive()), **links.counters()["links"]["l"]}


def probe_cable() -> dict[str, Any]:
    """Carrier at both ends, and frames while the cable is out."""
    with delay_line() as links:
        ends = Ends(links)
        seen = {}
        for up in (False, True):
            links.cable("l", up=up)
            time.sleep(0.1)
            shown = [subprocess.run(["ip", "-br", "link", "show", e], capture_output=True, text=True).stdout
                     for e in ("end0", "end1")]  # fmt: skip
            for number in range(10):
                try:
                    ends.send(number)
                except OSError:
                    break
            seen[str(up)] = {"carrier": ["LOWER_UP" in line for line in shown], "received": len(ends.receive())}
        return seen


def probe_removed() -> dict[str, Any]:
    """Its interfaces go with it."""
    with delay_line() as links:
        Ends(links)
        process = links.process
    left = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
    return {"ended": process.poll() is not None, "interfaces": [line.split()[0] for line in left.splitlines()]}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    name.removeprefix("probe_"): probe for name, probe in list(globals().items()) if name.startswith("probe_")
}


def run(probe: str) -> dict[str, Any]:
    """The answer of a probe, run in a scratch network namespace."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["unshare", "-n", sys.executable, __file__, probe], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_median_delay_is_within_half_a_millisecond() -> None:
    answer = run("delays")
    print(answer)
    assert 0.0 < answer["overhead_ms"] < 2.0
    for nominal, measured in answer["medians"].items():
        assert measured == pytest.approx(float(nominal), abs=0.5)


def test_a_burst_leaves_at_the_links_rate_in_order() -> None:
    answer = run("rate")
    assert answer["numbers"] == list(range(50))
    assert answer["first_ms"] == pytest.approx(2.8, abs=2.0)
    assert answer["last_ms"] == pytest.approx(42.0, abs=5.0)


def test_a_full_queue_drops_and_says_so() -> None:
    answer = run("queue")
    assert 10 <= answer["received"] <= 20  # 100 ms at 8 ms a frame
    assert answer["passed"][0] == answer["received"]
    assert answer["dropped"][0] == 100 - answer["received"]


def test_loss_is_the_share_that_was_asked() -> None:
    answer = run("loss")
    assert answer["received"] == answer["passed"][0]
    assert answer["received"] + answer["dropped"][0] == 2000
    assert answer["dropped"][0] == pytest.approx(500, abs=80)


def test_a_cable_that_is_out_is_seen_at_both_ends() -> None:
    answer = run("cable")
    assert answer["False"] == {"carrier": [False, False], "received": 0}
    assert answer["True"] == {"carrier": [True, True], "received": 10}


def test_the_interfaces_go_with_the_process() -> None:
    assert run("removed") == {"ended": True, "interfaces": ["lo"]}


def test_what_is_chosen_can_be_told() -> None:
    """`doctor` shows it: one line for each part, and it is what the probes say."""
    done = subprocess.run([sys.executable, "-m", "mininet_topos", "capabilities"], capture_output=True, text=True)
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert list(found) == ["datapath", "link emulation", "container engine"]
    assert found["datapath"].startswith("kernel") == kernel_datapath_works()
    assert found["link emulation"].startswith("netem") == netem_works()


if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]]()))
