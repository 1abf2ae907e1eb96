"""Open vSwitch's tables are full at the k-th rule of a plan, for every k: rules and real packets are as before.

Run as a program (`... bed DIR`, in fresh namespaces) this file is the test bed of `test_openflow_ovs` with one more
link, so that there is a way around, and the controller's own switchboard and executor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from controller.flow_rule import FlowRule
from controller.plan import MigrationPlan, plan_change
from controller.rules import base_rules, chain_rules
from controller.steering import Adjacency, ChainSteering, steer
from controller.steps import Barrier, InstallEntries, InstallRules
from tests.contract import test_openflow_ovs as ovs
from tests.fakes.plan_app import ROOT, PlanController, plan_controller

LINKS: Adjacency = {**ovs.LINKS, ("a", "c"): 3, ("c", "a"): 3}
STEERED = ovs.steering(ovs.VNFS[0])
MOVED = ovs.steering(ovs.SPARE)
PACKETS = 5
_AROUND = {("b", "c"): "bac", ("c", "b"): "cab", ("a", "c"): "ac", ("c", "a"): "ca"}


def _around(a: str, b: str) -> tuple[str, ...]:
    """Without the link b-c."""
    return tuple(_AROUND.get((a, b), a if a == b else a + b))


CHANGES: Mapping[str, tuple[ChainSteering | None, ChainSteering]] = {
    "new chain": (None, STEERED),
    "move": (STEERED, MOVED),
    "re-route": (STEERED, steer(3, ovs.FLOW, STEERED.stops, _around)),
}


def added(plan: MigrationPlan) -> list[FlowRule]:
    return [rule for step in plan.steps if isinstance(step, InstallRules | InstallEntries) for rule in step.rules]


def base() -> set[FlowRule]:
    ports = {s: [port for (here, _), port in LINKS.items() if here == s] for s in ovs.SWITCHES}
    return {rule for switch in ovs.SWITCHES for rule in base_rules(switch, ports[switch])}


class Bed:
    def __init__(self, folder: Path, controller: PlanController) -> None:
        self._db, self._controller = f"--db=unix:{folder}/db.sock", controller
        self._sent = 0
        self._prepare_switches()
        self.user, self.web = ovs.Tap(ovs.USER), ovs.Tap(ovs.WEB)
        for mark, at in ((1, ovs.VNFS[0]), (2, ovs.VNFS[1]), (3, ovs.VNFS[2]), (1, ovs.SPARE)):
            threading.Thread(target=ovs.serve_vnf, args=(at, mark), daemon=True).start()

    def _prepare_switches(self) -> None:
        """The third link; and no hidden rules for the controller's own connection, which would count as well."""
        add: list[str] = []
        for a, b in (("a", "c"), ("c", "a")):
            add += ["--", "add-port", a, f"{a}-{b}", "--", "set", "interface", f"{a}-{b}", "type=patch"]
            add += [f"options:peer={b}-{a}", "ofport_request=3"]
        for switch in ovs.SWITCHES:
            add += ["--", "set", "controller", switch, "connection-mode=out-of-band"]
        ovs.run("ovs-vsctl", self._db, *add[1:])
        self._controller.wait_for_switches()

    def limit(self, switch: str, table: int, rules: int) -> None:
        new = ("--id=@t", "create", "Flow_Table", f"flow_limit={rules}", "overflow_policy=refuse")
        ovs.run("ovs-vsctl", self._db, "--", *new, "--", "set", "bridge", switch, f"flow_tables:{table}=@t")

    def unlimit(self, switch: str) -> None:
        ovs.run("ovs-vsctl", self._db, "clear", "bridge", switch, "flow_tables")

    def dump(self) -> dict[str, list[str]]:
        """What `ovs-ofctl` shows of every switch, without counters."""
        show = ("ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows")
        return {switch: sorted(ovs.run(*show, switch).splitlines()[1:]) for switch in ovs.SWITCHES}

    def packets(self, *, open_chain: bool = True) -> list[Any]:
        """What comes out of some packets that are sent: place in their row (-1: of an earlier row), marks, untagged."""
        first, self._sent = self._sent, self._sent + PACKETS
        for number in range(first, self._sent):
            self.user.send(ovs.frame(number))
        got = list[Any]()
        while len(got) < PACKETS and (data := self.web.receive(10.0 if open_chain else 0.2)) is not None:
            number, marks, untagged = ovs.seen(data)
            got.append([max(number - first, -1), marks, untagged])
        return got

    def explore(self) -> dict[str, Any]:
        install = MigrationPlan((InstallRules(tuple(base())), Barrier(ovs.SWITCHES)), None)
        assert self._controller.carry_out(install)[0] == "done"
        return {name: self._refuse_each(*change) for name, change in CHANGES.items()}

    def _refuse_each(self, before: ChainSteering | None, after: ChainSteering) -> dict[str, Any]:
        self._bring(None, before)
        plan = plan_change(before, after, LINKS)
        tables = Counter((rule.switch, rule.table) for rule in added(plan))
        places = [(*place, k) for place, rules in sorted(tables.items()) for k in range(rules)]
        tried = [self._refuse(plan, before is not None, *place) for place in places]
        found = {"rules": len(added(plan)), "tried": tried, "done": self._controller.carry_out(plan)[:2]}
        assert plan.after is not None
        found["installed"] = self._controller.rules() == base() | chain_rules(plan.after, LINKS)
        found["packets"] = self.packets()
        self._bring(plan.after, None)
        return found

    def _bring(self, before: ChainSteering | None, after: ChainSteering | None) -> None:
        assert self._controller.carry_out(plan_change(before, after, LINKS))[0] == "done"

    def _refuse(self, plan: MigrationPlan, is_open: bool, switch: str, table: int, k: int) -> dict[str, Any]:
        """Room for `k` more rules in one table, and no more."""
        before = self.dump()
        full = sum("table=1," in line for line in before[switch])  # ovs-ofctl does not name table 0
        self.limit(switch, table, k + (full if table else len(before[switch]) - full))
        status, error, _ = self._controller.carry_out(plan)
        whole = {"as before": self.dump() == before, "packets": self.packets(open_chain=is_open)}
        self.unlimit(switch)
        return {"place": f"{switch} {table} {k}", "status": status, "error": error, **whole}


