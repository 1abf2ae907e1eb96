"""How a VNF can be moved, by what is known of it: four modes, and the rule that chooses one (docs/moves.md).

Source: ours; the costs that the modes differ by are in `twin.migration_cost`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from twin.migration_cost import PRIORS, MigrationCost
from twin.scenario import Scenario, VnfType


class MoveMode(StrEnum):
    """From the cheapest to the dearest; `auto` takes the first that is possible.

    `stateless`: a new instance beside the old one, nothing to carry. `hand_over`: the instance streams its own state.
    `checkpoint`: the engine dumps the process and restores it elsewhere. `cold`: stopped and started anew, the state
    is lost.
    """

    STATELESS = "stateless"
    HAND_OVER = "hand_over"
    CHECKPOINT = "checkpoint"
    COLD = "cold"


AUTO = "auto"
MOVE_CHOICES = (AUTO, *(mode.value for mode in MoveMode))


@dataclass(frozen=True, slots=True)
class Ability:
    """What the instance and its engine can do; each is '' where it can, else one line that says why not."""

    hand_over: str = ""
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The mode of a move, or None and why there is none: the refusal `no_mode`."""

    mode: MoveMode | None
    reason: str = ""


def choose_mode(kind: VnfType, able: Ability) -> Choice:
    """The mode in which a VNF of this type moves now.

    A type that says `move` gets that mode or none; with `auto` the first possible one. `cold` has to be allowed.
    """
    wanted = tuple(MoveMode) if kind.move == AUTO else (MoveMode(kind.move),)
    lacks = {mode: lack(kind, able, mode) for mode in wanted}
    mode = next((mode for mode in wanted if not lacks[mode]), None)
    return Choice(mode, "" if mode else "; ".join(f"{mode}: {why}" for mode, why in lacks.items()))


def expected_mode(kind: VnfType) -> MoveMode:
    """The mode that a model reckons with: our own functions hand over, others can be checkpointed."""
    able = Ability(hand_over="its own image" if kind.image else "")
    return choose_mode(kind, able).mode or MoveMode.COLD


def move_costs(scenario: Scenario, same: MigrationCost | None = None) -> tuple[MigrationCost, ...]:
    """What moving each VNF costs [V]: by the mode it is expected to move in, or the `same` for all."""
    return tuple(same or cost_of(scenario, expected_mode(vnf.type)) for vnf in scenario.vnfs)


def cost_of(scenario: Scenario, mode: MoveMode) -> MigrationCost:
    """What a move in this mode costs: the scenario's figures, or the default ones."""
    return scenario.migration.get(mode) or PRIORS[mode]


def lack(kind: VnfType, able: Ability, mode: MoveMode) -> str:
    """Why a VNF of this type cannot move in this mode now, '' where it can."""
    if mode is MoveMode.STATELESS:
        return "it keeps state" if keeps_state(kind) else ""
    if mode is MoveMode.COLD:
        return "" if kind.allow_cold else "its state would be lost, and 'allow_cold' is not set"
    return able.hand_over if mode is MoveMode.HAND_OVER else able.checkpoint


def keeps_state(kind: VnfType) -> bool:
    """Whether an instance knows anything that a new one would not; an image that is not ours does unless it says so."""
    if kind.stateless:
        return False
    return bool(kind.image) or kind.function != "firewall" or _tracks(kind)


def contradictions(kind: VnfType) -> Iterator[tuple[str, str]]:
    """What a type says of itself that cannot hold, as (key, message)."""
    if kind.stateless and not kind.image and (kind.function != "firewall" or _tracks(kind)):
        yield "stateless", f"is not true of {kind.function} with this config: it keeps a table"
    if kind.move == MoveMode.STATELESS and keeps_state(kind):
        yield "move", "stateless is not possible: it keeps state ('stateless: true' says that an image does not)"
    if kind.move == MoveMode.COLD and not kind.allow_cold:
        yield "move", "cold loses its state: 'allow_cold: true' has to say that this is meant"


def _tracks(kind: VnfType) -> bool:
    """A firewall with `track on` remembers connections; YAML reads a bare `on` as true."""
    return kind.config.get("track") in (True, "on")
