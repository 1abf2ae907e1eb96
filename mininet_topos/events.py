"""Events of the test bed: JSON lines on what was stdout when the process began (docs/testbed.md, "Protocol")."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import Any


class Events:
    """Writes events to stdout, whole lines at a time from any thread. Nothing else may write there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd = os.dup(1)
        os.dup2(2, 1)  # whatever a library prints goes to stderr

    def emit(self, event: str, **fields: Any) -> None:
        self.line(json.dumps({"event": event, **fields}))

    def line(self, line: str) -> None:
        """A line that is an event already. Where nobody reads any more it is dropped: the end of stdin is near."""
        text = (line + "\n").encode()
        with self._lock, contextlib.suppress(BrokenPipeError):
            while text:
                text = text[os.write(self._fd, text) :]
