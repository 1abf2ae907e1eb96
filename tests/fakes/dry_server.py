"""A controller over the simulator, served by the product's own command in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def dry_server(*arguments: str, token: str = "", duration_s: float = 600.0) -> Iterator[str]:
    """The address of `vnftwin run ARGUMENTS --dry-run`, which ends with the block."""
    command = ["run", *arguments, "--dry-run", "--listen", "127.0.0.1:0", "--duration", str(duration_s)]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "controller.cli", *command],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "VNFTWIN_TOKEN": token},
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found is not None
            yield found.group()
        finally:
            process.send_signal(signal.SIGTERM)
