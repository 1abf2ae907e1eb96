"""The controller is killed at every journalled step of a move, one after the other, on real switches and containers.

    sudo .venv/bin/python -m tests.e2e.crashes [--vnf web1.nat] [--every 1] [--cold]

After each kill another controller is started; then the engine's and the switch's own tools must show exactly one
container per VNF with one port, whole chains and nothing besides; every VNF must see the packets of its chain; and the
ledger of numbered packets must have lost none (of a cold move: doubled none, since it is silent for a while). Prints a
line per case; exits 1 when any failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.client import Unreachable
from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.e2e.asking import PASSING, ask_move, await_ready
from tests.e2e.outside import Outside, losses
from twin.scenario import Scenario, Vnf
from twin.scenario_file import dump_scenario, load_scenario

SETTLED_S = 12.0
SCENARIO = "small"
UNDO_STEPS = {"InstallRules": 2, "TakeOver": 2, "StartVnf": 1, "Halt": 1}  # how many steps take one of these back


@dataclass(frozen=True)
class Case:
    """Where the controller is killed; with `undo` a second time, in the midst of taking the move back."""

    phase: str
    number: int
    undo: tuple[str, int] | None = None


@dataclass
class Outcome:
    """One case: how long the next controller took to be ready, and to have everything in order."""

    case: Case
    step: str
    status: str
    ready_s: float
    whole_s: float
    problems: list[str]

    def line(self) -> str:
        undo = f" + undo {self.case.undo[0]} {self.case.undo[1]}" if self.case.undo else ""
        verdict = "; ".join(self.problems) or "ok"
        return (
            f"{self.case.phase:5} {self.case.number:2} {self.step:13}{undo:15} {self.status:11} "
            f"ready {self.ready_s:4.1f} s  whole {self.whole_s:4.1f} s  {verdict}"
        )


class Crashes:
    """Runs the cases on one live run."""

    def __init__(self, scenario: Scenario, order: Path, vnf: str, *, every: int, cold: bool) -> None:
        self.scenario, self.order, self.vnf, self.every, self.cold = scenario, order, vnf, every, cold
        self.outcomes: list[Outcome] = []

    def __call__(self, run: LiveRun) -> None:
        self.run, self.outside = run, Outside(run, self.scenario)
        time.sleep(3)
        for case in self.cases(self._steps_of_a_move()):
            self.outcomes.append(self._one(case))
            print(self.outcomes[-1].line(), flush=True)

    def cases(self, steps: list[str]) -> list[Case]:
        """Every beginning and end of every step, and of every step back from the last that can be undone."""
        every = [Case(phase, number) for number in range(len(steps)) for phase in ("begin", "end")]
        last = next(i for i, name in enumerate(steps) if name in ("InstallEntries", "SwapEntry", "DeleteRules")) - 1
        undo = range(sum(UNDO_STEPS.get(name, 0) for name in steps[: last + 1]))
        back = [Case("end", last, (phase, number)) for number in undo for phase in ("begin", "end")]
        return [*every, *back][:: self.every]

    def _steps_of_a_move(self) -> list[str]:
        record = self._move()
        assert record["status"] == "done", record
        self.steps = [step["name"] for step in record["steps"]]
        return self.steps

    def _move(self) -> Any:
        return self.run.client.wait_migration(self._ask(), timeout_s=30)

    def _ask(self) -> str:
        return ask_move(self.run, self.vnf, self._target(), within_s=SETTLED_S, passing=PASSING)

    def _target(self) -> str:
        here = self.run.client.get("state")["placement"][self.vnf]
        return "e2" if here != "e2" else "c1"

    def _one(self, case: Case) -> Outcome:
        self.order.write_text(f"{case.phase} {case.number} 0")
        with suppress(Unreachable):  # it may be killed before it answers
            self._ask()
        ended = self.run.controller.wait(20)
        if ended and case.undo:
            self.order.write_text(f"{case.undo[0]} {case.undo[1]} 1")
            self.run.controller.start()
            ended = self.run.controller.wait(30)
        if not ended:
            self.order.unlink(missing_ok=True)
            return Outcome(case, self.steps[case.number], "?", 0, 0, ["the controller did not reach the step"])
        began = time.monotonic()
        self.run.controller.start()
        await_ready(self.run)
        ready_s = time.monotonic() - began
        problems = self.outside.await_whole(SETTLED_S)
        whole_s = time.monotonic() - began
        problems += self._packet_problems()
        last = self.run.client.get("migrations")[-1]
        if last["status"] not in ("done", "rolled_back"):
            problems.append(f"migration {last['id']} is {last['status']}: {last['error']}")
        return Outcome(case, self.steps[case.number], last["status"], ready_s, whole_s, problems)

    def _packet_problems(self) -> list[str]:
        """Numbered packets, all of them arrived, and each VNF's interface saw its chain's."""
        before = self.outside.received()
        time.sleep(1.0)
        after = self.outside.received()
        idle = [name for name, count in after.items() if count - before.get(name, count) < 10]
        hurt = losses(self.run.ledger_now()["chains"])
        if self.cold:
            hurt = {chain: (lost, doubled) for chain, (lost, doubled) in hurt.items() if doubled}
        return [*(f"{name} sees no packets" for name in idle), *(f"{c} lost, doubled {n}" for c, n in hurt.items())]


def moving_cold(scenario: Scenario, kind: str) -> Scenario:
    """The scenario with VNFs of a type that can only be stopped here and started there."""

    def cold(vnf: Vnf) -> Vnf:
        return replace(vnf, type=replace(vnf.type, move="cold", allow_cold=True)) if vnf.type.name == kind else vnf

    return replace(scenario, chains=tuple(replace(c, vnfs=tuple(map(cold, c.vnfs))) for c in scenario.chains))


def run_crashes(vnf: str, every: int, *, cold: bool = False) -> list[Outcome]:
    scenario = load_scenario(SCENARIO)
    with tempfile.TemporaryDirectory() as folder:
        order, file = Path(folder) / "crash-at", Path(folder) / "scenario.yaml"
        scenario = moving_cold(scenario, scenario.vnf(vnf).type.name) if cold else scenario
        file.write_text(dump_scenario(scenario))
        os.environ |= {"CRASH_AT": str(order), "PYTHONPATH": str(Path(__file__).parents[2])}
        options = RunOptions(
            str(file), 1.0, "stay", 1, "", Path(folder), ("127.0.0.1", 0), program="tests.e2e.mortal_controller"
        )
        crashes = Crashes(scenario, order, vnf, every=every, cold=cold)
        run_live(options, Watcher(), actions=[crashes])
    return crashes.outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vnf", default="web1.nat")
    parser.add_argument("--every", type=int, default=1, help="take every n-th case only")
    parser.add_argument("--cold", action="store_true", help="VNFs of this type move cold")
    arguments = parser.parse_args()
    outcomes = run_crashes(arguments.vnf, arguments.every, cold=arguments.cold)
    failed = [outcome for outcome in outcomes if outcome.problems]
    slowest = max((outcome.ready_s for outcome in outcomes), default=0.0)
    print(f"{len(outcomes)} kills, {len(failed)} failed; a controller was ready again within {slowest:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
