"""`TwinLearner`: fits a `DigitalTwin`, at once or again and again while recordings grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from twin.errors import InputError
from twin.learned.calibration import calibrate
from twin.learned.digital_twin import DigitalTwin
from twin.learned.fitting import FitConfig, Fitter, ignore
from twin.learned.function import TwinFunction
from twin.learned.inputs import HORIZON, Encoder
from twin.learned.inputs import Sequence as Seen
from twin.learned.recording import Recording
from twin.learned.scoring import BURN_IN, found_shares, scores, spread_factors
from twin.learned.vae import fit_vae
from twin.scenario import Scenario

_EVERY = 4  # of so many runs one is held out
_TAIL = 0.2  # of each run, where there are fewer
MIN_HELD_OUT = BURN_IN + HORIZON + 4
MIN_FITTED = 16


class TwinLearner:
    """Learns one scenario's twin. `start` continues from another twin's networks, of any scenario.

    The same arguments and calls give the same twin bit for bit on the same machine and number of threads.
    """

    def __init__(
        self, scenario: Scenario, *, seed: int, config: FitConfig | None = None, start: TwinFunction | None = None
    ) -> None:
        self.scenario, self.seed = scenario, seed
        self._fitter = Fitter(config or FitConfig(), seed=seed, start=start)
        self.losses: dict[str, float] = {}

    def fit(
        self, recordings: Sequence[Recording], *, rng: np.random.Generator, steps: int,
        generator_steps: int = 0, progress: Callable[[int], None] = ignore,
    ) -> DigitalTwin:  # fmt: skip
        """The twin after `steps` more updates on these recordings, of which some are held out (by run where there are
        four or more, else the last fifth of each). `generator_steps` > 0 also fits the VAE, anew each time. InputError
        where there is too little to learn from."""
        fitted, held_out = split(recordings)
        calibration = calibrate(self.scenario, fitted)
        encoder = Encoder(self.scenario, calibration)
        sequences = [encoder.sequence(r) for r in fitted]
        self.losses = self._fitter.fit([sequences], steps=steps, rng=rng, progress=progress)
        unseen = [encoder.sequence(r) for r in held_out]
        function, ratios = appraised(encoder, self._fitter.function(), unseen)
        vae = fit_vae(encoder, sequences, seed=self.seed, rng=rng, steps=generator_steps) if generator_steps else {}
        return DigitalTwin(
            scenario=self.scenario,
            function=function,
            calibration=calibration,
            seed=self.seed,
            slots=sum(map(len, fitted)),
            runs=len(recordings),
            hold_out=ratios,
            shares=found_shares(encoder, function, unseen),
            vae=vae,
        )


def split(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """(to fit, held out). InputError where fewer than `MIN_FITTED` and `MIN_HELD_OUT` slots would be left."""
    if len(recordings) >= _EVERY:
        held_out = [r for i, r in enumerate(recordings) if i % _EVERY == _EVERY - 1]
        fitted = [r for i, r in enumerate(recordings) if i % _EVERY != _EVERY - 1]
    else:
        cuts = [len(r) - max(MIN_HELD_OUT, round(_TAIL * len(r))) for r in recordings]
        held_out = [r.part(cut, len(r)) for r, cut in zip(recordings, cuts, strict=True) if cut >= MIN_FITTED]
        fitted = [r.part(0, cut) for r, cut in zip(recordings, cuts, strict=True) if cut >= MIN_FITTED]
    if not any(len(r) >= MIN_FITTED for r in fitted) or not any(len(r) >= MIN_HELD_OUT for r in held_out):
        slots = sum(map(len, recordings))
        raise InputError(
            f"too short to learn from: {slots} slots in {len(recordings)} runs; one run of "
            f"{MIN_FITTED + MIN_HELD_OUT} slots is the least"
        )
    return fitted, held_out


def appraised(
    encoder: Encoder, function: TwinFunction, held_out: Sequence[Seen]
) -> tuple[TwinFunction, dict[str, float]]:
    """The function with spreads calibrated on held-out slots, and its own error over persistence's there, by head."""
    spreads = spread_factors(encoder, function, held_out)
    function = replace(function, scalers={**function.scalers, **spreads})
    return function, {row.head: row.alone_ratio for row in scores(encoder, function, held_out, distances=(1,))}
