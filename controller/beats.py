"""Green threads that do the same thing again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import eventlet

from twin.errors import VnftwinError

log = logging.getLogger("vnftwin.beats")


class Beats:
    """Starts them, counts their defects (`errors`), and ends them all."""

    def __init__(self) -> None:
        self._threads: list[Any] = []
        self.errors = 0

    def once(self, work: Callable[[], None]) -> None:
        """Runs `work` in a green thread of its own."""
        self._threads.append(eventlet.spawn(work))

    def every(self, period_s: float, work: Callable[[], None], *, after_s: float = 0.0) -> None:
        """Calls `work` every `period_s`, first after that and `after_s`; an error ends one turn, not the thread."""
        self._threads.append(eventlet.spawn_after(after_s, self._repeat, work, period_s))

    def stop(self) -> None:
        for thread in self._threads:
            thread.kill()
        self._threads = []

    def _repeat(self, work: Callable[[], None], period_s: float) -> None:
        """Without drift, and without catching up on turns that were missed."""
        next_s = time.monotonic() + period_s
        while True:
            eventlet.sleep(max(0.0, next_s - time.monotonic()))
            next_s = max(next_s + period_s, time.monotonic())
            try:
                work()
            except VnftwinError as error:
                log.warning("%s: %s", work.__name__, error)
            except Exception:
                self.errors += 1
                log.exception("%s", work.__name__)
