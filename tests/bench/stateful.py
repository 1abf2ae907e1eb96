"""A NAT full of connections is moved back and forth under load: what is lost, reset or changed, and the silence.

    sudo .venv/bin/python -m tests.bench.stateful [--moves 30] [--entries 100000] [--updates 5000] [--connections 24]

One NAT carries four things at once: flows that fill its table and touch it, numbered UDP packets with a ledger, open
TCP connections that talk both ways. The judges are the ledger, the ends of the connections, and a watcher that sees
from which port each of the flows arrives. Silence is that of seconds with a move beside seconds without, in one run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from controller.run import LiveRun, RunOptions, Watcher, run_live
from controller.testbed import Event
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

IDLE_S = 15
ROOT = Path(__file__).parents[2]
SCENARIO = """
schema: 1
name: nat
period_s: 4
switches: [left, right]
servers:
  - {id: e1, tier: edge, at: left, cpu_cores: 1, memory_mb: 512}
  - {id: e2, tier: edge, at: left, cpu_cores: 1, memory_mb: 512}
links:
  - {a: left, b: right, bandwidth_mbps: 1000, delay_ms: 1}
endpoints: [{id: u, at: left}, {id: web, at: left}, {id: far, at: right}]
vnf_types:
  nat: {cpu_base: 0.01, cpu_per_mbps: 0.001, memory_mb: 200, state_mb: 12, service_ms: 0.05,
        config: {entries: 131072, timeout_s: 3600}}
chains:
  - {id: all, from: u, to: web, vnfs: [nat], max_delay_ms: 1000, flow: {proto: any},
     traffic: {profile: constant, mean_mbps: 1}}
placement: {all: [e1]}
"""


@dataclass
class Seconds(Watcher):
    """The longest silence of each second, and whether a move was going on."""

    moving: bool = False
    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def second(self, elapsed_s: float, traffic: Event, summary: Mapping[str, Any]) -> None:
        if flow := traffic.get("chains", {}).get("all"):
            (self.busy if self.moving else self.quiet).append(flow["silence_ms"])


class Flows:
    """The sender and the watcher of the many flows, each in its host's namespace."""

    def __init__(self, run: LiveRun, scenario: Scenario, entries: int, pps: float) -> None:
        self._run, u, web = run, scenario.endpoint("u"), scenario.endpoint("web")
        ends = [u.mac, web.mac, u.ip, web.ip, str(entries), str(pps)]
        self._watcher = self._start("web", ["watch", self._interface("web"), str(entries)])
        self._sender = self._start("u", ["send", self._interface("u"), *ends])

    def _interface(self, endpoint: str) -> str:
        return str(self._run.ready["attachments"][endpoint]["left"]["interface"])

    def _start(self, endpoint: str, words: list[str]) -> subprocess.Popen[str]:
        bed = ["nsenter", "-t", str(self._run.bed_pid), "-p", "-m", "--"]
        host = ["nsenter", "-t", str(self._run.ready["pids"][endpoint]), "-n", "--"]
        command = [*bed, *host, "env", f"PYTHONPATH={ROOT}", sys.executable, "-W", "ignore", "-m", "tests.bench.flows"]
        return subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self) -> dict[str, int]:
        """Ends the sender first; what both counted."""
        sent = json.loads(self._sender.communicate(timeout=20)[0])
        time.sleep(0.5)
        return {**sent, **json.loads(self._watcher.communicate(timeout=20)[0])}


