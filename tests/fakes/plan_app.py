"""A Ryu app that carries out plans as the controller does, told what to do over a socket: one JSON line each way.

    python -m tests.fakes.plan_app OPENFLOW_PORT COMMAND_PORT NAME...

The names are those of the switches with the dpids 1, 2, ... It is a process of its own, since Ryu patches whatever
process it lives in.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller import openflow_replies
from controller.executor import Executor, RolledBack, Shell, StuckForward
from controller.plan import MigrationPlan
from controller.plan_json import from_json, plan_from_json, to_json
from controller.prover import Prover
from controller.ryu_compat import (
    DEAD_DISPATCHER,
    MAIN_DISPATCHER,
    OFP_VERSION,
    Manager,
    RyuApp,
    hub,
    ofp_event,
    patch,
    set_ev_cls,
)
from controller.steps import Step
from controller.switchboard import Switchboard

ROOT = Path(__file__).parents[2]


class NoInstances:
    """The plans here change rules only."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"no instance to {name}")


class TimedSteps:
    """Keeps how long the steps of each kind took, in seconds."""

    def __init__(self) -> None:
        self.took_s: dict[str, list[float]] = {}

    def begin(self, number: int, step: Step, *, undoing: bool) -> None:
        """Nothing."""

    def end(self, number: int, step: Step, *, took_s: float, undoing: bool) -> None:
        self.took_s.setdefault(type(step).__name__, []).append(took_s)


class PlanApp(RyuApp):  # type: ignore[misc]
    """The real switchboard and the real executor behind a real Ryu."""

    OFP_VERSIONS = (OFP_VERSION,)

    def __init__(self, *args: Any, names: Sequence[str] = (), command_port: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names, self._command_port = names, command_port
        self.board = Switchboard()
        shell = Shell(time.monotonic, hub.sleep)
        self.prover = Prover(self.board, shell)
        self.steps = TimedSteps()
        self.executor = Executor(self.board, NoInstances(), shell, self.prover)
        self._parts: dict[int, list[Any]] = {}

    def start(self) -> Any:
        thread = super().start()
        hub.spawn(self._serve)
        return thread

    def _name(self, event: Any) -> str:
        datapath = event.datapath if hasattr(event, "datapath") else event.msg.datapath
        name: str = self._names[datapath.id - 1]
        return name

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_changed(self, event: Any) -> None:
        if event.state == MAIN_DISPATCHER:
            self.board.connected(self._name(event), event.datapath.send)
        elif event.datapath.id is not None:
            self.board.disconnected(self._name(event))

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def barrier_reply(self, event: Any) -> None:
        self.board.barrier_replied(self._name(event), event.msg.xid)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def refused(self, event: Any) -> None:
        self.board.error(self._name(event), openflow_replies.switch_error(event.msg))

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def flow_stats(self, event: Any) -> None:
        rules = self._parts.setdefault(event.msg.xid, [])
        rules += [c.rule for c in openflow_replies.flow_counters(self._name(event), event.msg)]
        if not openflow_replies.more_follows(event.msg):
            self.board.rules_told(self._name(event), event.msg.xid, self._parts.pop(event.msg.xid))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, event: Any) -> None:
        self.prover.caught(self._name(event), openflow_replies.packet_in(event.msg))

    def _serve(self) -> None:
        link = socket.create_connection(("127.0.0.1", self._command_port)).makefile("rw")
        for line in link:
            name, *args = json.loads(line)
            link.write(json.dumps(getattr(self, f"do_{name}")(*args)) + "\n")
            link.flush()

    def do_switches(self) -> list[str]:
        return [name for name in self._names if self.board.is_connected(name)]

    def do_carry_out(self, plan: Any) -> list[Any]:
        """The outcome, its reason, and how long it took."""
        began_s = time.monotonic()
        status, error = "done", ""
        try:
            self.executor.carry_out(plan_from_json(plan), self.steps)
        except (RolledBack, StuckForward) as failed:
            status, error = type(failed).__name__, str(failed)
        return [status, error, time.monotonic() - began_s]

    def do_rules(self, switch: str) -> Any:
        return to_json(tuple(self.board.rules(switch, timeout_s=5.0)))

    def do_times(self) -> dict[str, list[float]]:
        """Since the last time: seconds by kind of step."""
        took_s, self.steps.took_s = self.steps.took_s, {}
        return took_s

    def do_counts(self) -> list[Any]:
        return [dict(self.board.refused_total), dict(self.board.late_total), dict(self.prover.counts)]


class PlanController:
    """The app's process, seen from the test."""

    def __init__(self, names: Sequence[str], ofp_port: int) -> None:
        self._names = names
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ports = str(ofp_port), str(listener.getsockname()[1])
            self.process = subprocess.Popen([sys.executable, "-W", "ignore", "-m", __name__, *ports, *names], cwd=ROOT)
            listener.settimeout(30)
            self._link = listener.accept()[0].makefile("rw")

    def ask(self, *command: Any) -> Any:
        self._link.write(json.dumps(command) + "\n")
        self._link.flush()
        return json.loads(self._link.readline())

    def wait_for_switches(self) -> None:
        deadline_s = time.monotonic() + 30
        while self.ask("switches") != list(self._names):
            assert time.monotonic() < deadline_s, f"only {self.ask('switches')} came"
            time.sleep(0.02)

    def carry_out(self, plan: MigrationPlan) -> tuple[str, str, float]:
        status, error, took_s = self.ask("carry_out", to_json(plan))
        return status, error, took_s

    def rules(self) -> set[Any]:
        return {rule for name in self._names for rule in from_json(self.ask("rules", name))}  # type: ignore[attr-defined]


@contextmanager
def plan_controller(names: Sequence[str], ofp_port: int) -> Iterator[PlanController]:
    controller = PlanController(names, ofp_port)
    try:
        yield controller
    finally:
        controller.process.kill()
        controller.process.wait()


def main(ofp_port: str, command_port: str, *names: str) -> None:
    patch()
    context = {"names": names, "command_port": int(command_port)}
    Manager([__spec__.name], ofp_port=int(ofp_port), context=context).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
