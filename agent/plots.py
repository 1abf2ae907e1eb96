"""Pictures of a comparison: delay and power over the day, where VNFs went, and learning curves with their bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from agent.decision import Move
from agent.evaluation import Comparison
from agent.rollout import PlayedSlot
from twin.checkpoint import load_checkpoint
from twin.errors import InputError
from twin.features import SCHEMA_HASH
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray
from twin.tables import initial_hosts

_DPI = 110


def save_comparison(comparison: Comparison, scenario: Scenario, folder: Path) -> list[Path]:
    """Writes `SCENARIO-day.png` and one `SCENARIO-places-POLICY.png` each, of the first seed. OSError as it comes."""
    paths = [folder / f"{scenario.name}-day.png"]
    day_figure(comparison, scenario).savefig(paths[0], dpi=_DPI)
    for policy, played in comparison.days.items():
        paths.append(folder / f"{scenario.name}-places-{policy.replace('/', '-')}.png")
        places_figure(policy, played, scenario).savefig(paths[-1], dpi=_DPI)
    return paths


def day_figure(comparison: Comparison, scenario: Scenario) -> Figure:
    """Mean delay and power of every policy, slot by slot, over the first seed's run."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    delay, power = figure.subplots(2, 1, sharex=True)
    for policy, played in comparison.days.items():
        at_s = [slot.outcome.at_s for slot in played]
        delay.plot(at_s, [slot.outcome.delay_ms for slot in played], label=policy, linewidth=1.2)
        power.plot(at_s, [slot.outcome.energy_j / scenario.period_s for slot in played], linewidth=1.2)
    delay.set_ylabel("mean E2E delay, ms")
    power.set_ylabel("power, W (modelled)")
    power.set_xlabel("time, s")
    for axes in (delay, power):
        axes.set_ylim(bottom=0.0)
        _mark_roams(axes, scenario, len(next(iter(comparison.days.values()))))
    figure.suptitle(f"{scenario.name}, seed {comparison.seeds[0]}; dotted: users roam")
    delay.legend(ncols=4, fontsize="small")
    return figure


def _mark_roams(axes: Axes, scenario: Scenario, slots: int) -> None:
    for roam in scenario.moves:
        if roam.at_s < slots * scenario.period_s:
            axes.axvline(roam.at_s, color="grey", linestyle=":", linewidth=0.8)


def places_figure(policy: str, played: Sequence[PlayedSlot], scenario: Scenario) -> Figure:
    """Which server hosts each VNF in every slot, a colour per server."""
    hosts = hosts_over_time(played, scenario)
    servers, names = len(scenario.servers), [vnf.id for vnf in scenario.vnfs]
    figure = Figure(figsize=(9, 1.5 + 0.18 * len(names)), layout="constrained")
    axes = figure.subplots()
    extent = (0.0, len(played) * scenario.period_s, len(names) - 0.5, -0.5)
    image = axes.imshow(
        hosts.T, aspect="auto", interpolation="nearest", cmap="turbo", vmin=-0.5, vmax=servers - 0.5, extent=extent
    )
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_xlabel("time, s")
    axes.set_title(f"{scenario.name}, {policy}: where each VNF is")
    bar = figure.colorbar(image, ax=axes, ticks=range(servers))
    bar.ax.set_yticklabels([server.id for server in scenario.servers], fontsize=6)
    return figure


def hosts_over_time(played: Sequence[PlayedSlot], scenario: Scenario) -> IntArray:
    """Server row of every VNF at the end of each slot, [T, V]."""
    now, rows = initial_hosts(scenario), []
    for slot in played:
        if slot.outcome.moved and isinstance(slot.decision, Move):
            now[scenario.vnf_index[slot.outcome.moved]] = scenario.server_index[slot.decision.target]
        rows.append(now.copy())
    return np.array(rows, dtype=np.int64)


def save_curves(policies: Sequence[Path], path: Path) -> None:
    """Learning curves of trained policies: mean over the files of each scenario, with a 95 % band where several.

    InputError for a file that is no policy or that says nothing of its training.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for scenario, curves in _curves(policies).items():
        steps = curves[0][:, 0]
        scores = np.array([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves])
        (line,) = axes.plot(steps, scores.mean(axis=0), label=f"{scenario} ({len(curves)} seeds)")
        if len(curves) > 1:
            half = stats.t.ppf(0.975, len(curves) - 1) * scores.std(axis=0, ddof=1) / np.sqrt(len(curves))
            low, high = scores.mean(axis=0) - half, scores.mean(axis=0) + half
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("objective λ per slot on validation seeds")
    axes.legend()
    figure.savefig(path, dpi=_DPI)


def _curves(policies: Sequence[Path]) -> dict[str, list[FloatArray]]:
    found: dict[str, list[FloatArray]] = {}
    for path in policies:
        checkpoint = load_checkpoint(path, kind="policy", schema_hash=SCHEMA_HASH)
        validations = checkpoint.details.get("validations")
        if not isinstance(validations, list) or not validations:
            raise InputError(f"{path}: says nothing of its training, so it has no learning curve")
        found.setdefault(checkpoint.scenario, []).append(np.array(validations, dtype=np.float64))
    return found
