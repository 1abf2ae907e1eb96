"""What a person sees while `vnftwin run` goes on: live on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from controller.run import Watcher
from controller.testbed import Event

PLAIN_EVERY_S = 10.0


class Display(Watcher):
    """Draws one run. Use as a context manager; everything goes to `console`."""

    def __init__(self, console: Console, *, title: str, duration_s: float) -> None:
        self._console, self._title, self._duration_s = console, title, duration_s
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)
        self._task = self._bar.add_task(title, total=duration_s)
        self._live = Live(self._bar, console=console, refresh_per_second=2) if console.is_terminal else None
        self._last_plain_s = 0.0

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live:
            self._live.stop()

    def progress(self, what: str) -> None:
        self._console.print(f"[dim]· {what}[/dim]", highlight=False)

    def second(self, elapsed_s: float, traffic: Event, summary: Mapping[str, Any]) -> None:
        if self._live:
            self._bar.update(self._task, completed=elapsed_s)
            self._live.update(Group(chain_table(traffic, summary), self._bar))
        elif elapsed_s - self._last_plain_s >= PLAIN_EVERY_S:
            self._last_plain_s = elapsed_s
            self._console.print(status_line(elapsed_s, summary), highlight=False, soft_wrap=True)

    def decided(self, decision: Mapping[str, Any]) -> None:
        at_s = f"[dim]{decision['run_s']:6.1f} s[/dim]"
        if decision["decision"] == "move":
            how = "[bold green]move[/bold green]" if decision["allowed"] else "[yellow]refused[/yellow]"
            what = f"{decision['vnf']} → {decision['target']}: {decision['reason']}"
            self._console.print(f"{at_s} {how} {what}", highlight=False, soft_wrap=True)

    def migrated(self, migration: Mapping[str, Any]) -> None:
        colour = "green" if migration["status"] == "done" else "red"
        what = f"{migration['vnf']} {migration['source']} → {migration['target']}"
        self._console.print(
            f"         [{colour}]{migration['status']}[/{colour}] {what} in {migration['took_ms']:.0f} ms, "
            f"{migration['probes_lost']} probes lost {migration['error']}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def status_line(elapsed_s: float, summary: Mapping[str, Any]) -> str:
    """One line that says how the network does now."""
    never = f"never migrating {ms(summary['stay_delay_ms'])} ms, {summary['stay_power_w']:.0f} W modelled"
    power = f"power {summary['power_w']:.0f} W {summary['energy_label']}"
    return (
        f"{elapsed_s:6.1f} s  delay {ms(summary['delay_ms'])} ms measured, {power} ({never}), moves {summary['moves']}"
    )


def chain_table(traffic: Event, summary: Mapping[str, Any]) -> Table:
    """Every chain as it is measured now."""
    table = Table("chain", "placement", "moves by", "Mbit/s", "probe delay ms", "traffic delay ms", "lost probes")
    for chain in summary["chains"]:
        flow = traffic.get("chains", {}).get(chain["id"], {})
        table.add_row(
            chain["id"], " → ".join(chain["servers"]), ", ".join(chain["modes"]),
            f"{chain['offered_mbps']:.2f}", ms(chain["delay_ms"]),
            ms(flow.get("delay_ms")), f"{100 * chain['loss']:.0f} %",
        )  # fmt: skip
    table.caption = status_line(summary["uptime_s"], summary)
    return table


def ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
