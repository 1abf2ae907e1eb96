"""What telemetry says beside what is known: link delays as configured, chain delays as the traffic's ledger has them.

    sudo .venv/bin/python -m tests.bench.accuracy [--seconds 40] [--policy stay]

Also the controller's CPU in steady state, and what the whole machine had to spare. Prints its tables and exits.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from controller.run import LiveRun, RunOptions, Watcher, run_live
from controller.testbed import Event

WARM_UP_S = 12


@dataclass
class Readings(Watcher):
    """Per chain what the probes and what the ledger said in each second; per link what telemetry said."""

    probes: dict[str, list[float]] = field(default_factory=dict)
    ledger: dict[str, list[float]] = field(default_factory=dict)
    links: dict[str, list[float]] = field(default_factory=dict)
    configured: dict[str, float] = field(default_factory=dict)
    cpu_share: float = 0.0

    def second(self, elapsed_s: float, traffic: Event, summary: Mapping[str, Any]) -> None:
        for chain in summary["chains"]:
            flow = traffic.get("chains", {}).get(chain["id"], {})
            if elapsed_s > WARM_UP_S and chain["delay_ms"] and flow.get("delay_p50_ms"):
                self.probes.setdefault(chain["id"], []).append(chain["delay_ms"])
                self.ledger.setdefault(chain["id"], []).append(flow["delay_p50_ms"])


def observe(run: LiveRun, readings: Readings, seconds: int) -> None:
    """Lets the run go on, reading links each second, and the controller's CPU over the part after the warm-up."""
    for _ in range(WARM_UP_S):
        run.step()
    before = _cpu_s(run.controller.pid)
    for _ in range(seconds):
        run.step()
        for link in run.client.get("links"):
            readings.configured[link["id"]] = link["configured_delay_ms"]
            readings.links.setdefault(link["id"], []).append(link["delay_ms"])
    readings.cpu_share = (_cpu_s(run.controller.pid) - before) / seconds


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(console: Console, readings: Readings, cpu_idle: float) -> None:
    links = Table("link", "configured ms", "measured ms (median)", "error ms", title="One-way link delay")
    for link, values in readings.links.items():
        known = [v for v in values if v is not None]
        found = median(known) if known else float("nan")
        wanted = readings.configured[link]
        links.add_row(link, f"{wanted:.1f}", f"{found:.2f}", f"{found - wanted:+.2f}")
    console.print(links)
    chains = Table("chain", "probes ms", "ledger ms", "difference ms", "%", title="Chain delay, medians over the run")
    for chain, values in readings.probes.items():
        probe, truth = median(values), median(readings.ledger[chain])
        percent = 100 * (probe / truth - 1)
        chains.add_row(chain, f"{probe:.2f}", f"{truth:.2f}", f"{probe - truth:+.2f}", f"{percent:+.1f}")
    console.print(chains)
    console.print(f"controller: {100 * readings.cpu_share:.1f} % of a core; machine: {100 * cpu_idle:.0f} % idle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--policy", default="stay")
    parser.add_argument("--scenario", default="small")
    arguments = parser.parse_args()
    readings = Readings()
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(arguments.scenario, 1.0, arguments.policy, 1, "", Path(folder), ("127.0.0.1", 0))
        run = run_live(options, readings, actions=[lambda live: observe(live, readings, arguments.seconds)])
    report(Console(width=110), readings, run.ledger["cpu_idle"])


if __name__ == "__main__":
    main()
