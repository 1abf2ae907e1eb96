"""When switches are asked for the counters of their ports."""

from __future__ import annotations

from dataclasses import dataclass

SKIPPED = 2  # polls in a row, at most: rates are over the time between two readings, however long it was


@dataclass(slots=True)
class PortPolls:
    """Asked with every poll. While instances come and go there is none, as long as that does not last.

    To read its counters a switch that forwards in user space waits for the kernel's network configuration, which a
    container's start holds up for 20 to 30 ms, and packets wait with it (docs/vnf.md, "What a move disturbs").
    """

    _skipped: int = 0

    def due(self, *, moving: bool) -> bool:
        self._skipped = self._skipped + 1 if moving and self._skipped < SKIPPED else 0
        return self._skipped == 0
