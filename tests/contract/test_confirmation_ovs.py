"""Real switches whose barriers lie or stay unanswered.

Moves lose packets where lying barriers are believed, and none where packets confirm. A switch that is silent before the
swap has the move taken back; after it its rules decide. Run as a program (`... bed DIR`, in fresh namespaces) this file
is the test bed of `test_openflow_ovs`, with a wire between switch and controller that delays changes or keeps barriers
back, and the controller's own switchboard, executor and prover.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.plan import MigrationPlan, plan_change
from controller.proofs import with_proofs
from controller.rules import base_rules, chain_rules
from controller.steering import ChainSteering
from controller.steps import Barrier, InstallRules
from tests.contract import test_openflow_ovs as ovs
from tests.fakes.lying_switch import LyingWire
from tests.fakes.plan_app import ROOT, PlanController, plan_controller

MOVES = 8
BEHIND_S = 0.3  # switch `b` behind its barrier replies; longer than a drain
PAUSE_S = 0.004


class Bed:
    def __init__(self, folder: Path, controller: PlanController) -> None:
        self._db, self._controller = f"--db=unix:{folder}/db.sock", controller
        controller.wait_for_switches()
        self.user, self.web = ovs.Tap(ovs.USER), ovs.Tap(ovs.WEB)
        for mark, at in ((1, ovs.VNFS[0]), (2, ovs.VNFS[1]), (3, ovs.VNFS[2]), (1, ovs.SPARE)):
            threading.Thread(target=ovs.serve_vnf, args=(at, mark), daemon=True).start()
        self._now: ChainSteering | None = None

    def explore(self) -> dict[str, Any]:
        install = MigrationPlan((InstallRules(tuple(self._base())), Barrier(ovs.SWITCHES)), None)
        assert self._controller.carry_out(install)[0] == "done"
        self._change(ovs.steering(ovs.VNFS[0]), confirm=False)
        found: dict[str, Any] = {"confirmed, honest": self._moves(confirm=True), "times": self._controller.ask("times")}
        found["silent"] = self._silence(self._wire("a", 0.0))
        self._wire("b", BEHIND_S)
        found["confirmed"] = self._moves(confirm=True)
        found["believed"] = self._moves(confirm=False)
        assert self._now is not None
        found["installed"] = self._controller.rules() == self._base() | chain_rules(self._now, ovs.LINKS)
        return found

    def _wire(self, switch: str, delay_s: float) -> LyingWire:
        wire = LyingWire(ovs.OFP_PORT, delay_s)
        ovs.run("ovs-vsctl", self._db, "set-controller", switch, f"tcp:127.0.0.1:{wire.port}")
        time.sleep(1.0)
        self._controller.wait_for_switches()
        return wire

    def _silence(self, wire: LyingWire) -> dict[str, Any]:
        """The entry switch of the chain keeps its barriers back: before the swap, never, after the swap."""
        before, plan = self._controller.rules(), self._plan(ovs.steering(ovs.SPARE), confirm=True)
        wire.silent = True
        found: dict[str, Any] = {"before": self._controller.carry_out(plan)}
        found["taken back"] = self._controller.rules() == before
        found["late"] = wire.answer_late()
        wire.silent = False
        found["then"] = self._controller.carry_out(plan)
        self._now = plan.after
        plan, wire.silent_after_swap = self._plan(ovs.steering(ovs.VNFS[0]), confirm=True), True
        found["after"] = self._controller.carry_out(plan)
        self._now, wire.silent, wire.silent_after_swap = plan.after, False, False
        assert plan.after is not None
        found["moved"] = self._controller.rules() == self._base() | chain_rules(plan.after, ovs.LINKS)
        return found | {"late_total": self._controller.ask("counts")[1]}

    @staticmethod
    def _base() -> set[Any]:
        ports = {s: [port for (here, _), port in ovs.LINKS.items() if here == s] for s in ovs.SWITCHES}
        return {rule for switch in ovs.SWITCHES for rule in base_rules(switch, ports[switch])}

    def _plan(self, after: ChainSteering, *, confirm: bool) -> MigrationPlan:
        plan = plan_change(self._now, after, ovs.LINKS)
        if confirm and self._now is not None and plan.after is not None:
            plan = replace(plan, steps=with_proofs(plan.steps, self._now, plan.after))
        return plan

    def _change(self, after: ChainSteering, *, confirm: bool) -> None:
        plan = self._plan(after, confirm=confirm)
        status, error, _ = self._controller.carry_out(plan)
        assert status == "done", error
        self._now = plan.after

    def _moves(self, *, confirm: bool) -> dict[str, Any]:
        """Moves the first VNF to and fro under traffic."""
        time.sleep(2 * BEHIND_S)
        stop, sent, heard = threading.Event(), 0, list[bytes]()

        def talk() -> None:
            nonlocal sent
            while not stop.is_set():
                self.user.send(ovs.frame(sent))
                sent += 1
                time.sleep(PAUSE_S)

        def listen() -> None:
            while (data := self.web.receive(5)) is not None:
                heard.append(data)

        threads = [threading.Thread(target=target) for target in (listen, talk)]
        for thread in threads:
            thread.start()
        for move in range(MOVES):
            time.sleep(0.05)
            self._change(ovs.steering(ovs.VNFS[0] if move % 2 else ovs.SPARE), confirm=confirm)
            time.sleep(2 * BEHIND_S)  # the next plan must not meet what is left of this one
        stop.set()
        for thread in threads:
            thread.join()
        numbers = [ovs.seen(data)[0] for data in heard]
        marks = sorted({tuple(ovs.seen(data)[1]) for data in heard})
        return {"sent": sent, "received": len(numbers), "distinct": len(set(numbers)), "marks": marks}


def main(folder: str) -> None:
    ovs.run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    ovs.start_switches(Path(folder))
    with plan_controller(ovs.SWITCHES, ovs.OFP_PORT) as controller:
        (Path(folder) / "found.json").write_text(json.dumps(Bed(Path(folder), controller).explore()))


# ---- the tests

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("ovs")
    bed: Sequence[str] = (sys.executable, "-W", "ignore", "-m", __name__, "bed", str(folder))
    namespaces = ("unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc")
    with open(folder / "log", "w") as log:
        subprocess.run([*namespaces, *bed], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=240, check=False)
    if not (folder / "found.json").exists():
        pytest.fail((folder / "log").read_text()[-3000:])
    result: Mapping[str, Any] = json.loads((folder / "found.json").read_text())
    times_ms = {name: sorted(1e3 * s for s in took)[len(took) // 2] for name, took in result["times"].items()}
    print({name: result[name] for name in ("confirmed, honest", "confirmed", "believed")}, "median ms:", times_ms)
    return result


@pytest.mark.parametrize("how", ["confirmed, honest", "confirmed"])
def test_confirmed_moves_lose_and_repeat_nothing(found: Mapping[str, Any], how: str) -> None:
    moves = found[how]
    assert moves["sent"] > MOVES * 20
    assert moves["received"] == moves["distinct"] == moves["sent"]
    assert moves["marks"] == [[1, 2, 3]]


def test_believing_the_barriers_loses_packets(found: Mapping[str, Any]) -> None:
    """Else this test bed shows nothing."""
    assert found["believed"]["distinct"] < found["believed"]["sent"]


def test_a_silent_switch_before_the_swap_has_the_move_taken_back(found: Mapping[str, Any]) -> None:
    status, error, took_s = found["silent"]["before"]
    assert (status, found["silent"]["taken back"]) == ("RolledBack", True)
    assert "InstallRules: switch a did not answer a barrier in time" in error
    assert took_s < 30  # bounded
    assert found["silent"]["late"] >= 2
    assert found["silent"]["then"][:2] == ["done", ""]  # the late answers confused nothing


def test_a_silent_switch_after_the_swap_is_followed_by_its_rules(found: Mapping[str, Any]) -> None:
    status, error, took_s = found["silent"]["after"]
    assert (status, error) == ("done", "")
    assert 2 < took_s < 30  # a barrier was waited for
    assert found["silent"]["moved"]
    assert found["silent"]["late_total"]["a"] >= 4


def test_no_rule_is_left_over(found: Mapping[str, Any]) -> None:
    assert found["installed"]


if __name__ == "__main__":
    main(*sys.argv[2:])
