"""When to send: packets evenly spaced, or in short bursts where a machine with few cores must save wake-ups."""

from __future__ import annotations

from dataclasses import dataclass

BURST_FROM_PPS = 200.0  # a userspace switch pays per wake-up: bursts of 4 cut its load by 40 % (docs/testbed.md)
BURST_PACKETS = 4
LATE_NS = 50_000_000  # what could not be sent for longer than this is not made up for


@dataclass(slots=True)
class Pacer:
    """One chain's schedule. `even`: single packets at any rate. Times are ns on the caller's clock."""

    even: bool = False
    rate_pps: float = 0.0
    next_ns: int = 0
    _last_ns: int = 0

    @property
    def burst(self) -> int:
        return 1 if self.even or self.rate_pps <= BURST_FROM_PPS else BURST_PACKETS

    def set_rate(self, rate_pps: float, now_ns: int) -> None:
        """From now on another rate; the wait that has begun is shortened or lengthened with it. 0 stops."""
        if rate_pps == self.rate_pps:
            return
        was, self.rate_pps = self.rate_pps, rate_pps
        if rate_pps > 0.0:
            due_ns = self._last_ns + self._interval_ns() if was > 0.0 or self._last_ns else now_ns
            self.next_ns = max(now_ns, due_ns)

    def due(self, now_ns: int) -> int:
        """How many packets to send now; the next time is set."""
        if self.rate_pps <= 0.0 or now_ns < self.next_ns:
            return 0
        packets, self._last_ns = self.burst, self.next_ns
        self.next_ns += self._interval_ns()
        if self.next_ns < now_ns - LATE_NS:
            self.next_ns = now_ns
        return packets

    def _interval_ns(self) -> int:
        return int(self.burst / self.rate_pps * 1e9)
