"""`TwinForecaster`: a twin at work on a live network. No torch, one step of the LSTM per control period.

What it forecasts is mixed with persistence, chain by chain and slot by slot ahead, by how well each has foretold this
session (`twin.learned.shares`). `Drift` says how much longer the twin is of use: its errors beside persistence's, head
by head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twin.forecast import Forecast, Forecaster, PersistenceForecaster, SmoothedForecaster
from twin.learned.digital_twin import DigitalTwin
from twin.learned.function import FloatTensor, Hidden
from twin.learned.inputs import HORIZON, LEVEL_LIMIT, chain_moved, expected_awake
from twin.learned.recording import GAP, Recording, record
from twin.learned.scoring import SCORED, Situation, corrected, foretold
from twin.learned.shares import Shares, mixed
from twin.scenario import Scenario
from twin.state import FloatArray, NetworkState

_MEMORY = 0.97  # of the running means of errors: about the last 30 slots
_SHIPPED = Path(__file__).resolve().parent / "twins"
PERSISTENCE, SMOOTHED = "persistence", "smoothed"  # forecasters that learn nothing


@dataclass(frozen=True, eq=False)
class Moment:
    """What was known after one slot: `seen` of length 1, `levels` [C], `hidden` [M, C, H]; and what follows by it.

    `twin_mbps` and `spread_mbps` [HORIZON, C] are the twin's alone, `last_mbps` [C] is persistence's.
    """

    seen: Recording
    levels: FloatArray
    hidden: FloatTensor
    twin_mbps: FloatArray
    spread_mbps: FloatArray
    last_mbps: FloatArray


class TwinForecaster:
    """Implements `twin.forecast.Forecaster`. A gap in time makes it begin anew; its shares stay."""

    def __init__(self, twin: DigitalTwin, *, name: str = "twin") -> None:
        self.twin, self.name = twin, name
        self.forget()
        self._moments: deque[Moment] = deque(maxlen=HORIZON + 1)  # oldest first, without a gap
        self._at_s = -np.inf
        self._state: Hidden | None = None

    @property
    def now(self) -> Moment | None:
        return self._moments[-1] if self._moments else None

    @property
    def before(self) -> Moment | None:
        return self._moments[-2] if len(self._moments) > 1 else None

    def forget(self) -> None:
        """Back to the shares it came with: slots that it was fitted on say nothing of how well it foretells."""
        self.shares = [Shares(self.twin.share("traffic", ahead)) for ahead in range(1, HORIZON + 1)]

    @property
    def share(self) -> FloatArray:
        """How much of the forecast is the twin's, [HORIZON, C] from 0 to 1."""
        return np.stack([shares.of(len(self.twin.scenario.chains)) for shares in self.shares])

    def observe(self, state: NetworkState) -> None:
        """One step of the LSTM, and a look at what was foretold of this slot; the same moment again changes nothing."""
        if state.at_s == self._at_s:
            return
        if state.at_s - self._at_s > GAP * self.twin.scenario.period_s:
            self._moments.clear()
            self._state = None
        self._at_s = state.at_s
        now = self._step(record(self.twin.scenario, [state]), state.offered_mbps)
        for ahead, then in enumerate(reversed(self._moments), start=1):
            if ahead <= HORIZON:
                self.shares[ahead - 1].update(then.last_mbps, then.twin_mbps[ahead - 1], now.seen.offered_mbps[0])
        self._moments.append(now)

    def forecast(self, horizon: int) -> Forecast:
        """RuntimeError before the first `observe`. Slots beyond the twin's horizon are as its last."""
        if (now := self.now) is None:
            raise RuntimeError("forecast asked for before any state was observed")
        rows = np.minimum(np.arange(horizon), HORIZON - 1)
        share = self.share[rows]
        offered = mixed(share, now.last_mbps, now.twin_mbps[rows])
        return Forecast(offered, share * now.spread_mbps[rows], self.name if share.any() else PERSISTENCE)

    def _step(self, seen: Recording, last_mbps: FloatArray) -> Moment:
        encoder, function, last = self.twin.encoder, self.twin.function, self.now
        levels = encoder.levels(seen.offered_mbps)[0]
        levels = np.where(np.isfinite(levels), levels, 0.0 if last is None else last.levels)
        modelled = encoder.bulk.measure(seen.hosts, seen.ends, encoder.offered(levels)[None])
        hosts = np.concatenate([seen.hosts if last is None else last.seen.hosts, seen.hosts])
        moved = chain_moved(encoder.scenario, hosts)[1:]
        inputs = encoder.inputs(seen, levels[None], modelled, moved)[0]
        inputs[:, 1] = 0.0 if last is None else levels - last.levels
        self._state = function.step(inputs.astype(np.float32), self._state or function.start(len(levels)))
        spread = function.calibrated("traffic_ahead", function.ahead(self._state.h))
        twin_mbps = encoder.offered(np.clip(levels + spread.middle.T, -LEVEL_LIMIT, LEVEL_LIMIT))
        return Moment(seen, levels, self._state.h, twin_mbps, twin_mbps * spread.scale.T, last_mbps)