def main(folder: str) -> None:
    ovs.run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    ovs.start_switches(Path(folder))
    with plan_controller(ovs.SWITCHES, ovs.OFP_PORT) as controller:
        (Path(folder) / "found.json").write_text(json.dumps(Bed(Path(folder), controller).explore()))


# ---- the tests

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
WHOLE = [[number, [1, 2, 3], True] for number in range(PACKETS)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("ovs")
    bed: Sequence[str] = (sys.executable, "-W", "ignore", "-m", __name__, "bed", str(folder))
    namespaces = ("unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc")
    with open(folder / "log", "w") as log:
        subprocess.run([*namespaces, *bed], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=300, check=False)
    if not (folder / "found.json").exists():
        pytest.fail((folder / "log").read_text()[-3000:])
    result: Mapping[str, Any] = json.loads((folder / "found.json").read_text())
    return result


@pytest.mark.parametrize("change", CHANGES)
def test_a_full_table_at_any_rule_leaves_rules_and_packets_as_they_were(found: Mapping[str, Any], change: str) -> None:
    before = CHANGES[change][0]
    tried = found[change]["tried"]
    print(f"{change}: {len(tried)} places")
    assert len(tried) == found[change]["rules"] > 5  # every k
    for one in tried:
        switch, table, _ = one["place"].split()
        assert one["status"] == "RolledBack", one
        assert f"switch {switch} refused to add the " in one["error"], one
        assert f"rule in table {table} of chain 3, segment " in one["error"], one
        assert "FLOW_MOD_FAILED TABLE_FULL" in one["error"], one
        assert one["as before"], one
        assert one["packets"] == (WHOLE if before else []), one


@pytest.mark.parametrize("change", CHANGES)
def test_with_room_again_it_is_done(found: Mapping[str, Any], change: str) -> None:
    assert found[change]["done"] == ["done", ""]
    assert found[change]["installed"]
    assert found[change]["packets"] == WHOLE


if __name__ == "__main__":
    main(*sys.argv[2:])
