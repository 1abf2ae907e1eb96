"""`vnftwin run`: emulated network, containers, traffic and controller, from start to the table at the end.

Three processes: this one (draws progress, keeps the record), the test bed in its private namespaces, and the
controller inside those same namespaces. REST's listening socket is opened here, in the host's network, and handed
to the controller, so that a browser or Prometheus on the host reaches a controller that lives in a private network.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from controller.child import ControllerProcess
from controller.client import ControllerClient, Unreachable
from controller.listening import listening_socket
from controller.testbed import Event, TestBedProcess
from twin.errors import EnvironmentLack, VnftwinError

START_TIMEOUT_S = 180.0  # the first start builds the VNF image
READY_TIMEOUT_S = 60.0
LEDGER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is asked to do. `rates_pps` overrides the scenario's traffic with steady packet rates; `program` is
    the module that is run as the controller (tests run one that can be made to die)."""

    scenario: str
    duration_s: float
    policy: str
    seed: int
    engine: str
    report: Path
    listen: tuple[str, int]
    token: str = ""
    rates_pps: Mapping[str, float] = field(default_factory=dict)
    program: str = "controller.cli"
    mode: str = "auto"
    twin: str = ""

    @property
    def policy_label(self) -> str:
        """The policy's name as part of a file name."""
        return Path(self.policy or "a2c").stem


@dataclass(slots=True)
class RunRecord:
    """What one run measured: the traffic's own ledger, the controller's summary, decisions and migrations."""

    policy: str
    duration_s: float
    ledger: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    migrations: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[dict[str, Any]] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)
    traffic_began_s: float = 0.0

    @property
    def policy_name(self) -> str:
        return Path(self.policy or "a2c").stem

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_json(), indent=1))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Watcher:
    """Receives what happens during a run; the display on a terminal is one (controller.display)."""

    def progress(self, what: str) -> None:
        """A step of the start-up or the end."""

    def second(self, elapsed_s: float, traffic: Event, summary: Mapping[str, Any]) -> None:
        """Once a second while traffic flows."""

    def decided(self, decision: Mapping[str, Any]) -> None:
        """A decision, once for each."""

    def migrated(self, migration: Mapping[str, Any]) -> None:
        """A migration came to its end."""


def run_live(options: RunOptions, watcher: Watcher, *, actions: Sequence[Callable[[LiveRun], None]] = ()) -> RunRecord:
    """One whole run. `actions` run in the middle of it, e.g. forced moves of a benchmark.

    EnvironmentLack without root; InputError when the address to listen on is taken; TestBedFailed when it does not
    start; after any of them, and after Ctrl-C, nothing of the run is left.
    """
    if os.geteuid() != 0:
        raise EnvironmentLack("an emulated network needs root", "run the same command with sudo")
    options.report.mkdir(parents=True, exist_ok=True)
    with listening_socket(*options.listen) as listener, tempfile.TemporaryDirectory(prefix="vnftwin-") as run_dir:
        return LiveRun(options, watcher, listener, Path(run_dir)).run(actions)


def from_here(name: str) -> str:
    """A policy or twin as the controller finds it, whose working directory is another one: where the name begins with
    that of a file (`FILE`, `FILE+polish`, `FILE.py:CLASS`), with the whole path."""
    ends = [len(name), *(i for i in reversed(range(len(name))) if name[i] in "+:")]
    file = next((name[:end] for end in ends if name[:end] and Path(name[:end]).is_file()), "")
    return f"{Path(file).resolve()}{name.removeprefix(file)}" if file else name


