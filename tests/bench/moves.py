"""Forced moves under load: packets lost, duplicated, added silence, and where a move's time goes.

    sudo .venv/bin/python -m tests.bench.moves [--moves 50] [--pps 1000] [--chain web1] [--engine docker]

The judge is the traffic's ledger (numbered packets), not the controller. Added silence is the longest silence of the
seconds around moves beside that of seconds without one, in the same run. Prints its table and exits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from controller.records import Refused
from controller.run import LiveRun, RunOptions, Watcher, run_live
from controller.testbed import Event
from twin.scenario import Scenario
from twin.scenario_file import dump_scenario, load_scenario

IDLE_S = 15  # seconds without a move, before and after


@dataclass
class Seconds(Watcher):
    """The longest silence and the longest pause of the sender in each second, and whether a move was going on."""

    chain: str
    moving: bool = False
    quiet: list[tuple[float, float]] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)

    def second(self, elapsed_s: float, traffic: Event, summary: Mapping[str, Any]) -> None:
        flow = traffic.get("chains", {}).get(self.chain)
        if flow:
            (self.busy if self.moving else self.quiet).append((flow["silence_ms"], flow["pause_ms"]))


def strong(scenario: Scenario) -> Scenario:
    """The same network with servers that can take the load anywhere: it is moves that are measured, not capacity."""
    servers = tuple(replace(s, cpu_cores=1.0, memory_mb=max(s.memory_mb, 1024.0)) for s in scenario.servers)
    light = {v.type.name: replace(v.type, cpu_per_mbps=v.type.cpu_per_mbps / 8) for v in scenario.vnfs}
    chains = tuple(
        replace(c, max_delay_ms=1000.0, vnfs=tuple(replace(v, type=light[v.type.name]) for v in c.vnfs))
        for c in scenario.chains
    )
    return replace(scenario, servers=servers, chains=chains, moves=())


def move_around(run: LiveRun, watch: Seconds, *, moves: int, rng: np.random.Generator) -> None:
    """`moves` migrations of the chain's VNFs in turn, each to a random other server, one after the other."""
    scenario = load_scenario(run.options.scenario)
    vnfs = scenario.chain(watch.chain).vnfs
    for _ in range(IDLE_S):
        run.step()
    watch.moving = True
    done = 0
    while done < moves:
        vnf = vnfs[done % len(vnfs)].id
        here = run.client.get("state")["placement"][vnf]
        target = str(rng.choice([s.id for s in scenario.servers if s.id != here]))
        try:
            record = run.client.move(vnf, target)
        except Refused:
            run.step(0.5)
            continue
        done += 1
        while run.client.get(f"migrations/{record['id']}")["ended_s"] is None:
            run.step(0.25)
        run.step(0.75)  # the second after a move is still a move's
    watch.moving = False
    for _ in range(IDLE_S):
        run.step()
    run.options = replace(run.options, duration_s=time.monotonic() - run.started_s)


def report(console: Console, run: Any, watch: Seconds, pps: float) -> None:
    row = run.ledger["chains"][watch.chain]
    done = [m for m in run.migrations if m["status"] == "done"]
    barrier = run.summary["barrier_ms"]
    added = max(s for s, _ in watch.busy) - max(s for s, _ in watch.quiet)
    table = Table("what", "figure", title=f"{len(done)} forced moves under {pps:g} packets/s on {watch.chain}")
    for name, figure in (
        ("packets sent / lost / duplicated", f"{row['sent']} / {row['lost']} / {row['duplicated']}"),
        ("sending errors", str(row["send_errors"])),
        ("longest silence, seconds with a move", f"{max(s for s, _ in watch.busy):.1f} ms"),
        ("longest silence, seconds without", f"{max(s for s, _ in watch.quiet):.1f} ms"),
        ("longest silence of a second, median, with / without", _pair(_median(watch.busy), _median(watch.quiet))),
        ("added silence (longest with − longest without)", f"{added:.1f} ms"),
        ("longest pause of the sender, with / without", _pair(_pause(watch.busy), _pause(watch.quiet))),
        ("moves done / not", f"{len(done)} / {len(run.migrations) - len(done)}"),
        ("whole move, median (max)", _times([m["took_ms"] for m in done])),
        ("decision → last barrier, without start and drain, median (max)", _times([_rules_ms(m) for m in done])),
        ("one bare barrier on the same switches, median / p99", _pair(barrier["p50"], barrier["p99"])),
        ("CPU idle", f"{100 * run.ledger['cpu_idle']:.0f} %"),
    ):  # fmt: skip
        table.add_row(name, figure)
    console.print(table)
    steps = Table("step", "median ms", "max ms", title="Where a move's time goes")
    for name in dict.fromkeys(s["name"] for m in done for s in m["steps"]):
        times = [sum(s["took_ms"] for s in m["steps"] if s["name"] == name) for m in done]
        steps.add_row(name, f"{median(times):.1f}", f"{max(times):.1f}")
    console.print(steps)


def _rules_ms(migration: Mapping[str, Any]) -> float:
    """From the first rule to the last barrier, less the drain, which is waited on purpose."""
    return float(sum(s["took_ms"] for s in migration["steps"] if s["name"] not in ("StartVnf", "StopVnf", "Drain")))


def _times(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({max(values):.1f}) ms" if values else "–"


def _median(pairs: Sequence[tuple[float, float]]) -> float:
    return median(silence for silence, _ in pairs)


def _pause(pairs: Sequence[tuple[float, float]]) -> float:
    return max(pause for _, pause in pairs)


def _pair(one: float, other: float) -> str:
    return f"{one:.1f} / {other:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=50)
    parser.add_argument("--pps", type=float, default=1000.0)
    parser.add_argument("--chain", default="web1")
    parser.add_argument("--engine", default="")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    scenario = strong(load_scenario("small"))
    watch = Seconds(arguments.chain)
    rates = {c.id: arguments.pps if c.id == arguments.chain else 10.0 for c in scenario.chains}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text(dump_scenario(scenario))
        options = RunOptions(
            str(path), 1e6, "stay", arguments.seed, arguments.engine, Path(folder), ("127.0.0.1", 0), rates_pps=rates
        )
        rng = np.random.default_rng(arguments.seed)
        run = run_live(options, watch, actions=[lambda live: move_around(live, watch, moves=arguments.moves, rng=rng)])
    report(Console(width=120), run, watch, arguments.pps)


if __name__ == "__main__":
    main()
