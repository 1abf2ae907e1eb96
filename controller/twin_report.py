"""What a twin's report shows: the table of errors, and roll-outs drawn against what happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from twin.learned.digital_twin import DigitalTwin
from twin.learned.inputs import HORIZON
from twin.learned.inputs import Sequence as Seen
from twin.learned.scoring import LAPLACE_90, SCORED, UNITS, Predicted, Score, predict

ROLL_SLOTS, DRAWS = 24, 64


def error_table(title: str, rows: Sequence[Score]) -> Table:
    """Mean absolute error of every head, so many slots ahead, mixed with persistence as it is used; as shares of
    persistence's, that and the twin's alone; and what share of truths is inside the bands. Fits 80 columns."""
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("head", no_wrap=True)
    table.add_column("in", no_wrap=True)
    for name in ("twin", "persist.", "season", "model", "ratio", "alone", "50 %", "90 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.twin, row.persistence, row.seasonal, row.model, row.ratio, row.alone_ratio)
        table.add_row(
            row.head, str(row.ahead), *map(_number, numbers),
            f"{row.inside_50:.0%}", f"{row.inside_90:.0%}", end_section=row.head == SCORED[-1],
        )  # fmt: skip
    units = ", ".join(f"{head} {UNITS[head]}" for head in dict.fromkeys(row.head for row in rows))
    table.caption = (
        "ratio: of the twin's error, as used, to persistence's; alone: of the unmixed\n"
        f"twin's; 50 %, 90 %: truths inside these bands; {units}"
    )
    return table


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g}"


def save_plots(folder: Path, twin: DigitalTwin, sequence: Seen) -> list[Path]:
    """Plots of one recording: traffic rolled out open loop from its middle, and every head one slot ahead."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"twin-rollout.png": _rollout(twin, sequence), "twin-heads.png": _heads(twin, sequence)}
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110)
    return [folder / name for name in figures]


def _rollout(twin: DigitalTwin, sequence: Seen) -> Figure:
    """Draws that begin in the middle and see nothing of what follows."""
    middle = len(sequence) // 2
    slots = min(ROLL_SLOTS, len(sequence) - middle)
    history = sequence.recording.offered_mbps[:middle]
    draws = twin.sample_traffic(history, n=DRAWS, horizon=slots, rng=np.random.default_rng(0))
    chains = twin.scenario.chains
    figure = Figure(figsize=(9, 2.2 * len(chains)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(chains), 1, sharex=True))
    at = np.arange(middle - slots, middle + slots)
    for c, chain in enumerate(chains):
        axis, ahead = axes[c], np.arange(middle, middle + slots)
        low, mid, high = np.quantile(draws[:, :, c], [0.05, 0.5, 0.95], axis=0)
        axis.plot(at, sequence.recording.offered_mbps[at, c], color="black", label="happened")
        axis.plot(ahead, mid, color="tab:blue", label="twin, median of draws")
        axis.fill_between(ahead, low, high, color="tab:blue", alpha=0.2, label="90 % of draws")
        axis.set_ylabel(f"{chain.id} Mbit/s")
    axes[0].legend(loc="upper left")
    axes[-1].set_xlabel(f"slot of {twin.scenario.period_s:g} s; nothing is seen after slot {middle}")
    return figure


def _heads(twin: DigitalTwin, sequence: Seen) -> Figure:
    """The first row of every head, `HORIZON` slots ahead."""
    predictions = predict(twin.encoder, twin.function, sequence, ahead=HORIZON)
    figure = Figure(figsize=(9, 2.2 * len(SCORED)), layout="constrained")
    axes = figure.subplots(len(SCORED), 1, sharex=True)
    for axis, head in zip(axes, SCORED, strict=True):
        _draw_head(axis, head, predictions[head])
    axes[0].legend(loc="upper left")
    axes[-1].set_xlabel(f"slot of {twin.scenario.period_s:g} s; predicted {HORIZON} slots before")
    return figure


def _draw_head(axis: object, head: str, p: Predicted) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    row = int(np.nanargmax(np.nan_to_num(np.nanvar(p.observed, axis=0))))  # the one that changes most
    slots = np.arange(HORIZON, HORIZON + len(p.twin))
    axis.plot(slots, p.observed[:, row], color="black", label="happened")
    axis.plot(slots, p.twin[:, row], color="tab:blue", label="twin")
    band = LAPLACE_90 * p.std[:, row]
    axis.fill_between(slots, p.twin[:, row] - band, p.twin[:, row] + band, color="tab:blue", alpha=0.2, label="90 %")
    axis.set_ylabel(f"{head} {UNITS[head]}")
