"""`DigitalTwin`: what was learnt of one network, as a value. It predicts, draws traffic, and costs any placement.

Needs no torch: fitting is `twin.learned.learner`. Source: paper (a twin that predicts and makes experience); the grey
box is ours (docs/twin.md).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np

from twin.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from twin.costs import traffic_weights
from twin.errors import InputError
from twin.learned.calibration import Calibration
from twin.learned.function import FloatTensor, TwinFunction
from twin.learned.generator import Generated, generate, one_hot
from twin.learned.inputs import CONTEXTS, HORIZON, TWIN_SCHEMA, Encoder, chain_inputs
from twin.learned.sampling import sample_traffic
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray, IntArray

KIND = "twin"


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What placements would cost, by the calibrated model and the learned ratio.

    `chain_delay_ms` [B, C], `delay_ms` [B] weighted by traffic, `power_w` [B] of all servers. `disagreement` [B] is
    the standard deviation over the ensemble of the log of delay and of power, the larger of both: where it is large,
    nothing like this was seen.
    """

    chain_delay_ms: FloatArray
    delay_ms: FloatArray
    power_w: FloatArray
    disagreement: FloatArray


@dataclass(frozen=True, eq=False)
class DigitalTwin:
    """`hold_out` is, by head, the error one slot ahead over persistence's on slots that fitting did not see, `shares`
    [HORIZON] what was best there to take of the twin, by slots ahead (`twin.learned.shares`).

    `slots` is how many slots it was fitted on, `runs` of how many recordings, `known_until` the newest moment that it
    knows of each journal (by the time the journal began). `vae` holds `twin.learned.vae`, where one was fitted.
    """

    scenario: Scenario
    function: TwinFunction
    calibration: Calibration
    seed: int = 0
    slots: int = 0
    runs: int = 0
    hold_out: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)
    known_until: Mapping[str, float] = field(default_factory=dict)
    vae: Mapping[str, FloatTensor] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self.scenario, self.calibration)

    @property
    def believed(self) -> Scenario:
        """The scenario with calibrated numbers: the `truth` of a simulator that is to be like the real network."""
        return self.encoder.calibrated

    def share(self, head: str, ahead: int) -> float:
        """How much of the forecast of a head is to be the twin's before anything was foretold; 0 where nobody knows."""
        found = self.shares.get(head, ())
        return found[ahead - 1] if ahead <= len(found) else 0.0

    def sample_traffic(self, history_mbps: FloatArray, *, n: int, horizon: int, rng: np.random.Generator) -> FloatArray:
        """`n` draws [n, horizon, C] of the traffic that follows `history_mbps` [W, C] or [n, W, C]; NaN: not read."""
        return sample_traffic(self.encoder, self.function, history_mbps, n=n, horizon=horizon, rng=rng)

    def costs(
        self, hosts: IntArray, ends: IntArray, offered_mbps: FloatArray, *, awake: BoolArray | None = None,
        hidden: FloatTensor | None = None, ahead: int = 1,
    ) -> Counterfactual:  # fmt: skip
        """Costs of B placements [B, V], with endpoints at [B, E], under traffic [B, C], whatever was really done.

        `awake` [B, S] defaults to the hosting servers. `hidden` [M, B, C, H] is what the LSTM knew
        (`TwinFunction.run`); without it the correction is that of a network of which nothing was seen yet.
        """
        encoder, function = self.encoder, self.function
        modelled = encoder.bulk.measure(hosts, ends, offered_mbps)
        on = modelled.memory_mb > 0.0 if awake is None else awake
        known = hidden if hidden is not None else self._nothing(offered_mbps)
        contexts = encoder.contexts(hosts, offered_mbps, modelled, on)
        for head in ("delay", "energy"):
            contexts[head][..., -1] = ahead / HORIZON
        delay = function.correction("delay", known, contexts["delay"]).middle  # [M, B, C]
        heard = known.mean(axis=2, keepdims=True)
        energy = function.correction("energy", heard, contexts["energy"]).middle[..., 0]  # [M, B]
        weights = np.stack([traffic_weights(row) for row in offered_mbps])
        by_member = (modelled.chain_delay_ms * np.exp(delay) * weights).sum(axis=-1)  # [M, B]
        return Counterfactual(
            chain_delay_ms=modelled.chain_delay_ms * np.exp(delay.mean(axis=0)),
            delay_ms=by_member.mean(axis=0),
            power_w=encoder.bulk.power_w(modelled, on).sum(axis=1) * np.exp(energy.mean(axis=0)),
            disagreement=np.maximum(np.log(by_member).std(axis=0), energy.std(axis=0)),
        )

    def generate(self, hosts: IntArray, *, rng: np.random.Generator) -> Generated:
        """One plausible state for every placement [n, V]. ValueError where no generator was fitted."""
        if not self.vae:
            raise ValueError("this twin has no generator")
        return generate(self.vae, one_hot(hosts, len(self.scenario.servers)), rng)

    def disagreement(self, history_mbps: FloatArray) -> FloatArray:
        """Standard deviation over the ensemble of the log of traffic ahead, [HORIZON], the mean over chains, after
        `history_mbps` [W, C] that were all read."""
        encoder = self.encoder
        levels = encoder.levels(history_mbps)
        seen = chain_inputs(levels, np.isfinite(levels), None)
        middle = self.function.ahead(self.function.run(seen)[:, -1]).middle  # [M, C, HORIZON]
        result: FloatArray = middle.std(axis=0).mean(axis=0)
        return result

    def _nothing(self, offered_mbps: FloatArray) -> FloatTensor:
        return np.zeros((self.function.members, *offered_mbps.shape, self.function.units), dtype=np.float32)

    def checkpoint(self) -> Checkpoint:
        calibration = {f"calibration.{f.name}": _float32(getattr(self.calibration, f.name)) for f in _FACTORS}
        vae = {f"vae.{name}": value for name, value in self.vae.items()}
        return Checkpoint(
            kind=KIND,
            schema_hash=TWIN_SCHEMA,
            scenario=self.scenario.name,
            seed=self.seed,
            tensors={**self.function.weights, **vae},
            scalers={**self.function.scalers, **calibration},
            versions={"python": platform.python_version(), "numpy": version("numpy")},
            details={
                "slots": self.slots,
                "runs": self.runs,
                "hold_out": dict(self.hold_out),
                "shares": {head: list(values) for head, values in self.shares.items()},
                "known_until": dict(self.known_until),
                "objects": _objects(self.scenario),
            },
        )

    def save(self, path: Path) -> None:
        """Writes the checkpoint. OSError where it cannot be written."""
        save_checkpoint(path, self.checkpoint())

    @staticmethod
    def load(path: Path, scenario: Scenario) -> DigitalTwin:
        """A saved twin for a scenario. InputError where the file is missing, damaged, or of another kind or schema.

        The networks fit any scenario. Calibration and shares belong to the network they were found on: for another one
        the scenario file counts as it stands, and the twin begins with a share of 0. A number that an older file has no
        calibration for stays as the scenario says.
        """
        found = load_checkpoint(path, kind=KIND, schema_hash=TWIN_SCHEMA)
        details, vae = found.details, {k.removeprefix("vae."): v for k, v in found.tensors.items() if k[:4] == "vae."}
        weights = {k: v for k, v in found.tensors.items() if k[:4] != "vae."}
        scalers = {k: v for k, v in found.scalers.items() if not k.startswith("calibration.")}
        same = details.get("objects") == _objects(scenario)
        calibration = Calibration.none(scenario)
        if same:
            stored = {f.name: found.scalers.get(f"calibration.{f.name}") for f in _FACTORS}
            known = {name: value.astype(np.float64) for name, value in stored.items() if value is not None}
            calibration = replace(calibration, **known)
        function = TwinFunction(weights, scalers)
        _refuse_other_shapes(path, function)
        return DigitalTwin(
            scenario=scenario,
            function=function,
            calibration=calibration,
            seed=found.seed,
            slots=int(str(details.get("slots", 0))),
            runs=int(str(details.get("runs", 0))),
            hold_out=_numbers(details.get("hold_out")),
            shares=_rows(details.get("shares")) if same and found.scenario == scenario.name else {},
            known_until=_numbers(details.get("known_until")),
            vae=vae if same else {},
        )


def _numbers(found: object) -> dict[str, float]:
    return {str(key): float(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _rows(found: object) -> dict[str, tuple[float, ...]]:
    rows = found.items() if isinstance(found, dict) else ()
    return {str(key): tuple(float(v) for v in values) for key, values in rows if isinstance(values, list)}


_FACTORS = fields(Calibration)


def _float32(values: FloatArray) -> FloatTensor:
    return values.astype(np.float32)


def _objects(scenario: Scenario) -> list[list[str]]:
    """The names of what a calibration is of."""
    return [[v.id for v in scenario.vnfs], [s.id for s in scenario.servers], [link.id for link in scenario.links]]


def _refuse_other_shapes(path: Path, function: TwinFunction) -> None:
    """InputError where a weight is missing or of a shape that the heads cannot have."""
    try:
        one, units = function.start(1), function.units
        function.ahead(one.h)
        function.mixture(one.h)
        for head, names in CONTEXTS.items():
            heard = np.zeros((function.members, 1, units), dtype=np.float32)
            function.correction(head, heard, np.zeros((1, len(names))))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: weights are missing or of the wrong shape: {error}") from None
