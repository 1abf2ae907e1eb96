"""The end of a run: the tables a person reads and the folder that keeps everything (docs/report.md).

What was measured and what is modelled is said in every heading. Delay and packets are measured by the traffic's own
ledger, which knows nothing of the controller; energy is modelled from measured CPU use unless the host has a meter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.table import Table

from controller.run import RunRecord

MOVES_SHOWN = 20


def weighted_delay_ms(record: RunRecord) -> float:
    """Mean one-way delay over all received packets of a run: the traffic-weighted mean over its chains."""
    chains = record.ledger["chains"].values()
    received = sum(chain["received"] for chain in chains)
    return sum(c["received"] * c["delay_ms"]["mean"] for c in chains if c["received"]) / received if received else 0.0


def print_report(console: Console, records: Sequence[RunRecord]) -> None:
    """The table of the first record; with others, every policy side by side."""
    main = records[0]
    console.print(chains_table(main, _baseline(records)))
    if any(move["status"] == "done" for move in main.migrations):
        console.print(moves_table(main))
    if len(records) > 1:
        console.print(policies_table(records))
    console.print(_facts(main), highlight=False, soft_wrap=True)


def chains_table(record: RunRecord, baseline: RunRecord | None) -> Table:
    """Per chain: measured delay against never migrating (measured where such a run is at hand, else modelled)."""
    source = "measured" if baseline else "modelled"
    table = Table("chain", "delay", "p95", "never", "change", "sent", "received", "lost", "dup.", "reord.")
    table.title = f"One-way delay in ms by chain, measured, policy {record.policy_name}; never migrating: {source}"
    for chain, row in record.ledger["chains"].items():
        stay_ms = _stay_delay_ms(record, baseline, chain)
        table.add_row(
            chain, f"{row['delay_ms']['mean']:.2f}", f"{row['delay_ms']['p95']:.2f}", f"{stay_ms:.2f}",
            change(row["delay_ms"]["mean"], stay_ms), str(row["sent"]), str(row["received"]), str(row["lost"]),
            str(row["duplicated"]), str(row["reordered"]),
        )  # fmt: skip
    return table


def moves_table(record: RunRecord) -> Table:
    """What the first moves were expected to bring, beside what came of them (docs/page.md, "Decisions")."""
    done = [move for move in record.migrations if move["status"] == "done"]
    table = Table("at", "VNF", "to", "took ms", "delay predicted", "observed", "power predicted", "observed")
    table.title = "Moves: mean delay in ms, measured, and power in W, modelled, before and after"
    table.caption = f"the first {MOVES_SHOWN} of {len(done)}" if len(done) > MOVES_SHOWN else None
    for move in done[:MOVES_SHOWN]:
        predicted, observed = move.get("predicted") or {}, move.get("observed") or {}
        table.add_row(
            f"{move['run_s'] - record.traffic_began_s:.0f} s", move["vnf"], move["target"], f"{move['took_ms']:.0f}",
            _pair(predicted, "delay_now_ms", "delay_after_ms", 1),
            _pair(observed, "delay_before_ms", "delay_after_ms", 1),
            _pair(predicted, "power_now_w", "power_after_w", 0),
            _pair(observed, "power_before_w", "power_after_w", 0),
        )  # fmt: skip
    return table


def _pair(values: Mapping[str, Any], before: str, after: str, digits: int) -> str:
    return " → ".join("–" if values.get(name) is None else f"{values[name]:.{digits}f}" for name in (before, after))


def policies_table(records: Sequence[RunRecord]) -> Table:
    """Each policy's own run, same scenario, same seed."""
    stay = _baseline(records) or records[0]
    table = Table("policy", "delay ms", "energy kJ", "objective", "moves", "sent", "lost", "dup.", "decision")
    table.title = "One live run per policy, same seed: delay measured, energy modelled, decision in ms at the median"
    delay0, energy0 = weighted_delay_ms(stay), stay.summary["energy_j"]
    for record in records:
        delay, energy = weighted_delay_ms(record), record.summary["energy_j"]
        weights = record.summary["objective"]
        objective = weights["delay"] * (1 - delay / delay0) + weights["energy"] * (1 - energy / energy0)
        chains = record.ledger["chains"].values()
        table.add_row(
            record.policy_name, f"{delay:.2f} ({change(delay, delay0)})",
            f"{energy / 1000:.2f} ({change(energy, energy0)})", f"{objective:+.3f}", str(record.summary["moves"]),
            *(str(sum(c[k] for c in chains)) for k in ("sent", "lost", "duplicated")),
            f"{record.summary['decision_ms']['p50']:.2f}",
        )  # fmt: skip
    return table


