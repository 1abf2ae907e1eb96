"""What the processes that make traffic have in common: commands in as JSON lines, events out as JSON lines.

The first line says where the hosts are. A load ends with its parent, ignores the Ctrl-C that is meant for it, and goes
ahead of what else the machine does, since it is what measures.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mininet_topos import syscalls
from mininet_topos.lines import LineReader

Emit = Callable[[Mapping[str, Any]], None]


class Load(Protocol):
    """Serves commands until their stream ends."""

    def serve(self, commands: LineReader) -> None: ...


def run_load(make: Callable[[Mapping[str, Any], Emit], Load]) -> None:
    """The process: waits for the line that says where the hosts are, makes the load of it, then serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.set_parent_death_signal(signal.SIGKILL)
    syscalls.set_timer_slack(1)
    syscalls.go_first()
    commands = LineReader(sys.stdin.fileno())
    where = commands.first()
    if where:
        make(json.loads(where), _emit).serve(commands)


def _emit(event: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
