"""The idle share of the whole machine, from /proc/stat: where little is idle, a measurement measures the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_IDLE, _IOWAIT, _COUNTED = 3, 4, 8  # columns after the word "cpu"; guest time is contained in user time already


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks since boot of all CPUs together."""

    idle: int
    total: int

    @classmethod
    def parse(cls, text: str) -> CpuTimes:
        """From the first line of /proc/stat."""
        ticks = [int(word) for word in text.split("\n", 1)[0].split()[1 : 1 + _COUNTED]]
        return cls(ticks[_IDLE] + ticks[_IOWAIT], sum(ticks))

    @classmethod
    def read(cls) -> CpuTimes:
        return cls.parse(Path("/proc/stat").read_text())

    def idle_share_since(self, before: CpuTimes) -> float:
        """0..1 between two readings; 1.0 where no tick has passed."""
        passed = self.total - before.total
        return (self.idle - before.idle) / passed if passed > 0 else 1.0