def change(value: float, before: float) -> str:
    return f"{100 * (value - before) / before:+.1f} %" if before else "–"


def _facts(record: RunRecord) -> str:
    """The lines under the tables."""
    summary, ledger = record.summary, record.ledger
    decision, energy, never = summary["decision_ms"], summary["energy_j"], summary["stay_energy_j"]
    done = [m for m in record.migrations if m["status"] == "done"]
    silences = [f"{chain} {row['silence_ms']:.0f}" for chain, row in ledger["chains"].items()]
    lines = [
        f"energy    {energy / 1000:.2f} kJ {summary['energy_label']}, never migrating {never / 1000:.2f} kJ modelled"
        f" ({change(energy, never)})",
        f"moves     {len(done)} done, {len(record.migrations) - len(done)} not"
        + (f"; a move took {median(m['took_ms'] for m in done):.0f} ms at the median" if done else ""),
        f"packets   {sum(c['sent'] for c in ledger['chains'].values())} sent, "
        f"{sum(c['received'] for c in ledger['chains'].values())} received, "
        f"{sum(c['lost'] for c in ledger['chains'].values())} lost; longest silence ms: {', '.join(silences)}",
        f"decision  {decision['p50']:.2f} ms at the median, {decision['p99']:.2f} ms p99, {decision['count']} made",
        f"machine   {100 * ledger['cpu_idle']:.0f} % of the CPU idle during the run"
        + ("" if ledger["cpu_idle"] >= 0.15 else "  ← below 15 %: these delays measure the machine, too"),
    ]
    return "\n".join(lines)


def _baseline(records: Sequence[RunRecord]) -> RunRecord | None:
    return next((r for r in records if r.policy == "stay"), None)


def _stay_delay_ms(record: RunRecord, baseline: RunRecord | None, chain: str) -> float:
    if baseline is not None:
        return float(baseline.ledger["chains"][chain]["delay_ms"]["mean"])
    return next(float(c["stay_delay_mean_ms"]) for c in record.summary["chains"] if c["id"] == chain)


def save_plots(folder: Path, records: Sequence[RunRecord]) -> list[Path]:
    """Delay and power over time, one line per policy, moves marked. PNG files in `folder`."""
    import matplotlib

    matplotlib.use("Agg")
    return [_plot_over_time(folder / "delay-and-power.png", records), _plot_chains(folder / "chains.png", records)]


def _plot_over_time(path: Path, records: Sequence[RunRecord]) -> Path:
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, constrained_layout=True)
    for record in records:
        t = [row["t_s"] for row in record.seconds]
        (line,) = top.plot(t, [_traffic_delay(row) for row in record.seconds], label=f"{record.policy_name} (measured)")
        bottom.plot(t, [row["power_w"] for row in record.seconds], color=line.get_color(), label=record.policy_name)
        for migration in record.migrations:
            top.axvline(migration["run_s"] - record.traffic_began_s, color=line.get_color(), alpha=0.25, linewidth=1)
    rows = records[0].seconds
    never = [r["stay_delay_ms"] for r in rows]
    top.plot([r["t_s"] for r in rows], never, "k:", label="never migrating (modelled)")
    bottom.plot([r["t_s"] for r in rows], [r["stay_power_w"] for r in rows], "k:", label="never migrating (modelled)")
    scenario = records[0].summary["scenario"]
    top.set(ylabel="mean one-way delay [ms]", title=f"{scenario}: measured delay; vertical lines are moves")
    bottom.set(xlabel="time [s]", ylabel=f"power [W], {records[0].summary['energy_label']}")
    for axes in (top, bottom):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _plot_chains(path: Path, records: Sequence[RunRecord]) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), constrained_layout=True)
    names = list(records[0].ledger["chains"])
    width = 0.8 / len(records)
    for number, record in enumerate(records):
        heights = [record.ledger["chains"][name]["delay_ms"]["mean"] for name in names]
        axes.bar([i + number * width for i in range(len(names))], heights, width, label=record.policy_name)
    axes.set(ylabel="measured mean one-way delay [ms]", xticks=[i + 0.4 - width / 2 for i in range(len(names))])
    axes.set_xticklabels(names)
    axes.legend()
    axes.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _traffic_delay(row: Mapping[str, Any]) -> float:
    """Mean over the chains' last second, weighted by packets; NaN where nothing was received."""
    flows = [f for f in row.get("chains", {}).values() if f.get("delay_ms") is not None and f.get("window_received")]
    if not flows:
        return float("nan")
    return fmean([f["delay_ms"] for f in flows], [f["window_received"] for f in flows])
