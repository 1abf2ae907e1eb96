"""The closed loop on real packets: real switches, containers and traffic, judged by the ledger and by others' tools."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from controller.journal import read_decisions, replay, state_digest
from controller.run import LiveRun, RunOptions, RunRecord, Watcher, run_live
from twin.scenario_file import load_scenario

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]
SMALL = load_scenario("small")
Action = Callable[[LiveRun], None]


def _live(report: Path, *actions: Action, duration_s: float = 5.0, policy: str = "stay") -> RunRecord:
    options = RunOptions("small", duration_s, policy, 1, "", report, ("127.0.0.1", 0))
    return run_live(options, Watcher(), actions=actions)


def _inside(run: LiveRun, *command: str) -> str:
    """A command of another tool, run within the test bed's namespaces."""
    enter = ["nsenter", "-t", str(run.bed_pid), "-n", "-m", "-p", "--"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=20).stdout


def _containers(run: LiveRun, vnf: str) -> list[str]:
    """Names of the running containers of a VNF, as the engine's own command line says."""
    engine = ["docker", "-H", run.ready["engine"], "ps", "--filter", f"label=io.vnftwin.vnf={vnf}"]
    return _inside(run, *engine, "--format", "{{.Names}}").split()


def _flows(run: LiveRun, switch: str) -> str:
    bridge = f"unix:{run.ready['ovs_rundir']}/{switch}.mgmt"
    return _inside(run, "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", bridge)


def _settle(run: LiveRun, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run.step(0.5)


def _leftovers() -> set[str]:
    """What a run could leave on this machine: control groups, run folders, network namespaces."""
    groups = {str(path) for path in Path("/sys/fs/cgroup").glob("**/vnftwin-*")}
    runs = {str(path) for path in Path("/run/vnftwin").glob("*")} if Path("/run/vnftwin").exists() else set()
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    return groups | runs | set(spaces)


def test_a_forced_move_a_cut_link_and_a_stopped_server(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def move(run: LiveRun) -> None:
        _settle(run, 3)
        before = _containers(run, "web1.nat")
        record = run.client.wait_migration(run.client.move("web1.nat", "e2")["id"], timeout_s=20)
        seen["moved"] = (record["status"], before, _containers(run, "web1.nat"))
        seen["lost by moving"] = _lost(run)

    def cut(run: LiveRun) -> None:
        seen["flows before"] = _flows(run, "core1")
        run.bed.send("link", link="core1-core2", up=False)
        _settle(run, 5)
        seen["paths"] = [c["path"] for c in run.client.get("chains")]
        run.bed.send("link", link="core1-core2", up=True)
        _settle(run, 8)

    def stop_server(run: LiveRun) -> None:
        run.bed.send("server", server="e3", up=False)
        _settle(run, 15)
        state = run.client.get("state")
        seen["placement"] = state["placement"]
        first = {name: c["received"] for name, c in run.last_traffic["chains"].items()}
        _settle(run, 3)
        seen["flowing"] = {n: c["received"] - first[n] for n, c in run.last_traffic["chains"].items()}

    record = _live(tmp_path, move, cut, stop_server)
    status, before, after = seen["moved"]
    assert status == "done"
    assert len(before) == len(after) == 1
    assert before != after
    assert seen["lost by moving"] == 0
    assert "dl_vlan" in seen["flows before"] or "vlan_vid" in seen["flows before"]
    hops = {(a, b) for path in seen["paths"] for segment in path for a, b in pairwise(segment)}
    assert not hops & {("core1", "core2"), ("core2", "core1")}
    assert "e3" not in seen["placement"].values()
    assert min(seen["flowing"].values()) > 0, seen["flowing"]
    assert record.summary["handler_errors"] == 0


def _lost(run: LiveRun) -> int:
    """Packets that are not accounted for a second after the last was sent, whatever was in flight having arrived."""
    chains = run.ledger_now()["chains"]
    return int(sum(chain["lost"] for chain in chains.values()))


def test_the_policys_run_loses_nothing_and_its_journal_replays_bit_for_bit(tmp_path: Path) -> None:
    before = _leftovers()
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "run", "small", "--duration", "60", "--json",
         "--listen", "127.0.0.1:0", "--report", str(tmp_path)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = json.loads(done.stdout)
    for chain, row in record["ledger"]["chains"].items():
        assert (row["lost"], row["duplicated"], row["send_errors"]) == (0, 0, 0), (chain, row)
        assert row["received"] == row["sent"] > 100
    assert record["summary"]["moves"] == sum(m["status"] == "done" for m in record["migrations"]) > 0
    assert record["summary"]["handler_errors"] == 0
    journal = next(tmp_path.glob("journal-*.db"))
    decisions = read_decisions(journal)
    assert len(decisions) >= 5
    assert all(state_digest(state) == decision.digest for decision, state in replay(journal, SMALL))
    assert {path.name for path in tmp_path.glob("*.png")} == {"delay-and-power.png", "chains.png"}
    assert _leftovers() <= before


def _heed_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to SIGINT, and so these tests; a program at a terminal is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    before = _leftovers()
    process = subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "run", "small", "--report", str(tmp_path), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("controller-*.log")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert _leftovers() <= before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["run", "small", "--policy", "clever"], 2, "unknown policy 'clever'"),
        (["run", "small", "--listen", "0.0.0.0:0"], 2, "needs a bearer token"),
        (["run", "small", "--listen", "127.0.0.1:{taken}"], 2, "cannot listen on 127.0.0.1"),
        (["controller", "small"], 2, "names no container engine for e1"),
        (["move", "web1.nat", "e1", "--url", "http://127.0.0.1:9"], 1, "no controller answers"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        filled = [argument.format(taken=taken.getsockname()[1]) for argument in arguments]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "controller.cli", *filled],
            capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (code, 1), done.stderr
    assert message in done.stderr


def test_without_root_it_is_refused_clearly(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-W", "ignore", "-m"]
    done = subprocess.run(
        [*command, "controller.cli", "run", "small", "--report", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, cwd=os.getcwd(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
