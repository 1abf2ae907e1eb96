"""Random moves with random faults on real switches and containers; after each, everything has to be in order again.

    sudo .venv/bin/python -m tests.e2e.faults [--moves 1000] [--seed 1] [--faults 0.3] [--only switch,link]

A fault falls somewhere within its move: the controller is killed and started again, a VNF's container is killed, a link
goes down and comes back, a switch loses its rules and its connection, the engine stands still for a while. Then the
engine's and the switch's own tools must show one container per VNF with one port, whole chains and nothing besides, and
numbered packets must arrive through every chain. Without a fault none may be lost. Memory and file descriptors of the
controller are watched. Prints a line per move; exits 1 when an invariant was hurt.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.client import FINAL, Unreachable
from controller.records import Refused
from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.e2e.asking import ask_move, await_ready
from tests.e2e.outside import Outside, losses
from twin.errors import InputError, VnftwinError
from twin.scenario_file import load_scenario

SCENARIO = "small"
WHOLE_S = 30.0  # a killed controller and a container that has to be replaced, one after the other
QUIET_FAULTS = ("none", "controller", "engine")  # in which no packet may be lost
STALL_S = 2.0
KILL_TRIES = 5


@dataclass
class Turn:
    """One move with its fault, and what was found afterwards."""

    number: int
    vnf: str
    target: str
    fault: str
    delay_s: float
    status: str = ""
    lost: int = 0
    doubled: int = 0
    whole_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        packets = f"lost {self.lost} doubled {self.doubled}" if self.lost or self.doubled else ""
        fault = f"{self.fault} +{self.delay_s:.2f} s" if self.fault != "none" else ""
        verdict = "; ".join(self.problems) or "ok"
        return (
            f"{self.number:4} {self.vnf:15} -> {self.target:3} {fault:20} {self.status:11} "
            f"whole {self.whole_s:5.1f} s {packets} {verdict}"
        )


@dataclass(frozen=True)
class Footprint:
    """What the controller's process takes."""

    moves: int
    memory_mb: float
    descriptors: int


