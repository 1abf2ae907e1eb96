"""The ledger of one chain's packets: what was sent, and what became of every one of them.

Exact by construction: each packet carries its number, the ledger counts arrivals per number. A number that arrived
never is lost, one that arrived n times was duplicated n - 1 times, and one that arrived first after a higher number was
reordered (RFC 4737, section 3.3). Memory: 1 byte per number, 4 bytes per arrival. Source: ours (docs/testbed.md).
"""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class DelayMs:
    """One-way delays in ms of packets at their first arrival; all 0.0 when there was none."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, delays_ms: npt.NDArray[np.float32]) -> DelayMs:
        if not len(delays_ms):
            return cls()
        p50, p95, p99 = (float(p) for p in np.percentile(delays_ms, [50, 95, 99]))
        mean = float(delays_ms.mean(dtype=np.float64))
        return cls(len(delays_ms), mean, p50, p95, p99, float(delays_ms.max()))


@dataclass(frozen=True, slots=True)
class Account:
    """What a ledger says of one chain.

    `lost` = sent - received once stragglers have been waited for; before that it holds what is still on its way too.
    `foreign` counts arrivals of numbers that were never sent. `silence_ms` is the longest time between two arrivals,
    `pause_ms` between two sendings.
    """

    sent: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    foreign: int
    send_errors: int
    silence_ms: float
    pause_ms: float
    delay_ms: DelayMs

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Window:
    """Delays within a window, and the longest silence and pause that ended in it, in ms."""

    delay_ms: DelayMs
    silence_ms: float
    pause_ms: float


class Ledger:
    """One chain. Times are ns on one clock; numbers count from 0 without gaps, one for each packet really sent."""

    def __init__(self) -> None:
        self.sent = 0
        self.send_errors = 0
        self.received = 0
        self.duplicated = 0
        self.reordered = 0
        self.foreign = 0
        self._arrivals = bytearray()  # per number: how often it arrived, held at 255
        self._delays_ms = array("f")
        self._window_from = 0
        self._highest = -1
        self._last_sent_ns = self._last_received_ns = 0
        self._silence_ns = self._pause_ns = 0
        self._window_silence_ns = self._window_pause_ns = 0

    def note_sent(self, at_ns: int) -> None:
        """The packet with the next number left."""
        if self.sent:
            self._window_pause_ns = max(self._window_pause_ns, at_ns - self._last_sent_ns)
            self._pause_ns = max(self._pause_ns, self._window_pause_ns)
        self._last_sent_ns = at_ns
        self.sent += 1
        if len(self._arrivals) < self.sent:
            self._arrivals.extend(bytes(4096))

    def note_received(self, number: int, sent_ns: int, received_ns: int) -> None:
        """A packet arrived that says it is `number` and left at `sent_ns`."""
        if not 0 <= number < self.sent:
            self.foreign += 1
            return
        if self._last_received_ns:
            self._window_silence_ns = max(self._window_silence_ns, received_ns - self._last_received_ns)
            self._silence_ns = max(self._silence_ns, self._window_silence_ns)
        self._last_received_ns = received_ns
        times = self._arrivals[number]
        self._arrivals[number] = min(times + 1, 255)
        if times:
            self.duplicated += 1
            return
        self.received += 1
        if number < self._highest:
            self.reordered += 1
        else:
            self._highest = number
        self._delays_ms.append((received_ns - sent_ns) / 1e6)

    @property
    def complete(self) -> bool:
        """Has every packet sent so far arrived?"""
        return self.received == self.sent

    def missing(self) -> npt.NDArray[np.int64]:
        """The numbers that were sent and never arrived, ascending."""
        times = np.frombuffer(bytes(self._arrivals[: self.sent]), dtype=np.uint8)
        return np.flatnonzero(times == 0)

    def window(self) -> Window:
        """What arrived since the last call."""
        fresh = np.array(self._delays_ms[self._window_from :], dtype=np.float32)
        self._window_from = len(self._delays_ms)
        window = Window(DelayMs.of(fresh), self._window_silence_ns / 1e6, self._window_pause_ns / 1e6)
        self._window_silence_ns = self._window_pause_ns = 0
        return window

    def account(self) -> Account:
        """The state of the ledger now."""
        return Account(
            sent=self.sent,
            received=self.received,
            lost=len(self.missing()),
            duplicated=self.duplicated,
            reordered=self.reordered,
            foreign=self.foreign,
            send_errors=self.send_errors,
            silence_ms=self._silence_ns / 1e6,
            pause_ms=self._pause_ns / 1e6,
            delay_ms=DelayMs.of(np.array(self._delays_ms, dtype=np.float32)),
        )
