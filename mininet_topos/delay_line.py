"""A user-space delay line: bandwidth, delay, loss and cable of every link, where the kernel has no netem.

Both ends of a link are TAP interfaces given to Open vSwitch; one process carries the frames of all links. For each
direction of a link, as a wire does it (docs/testbed.md, "Links"):

 1. a frame starts when the one before has left the sender:       start = max(now, busy_until)
 2. it takes its size over the rate to leave:                     busy_until = start + size / rate
 3. it arrives after the propagation delay, never overtaking:     due = max(busy_until + delay, due of the last)
 4. a frame that would wait behind more than the queue's limit is dropped; so is one of a random `loss` share.

What this process itself adds (waking up, reading, writing) is measured at start and taken off the delay.
Requests come as JSON packets on a unix socket, one answer each: `add`, `remove`, `set`, `cable`, `overhead`,
`counters`. Imports nothing heavy: it has to start in milliseconds. Source: ours.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mininet_topos import syscalls

FRAME_BYTES = 2048  # TAPs have an MTU of 1500 and get no segmentation offload
QUEUE_MS = 100.0  # a frame that would wait longer than this is dropped
_MAX_FILES = 1000  # select() serves descriptors below 1024


@dataclass(slots=True)
class Wire:
    """One direction of a link. Times are seconds on the caller's clock, `loss` a share 0..1."""

    rate_bps: float
    delay_s: float
    loss: float = 0.0
    queue_s: float = QUEUE_MS / 1000.0
    up: bool = True
    busy_until: float = 0.0
    last_due: float = 0.0
    passed: int = 0
    dropped: int = 0

    def admit(self, now: float, size_bytes: int, chance: float) -> float:
        """When the frame that came at `now` is due at the other end; -1.0 when it is dropped.

        `chance` is a random number in [0, 1) that decides on loss.
        """
        start = now if now > self.busy_until else self.busy_until
        if not self.up or start - now > self.queue_s or chance < self.loss:
            self.dropped += 1
            return -1.0
        self.busy_until = start + size_bytes * 8.0 / self.rate_bps
        due = self.busy_until + self.delay_s
        self.last_due = due if due > self.last_due else self.last_due
        self.passed += 1
        return self.last_due


@dataclass(slots=True)
class Cable:
    """A link: its two TAPs' descriptors and the wire that leaves each of them."""

    taps: tuple[int, int]
    wires: tuple[Wire, Wire]
    delay_ms: float

    def apply_delay(self, overhead_ms: float) -> None:
        for wire in self.wires:
            wire.delay_s = max(0.0, self.delay_ms - overhead_ms) / 1000.0

    def set_up(self, up: bool) -> None:
        """Plugs the cable in or out; frames on their way are lost at the time they would have arrived."""
        for tap, wire in zip(self.taps, self.wires, strict=True):
            wire.up = up
            syscalls.set_tap_carrier(tap, up=up)


