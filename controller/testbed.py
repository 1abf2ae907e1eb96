"""The emulated test bed as a process: commands go in as JSON lines, events come out as JSON lines (docs/testbed.md).

The controller never imports the emulator; it only starts it, as it would start a lab of real switches.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twin.errors import VnftwinError

Event = Mapping[str, Any]


class TestBedFailed(VnftwinError):
    """The test bed could not be started, or ended while it was needed; the message is its own last word."""


class TestBedProcess:
    """One `python -m mininet_topos testbed` process. Use as a context manager: it is stopped at the end."""

    __test__ = False  # not a test class, whatever its name looks like

    def __init__(
        self, scenario: str, run_dir: Path, *, engine: str, seed: int, on_event: Callable[[Event], None]
    ) -> None:
        self._command = [sys.executable, "-m", "mininet_topos", "testbed", scenario, "--run-dir", str(run_dir)]
        self._command += ["--seed", str(seed)] + (["--engine", engine] if engine else [])
        self._on_event = on_event
        self._errors: deque[str] = deque(maxlen=20)
        self._events: queue.Queue[Event | None] = queue.Queue()

    def __enter__(self) -> TestBedProcess:
        # A session of its own, so that a Ctrl-C at the terminal reaches us alone and we stop things in order.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, bufsize=1, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read_events, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            try:
                assert self._process.stdin is not None
                self._process.stdin.close()  # end of its commands: it cleans up and ends
                self._process.wait(timeout=30)
            except (OSError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.wait()

    def send(self, op: str, **arguments: object) -> None:
        """Gives one command. TestBedFailed when the test bed is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise TestBedFailed(self._last_word()) from None

    def wait_for(self, name: str, *, timeout_s: float) -> Event:
        """The next event of that name; TestBedFailed when it does not come in time or the test bed ends."""
        deadline = time.monotonic() + timeout_s
        for event in self._until(deadline):
            if event["event"] == name:
                return event
        raise TestBedFailed(f"test bed gave no {name!r} within {timeout_s:g} s")

    def drain(self) -> None:
        """Hands over every event that has come, without waiting. TestBedFailed when the test bed has ended."""
        while not self._events.empty():
            self._take(self._events.get_nowait())

    def _until(self, deadline: float) -> Iterator[Event]:
        while (left := deadline - time.monotonic()) > 0:
            try:
                yield self._take(self._events.get(timeout=left))
            except queue.Empty:
                return

    def _take(self, event: Event | None) -> Event:
        if event is None:
            raise TestBedFailed(self._last_word())
        self._on_event(event)
        return event

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self._errors.append(line.rstrip())
                continue
            if event.get("event") == "error":
                self._errors.append(str(event.get("message")))
            self._events.put(event)
        self._events.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self._errors.append(line.rstrip())

    def _last_word(self) -> str:
        time.sleep(0.2)  # its last line on stderr may still be on its way
        return self._errors[-1] if self._errors else "test bed ended without a word"
