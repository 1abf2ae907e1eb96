"""`train --from JOURNAL`: tunes a policy in a twin of the network that was recorded, and says what that changed."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from agent.a2c_policy import A2CPolicy, default_policy, load_policy
from agent.frugal import FrugalConfig
from agent.training import TrainedPolicy
from agent.twin_training import TUNING, Tuned, fine_tune
from controller.journal import replay
from controller.train_command import sourced
from twin.errors import InputError
from twin.experience import Experience, recorded
from twin.scenario import Scenario
from twin.scenario_file import load_scenario


def tune_policy(arguments: argparse.Namespace) -> int:
    """InputError before anything is tuned where a file cannot be read or written, or where too little was recorded."""
    output: Path | None = arguments.output
    if arguments.scenario is None or output is None or arguments.resume is not None or arguments.recipe:
        raise InputError("train --from JOURNAL needs a SCENARIO and -o POLICY, and no --resume or --recipe")
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: no such folder")
    scenario = load_scenario(arguments.scenario)
    policy = load_policy(arguments.start) if arguments.start else default_policy(scenario)
    experience, seed = read_journals(arguments.journals, scenario), 1 if arguments.seed is None else arguments.seed
    tuned = _tuned(scenario, policy, experience, seed, sourced(TUNING, arguments))
    try:
        TrainedPolicy(tuned.function, (scenario.name,), seed, 0, TUNING.a2c, ((0, tuned.after),)).save(output)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from None
    verdict = "better" if tuned.better else "not better: the policy is unchanged"
    print(
        f"{output}: {len(experience)} recorded slots, twin's error {tuned.error:.3f}; objective per slot in the twin "
        f"on traffic kept apart {tuned.before:.4f} before, {tuned.after:.4f} tuned: {verdict}"
    )
    return 0


def read_journals(paths: Sequence[Path], scenario: Scenario) -> Experience:
    """What all of them recorded, one after another. InputError where one is missing or no journal of this network."""
    experience = Experience()
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such journal")
        try:
            experience.add(recorded(scenario, (state for _, state in replay(path, scenario))))
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: not a journal: {error}") from None
    return experience


def _tuned(scenario: Scenario, policy: A2CPolicy, experience: Experience, seed: int, config: FrugalConfig) -> Tuned:
    torch.set_num_threads(1)  # batches are small: threads would wait for each other
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("tuning in the twin")
        return fine_tune(
            scenario, policy.function, experience, seed=seed, config=config,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
