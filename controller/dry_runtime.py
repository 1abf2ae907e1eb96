"""`vnftwin run SCENARIO --dry-run --listen HOST:PORT`: the controller with its page and REST, over a simulated network.

In real time, so that a person can look on and steer; without `--listen` a dry run is only calculated
(`controller.dry_run`).
"""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import eventlet
import numpy as np

from agent.a2c_policy import named_policy
from controller.beats import Beats
from controller.descriptions import Descriptions
from controller.dry_service import DryService
from controller.executor import Shell
from controller.journal import Journal
from controller.listening import listening_socket, page_address
from controller.logs import set_up_logs
from controller.loop import Loop
from controller.metrics import ControllerMetrics
from controller.news import LOOK_S
from controller.records import Mode
from controller.runtime import KEEP_S, decider_of
from controller.service import POLL_S
from controller.twin_watch import TwinWatch
from controller.web import Web
from controller.would_have import WouldHave
from twin.scenario import Scenario


@dataclass(frozen=True, slots=True)
class DryOptions:
    policy: str = ""
    twin: str = ""
    mode: str = "auto"
    seed: int = 1
    token: str = ""


class DryRuntime:
    """One dry run. Everything happens in green threads of this process; nothing is touched outside it."""

    def __init__(self, scenario: Scenario, options: DryOptions) -> None:
        self.scenario, self._beats, self.journal = scenario, Beats(), Journal(Path(":memory:"))
        self.service = DryService(
            scenario, seed=options.seed, journal=self.journal, shell=Shell(time.monotonic, eventlet.sleep),
            spawn=eventlet.spawn, observe_step=lambda step, took_s: self.metrics.step_s.labels(step).observe(took_s),
        )  # fmt: skip
        policy = named_policy(options.policy or "a2c", scenario, seed=options.seed)
        twin = TwinWatch(scenario, options.twin, run_blocking=lambda work, *args: work(*args))
        decider, beside = (decider_of(scenario, policy, twin) for _ in range(2))
        decider.warm_up(self.service.builder.build(time.monotonic()), self.service.routes())
        self.loop = Loop(
            self.service, decider, self.journal, mode=Mode(options.mode), would_have=WouldHave(scenario, beside),
            twin=twin, observe_decision=lambda took_s: self.metrics.decision_s.observe(took_s),
        )  # fmt: skip
        self.descriptions = Descriptions(self.service, self.loop, handler_errors=lambda: self._beats.errors)
        self.metrics = self.descriptions.prometheus = ControllerMetrics(self.descriptions)
        self.web = Web(self.service, self.loop, self.descriptions, token=options.token)

    def start(self, listener: socket.socket) -> None:
        """Begins to serve; returns at once."""
        beats, service = self._beats, self.service
        beats.once(lambda: self.web.serve(listener))
        beats.once(service.set_up)
        beats.every(POLL_S, service.poll)
        beats.every(POLL_S, service.barriers.measure, after_s=POLL_S / 2)
        beats.every(KEEP_S, service.keep)
        beats.every(self.scenario.period_s, self.loop.tick)
        beats.every(LOOK_S, self.web.look)

    def run(self, listener: socket.socket, duration_s: float) -> None:
        """Serves for so long, or until it is interrupted."""
        self.start(listener)
        try:
            eventlet.sleep(duration_s)
        finally:
            self.stop()

    def stop(self) -> None:
        self._beats.stop()
        self.journal.close()

    def outcome(self) -> str:
        """One line of what was won against never having moved anything (all modelled)."""
        rows = np.array(
            [[row[1], row[3], row[5], row[7]] for row in self.web.history if None not in row[:4]], dtype=float
        )
        if not len(rows):
            return "nothing was read"
        delay_ms, stay_ms, power_w, stay_w = np.nanmean(rows, axis=0)
        moves = self.service.migrations.counts.get("done", 0)
        return (
            f"{moves} moves; delay {delay_ms:.2f} ms, never migrating {stay_ms:.2f} ms; "
            f"power {power_w:.0f} W, never migrating {stay_w:.0f} W (all modelled)"
        )


def show_dry(scenario: Scenario, options: DryOptions, *, listen: tuple[str, int], duration_s: float) -> int:
    """Serves a dry run until its time is over. InputError when the address is taken."""
    with listening_socket(*listen) as listener:
        host, port = listener.getsockname()[:2]
        set_up_logs(sys.stderr)
        runtime = DryRuntime(scenario, options)
        print(f"dry run of {scenario.name}, all simulated; page: {page_address(host, port)}", flush=True)
        runtime.run(listener, duration_s)
    print(runtime.outcome())
    return 0
