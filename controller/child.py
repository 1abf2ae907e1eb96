"""The controller as a child process of `vnftwin run`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from controller.logs import last_words
from twin.errors import VnftwinError

STOP_TIMEOUT_S = 15


class ControllerProcess:
    """Runs `command`, which gets the listening socket; its output goes to `log`. Use as a context manager."""

    def __init__(self, command: Sequence[str], listener: socket.socket, log: Path, token: str) -> None:
        self._command, self._listener, self._log = list(command), listener, log
        self._environment = {**os.environ, "VNFTWIN_TOKEN": token}
        log.write_bytes(b"")

    def __enter__(self) -> ControllerProcess:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        self._process.wait()

    def start(self) -> None:
        """Begins, also in the place of one that has ended."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
                pass_fds=[self._listener.fileno()], start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """Ends it as a crash does: it gets no word in. Returns when it is gone."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended by itself within that time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def pid(self) -> int:
        """The controller's own process as the host sees it (nsenter waits in front of it)."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0]) if children else self._process.pid

    def check(self) -> None:
        """VnftwinError with its last line when the controller has ended."""
        if self._process.poll() is not None:
            said = last_words(self._log.read_text(errors="replace")) or "without a word"
            raise VnftwinError(f"controller ended: {said} (log: {self._log})")

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except (OSError, ValueError):
            self._process.kill()
