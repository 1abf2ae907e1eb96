"""Policies of other libraries: plain layers on the observation as one vector, behind the one interface of all policies.

What another library trained is kept as a checkpoint of its own kind (`agent.sb3` writes it: safetensors, never pickle)
and named like any trained policy, `evaluate --policies FILE` and live. Unlike ours it fits one network of servers and
VNFs only: a vector has no order that could be left open. Source: ours (docs/agent.md, "Other libraries").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent.actions import STAY, action_count, legal_actions, moved
from agent.decision import MigrationDecision, Stay, View
from agent.lookahead import Lookahead
from agent.policy import MASKED
from twin.checkpoint import Checkpoint, Tensor, load_checkpoint, save_checkpoint
from twin.errors import InputError
from twin.features import (
    GLOBAL_FEATURES,
    PAIR_FEATURES,
    SCHEMA_HASH,
    SERVER_FEATURES,
    VNF_FEATURES,
    Observation,
)  # fmt: skip
from twin.scenario import Scenario

KIND = "flat-policy"
_LAYER = "layers.{}.{}"
_EPSILON = 1e-8  # added to a variance, as Stable-Baselines3's VecNormalize does

FloatTensor = npt.NDArray[np.float32]
IntTensor = npt.NDArray[np.int64]


def flat(seen: Observation) -> FloatTensor:
    """[..., N]: `vnf`, `server`, `pair`, `glob` and `mask` (0/1) of an observation or a batch, row by row in a line."""
    lead = seen.mask.ndim - 2
    blocks = (seen.vnf, seen.server, seen.pair, seen.glob, seen.mask)
    return np.concatenate([b.reshape(*b.shape[:lead], -1) for b in blocks], axis=-1, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FlatFunction:
    """An actor of linear layers with tanh between them.

    `layers`: (weight [out, in], bias [out]) from input to logits [1 + V·S]. `columns` of the flat observation are its
    input, standardised by `mean` and `variance` [in] and clipped to ±`clip`.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    columns: IntTensor
    mean: Tensor
    variance: Tensor
    clip: float

    def __call__(self, seen: Observation) -> FloatTensor:
        """Logits [..., 1 + V·S], those of infeasible moves at -1e9."""
        hidden = (flat(seen)[..., self.columns] - self.mean) / np.sqrt(self.variance + _EPSILON)
        hidden = np.clip(hidden, -self.clip, self.clip).astype(np.float32)
        for weight, bias in self.layers[:-1]:
            hidden = np.tanh(hidden @ weight.T + bias)
        weight, bias = self.layers[-1]
        logits: FloatTensor = np.where(legal_actions(seen.mask), hidden @ weight.T + bias, MASKED)
        return logits


class FlatPolicy:
    """Takes the likeliest feasible action. No randomness: the same view gives the same decision."""

    def __init__(self, function: FlatFunction, *, name: str) -> None:
        self.function, self.name = function, name
        self._lookahead = Lookahead()

    def decide(self, view: View) -> MigrationDecision:
        """Stay, or the move, with a reason."""
        if not view.mask.any():
            return Stay("no move is feasible")
        action = int(self.function(self._lookahead.observation(view)).argmax())
        if action == STAY:
            return Stay("no move is worth its cost")
        return self._lookahead.move(view, *moved(action, servers=len(view.scenario.servers)))


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a flat policy comes from; it is written into its file."""

    scenario: Scenario
    name: str
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


def save_flat(path: Path, function: FlatFunction, origin: Origin) -> None:
    """Writes the whole file or nothing. ValueError for weights that are not finite."""
    tensors: dict[str, Tensor] = {}
    for i, (weight, bias) in enumerate(function.layers):
        tensors |= {_LAYER.format(i, "weight"): weight, _LAYER.format(i, "bias"): bias}
    servers, vnfs = _sizes(origin.scenario)
    details = dict(origin.details) | {"name": origin.name, "clip": function.clip, "servers": servers, "vnfs": vnfs}
    save_checkpoint(
        path,
        Checkpoint(
            kind=KIND, schema_hash=SCHEMA_HASH, scenario=origin.scenario.name, seed=origin.seed, tensors=tensors,
            scalers={"mean": function.mean, "variance": function.variance}, state={"columns": function.columns},
            versions=origin.versions, details=details,
        ),
    )  # fmt: skip


def load_flat(path: Path, scenario: Scenario) -> FlatPolicy:
    """A policy that `save_flat` wrote. InputError where it cannot be read, or was trained on a network with other
    numbers of servers and VNFs than `scenario` has."""
    found = load_checkpoint(path, kind=KIND, schema_hash=SCHEMA_HASH)
    details = found.details
    if (details.get("servers"), details.get("vnfs")) != _sizes(scenario):
        raise InputError(
            f"{path}: trained on {found.scenario}, {details.get('servers')} servers and {details.get('vnfs')} VNFs:"
            f" it fits no other network"
        )
    name = str(details.get("name", path.stem))
    try:
        function = _rebuilt(found)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not a flat policy: {error}") from error
    if not _fits(function, scenario):
        raise InputError(f"{path}: its tensors are not those of a policy for this network: train it anew")
    return FlatPolicy(function, name=name)


def _rebuilt(found: Checkpoint) -> FlatFunction:
    count = len(found.tensors) // 2
    kinds = ("weight", "bias")
    layers = [tuple(found.tensors[_LAYER.format(i, kind)] for kind in kinds) for i in range(count)]
    clip = float(str(found.details["clip"]))
    pairs = tuple((weight, bias) for weight, bias in layers)
    return FlatFunction(pairs, found.state["columns"], found.scalers["mean"], found.scalers["variance"], clip)


def _fits(function: FlatFunction, scenario: Scenario) -> bool:
    """A file may carry the right schema and still hold another network."""
    columns, shown = function.columns, function.columns.shape
    if shown != function.mean.shape or shown != function.variance.shape or len(shown) != 1 or not function.layers:
        return False
    sizes = [len(columns), *(len(bias) for _, bias in function.layers)]
    shapes = [(out, into) for into, out in pairwise(sizes)]
    return (
        [weight.shape for weight, _ in function.layers] == shapes
        and sizes[-1] == action_count(scenario)
        and columns.dtype == np.int64
        and bool(((columns >= 0) & (columns < width(scenario))).all())
        and bool((function.variance >= 0.0).all())
    )


def width(scenario: Scenario) -> int:
    """How many numbers the flat observation of a scenario has."""
    servers, vnfs = _sizes(scenario)
    pairs = vnfs * servers
    own = vnfs * len(VNF_FEATURES) + servers * len(SERVER_FEATURES) + len(GLOBAL_FEATURES)
    return own + pairs * (len(PAIR_FEATURES) + 1)


def _sizes(scenario: Scenario) -> tuple[int, int]:
    """(servers, VNFs)."""
    return len(scenario.servers), len(scenario.vnfs)
