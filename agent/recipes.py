"""Recipes: on which networks a policy is trained, on which it is judged, for how long and with which settings.

A recipe is a YAML file; those of the shipped policies lie beside them, so that a command makes each anew
(`vnftwin train --recipe NAME -o POLICY`; docs/agent.md, "Checkpoints"). A network is the name of a scenario (a file, or
a shipped one) or the numbers of `twin.grown.grown`. Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from agent.a2c import A2CConfig
from agent.a2c_policy import load_policy
from agent.training import DEFAULTS, TrainingRun
from twin.errors import InputError
from twin.grown import grown
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

_SHIPPED = Path(__file__).resolve().parent / "policies"
_SUFFIX = ".yaml"
_KEYS = {"seed", "real_steps", "networks", "judged_on", "settings"}
_START = "start"
_GROWN = {"cores", "servers", "chains", "seed"}
_KINDS = {field.name: type(getattr(DEFAULTS, field.name)) for field in fields(A2CConfig)}


@dataclass(frozen=True, slots=True)
class Recipe:
    """`networks` are trained in turns, one rollout each: one that stands there twice gets twice as many. `start` is the
    policy that training begins from (a file, or one that ships), "" for none."""

    networks: tuple[Scenario, ...]
    judged_on: tuple[Scenario, ...]
    seed: int
    real_steps: int
    config: A2CConfig
    start: str = ""

    def begin(self) -> TrainingRun:
        """The run at its start."""
        start = load_policy(self.start).function if self.start else None
        return TrainingRun(
            self.networks, seed=self.seed, real_steps=self.real_steps, config=self.config, start=start,
            judged_on=self.judged_on,
        )  # fmt: skip


def load_recipe(source: Path | str) -> Recipe:
    """The recipe of a file, or of a shipped policy by its name; a file of that name wins. InputError for anything that
    is not one."""
    path = Path(source)
    if not path.is_file():
        path = _SHIPPED / f"{source}{_SUFFIX}"
    if not path.is_file():
        names = ", ".join(shipped_recipes())
        raise InputError(f"{source}: no such file and no recipe that ships; these do: {names}")
    try:
        return _recipe(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    except (OSError, UnicodeDecodeError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a recipe: {error}") from None


def shipped_recipes() -> tuple[str, ...]:
    """Names of the policies that ship with their recipe."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob(f"*{_SUFFIX}")))


def _recipe(read: Any) -> Recipe:
    if not isinstance(read, dict) or set(read) - {_START} != _KEYS:
        raise ValueError(f"it needs {', '.join(sorted(_KEYS))}, may have {_START}, and nothing else")
    networks, judged_on = (tuple(_network(item) for item in read[key]) for key in ("networks", "judged_on"))
    if not networks or not judged_on:
        raise ValueError("networks and judged_on need one network at least")
    seed, steps, start = int(read["seed"]), int(read["real_steps"]), str(read.get(_START, ""))
    return Recipe(networks, judged_on, seed, steps, _config(read["settings"]), start)


def _network(item: Any) -> Scenario:
    if isinstance(item, str):
        return load_scenario(item)
    if not isinstance(item, dict) or set(item) != _GROWN:
        raise ValueError(f"a network is a scenario or has {', '.join(sorted(_GROWN))}, not {item!r}")
    return grown(**{name: int(value) for name, value in item.items()})


def _config(settings: Mapping[str, Any]) -> A2CConfig:
    unknown = set(settings) - set(_KINDS)
    if unknown:
        raise ValueError(f"no setting {', '.join(sorted(unknown))}: one of {', '.join(_KINDS)}")
    return replace(DEFAULTS, **{name: _KINDS[name](value) for name, value in settings.items()})
