"""Plans and steerings as JSON and back, for the journal: what was begun must be known after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import get_args

from controller import plan, steps
from controller.flow_rule import Action, FlowRule, Match, Vlan
from controller.steering import Attachment, ChainSteering, Segment
from twin.errors import InputError
from twin.rewrites import Addresses
from twin.scenario import Flow

_TYPES: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        *get_args(steps.Step),
        *get_args(Action),
        plan.MigrationPlan,
        steps.Proof,
        FlowRule,
        Match,
        Attachment,
        ChainSteering,
        Segment,
        Flow,
        Addresses,
    )
}
_KIND = "is"  # the key that names the type of a JSON object


def to_json(value: object) -> object:
    """A plan, a step or anything in them as what `json.dumps` takes. TypeError for what is none of these."""
    if is_dataclass(value) and type(value).__name__ in _TYPES:
        content = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        return {_KIND: type(value).__name__, **content}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Vlan):
        return {_KIND: "Vlan", "value": value.value}
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, Enum)):
        return value
    raise TypeError(f"not part of a plan: {value!r}")


def from_json(value: object) -> object:
    """What `to_json` was given. InputError for anything that it does not give."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    content = {key: from_json(item) for key, item in value.items() if key != _KIND}
    try:
        return Vlan(content["value"]) if value[_KIND] == "Vlan" else _TYPES[value[_KIND]](**content)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a plan: {error!r} in {value.get(_KIND, value)!r}") from error


def plan_from_json(value: object) -> plan.MigrationPlan:
    """InputError where it is anything but a plan."""
    result = from_json(value)
    if not isinstance(result, plan.MigrationPlan):
        raise InputError(f"not a plan: {type(result).__name__}")
    return result
