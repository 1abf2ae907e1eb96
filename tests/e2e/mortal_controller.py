"""A controller that ends by SIGKILL at the moment a file names: `python -m tests.e2e.mortal_controller controller …`.

The file (environment CRASH_AT) holds `PHASE NUMBER UNDOING`, e.g. `begin 5 0`: the process ends as soon as that has
been written to the journal. The file is removed first, so that the next controller lives.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from controller.cli import main
from controller.journal import Journal

_add_step = Journal.add_step


def _mortal(self: Journal, migration: str, number: int, at_s: float, phase: str, body: Mapping[str, object]) -> None:
    _add_step(self, migration, number, at_s, phase, body)
    order = Path(os.environ["CRASH_AT"])
    if order.exists() and order.read_text().split() == [phase, str(number), str(int(bool(body["undoing"])))]:
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Journal.add_step = _mortal  # type: ignore[method-assign]
    sys.exit(main())
