"""A steady stream of numbered packets between two namespaces, for benchmarks; times by the kernel."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mininet_topos import payload, syscalls
from mininet_topos.sockets import RECEIVE_BUFFER_BYTES, arrivals, realtime_offset_ns

PORT = 5000
PACKET_BYTES = 512
STRAGGLERS_S = 0.5
READ_EVERY_NS = 10_000_000
ADDRESS = "10.0.0.2"


class Stream:
    """Sends from the namespace of `left` to that of `right` while it is entered; `result` afterwards."""

    def __init__(self, folder: Path, pids: Mapping[str, int], *, pps: float, burst: int) -> None:
        self._file = folder / "stream.npz"
        self._words = [str(pids["left"]), str(pids["right"]), str(pps), str(burst), str(self._file)]

    def __enter__(self) -> Stream:
        command = [sys.executable, "-m", "tests.bench.stream", *self._words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.communicate()

    def result(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """`sent_ns` and `delay_ns` (-1: lost) by number; `arrived_ns` in the order of arrival."""
        with np.load(self._file) as found:
            return dict(found)


def run(left: int, right: int, pps: float, burst: int, file: str) -> None:
    """The process: sends until its stdin ends, waits for stragglers, writes the file."""
    with syscalls.network_namespace(left):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with syscalls.network_namespace(right):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_TIMESTAMPNS, 1)
    receiver.bind(("0.0.0.0", PORT))
    receiver.setblocking(False)
    sent, seen = list[int](), list[tuple[int, int]]()
    rest, interval_ns = payload.padding(PACKET_BYTES), int(burst / pps * 1e9)

    def read() -> None:
        seen.extend((a.stamp.number, a.received_ns) for a in arrivals(receiver, realtime_offset_ns()))

    next_ns = read_ns = time.monotonic_ns()
    while not select.select([sys.stdin], (), (), max(0, next_ns - time.monotonic_ns()) / 1e9)[0]:
        now_ns = time.monotonic_ns()
        if now_ns >= next_ns:
            for _ in range(burst):
                sent.append(time.monotonic_ns())
                sender.sendto(payload.pack(1, len(sent) - 1, sent[-1], rest), (ADDRESS, PORT))
            next_ns += interval_ns
        if now_ns - read_ns > READ_EVERY_NS:
            read_ns = now_ns
            read()
    time.sleep(STRAGGLERS_S)
    read()
    delays = np.full(len(sent), -1, dtype=np.int64)
    for number, at_ns in reversed(seen):  # of duplicates the first counts
        delays[number] = at_ns - sent[number]
    np.savez(file, sent_ns=np.array(sent), delay_ns=delays, arrived_ns=np.array([at_ns for _, at_ns in seen]))


if __name__ == "__main__":
    syscalls.set_timer_slack(1)
    syscalls.go_first()
    run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
