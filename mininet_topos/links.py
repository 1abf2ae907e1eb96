"""Bandwidth and delay of the links between switches: by netem where the kernel has it, else by the delay line.

Both are used in one way: `make` makes Mininet's link, `set` and `cable` change links while they run.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mininet_topos import stock_mininet, syscalls
from twin.errors import VnftwinError
from twin.scenario import Link

CALIBRATION_FRAMES = 40
CALIBRATION_DELAY_MS = 2.0
_ETHERTYPE_LOCAL = 0x88B5  # IEEE 802, for local experiments
_START_TIMEOUT_S = 10.0


class LinkError(VnftwinError):
    """A link could not be made or changed; names the link."""


class LinkEmulator(Protocol):
    """What gives links their bandwidth and delay. A context manager."""

    name: str

    def __enter__(self) -> LinkEmulator: ...

    def __exit__(self, *_exc: object) -> None: ...

    def make(self, link: Link, node_a: Any, node_b: Any, **options: Any) -> Any:
        """A Mininet link between two switches; `options` are Mininet's."""
        ...

    def set(self, link: str, *, delay_ms: float | None = None, loss: float | None = None) -> None:
        """Changes a link; `loss` is a share 0..1, what is None stays. LinkError."""
        ...

    def cable(self, link: str, *, up: bool) -> None:
        """Plugs a link in or out; the switches at both ends see it. LinkError."""
        ...

    def counters(self) -> Mapping[str, Any]:
        """What it counted; may be empty."""
        ...

    @property
    def processes(self) -> Sequence[subprocess.Popen[bytes]]:
        """Processes that have to live for the links to work."""
        ...


class TapLink(stock_mininet.module("link").Link):  # type: ignore[misc]
    """A link whose two interfaces are there already."""

    def makeIntfPair(self, *_args: Any, **_kwargs: Any) -> None:  # noqa: N802 (Mininet's name)
        """Nothing to make: the delay line holds both TAPs."""


class DelayLineLinks:
    """Links through one process of `mininet_topos.delay_line`. A context manager."""

    name = "delay line (user space)"

    def __init__(self, *, run_dir: Path, seed: int) -> None:
        self._path, self._seed = run_dir / "delay_line.sock", seed
        self.overhead_ms = 0.0

    def __enter__(self) -> DelayLineLinks:
        command = [sys.executable, "-m", "mininet_topos.delay_line", str(self._path), str(self._seed)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self._socket = self._connect()
            self.overhead_ms = self._calibrate()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()  # it ends with its client
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)
        self.process.kill()
        self.process.wait()
        self._path.unlink(missing_ok=True)

    def _connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                client.connect(str(self._path))
                client.settimeout(_START_TIMEOUT_S)
                return client
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    client.close()
                    raise LinkError("the delay line did not start") from None
                time.sleep(0.005)

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer. LinkError with the reason, also when the process is gone."""
        try:
            self._socket.send(json.dumps(request).encode())
            answer: dict[str, Any] = json.loads(self._socket.recv(1 << 20) or b'{"error": "it has ended"}')
        except OSError as error:
            raise LinkError(f"the delay line does not answer: {error}") from None
        if "error" in answer:
            raise LinkError(f"link {request.get('link', '')}: {answer['error']}")
        return answer

    def make(self, link: Link, node_a: Any, node_b: Any, **options: Any) -> Any:
        """TAPs first, then Mininet's link over them."""
        a, b = options["intfName1"], options["intfName2"]
        self.ask(op="add", link=link.id, a=a, b=b, rate_mbps=link.bandwidth_mbps, delay_ms=link.delay_ms)
        return TapLink(node_a, node_b, **options)

    def set(self, link: str, *, delay_ms: float | None = None, loss: float | None = None) -> None:
        self.ask(op="set", link=link, delay_ms=delay_ms, loss=loss)

    def cable(self, link: str, *, up: bool) -> None:
        self.ask(op="cable", link=link, up=up)

    def counters(self) -> Mapping[str, Any]:
        """Per link passed and dropped frames, [a to b, b to a]; `cpu_s` of the process."""
        return self.ask(op="counters")

    @property
    def processes(self) -> Sequence[subprocess.Popen[bytes]]:
        return [self.process]

    def _calibrate(self) -> float:
        """What the process adds to a passage by itself (median, ms), found on a link of its own and then taken off."""
        names = ("calibrate0", "calibrate1")
        self.ask(op="add", link="calibration", a=names[0], b=names[1], rate_mbps=1e6, delay_ms=CALIBRATION_DELAY_MS)
        for name in names:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        measured_ms = statistics.median(_passages_ms(*names))
        self.ask(op="remove", link="calibration")
        overhead_ms = max(0.0, measured_ms - CALIBRATION_DELAY_MS)
        self.ask(op="overhead", ms=overhead_ms)
        return overhead_ms


def _passages_ms(a: str, b: str) -> list[float]:
    """One-way times in ms of some frames from TAP `a` to TAP `b`, sent one after the other."""
    protocol = socket.htons(_ETHERTYPE_LOCAL)
    times: list[float] = []
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, protocol) as receiver,
    ):
        sender.bind((a, 0))
        receiver.bind((b, _ETHERTYPE_LOCAL))
        receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_TIMESTAMPNS, 1)
        receiver.settimeout(1.0)
        for _ in range(CALIBRATION_FRAMES):
            sent_ns = time.time_ns()
            sender.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!H", _ETHERTYPE_LOCAL) + bytes(498))
            _, control, _, _ = receiver.recvmsg(2048, 64)
            times.append((syscalls.kernel_time_ns(control) - sent_ns) / 1e6)
            time.sleep(0.001)
    return times


class NetemLinks:
    """Links by the kernel's HTB and netem, through Mininet's TCLink."""

    name = "netem (kernel)"

    def __init__(self) -> None:
        self._links: dict[str, tuple[Any, dict[str, Any]]] = {}

    def __enter__(self) -> NetemLinks:
        return self

    def __exit__(self, *_exc: object) -> None:
        """The interfaces go with their namespace."""

    def make(self, link: Link, node_a: Any, node_b: Any, **options: Any) -> Any:
        shape = {"bw": link.bandwidth_mbps, "delay": f"{link.delay_ms}ms"}
        made = stock_mininet.module("link").TCLink(node_a, node_b, **options, **shape)
        self._links[link.id] = (made, shape)
        return made

    def set(self, link: str, *, delay_ms: float | None = None, loss: float | None = None) -> None:
        made, shape = self._find(link)
        shape |= {} if delay_ms is None else {"delay": f"{delay_ms}ms"}
        shape |= {} if loss is None else {"loss": loss * 100.0}  # Mininet's is in percent
        for interface in (made.intf1, made.intf2):
            interface.config(**shape)

    def cable(self, link: str, *, up: bool) -> None:
        made, _ = self._find(link)
        for interface in (made.intf1, made.intf2):
            interface.ifconfig("up" if up else "down")

    def counters(self) -> Mapping[str, Any]:
        return {}

    @property
    def processes(self) -> Sequence[subprocess.Popen[bytes]]:
        return []

    def _find(self, link: str) -> tuple[Any, dict[str, Any]]:
        if link not in self._links:
            raise LinkError(f"link {link}: no such link")
        return self._links[link]
