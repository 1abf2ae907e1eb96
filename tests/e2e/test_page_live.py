"""The page of a running test bed: a move that a person presses there is seen on the switches, and loses nothing; what
happens on the wire is seen on the page (how soon is printed with `pytest -s`)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.bench.page import event_ms, link_ms
from tests.page.browser import DRIVER, PROGRAM, Browser, browser

pytestmark = [
    pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(200),
    pytest.mark.skipif(not (PROGRAM and DRIVER), reason="needs chromium and chromium-driver"),
]  # fmt: skip
VNF, SOURCE, TARGET = "web1.nat", "c1", "e2"
LINK, TIMES = "core1-core3", 4


def _inside(run: LiveRun, *command: str) -> str:
    """A command of another tool, run within the test bed's namespaces."""
    enter = ["nsenter", "-t", str(run.bed_pid), "-n", "-m", "-p", "--"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=20).stdout


def _rules(run: LiveRun, switch: str) -> set[str]:
    """What decides the way of packets on a switch: each rule without its counters."""
    bridge = f"unix:{run.ready['ovs_rundir']}/{switch}.mgmt"
    lines = _inside(run, "ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", bridge).splitlines()
    return {line.strip() for line in lines[1:]}


def _containers(run: LiveRun) -> list[str]:
    """Servers on which a container of the VNF runs, by the engine's own command line."""
    engine = ["docker", "-H", run.ready["engine"], "ps", "--filter", f"label=io.vnftwin.vnf={VNF}"]
    return _inside(run, *engine, "--format", '{{.Label "io.vnftwin.server"}}').split()


def _link_ms(page: Browser, run: LiveRun, look: str) -> float:
    """How long the page takes to show a cable that was pulled, or plugged in again."""
    return link_ms(page, LINK, look, lambda: run.bed.send("link", link=LINK, up=look == "up"))


def test_a_move_pressed_on_the_page_is_seen_on_the_wire(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def press(run: LiveRun) -> None:
        run.step(2.0)
        seen["rules before"], seen["container before"] = _rules(run, "edge2"), _containers(run)
        with browser() as page:
            page.open(run.client.url)
            page.choose(VNF, TARGET)
            page.one("#whatif [type=submit]").click()
            page.wait(lambda: page.text(f"#chains [data-vnf='{VNF}'] small") == TARGET)
            page.wait(lambda: VNF in page.text("#timeline .entry.done .entry-title"))
            seen["rules after"], seen["container after"] = _rules(run, "edge2"), _containers(run)
            seen["ledger"] = run.ledger_now()
            seen["swap"] = [event_ms(page, run.client, VNF, (SOURCE, TARGET)[i % 2]) for i in range(TIMES)]
            for _ in range(TIMES):
                for look in ("down", "up"):
                    seen.setdefault(look, []).append(_link_ms(page, run, look))
            seen["complaints"], seen["world"] = page.complaints(), page.text("#world")

    options = RunOptions("small", 3.0, "stay", 1, "", tmp_path, ("127.0.0.1", 0))
    record = run_live(options, Watcher(), actions=[press])
    for event in ("swap", "down", "up"):
        print(f"{event}: {', '.join(f'{ms:.0f}' for ms in seen[event])} ms until the page shows it")
    migration = record.migrations[0]
    assert (migration["vnf"], migration["target"], migration["status"]) == (VNF, TARGET, "done")
    assert (seen["container before"], seen["container after"]) == ([SOURCE], [TARGET])
    assert seen["rules after"] - seen["rules before"]
    assert (seen["world"], seen["complaints"]) == ("live", [])
    for chain, row in seen["ledger"]["chains"].items():
        assert (row["lost"], row["duplicated"]) == (0, 0), (chain, row)
        assert row["received"] == row["sent"] > 100
