"""Lines from a descriptor, for loops that also wait for other things: never blocks once `select` says it is ready."""

from __future__ import annotations

import os
from collections import deque


class LineReader:
    """Splits what comes from a descriptor into lines; an unfinished last line is not one."""

    def __init__(self, fd: int) -> None:
        self._fd, self._rest = fd, b""
        self.waiting: deque[str] = deque()
        self.ended = False

    def fileno(self) -> int:
        return self._fd

    def read(self) -> list[str]:
        """The lines that have come; blocks where none has. `ended` is set at the end of the stream."""
        if not self.waiting:
            self._fill()
        lines = list(self.waiting)
        self.waiting.clear()
        return lines

    def first(self) -> str:
        """Waits for one line, the rest stays for `read`; empty at the end of the stream."""
        while not self.waiting and not self.ended:
            self._fill()
        return self.waiting.popleft() if self.waiting else ""

    def _fill(self) -> None:
        try:
            chunk = os.read(self._fd, 65536)
        except OSError:
            chunk = b""
        self.ended = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.waiting += [line.decode() for line in lines if line.strip()]