@dataclass
class DelayLine:
    """All links, and the frames on their way, ordered by when they are due."""

    rng: random.Random
    overhead_ms: float = 0.0
    cables: dict[str, Cable] = field(default_factory=dict)
    # (due, number, wire, descriptor to write to, frame); the number keeps the order among equals
    on_the_way: list[tuple[float, int, Wire, int, bytes]] = field(default_factory=list)
    by_tap: dict[int, tuple[Wire, int]] = field(default_factory=dict)
    _number: int = 0

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request of the control socket. What it cannot do is answered with `error`."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "add": self.add, "remove": self.remove, "set": self.set, "cable": self.cable, "overhead": self.overhead,
            "counters": self.counters,
        }  # fmt: skip
        try:
            return operations[request["op"]](**{k: v for k, v in request.items() if k != "op"})
        except (KeyError, TypeError, ValueError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def add(self, link: str, a: str, b: str, rate_mbps: float, delay_ms: float, loss: float = 0.0) -> dict[str, Any]:
        """Makes a link between two new TAPs named `a` and `b`."""
        taps = (syscalls.open_tap(a), syscalls.open_tap(b))
        if max(taps) > _MAX_FILES:
            raise ValueError("too many links for one delay line")
        rate_bps, delay_s = rate_mbps * 1e6, delay_ms / 1000.0
        cable = Cable(taps, (Wire(rate_bps, delay_s, loss), Wire(rate_bps, delay_s, loss)), delay_ms)
        cable.apply_delay(self.overhead_ms)
        self.cables[link] = cable
        self.by_tap[taps[0]] = (cable.wires[0], taps[1])
        self.by_tap[taps[1]] = (cable.wires[1], taps[0])
        return {}

    def remove(self, link: str) -> dict[str, Any]:
        """Takes a link away with its TAPs and all that is on its way."""
        cable = self.cables.pop(link)
        self.on_the_way = [frame for frame in self.on_the_way if frame[3] not in cable.taps]
        heapq.heapify(self.on_the_way)
        for tap in cable.taps:
            del self.by_tap[tap]
            os.close(tap)
        return {}

    def set(
        self, link: str, delay_ms: float | None = None, loss: float | None = None, rate_mbps: float | None = None
    ) -> dict[str, Any]:
        """Changes a link while it runs; what is not given stays. `loss` is a share 0..1."""
        cable = self.cables[link]
        cable.delay_ms = cable.delay_ms if delay_ms is None else delay_ms
        cable.apply_delay(self.overhead_ms)
        for wire in cable.wires:
            wire.loss = wire.loss if loss is None else loss
            wire.rate_bps = wire.rate_bps if rate_mbps is None else rate_mbps * 1e6
        return {}

    def cable(self, link: str, up: bool) -> dict[str, Any]:
        """Plugs a link in or out."""
        self.cables[link].set_up(up)
        return {}

    def overhead(self, ms: float) -> dict[str, Any]:
        """What the process adds to each passage by itself, taken off every delay from now on."""
        self.overhead_ms = ms
        for cable in self.cables.values():
            cable.apply_delay(ms)
        return {}

    def counters(self) -> dict[str, Any]:
        """Frames passed and dropped per link, [a to b, b to a], and the CPU seconds used so far."""
        links = {
            name: {"passed": [w.passed for w in cable.wires], "dropped": [w.dropped for w in cable.wires]}
            for name, cable in self.cables.items()
        }
        return {"links": links, "cpu_s": time.process_time(), "overhead_ms": self.overhead_ms}

    def take(self, tap: int, now: float) -> None:
        """Reads one frame of a TAP and sends it on its way."""
        try:
            frame = os.read(tap, FRAME_BYTES)
        except OSError:
            return  # EAGAIN; or EIO, EBADFD of an interface that is being deleted
        wire, other = self.by_tap[tap]
        due = wire.admit(now, len(frame), self.rng.random() if wire.loss else 1.0)
        if due >= 0.0:
            self._number += 1
            heapq.heappush(self.on_the_way, (due, self._number, wire, other, frame))

    def deliver(self, now: float) -> float | None:
        """Writes out every frame that is due; returns seconds until the next one is, None if there is none."""
        waiting = self.on_the_way
        while waiting:
            due, _, wire, tap, frame = waiting[0]
            if due > now:
                return due - now
            heapq.heappop(waiting)
            try:
                if wire.up:
                    os.write(tap, frame)
            except OSError:
                wire.dropped += 1  # the other end is down
        return None


def serve(path: str, *, seed: int) -> None:
    """Runs until the client that connected first goes away."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(1)
        client, _ = listener.accept()
    line = DelayLine(random.Random(seed))
    with client:
        _loop(line, client)


def _loop(line: DelayLine, client: socket.socket) -> None:
    """The hot loop: one select, one read per ready TAP (a burst shows again in the next select)."""
    control, clock, wait_s = client.fileno(), time.monotonic, None
    watched = [control]
    while True:
        for fd in select.select(watched, (), (), wait_s)[0]:
            if fd != control:
                line.take(fd, clock())
                continue
            request = client.recv(65536)
            if not request:
                return
            client.send(json.dumps(line.answer(json.loads(request))).encode())
            watched = [control, *line.by_tap]
        wait_s = line.deliver(clock())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.set_parent_death_signal(signal.SIGKILL)
    syscalls.set_timer_slack(1)
    syscalls.go_first()
    serve(sys.argv[1], seed=int(sys.argv[2]))
