"""Keeps a training run in a file between two rounds and goes on from it later, as if nothing had been in between.

The file is a checkpoint of its own kind (`twin.checkpoint`): the network, the best policy so far, the optimiser's
moments, the random generators and the simulated networks, with the scenarios as YAML, so that it needs nothing beside
it. The resumed run gives the very policy that the uninterrupted one gives, on the same machine and number of threads.
Source: ours (docs/agent.md, "Training").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from agent.a2c import A2CConfig
from agent.policy import PolicyFunction
from agent.training import TrainingRun, versions
from twin.checkpoint import Array, Checkpoint, load_checkpoint, save_checkpoint
from twin.errors import InputError
from twin.features import SCHEMA_HASH
from twin.scenario_file import dump_scenario, parse_scenario

KIND = "training"
_BEST = "best/"
Story = Mapping[str, Any]


def save_run(path: Path, run: TrainingRun) -> None:
    """Writes the run as it is between two rounds, whole or not at all. OSError where it cannot be written."""
    now = run.network.function()
    best = {f"{_BEST}{name}": tensor for name, tensor in run.best.weights.items()}
    save_checkpoint(
        path,
        Checkpoint(
            kind=KIND,
            schema_hash=SCHEMA_HASH,
            scenario="+".join(s.name for s in run.scenarios),
            seed=run.seed,
            tensors={**now.weights, **best},
            scalers=now.scalers,
            state=_state(run),
            versions=versions(),
            details={
                "done": run.done,
                "of": run.of,
                "config": asdict(run.config),
                "validations": run.validations,
                "scenarios": [dump_scenario(s) for s in run.scenarios],
                "judged_on": [dump_scenario(s) for s in run.judged_on],
            },
        ),
    )


def load_run(path: Path) -> TrainingRun:
    """The run as `save_run` found it. InputError where the file is missing, damaged, of another kind, or of a version
    with other features, networks or simulators."""
    kept = load_checkpoint(path, kind=KIND, schema_hash=SCHEMA_HASH)
    try:
        run = _begun(path, kept)
        _go_on(run, kept)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a training run that this version can resume: {reason}") from error
    return run


def _begun(path: Path, kept: Checkpoint) -> TrainingRun:
    """A run of the same arguments, at its start."""
    story: Story = kept.details
    known = {field.name for field in fields(A2CConfig)}
    if set(story["config"]) != known:
        raise ValueError(f"its settings are {', '.join(sorted(story['config']))}")
    config = A2CConfig(**story["config"])
    scenarios, judged_on = ([parse_scenario(t, path) for t in story[kind]] for kind in ("scenarios", "judged_on"))
    steps = story["of"] * config.batch * config.n_steps
    return TrainingRun(scenarios, seed=kept.seed, real_steps=steps, config=config, judged_on=judged_on)


def _go_on(run: TrainingRun, kept: Checkpoint) -> None:
    now = {name: tensor for name, tensor in kept.tensors.items() if not name.startswith(_BEST)}
    best = {name.removeprefix(_BEST): tensor for name, tensor in kept.tensors.items() if name.startswith(_BEST)}
    run.network.restore(PolicyFunction(now, kept.scalers))
    run.best = PolicyFunction(best, kept.scalers)
    run.done = int(kept.details["done"])  # type: ignore[call-overload]
    run.validations = [(int(steps), float(score)) for steps, score in kept.details["validations"]]  # type: ignore[attr-defined]
    run.rng.set_state(torch.from_numpy(kept.state["rng"].copy()))
    run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": _moments(kept.state)})
    for i, collector in enumerate(run.collectors):
        collector.restore(_under(f"collector/{i}/", kept.state))


def _state(run: TrainingRun) -> dict[str, Array]:
    moments = {
        f"optimizer/{i}/{name}": value.numpy()
        for i, values in run.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    networks = {
        f"collector/{i}/{name}": array
        for i, collector in enumerate(run.collectors)
        for name, array in collector.state().items()
    }
    return {"rng": run.rng.get_state().numpy(), **moments, **networks}


def _moments(state: Mapping[str, Array]) -> dict[int, dict[str, torch.Tensor]]:
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in _under("optimizer/", state).items():
        row, value = name.split("/")
        found.setdefault(int(row), {})[value] = torch.from_numpy(array.copy())
    return found


def _under(prefix: str, state: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
