"""Trains one policy per seed and setting, many at a time: on Ray, near or far, or in processes of this machine.

A trial is a pure function of its scenario, seed and settings, on one thread wherever it runs, so both ways give the
same policies. Source: ours (docs/agent.md, "Sweeps").
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import torch

from agent.a2c import A2CConfig
from agent.training import DEFAULTS, TrainedPolicy, train
from twin.errors import InputError
from twin.scenario_file import parse_scenario

Settings = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: `scenario` is YAML, since that is what every machine can read; `settings` are fields of
    `A2CConfig` that differ from the defaults."""

    scenario: str
    seed: int
    real_steps: int
    settings: Settings

    @property
    def name(self) -> str:
        """Fit for a file: `learning_rate=0.003,seed=2`."""
        return ",".join(f"{name}={value:g}" for name, value in (*self.settings, ("seed", self.seed)))


class Runner(Protocol):
    """Runs trials somewhere and yields (row of the trial, its policy) as they end, each exactly once."""

    def __call__(self, trials: Sequence[Trial]) -> Iterator[tuple[int, TrainedPolicy]]: ...


def trials(
    scenario: str, *, seeds: Sequence[int], real_steps: int, settings: Mapping[str, Sequence[float]]
) -> list[Trial]:
    """Every combination of settings with every seed, seeds innermost."""
    combinations = itertools.product(*([(name, value) for value in values] for name, values in settings.items()))
    return [Trial(scenario, seed, real_steps, chosen) for chosen in combinations for seed in seeds]


def parse_setting(text: str) -> tuple[str, tuple[float, ...]]:
    """`learning_rate=1e-3,3e-3` as a name and its values. InputError for what A2CConfig has not, or no numbers."""
    name, _, values = text.partition("=")
    kinds = {field.name: type(getattr(DEFAULTS, field.name)) for field in fields(A2CConfig)}
    if name not in kinds:
        raise InputError(f"no setting {name!r}: one of {', '.join(kinds)}")
    try:
        return name, tuple(kinds[name](value) for value in values.split(","))
    except ValueError:
        wanted = "whole numbers" if kinds[name] is int else "numbers"
        raise InputError(f"{name} needs {wanted} with commas between, not {values!r}") from None


def run_trial(trial: Trial) -> TrainedPolicy:
    """Trains it, on one thread: the same policy on every machine of one kind."""
    torch.set_num_threads(1)
    config = replace(DEFAULTS, **dict(trial.settings))  # type: ignore[arg-type]
    scenario = parse_scenario(trial.scenario, Path("scenario.yaml"))
    return train(scenario, seed=trial.seed, real_steps=trial.real_steps, config=config)


@dataclass(frozen=True, slots=True)
class InProcesses:
    """Runs trials in fresh processes of this machine, `workers` at a time."""

    workers: int

    def __call__(self, trials: Sequence[Trial]) -> Iterator[tuple[int, TrainedPolicy]]:
        # spawn: a fork would copy torch's threads' locks
        with ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows = {pool.submit(run_trial, trial): row for row, trial in enumerate(trials)}
            try:
                for done in as_completed(rows):
                    yield rows[done], done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