@dataclass
class Bench:
    """One run; the results are there when it has ended."""

    arguments: argparse.Namespace
    watch: Seconds
    flows: dict[str, int] = field(default_factory=dict)
    tcp: dict[str, Any] = field(default_factory=dict)
    switch_drops: int = 0

    def __call__(self, run: LiveRun) -> None:
        flows = Flows(run, load_scenario(run.options.scenario), self.arguments.entries, self.arguments.updates)
        run.bed.send(
            "tcp_start", chain="all", connections=self.arguments.connections, messages_per_s=5, message_bytes=256
        )
        filled_s = self.arguments.entries / self.arguments.updates + IDLE_S
        self._pass(run, filled_s)  # until the table is full, and a while as the measure of silence
        self.watch.quiet = self.watch.quiet[-IDLE_S:]
        self.watch.moving = True
        for number in range(self.arguments.moves):
            self._move(run, "e2" if number % 2 == 0 else "e1")
            self._pass(run, 2.0)
        self.watch.moving = False
        self._pass(run, IDLE_S)
        self.flows = flows.stop()
        self.switch_drops = _switch_drops(run)
        run.bed.send("tcp_stop")
        self.tcp = run.bed.wait_for("tcp_ledger", timeout_s=30)["chains"]["all"]

    def _pass(self, run: LiveRun, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            run.step()

    def _move(self, run: LiveRun, target: str) -> None:
        record = run.client.move("all.nat", target)
        while run.client.get(f"migrations/{record['id']}")["ended_s"] is None:
            run.step(0.25)


def _switch_drops(run: LiveRun) -> int:
    """Packets that came faster than the switch read them from its ports, as the kernel says of its packet sockets."""
    enter = ["nsenter", "-t", str(run.bed_pid), "-n", "-m", "-p", "--"]
    shown = subprocess.run([*enter, "ss", "-0", "-n", "-m"], capture_output=True, text=True, check=True).stdout
    return sum(int(count) for count in re.findall(r",d(\d+)\)", shown))


def report(console: Console, bench: Bench, run: Any, log: str) -> None:
    row, tcp, flows = run.ledger["chains"]["all"], bench.tcp, bench.flows
    done = [m for m in run.migrations if m["status"] == "done"]
    freezes = [int(n) / 1000 for n in re.findall(r"freeze_us=(\d+)", log)]
    copies = [float(n) for n in re.findall(r"took_s=([\d.]+)", log)]
    entries = [int(n) for n in re.findall(r"CopyReport\(entries=(\d+)", log)]
    quiet, busy = bench.watch.quiet, bench.watch.busy
    table = Table("what", "figure", title=f"{len(done)} moves of a NAT with {max(entries, default=0)} entries sent")
    for name, figure in (
        ("moves done / not; modes", f"{len(done)} / {len(run.migrations) - len(done)}; {_kinds(done)}"),
        ("numbered UDP packets sent / lost / doubled", f"{row['sent']} / {row['lost']} / {row['duplicated']}"),
        ("of them not sent by the source / not read by the switch", f"{row['send_errors']} / {bench.switch_drops}"),
        ("packets of the flows sent / received", f"{flows['sent']} / {flows['received']}"),
        ("flows seen / ports changed", f"{flows['flows']} / {flows['changed']}"),
        ("TCP connections / reset / ended / wrong words",
         f"{tcp['connections']} / {tcp['reset']} / {tcp['ended']} / {tcp['wrong_words']}"),
        ("TCP bytes sent and received, both ways", f"{_bytes(tcp['there'])}, {_bytes(tcp['back'])}"),
        ("freeze, median (max)", _times(freezes, "ms")),
        ("copy until in sync, median (max)", _times(copies, "s")),
        ("longest silence of a second, with a move, median (max)", _times(busy, "ms")),
        ("the same without", _times(quiet, "ms")),
        ("whole move, median (max)", _times([m["took_ms"] for m in done], "ms")),
        ("CPU idle", f"{100 * run.ledger['cpu_idle']:.0f} %"),
    ):  # fmt: skip
        table.add_row(name, figure)
    console.print(table)


def _kinds(done: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({str(m["mode"]) for m in done}))


def _bytes(direction: Mapping[str, int]) -> str:
    return f"{direction['sent_bytes']} / {direction['received_bytes']}"


def _times(values: list[float], unit: str) -> str:
    return f"{median(values):.2f} ({max(values):.2f}) {unit}" if values else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=30)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--updates", type=float, default=5000.0, help="packets a second that touch entries")
    parser.add_argument("--pps", type=float, default=1000.0)
    parser.add_argument("--connections", type=int, default=24)
    parser.add_argument("--engine", default="")
    arguments = parser.parse_args()
    bench = Bench(arguments, Seconds())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nat.yaml"
        path.write_text(SCENARIO)
        options = RunOptions(
            str(path), 1.0, "stay", 1, arguments.engine, Path(folder), ("127.0.0.1", 0),
            rates_pps={"all": arguments.pps},
        )  # fmt: skip
        run = run_live(options, bench.watch, actions=[bench])
        log = (Path(folder) / "controller-stay.log").read_text()
    report(Console(width=120), bench, run, log)


if __name__ == "__main__":
    main()