class Faults:
    """Makes the turns on one live run."""

    def __init__(self, moves: int, seed: int, share: float, only: Sequence[str] = ()) -> None:
        self.moves, self.share, self.random = moves, share, random.Random(seed)
        self.scenario = load_scenario(SCENARIO)
        self.turns: list[Turn] = []
        self.footprints: list[Footprint] = []
        self._since_start = 0
        self._kinds: dict[str, Callable[[], None]] = {
            "controller": self._kill_controller, "container": self._kill_container, "link": self._flap_link,
            "switch": self._reboot_switch, "engine": self._stall_engine,
        }  # fmt: skip
        if unknown := set(only) - set(self._kinds):
            raise InputError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(self._kinds)}")
        self._choice = list(only) or list(self._kinds)

    def __call__(self, run: LiveRun) -> None:
        self.run, self.outside = run, Outside(run, self.scenario)
        time.sleep(3)
        for number in range(1, self.moves + 1):
            self.turns.append(self._turn(number))
            print(self.turns[-1].line(), flush=True)
            if number % 10 == 0:
                self.footprints.append(self._footprint())

    def _turn(self, number: int) -> Turn:
        kind = self.random.choice(self._choice) if self.random.random() < self.share else "none"
        vnf = self.random.choice(self.scenario.vnfs).id
        target = self.random.choice(self.scenario.servers).id
        turn = Turn(number, vnf, target, kind, self.random.uniform(0.0, 1.2))
        timer = threading.Timer(turn.delay_s, self._hurt, [turn])
        began_s = time.monotonic()
        timer.start()
        ident = self._ask(turn)
        timer.join()
        await_ready(self.run)
        turn.status = self._await_end(ident) if ident else turn.status
        turn.problems = self.outside.await_whole(WHOLE_S)
        if turn.fault not in QUIET_FAULTS:
            turn.problems += self.outside.await_flowing(WHOLE_S)
        turn.whole_s = time.monotonic() - began_s
        self._count_packets(turn)
        self._since_start = 0 if kind == "controller" else self._since_start + 1
        return turn

    def _ask(self, turn: Turn) -> str:
        """The id of the migration, or '' with the refusal in the turn's status."""
        try:
            return ask_move(self.run, turn.vnf, turn.target, within_s=WHOLE_S, key=f"turn-{turn.number}")
        except Refused as refused:
            turn.status = refused.reason
        except Unreachable:
            turn.status = "no answer"
        return ""

    def _await_end(self, ident: str) -> str:
        try:
            return str(self.run.client.wait_migration(ident, timeout_s=WHOLE_S)["status"])
        except VnftwinError as error:
            return f"no end: {error}"

    def _count_packets(self, turn: Turn) -> None:
        chains: dict[str, Any] = self.run.ledger_now()["chains"]
        hurt = losses(chains)
        turn.lost, turn.doubled = (sum(pair[i] for pair in hurt.values()) for i in (0, 1))
        if turn.fault in QUIET_FAULTS and hurt:
            turn.problems.append(f"packets lost or doubled: {hurt}")
        if turn.status not in FINAL and " " in turn.status:
            turn.problems.append(turn.status)
        turn.problems += [f"chain {name} delivers nothing" for name, chain in chains.items() if not chain["received"]]

    # ---- the faults

    def _hurt(self, turn: Turn) -> None:
        """In a thread of its own; a fault that could not be made is told."""
        try:
            self._kinds.get(turn.fault, lambda: None)()
        except Exception as error:
            turn.fault = f"no {turn.fault}"
            print(f"turn {turn.number}: {turn.fault}: {error}", flush=True)

    def _kill_controller(self) -> None:
        self.run.controller.kill()
        self.run.controller.start()

    def _kill_container(self) -> None:
        """Any that runs; another one where a move has just ended the chosen one."""
        listed = ["ps", "--filter", "label=io.vnftwin.run", "--format", "{{.Names}}"]
        for _ in range(KILL_TRIES):
            with suppress(subprocess.CalledProcessError):
                self.outside.docker("kill", self.random.choice(self.outside.docker(*listed).split()))
                return
        raise VnftwinError("no container could be killed")

    def _flap_link(self) -> None:
        link = self.random.choice(self.scenario.links).id
        self.run.bed.send("link", link=link, up=False)
        time.sleep(2.0)
        self.run.bed.send("link", link=link, up=True)

    def _reboot_switch(self) -> None:
        """It forgets its rules and its controller, and comes back a moment later."""
        switch = self.random.choice(self.scenario.switches).id
        database = f"--db=unix:{self.run.ready['ovs_rundir']}/db.sock"
        controller = self.outside.inside("ovs-vsctl", database, "get-controller", switch).split()
        self.outside.inside("ovs-vsctl", database, "del-controller", switch)
        bridge = f"unix:{self.run.ready['ovs_rundir']}/{switch}.mgmt"
        self.outside.inside("ovs-ofctl", "-O", "OpenFlow13", "del-flows", bridge)
        time.sleep(0.5)
        self.outside.inside("ovs-vsctl", database, "set-controller", switch, *controller)

    def _stall_engine(self) -> None:
        folder = Path(str(self.run.ready["engine"]).removeprefix("unix://")).parent
        pid = self.outside.inside("cat", str(folder / "dockerd.pid")).strip()
        self.outside.inside("kill", "-STOP", pid)
        time.sleep(STALL_S)
        self.outside.inside("kill", "-CONT", pid)

    def _footprint(self) -> Footprint:
        proc = Path(f"/proc/{self.run.controller.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        return Footprint(self._since_start, pages * 4096 / 1e6, len(list((proc / "fd").iterdir())))


def run_faults(moves: int, seed: int, share: float, only: Sequence[str] = ()) -> Faults:
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # the controller is started elsewhere
    faults = Faults(moves, seed, share, only)
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(SCENARIO, 1.0, "stay", seed, "docker", Path(folder), ("127.0.0.1", 0))
        with suppress(KeyboardInterrupt):  # what was found until then is told
            run_live(options, Watcher(), actions=[faults])
    return faults


def summary(faults: Faults) -> str:
    kinds = Counter(turn.fault for turn in faults.turns)
    ends = Counter(turn.status for turn in faults.turns)
    old = [footprint for footprint in faults.footprints if footprint.moves > 0]
    memory, files = [f.memory_mb for f in old], [f.descriptors for f in old]
    lines = [
        f"{len(faults.turns)} moves: " + ", ".join(f"{n} {name}" for name, n in ends.most_common()),
        "faults: " + ", ".join(f"{n} {name}" for name, n in kinds.most_common()),
        "packets lost by fault: " + ", ".join(
            f"{name} {sum(t.lost for t in faults.turns if t.fault == name)}" for name in kinds
        ),
        f"turns with a hurt invariant: {sum(bool(turn.problems) for turn in faults.turns)}",
    ]  # fmt: skip
    if memory:
        lines.append(
            f"controller's memory {min(memory):.0f}-{max(memory):.0f} MB, descriptors {min(files)}-{max(files)}, "
            f"over up to {max(f.moves for f in old)} moves of one process"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=float, default=0.3, help="share of the moves with a fault")
    parser.add_argument("--only", default="", help="faults of these kinds: controller, container, link, switch, engine")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    faults = run_faults(
        arguments.moves, arguments.seed, arguments.faults, [kind for kind in arguments.only.split(",") if kind]
    )
    print(summary(faults))
    return 1 if any(turn.problems for turn in faults.turns) else 0


if __name__ == "__main__":
    sys.exit(main())