class LiveRun:
    """One run while it goes on; `client` speaks to its controller, `bed` to its test bed."""

    def __init__(self, options: RunOptions, watcher: Watcher, listener: socket.socket, run_dir: Path) -> None:
        self.options, self.watcher, self._listener, self._run_dir = options, watcher, listener, run_dir
        self.record = RunRecord(options.policy, options.duration_s)
        host, port = listener.getsockname()[:2]
        self.client = ControllerClient(f"http://{f'[{host}]' if ':' in host else host}:{port}", token=options.token)
        self._decisions_seen, self._ended_migrations = 0, set[str]()
        self.last_traffic: Event = {}

    def run(self, actions: Sequence[Callable[[LiveRun], None]]) -> RunRecord:
        began = time.monotonic()
        options = self.options
        for file in self._journal.parent.glob(self._journal.name + "*"):
            file.unlink()  # of an earlier run with the same report folder, like all else there; its world is gone
        with TestBedProcess(
            options.scenario, self._run_dir, engine=options.engine, seed=options.seed, on_event=self._event
        ) as self.bed:
            self.ready = self.bed.wait_for("ready", timeout_s=START_TIMEOUT_S)
            self.bed_pid = int(self.ready["pid"])
            self._took("test bed", began)
            with ControllerProcess(self._controller_command(), self._listener, self._log, options.token) as controller:
                self.controller = controller
                self.wait_controller()
                self._took("first packet can flow", began)
                self.watcher.progress(f"page: {self.client.url}/")
                self._traffic(actions)
                self._collect()
        self.record.save(options.report / f"run-{options.policy_label}.json")
        return self.record

    def _controller_command(self) -> list[str]:
        ready, options = self.ready, self.options
        return [
            "nsenter", "-t", str(ready["pid"]), "-n", "-m", "-p", "--",
            sys.executable, "-m", options.program, "controller", str(ready["scenario"]),
            "--policy", from_here(options.policy), "--mode", options.mode, "--twin", from_here(options.twin),
            "--seed", str(options.seed),
            "--listen-fd", str(self._listener.fileno()),
            "--journal", str(self._journal),
            "--control", str(Path(str(ready["scenario"])).parent / "control"),
        ]  # fmt: skip

    @property
    def _journal(self) -> Path:
        return self.options.report.resolve() / f"journal-{self.options.policy_label}.db"

    @property
    def _log(self) -> Path:
        return self.options.report / f"controller-{self.options.policy_label}.log"

    def _traffic(self, actions: Sequence[Callable[[LiveRun], None]]) -> None:
        self.bed.send("traffic_start", seed=self.options.seed, rates_pps=dict(self.options.rates_pps))
        self.started_s = time.monotonic()
        self._before = self.client.get("state")
        for action in actions:
            action(self)
        while (elapsed := time.monotonic() - self.started_s) < self.options.duration_s:
            self.step(min(1.0, self.options.duration_s - elapsed))
        self.watcher.progress("waiting for the last packets")
        self.bed.send("traffic_stop")
        self.record.ledger = dict(self.bed.wait_for("ledger", timeout_s=LEDGER_TIMEOUT_S))

    def ledger_now(self) -> Event:
        """Stops the traffic, waits for its last packets, and starts it again: what was lost until now."""
        self.bed.send("traffic_stop")
        ledger = self.bed.wait_for("ledger", timeout_s=LEDGER_TIMEOUT_S)
        self.bed.send("traffic_start", seed=self.options.seed, rates_pps=dict(self.options.rates_pps))
        return ledger

    def step(self, seconds: float = 1.0) -> None:
        """Lets the run go on for a second, and shows what happened in it."""
        time.sleep(seconds)
        self.bed.drain()
        self.controller.check()
        try:
            summary = self.client.get("state")
            self._show_news()
        except Unreachable:
            return  # one slow answer is not the end of a run; `check` sees a controller that died
        elapsed_s = time.monotonic() - self.started_s
        keep = ("delay_ms", "expected_delay_ms", "stay_delay_ms", "power_w", "stay_power_w", "energy_j", "moves")
        self.record.seconds.append({"t_s": elapsed_s, **{k: summary.get(k) for k in keep}, **self.last_traffic})
        self.watcher.second(elapsed_s, self.last_traffic, summary)

    def _show_news(self) -> None:
        for decision in self.client.get("decisions"):
            if decision["id"] > self._decisions_seen:
                self._decisions_seen = decision["id"]
                self.watcher.decided(decision)
        for migration in self.client.get("migrations"):
            if migration["ended_s"] is not None and migration["id"] not in self._ended_migrations:
                self._ended_migrations.add(migration["id"])
                self.watcher.migrated(migration)

    def _collect(self) -> None:
        """Energies are those since traffic began; times of decisions and moves count from then, too."""
        self.record.summary = self.client.get("state")
        self.record.traffic_began_s = self._before["uptime_s"]
        for key in ("energy_j", "stay_energy_j"):
            self.record.summary[key] -= self._before[key]
        self.record.decisions = self.client.get("decisions")
        self.record.migrations = self.client.get("migrations")

    def _event(self, event: Event) -> None:
        if event["event"] == "progress":
            self.watcher.progress(str(event.get("what")))
        elif event["event"] == "traffic":
            self.last_traffic = event
        elif event["event"] == "roamed":
            self.watcher.progress(f"user {event.get('endpoint')} roams to {event.get('to')}")

    def wait_controller(self) -> None:
        """Returns when packets can flow. VnftwinError, naming what is waited for, when that takes too long."""
        self.watcher.progress("controller starts, chains are set up")
        deadline, waiting_for = time.monotonic() + READY_TIMEOUT_S, "its REST interface"
        while time.monotonic() < deadline:
            self.controller.check()
            try:
                if not (waiting_for := self.client.waiting_for()):
                    return
            except Unreachable:
                pass
            time.sleep(0.1)
        raise VnftwinError(f"controller was not ready within {READY_TIMEOUT_S:g} s, it waits for {waiting_for}")

    def _took(self, what: str, began: float) -> None:
        self.record.timings_s[what] = round(time.monotonic() - began, 2)
