"""A hand-over of many entries while they change: `python -m tests.bench.handover` (as root).

A monitor's table is filled with flows, of which packets touch some thousand a second. Printed are the time of the
first copy, the longest time that a packet took meanwhile, and the freezes of many take-overs back and forth.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from controller.containers import InstanceSpec
from controller.engines import PROCESS, open_engine
from controller.hand_over import End, copy_state, take_over
from tests.contract.conftest import own_network, wire_up
from tests.contract.frames import Datagram, Wire, build

BURST = 10  # packets; a burst every few ms, since a timer is no finer


class Load:
    """Packets of all flows in turn, at a rate, and how long each burst took to come back."""

    def __init__(self, wire: Wire, frames: list[bytes], rate_pps: float) -> None:
        self.wire, self.frames, self.period_s = wire, frames, BURST / rate_pps
        self.delays_ms: list[float] = []
        self.sent = self.received = 0
        self.listens = True  # itself; others do once packets leave at two places
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._send)
        thread.start()
        yield
        self._ended.set()
        thread.join()

    @contextmanager
    def heard_by(self, wires: list[Wire]) -> Iterator[None]:
        """Others count what comes back, until the load has ended and nothing has come for a moment."""
        self.listens = False
        with ThreadPoolExecutor(len(wires)) as pool:
            counts = [pool.submit(self._listen, wire) for wire in wires]
            yield
            self._ended.set()
        self.received += sum(count.result() for count in counts)

    def _listen(self, wire: Wire) -> int:
        count = 0
        while (heard := len(wire.receive(1, timeout_s=0.3))) or not self._ended.is_set():
            count += heard
        return count

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            for _ in range(BURST):
                self.wire.send(self.frames[self.sent % len(self.frames)])
                self.sent += 1
            began = time.monotonic()
            self.received += len(self.wire.receive(BURST, timeout_s=0.05)) if self.listens else 0
            self.delays_ms.append((time.monotonic() - began) * 1e3)
            due = max(due + self.period_s, time.monotonic() - 0.05)
            time.sleep(max(0.0, due - time.monotonic()))


def frame(number: int) -> bytes:
    return build(Datagram(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", "10.255.0.1"))


def fill(wire: Wire, end: End, frames: list[bytes]) -> None:
    while end.ask("counters")["entries"] != len(frames):
        for start in range(0, len(frames), 200):
            for one in frames[start : start + 200]:
                wire.send(one)
            wire.receive(200, timeout_s=0.2)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def show_delays(title: str, delays_ms: list[float]) -> None:
    p99, most = percentile(delays_ms, 0.99), max(delays_ms)
    print(f"{title}: burst back after ms: median {statistics.median(delays_ms):.2f}, p99 {p99:.2f}, most {most:.2f}")


def measure(ends: list[End], wires: list[Wire], told: argparse.Namespace) -> None:
    frames = [frame(number) for number in range(told.entries)]
    fill(wires[0], ends[0], frames)
    filled = count(ends, "tx_packets")
    load = Load(wires[0], frames, told.rate)
    with load.running():
        time.sleep(1.0)
        quiet, load.delays_ms = load.delays_ms, []
        report = copy_state(ends[0], ends[1])
        copying, load.delays_ms = load.delays_ms, []
        with load.heard_by(wires):
            freezes = list(back_and_forth(ends, told.turns))
    took_ms, megabytes = report.took_s * 1e3, report.bytes / 1e6
    print(f"copy: {took_ms:.0f} ms, {report.entries} entries, {megabytes:.1f} MB, {report.rounds} rounds")
    show_delays("before", quiet)
    show_delays("during the copy", copying)
    times_us = [float(freeze_us) for freeze_us, _ in freezes]
    entries = [last for _, last in freezes]
    print(f"freeze of {len(times_us)} take-overs, us: median {statistics.median(times_us):.0f}, "
          f"p99 {percentile(times_us, 0.99):.0f}, most {max(times_us):.0f}; "
          f"entries in it: median {statistics.median(entries):.0f}, most {max(entries)}")  # fmt: skip
    left, dropped = count(ends, "tx_packets") - filled, count(ends, "kernel_dropped_packets")
    print(
        f"packets: {load.sent} sent, {left} left the VNFs ({dropped} dropped by the kernel), {load.received} were heard"
    )


def count(ends: list[End], key: str) -> int:
    return sum(int(str(end.ask("counters")[key])) for end in ends)


def back_and_forth(ends: list[End], turns: int) -> Iterator[tuple[int, int]]:
    for turn in range(turns):
        report = take_over(ends[turn % 2], ends[(turn + 1) % 2])
        yield report.freeze_us, report.last_entries
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=5000.0, help="packets per second, each touches another entry")
    parser.add_argument("--turns", type=int, default=60)
    told = parser.parse_args()
    lines = ("function monitor", f"entries {max(told.entries, 1)}", "top 0")
    with tempfile.TemporaryDirectory(prefix="vnft-") as folder, own_network():
        engine = open_engine(PROCESS, run_id="bench", servers={"here": ""}, control_root=Path(folder))
        ends, wires = [], []
        try:
            for number in range(2):
                spec = InstanceSpec(f"m-{number}", "m", "monitor", "here", "", 256, lines, {}, standby=number == 1)
                ends.append(End(engine, engine.start(spec)))
                wires.append(wire_up(ends[-1].instance.pid, f"w{number}"))
                engine.wait_ready(ends[-1].instance, timeout_s=5)
            measure(ends, wires, told)
        finally:
            for end in ends:
                engine.stop(end.instance.id, timeout_s=2)


if __name__ == "__main__":
    main()
