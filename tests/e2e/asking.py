"""What the programs that hurt a live network ask of its controller, patiently."""

from __future__ import annotations

import time
from collections.abc import Collection

from controller.client import Unreachable
from controller.records import Refused
from controller.run import LiveRun

POLL_S = 0.05
BEGINNING = ("not_ready",)  # a controller that was just started
# Where the move is known to be feasible: a small server reads full while it starts or stops a container.
PASSING = (*BEGINNING, "cpu_full", "stale_state", "in_flight")


def await_ready(run: LiveRun) -> None:
    """Returns when a controller answers that it waits for nothing; raises when its process has ended."""
    while True:
        try:
            if not run.client.waiting_for():
                return
        except Unreachable:
            run.controller.check()
        time.sleep(POLL_S)


def ask_move(
    run: LiveRun,
    vnf: str,
    target: str,
    *,
    within_s: float,
    passing: Collection[str] = BEGINNING,
    key: str | None = None,
) -> str:
    """The id of the migration, asked for again while what refuses it is `passing`. Refused and Unreachable after that.

    With a key the request may be repeated after a controller died over it: the same key is the same migration.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return str(run.client.move(vnf, target, key=key)["id"])
        except Refused as refused:
            if refused.reason not in passing or time.monotonic() > deadline:
                raise
        except Unreachable:
            if key is None or time.monotonic() > deadline:
                raise
        time.sleep(2 * POLL_S)
