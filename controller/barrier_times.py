"""How long a bare barrier takes: what every confirmed rule has to wait for at least."""

from __future__ import annotations

from collections import deque

from controller.discovery import Discovery
from controller.executor import Shell
from controller.switchboard import Switchboard

KEPT = 200
TIMEOUT_S = 1.0


class BarrierTimes:
    """Measures one switch after the other."""

    def __init__(self, switchboard: Switchboard, shell: Shell, discovery: Discovery) -> None:
        self._switchboard, self._shell, self._discovery, self._made = switchboard, shell, discovery, 0
        self.times_s: deque[float] = deque(maxlen=KEPT)

    def measure(self) -> None:
        """One barrier, on the switch whose turn it is. BarrierLate, SwitchGone as `Switchboard.barrier`."""
        if switches := self._discovery.switches:
            switch = switches[self._made % len(switches)]
            self._made += 1
            began_s = self._shell.clock()
            self._switchboard.barrier((switch,), timeout_s=TIMEOUT_S)
            self.times_s.append(self._shell.clock() - began_s)
