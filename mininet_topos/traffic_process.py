"""The processes that send traffic, as the test bed starts and speaks to them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from typing import Any

from mininet_topos.events import Events
from twin.errors import VnftwinError

TRAFFIC_END_S = 5.0


class TestBedFailed(VnftwinError):
    """A part of the test bed ended by itself."""

    __test__ = False


class TrafficProcess:
    """A module that sends traffic, as a child. Starts at once; the first thing it is sent says where the hosts are."""

    def __init__(self, module: str, events: Events) -> None:
        self._module, self._events = module, events

    def __enter__(self) -> TrafficProcess:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True,
        )  # fmt: skip
        self._relay = threading.Thread(target=self._relay_events, daemon=True)
        self._relay.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(TRAFFIC_END_S)
        self.process.kill()
        self.process.wait()
        self._relay.join(1.0)

    def send(self, **command: Any) -> None:
        """TestBedFailed when it has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
        except OSError:
            raise TestBedFailed(f"the process {self._module} has ended") from None

    def _relay_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.line(line.rstrip("\n"))