class Drift:
    """Running means of the errors one slot ahead, of the twin alone and of persistence, by head."""

    def __init__(self) -> None:
        self._twin: dict[str, float] = {}
        self._persistence: dict[str, float] = {}

    def update(self, forecaster: TwinForecaster) -> None:
        """Judges what the twin would have said of the newest slot one slot before, its moves being known."""
        before, now = forecaster.before, forecaster.now
        if before is None or now is None:
            return
        said, observed, last = one_ahead(forecaster.twin, before, now), _heads(now.seen), _heads(before.seen)
        for head in SCORED:
            known = np.isfinite(observed[head]) & np.isfinite(last[head])
            if known.any():
                self._blend(self._twin, head, np.abs(said[head] - observed[head])[known])
                self._blend(self._persistence, head, np.abs(last[head] - observed[head])[known])

    def ratios(self) -> Mapping[str, float]:
        """The twin's error over persistence's, by head; above 1 the twin is worse than none. Heads without an error of
        persistence's are left out."""
        return {head: error / self._persistence[head] for head, error in self._twin.items()
                if self._persistence[head] > 0.0}  # fmt: skip

    @staticmethod
    def _blend(means: dict[str, float], head: str, errors: FloatArray) -> None:
        error = float(errors.mean())
        means[head] = _MEMORY * means.get(head, error) + (1.0 - _MEMORY) * error


def one_ahead(twin: DigitalTwin, before: Moment, now: Moment) -> dict[str, FloatArray]:
    """What the twin says after `before` of the next slot, given the placement in it: [N] by head."""
    hidden = before.hidden[:, None]  # [M, 1, C, H]
    traffic, _ = foretold(twin.encoder, twin.function, hidden, before.levels[None], 1)
    hosts = np.concatenate([before.seen.hosts, now.seen.hosts])
    awake = expected_awake(twin.scenario, hosts, before.seen.awake[0])[1:]
    case = Situation(now.seen.hosts, before.seen.ends, awake, traffic)
    costs = corrected(twin.encoder, twin.function, hidden, case, 1)
    return {"traffic": traffic[0]} | {head: value[0] for head, (value, _) in costs.items()}


def _heads(seen: Recording) -> dict[str, FloatArray]:
    return {"traffic": seen.offered_mbps[0], "delay": seen.delay_ms[0], "server_cpu": seen.cores[0],
            "server_memory": seen.memory_mb[0], "link": seen.link_mbps[0],
            "energy": np.array([seen.power_w[0].sum()])}  # fmt: skip


def shipped_twins() -> tuple[str, ...]:
    """Names of the twins that ship."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.safetensors")))


def named_twin(name: str, scenario: Scenario) -> DigitalTwin | None:
    """A twin by its file or the name of a shipped one; none for `persistence`, `smoothed` or nothing. InputError for
    others."""
    if name in ("", PERSISTENCE, SMOOTHED):
        return None
    path = Path(name)
    if not path.is_file() and name in shipped_twins():
        path = _SHIPPED / f"{name}.safetensors"
    return DigitalTwin.load(path, scenario)


def named_forecaster(name: str, scenario: Scenario) -> Forecaster:
    """Who forecasts, by what a user may call it: as `named_twin`, persistence where nothing is said. InputError for
    others."""
    if (twin := named_twin(name, scenario)) is not None:
        return TwinForecaster(twin)
    return SmoothedForecaster() if name == SMOOTHED else PersistenceForecaster()
