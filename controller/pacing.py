"""Spreading periodic sends evenly over their period.

Packets sent in one burst queue behind each other in the controller and in the switch, always in the same order, so
that the last of them always reads too long. Evenly spread, each meets an empty queue most of the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class RoundRobin(Generic[K]):
    """Names every key once per `period_s`, the longest-waiting first, evenly interleaved.

    After a pause of the caller at most one period's turns are made up for.
    """

    def __init__(self, period_s: float) -> None:
        if period_s <= 0.0:
            raise ValueError(f"a period is positive, not {period_s}")
        self.period_s = period_s
        self._last_s: dict[K, float] = {}
        self._next_s = float("-inf")

    def due(self, now_s: float, keys: Iterable[K]) -> list[K]:
        """The keys whose turn has come at `now_s`; each at most once per call. Keys not given are forgotten."""
        waiting = {key: self._last_s.get(key, float("-inf")) for key in keys}
        self._last_s = {key: at_s for key, at_s in waiting.items() if at_s > float("-inf")}
        if not waiting:
            return []
        chosen = sorted(waiting, key=waiting.__getitem__)[: self._turns(now_s, len(waiting))]
        self._last_s.update((key, now_s) for key in chosen)
        return chosen

    def _turns(self, now_s: float, keys: int) -> int:
        gap_s = self.period_s / keys
        if self._next_s == float("-inf"):
            self._next_s = now_s
        self._next_s = min(max(self._next_s, now_s - self.period_s), now_s + gap_s)
        turns = max(0, min(keys, int((now_s - self._next_s) / gap_s + 1.0 + 1e-9)))
        self._next_s += turns * gap_s
        return turns

    @property
    def next_s(self) -> float:
        """When `due` will name the next key (-inf: at once)."""
        return self._next_s
