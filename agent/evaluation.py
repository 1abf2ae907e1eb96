"""All policies on the same held-out seeds, through the same `StateBuilder` and feasibility as a live run.

Source: ours (docs/agent.md, "Evaluation").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

import numpy as np
from rich.table import Table
from scipy import stats

from agent.decision import Policy
from agent.rollout import PlayedSlot, play
from twin.forecast import Forecaster, PersistenceForecaster
from twin.scenario import Scenario
from twin.simulator import TwinWorld

PolicyMaker = Callable[[int], Policy]
"""Makes a fresh policy for one run from the run's seed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one policy. Means per slot: `objective` λ, `delay_ms` and `power_w` (energy of the slot over its
    length, with moves and wake-ups); per run: `energy_j`, `moves`; `late_share` is the share of (chain, slot) above
    D_max, `decision_us` the median decision."""

    objective: float
    delay_ms: float
    power_w: float
    energy_j: float
    moves: float
    late_share: float
    decision_us: float


METRICS = tuple(field.name for field in fields(Run))


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean over runs and half the width of its 95 % confidence interval (Student's t; nan for a single run)."""

    mean: float
    half: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs per policy, all on the same seeds in the same order."""

    scenario: str
    slots: int
    seeds: tuple[int, ...]
    runs: Mapping[str, tuple[Run, ...]]
    most: float  # τ1 + τ2, the λ of a network without delay and energy
    days: Mapping[str, tuple[PlayedSlot, ...]] = field(default_factory=dict)  # of the first seed, slot by slot

    def interval(self, policy: str, metric: str) -> Interval:
        return interval([getattr(run, metric) for run in self.runs[policy]])

    def difference(self, policy: str, other: str, metric: str) -> Interval:
        """Interval of the paired difference: what the seeds have in common does not blur it."""
        pairs = zip(self.runs[policy], self.runs[other], strict=True)
        return interval([getattr(a, metric) - getattr(b, metric) for a, b in pairs])

    @property
    def reference(self) -> str:
        """The policy that gaps are measured to: the clairvoyant, else the exact optimum, '' where neither played."""
        return next((name for name in REFERENCES if name in self.runs), "")

    def gap(self, policy: str) -> Interval:
        """How much more of delay and energy together, (τ1 + τ2) − λ, a policy leaves than the reference, as a share.

        KeyError where there is no reference.
        """
        pairs = zip(self.runs[policy], self.runs[self.reference], strict=True)
        return interval([(best.objective - run.objective) / (self.most - best.objective) for run, best in pairs])

    def as_json(self) -> dict[str, object]:
        """Everything, ready for `json.dumps`; an undefined interval is null."""
        summary = {policy: {metric: _json(self.interval(policy, metric)) for metric in METRICS} for policy in self.runs}
        runs = {policy: [asdict(run) for run in played] for policy, played in self.runs.items()}
        return {
            "scenario": self.scenario,
            "slots": self.slots,
            "seeds": list(self.seeds),
            "summary": summary,
            "gap_to": self.reference,
            "gap": {policy: _json(self.gap(policy)) for policy in self.runs} if self.reference else {},
            "runs": runs,
        }

    def table(self) -> Table:
        """The comparison for people: mean ± half interval."""
        table = Table(title=f"{self.scenario}: {len(self.seeds)} seeds, {self.slots} slots, mean ± 95 %")
        table.add_column("policy")
        for heading, _, _ in _COLUMNS:
            table.add_column(heading, justify="right")
        if self.reference:
            table.add_column(f"gap to {self.reference}", justify="right")
        for policy in self.runs:
            cells = [_cell(self.interval(policy, metric), form) for _, metric, form in _COLUMNS]
            cells += [_cell(self.gap(policy), "{:.2%}")] if self.reference else []
            table.add_row(policy, *cells)
        return table


REFERENCES = ("clairvoyant", "exact")

_COLUMNS = (
    ("objective λ", "objective", "{:.4f}"),
    ("delay ms", "delay_ms", "{:.2f}"),
    ("power W (modelled)", "power_w", "{:.1f}"),
    ("moves", "moves", "{:.1f}"),
    ("late %", "late_share", "{:.2%}"),
    ("decision µs", "decision_us", "{:.0f}"),
)


def compare(
    scenario: Scenario,
    policies: Mapping[str, PolicyMaker],
    *,
    seeds: Sequence[int],
    slots: int,
    clock: Callable[[], float],
    progress: Callable[[str, int], None] = lambda policy, seed: None,
    forecaster: Callable[[], Forecaster] = PersistenceForecaster,
) -> Comparison:
    """Plays every policy on every seed. `clock` gives seconds, for decision times; `progress` hears of each run;
    `forecaster` makes who forecasts in one."""
    runs: dict[str, list[Run]] = {name: [] for name in policies}
    days: dict[str, tuple[PlayedSlot, ...]] = {}
    for seed in seeds:
        for name, make in policies.items():
            world = TwinWorld(scenario, seed=seed)
            played = tuple(play(world, make(seed), slots=slots, clock=clock, forecaster=forecaster()))
            days.setdefault(name, played)
            runs[name].append(summarise(played, scenario))
            progress(name, seed)
    most = scenario.objective.delay + scenario.objective.energy
    return Comparison(
        scenario.name, slots, tuple(seeds), {name: tuple(found) for name, found in runs.items()}, most, days
    )


def summarise(played: Sequence[PlayedSlot], scenario: Scenario) -> Run:
    """One run's slots in numbers."""
    outcomes = [slot.outcome for slot in played]
    energy_j = float(np.sum([outcome.energy_j for outcome in outcomes]))
    return Run(
        objective=float(np.mean([outcome.reward for outcome in outcomes])),
        delay_ms=float(np.mean([outcome.delay_ms for outcome in outcomes])),
        power_w=energy_j / (len(outcomes) * scenario.period_s),
        energy_j=energy_j,
        moves=float(sum(bool(outcome.moved) for outcome in outcomes)),
        late_share=float(np.mean([outcome.late_chains for outcome in outcomes])) / len(scenario.chains),
        decision_us=1e6 * float(np.median([slot.decision_s for slot in played])),
    )


def interval(values: Sequence[float]) -> Interval:
    """Mean and half the 95 % interval. ValueError for no values."""
    if not values:
        raise ValueError("no runs")
    if len(values) == 1:
        return Interval(float(values[0]), math.nan)
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * spread)


def _cell(found: Interval, form: str) -> str:
    mean = form.format(found.mean)
    return mean if math.isnan(found.half) else f"{mean} ± {form.format(found.half)}"


def _json(found: Interval) -> dict[str, float | None]:
    return {"mean": found.mean, "half": None if math.isnan(found.half) else found.half}
