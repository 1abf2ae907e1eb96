"""The twin of a running controller: its forecast, its drift, and another one in its place, if that is better.

`observe` and `forecast` make it the loop's forecaster; `judge` is called after a decision, so that drift costs no
decision its time. A twin's forecast is mixed with persistence by how well each has foretold this session
(`twin.learned.shares`): one that is of no use is not heard. Every twin it takes has beaten the one before on slots that
neither was fitted on.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.records import Refused, UnknownName
from twin.forecast import Forecast, PersistenceForecaster
from twin.learned.digital_twin import DigitalTwin
from twin.learned.inputs import HORIZON
from twin.learned.recording import Recording, recordings
from twin.learned.scoring import BURN_IN, scores
from twin.learned.serving import Drift, TwinForecaster, named_forecaster
from twin.scenario import Scenario
from twin.state import NetworkState

log = logging.getLogger("vnftwin.twin")
DEFAULT_TWIN = "persistence"
KEPT = 720  # slots that twins are compared on
MIN_SLOTS = 24
REPLAYED = 60  # slots from which a new twin learns where it is
NOT_BETTER, TOO_FEW_SLOTS = "not_better", "too_few_slots"  # why a twin is refused


class TwinWatch:
    """Without a twin the forecast is persistence, or of smoothed readings.

    `journal` names what is recorded (`DigitalTwin.known_until`).
    """

    def __init__(
        self, scenario: Scenario, name: str, *, run_blocking: Callable[..., Any], journal: str = ""
    ) -> None:  # fmt: skip
        self.scenario, self.name, self._journal = scenario, name or DEFAULT_TWIN, journal
        self._run_blocking = run_blocking
        self._states: deque[NetworkState] = deque(maxlen=KEPT)
        self.drift = Drift()
        named = named_forecaster(self.name, scenario)
        self._twin = named if isinstance(named, TwinForecaster) else None
        self._plain = PersistenceForecaster() if self._twin else named

    def observe(self, state: NetworkState) -> None:
        """One more slot; the same moment again changes nothing."""
        if self._states and state.at_s == self._states[-1].at_s:
            return
        self._states.append(state)
        self._plain.observe(state)
        if self._twin is not None:
            self._twin.observe(state)

    def forecast(self, horizon: int) -> Forecast:
        return (self._twin or self._plain).forecast(horizon)

    def judge(self) -> None:
        """Compares what the twin would have said with what the newest slot brought."""
        if self._twin is not None:
            self.drift.update(self._twin)

    def as_json(self) -> dict[str, Any]:
        """For REST and metrics: by chain how much of the forecast is the twin's, the mean over slots ahead; the twin's
        errors one slot ahead over persistence's, as running means and when fitted."""
        twin = self._twin.twin if self._twin else None
        share = self._twin.share.mean(axis=0) if self._twin else ()
        return {
            "name": self.name,
            "learned": twin is not None,
            "trusted": any(share),
            "share": {chain.id: float(value) for chain, value in zip(self.scenario.chains, share, strict=False)},
            "slots": twin.slots if twin else 0,
            "error_ratio": dict(self.drift.ratios()),
            "hold_out": dict(twin.hold_out) if twin else {},
        }

    def take(self, file: str) -> dict[str, Any]:
        """Puts the twin of a file in the place of the one in use. UnknownName where there is none, InputError where it
        cannot be read; Refused where there is too little to compare them on, or it is not better."""
        if not os.path.isfile(file):  # also False for what can be no name of a file
            raise UnknownName(f"no twin {file}")
        found, ratio, slots = self._run_blocking(self._compared, file, list(self._states))
        forecaster, drift, known_s = TwinForecaster(found), Drift(), self._known_s(found)
        for state in list(self._states)[-REPLAYED:]:
            forecaster.observe(state)
            if state.at_s > known_s:
                drift.update(forecaster)
            else:
                forecaster.forget()
        self._twin, self.drift, self.name = forecaster, drift, file
        log.info("twin %s: error %.2f of the one before on %d slots", file, ratio, slots)
        return {"file": file, "error_ratio": ratio, "slots": slots}

    def _compared(self, file: str, states: Sequence[NetworkState]) -> tuple[DigitalTwin, float, int]:
        """(the new twin, its error over that of the one in use, slots); beside the loop, so on a copy of the old."""
        new, old = DigitalTwin.load(Path(file), self.scenario), replace(self._twin.twin) if self._twin else None
        known_s = max(self._known_s(t) for t in (new, old) if t is not None)
        unseen = recordings(self.scenario, (s for s in states if s.at_s > known_s))
        slots = sum(len(r) for r in unseen if len(r) > BURN_IN + HORIZON)
        if slots < MIN_SLOTS:
            raise Refused(TOO_FEW_SLOTS, f"{slots} slots since both were fitted, {MIN_SLOTS} are needed")
        before = overall_error(old, unseen) if old is not None else 1.0
        ratio = overall_error(new, unseen) / max(before, 1e-9)
        if not ratio < 1.0:
            raise Refused(NOT_BETTER, f"error {ratio:.2f} of the one in use on {slots} slots")
        return new, ratio, slots

    def _known_s(self, twin: DigitalTwin) -> float:
        """Until when it was fitted on this session."""
        return twin.known_until.get(self._journal, -math.inf)


def overall_error(twin: DigitalTwin, unseen: Sequence[Recording]) -> float:
    """Error one slot ahead over persistence's: the geometric mean over the heads that persistence errs in.

    The forecast is mixed as it would have been in these slots. One wrong head may not hide behind five right ones, so
    no head counts as better than a tenth.
    """
    sequences = [twin.encoder.sequence(r) for r in unseen]
    table = scores(twin.encoder, twin.function, sequences, distances=(1,), shares=twin.shares)
    counted = [row for row in table if row.persistence > 0.0]
    return math.exp(sum(math.log(max(row.ratio, 0.1)) for row in counted) / len(counted)) if counted else 1.0
