"""How well a twin predicts: every head 1..HORIZON slots ahead on whole recordings, beside what it has to beat.

From each slot the twin knows what was seen until then and which moves follow, as a roll-out does; it does not know the
traffic, nor where users go. What is scored is the forecast as it is used, mixed with persistence by what was foretold
so far of the same recording (`twin.learned.shares`), and the twin alone. Baselines: *persistence* (the newest reading),
*seasonal* (the reading one day before, by the day in the scenario file), *model* (the cost model of the file under
persistent traffic, with the same knowledge of the moves). Source: ours (docs/twin.md, "Figures").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from twin.bulk import Bulk
from twin.learned.calibration import filled
from twin.learned.function import FloatTensor, Spread, TwinFunction
from twin.learned.inputs import CORRECTED, HORIZON, Encoder, expected_awake
from twin.learned.inputs import Sequence as Seen
from twin.learned.shares import Shares, mixed
from twin.scenario import DiurnalTraffic, Scenario
from twin.state import BoolArray, FloatArray

SCORED = ("traffic", *CORRECTED)  # what is measured; `traffic` is offered traffic by the head `traffic_ahead`
UNITS = {"traffic": "Mbit/s", "delay": "ms", "server_cpu": "cores", "server_memory": "MB", "link": "Mbit/s",
         "energy": "W"}  # fmt: skip
BURN_IN = 8  # slots before a recording is predicted: the twin must have seen something


@dataclass(frozen=True, eq=False)
class Predicted:
    """One head, `ahead` slots from every slot that has one: all [T, N] in the head's unit; NaN in `observed`: not read.

    `twin` is the twin alone, `std` its predicted spread.
    """

    observed: FloatArray
    twin: FloatArray
    std: FloatArray
    persistence: FloatArray
    seasonal: FloatArray
    model: FloatArray


def predict(encoder: Encoder, function: TwinFunction, sequence: Seen, *, ahead: int) -> dict[str, Predicted]:
    """Every head's predictions `ahead` slots from each slot t of a recording; row t predicts slot t + ahead."""
    hidden = function.run(sequence.inputs)[:, :-ahead]  # [M, T, C, H]
    recording = sequence.recording
    traffic, spread = foretold(encoder, function, hidden, sequence.levels[:-ahead], ahead)
    hosts, ends = recording.hosts[ahead:], recording.ends[:-ahead]
    awake = expected_awake(encoder.scenario, recording.hosts, recording.awake[0])[ahead:]
    costs = corrected(encoder, function, hidden, Situation(hosts, ends, awake, traffic), ahead)
    file_model = _model(encoder.scenario, Situation(hosts, ends, awake, sequence.filled_mbps[:-ahead]))
    observed = _observed(sequence)
    season = season_slots(encoder.scenario)
    result = {}
    for head in SCORED:
        middle, std = (traffic, spread) if head == "traffic" else costs[head]
        before = filled(observed[head])
        result[head] = Predicted(
            observed[head][ahead:], middle, std, before[:-ahead], _seasonal(before, season, ahead),
            sequence.filled_mbps[:-ahead] if head == "traffic" else file_model[head],
        )  # fmt: skip
    return result


@dataclass(frozen=True, eq=False)
class Situation:
    """B placements under B traffics: what is to be costed. Shapes [B, V], [B, E], [B, S], [B, C]."""

    hosts: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    ends: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    awake: BoolArray
    offered_mbps: FloatArray


def foretold(
    encoder: Encoder, function: TwinFunction, hidden: FloatTensor, levels: FloatArray, ahead: int
) -> tuple[FloatArray, FloatArray]:
    """Offered traffic and its standard deviation [..., C] `ahead` slots after `levels` [..., C]."""
    spread = function.ahead(hidden)
    one = Spread(spread.middle[..., ahead - 1], spread.scale[..., ahead - 1])
    middle, std = function.calibrated("traffic_ahead", one, slots=ahead)
    offered = encoder.offered(np.clip(levels + middle, -4.0, 4.0))
    return offered, offered * std


def corrected(
    encoder: Encoder, function: TwinFunction, hidden: FloatTensor, case: Situation, ahead: int
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Value and standard deviation of every corrected head: the calibrated cost model times the learned ratio.

    `hidden` [M, B, C, H] is what the LSTM knew when it predicted.
    """
    modelled = encoder.bulk.measure(case.hosts, case.ends, case.offered_mbps)
    contexts = encoder.contexts(case.hosts, case.offered_mbps, modelled, case.awake)
    pools = encoder.pools(case.hosts, modelled)
    heard = {
        "delay": hidden,
        "server_cpu": pools["server"].astype(np.float32) @ hidden,
        "link": pools["link"].astype(np.float32) @ hidden,
        "energy": hidden.mean(axis=2, keepdims=True),
    }
    heard["server_memory"] = heard["server_cpu"]
    values = {
        "delay": modelled.chain_delay_ms, "server_cpu": modelled.cores, "server_memory": modelled.memory_mb,
        "link": modelled.link_mbps, "energy": encoder.bulk.power_w(modelled, case.awake).sum(axis=1, keepdims=True),
    }  # fmt: skip
    result = {}
    for head in CORRECTED:
        context = contexts[head]
        context[..., -1] = ahead / HORIZON
        middle, std = function.calibrated(head, function.correction(head, heard[head], context), slots=ahead)
        value = values[head] * np.exp(middle)
        result[head] = (value, value * std)
    return result


def _model(scenario: Scenario, case: Situation) -> dict[str, FloatArray]:
    bulk = Bulk(scenario)
    modelled = bulk.measure(case.hosts, case.ends, case.offered_mbps)
    return {
        "delay": modelled.chain_delay_ms, "server_cpu": modelled.cores, "server_memory": modelled.memory_mb,
        "link": modelled.link_mbps, "energy": bulk.power_w(modelled, case.awake).sum(axis=1, keepdims=True),
    }  # fmt: skip


def _observed(sequence: Seen) -> dict[str, FloatArray]:
    r = sequence.recording
    power = np.where(np.isfinite(r.power_w).all(axis=1), r.power_w.sum(axis=1), np.nan)
    return {"traffic": r.offered_mbps, "delay": r.delay_ms, "server_cpu": r.cores, "server_memory": r.memory_mb,
            "link": r.link_mbps, "energy": power[:, None]}  # fmt: skip


def season_slots(scenario: Scenario) -> int:
    """The longest day of the scenario's diurnal chains in slots, 0 where there is none."""
    days = [c.traffic.day_s for c in scenario.chains if isinstance(c.traffic, DiurnalTraffic)]
    return round(max(days, default=0.0) / scenario.period_s)


def _seasonal(values: FloatArray, season: int, ahead: int) -> FloatArray:
    """What was read one season before slot t + ahead, for each t [T - ahead, N]; NaN before there was one."""
    result = np.full_like(values[ahead:], np.nan)
    if 0 < season < len(values):
        lag = max(season, ahead)
        result[lag - ahead :] = values[: len(values) - lag]
    return result


@dataclass(frozen=True, slots=True)
class Score:
    """Mean absolute errors of one head at one distance, and how often the truth lay in the twin's 50 and 90 % bands.

    `twin` is mixed with persistence, `alone` is not, nor are the bands. `seasonal` is over the slots that have a season
    before them, nan where none has; `count` readings were predicted.
    """

    head: str
    ahead: int
    twin: float
    alone: float
    persistence: float
    seasonal: float
    model: float
    inside_50: float
    inside_90: float
    count: int

    @property
    def ratio(self) -> float:
        """The forecast's error over persistence's: 1 where neither errs, inf where only the forecast does."""
        return _over(self.twin, self.persistence)

    @property
    def alone_ratio(self) -> float:
        """The same of the twin alone."""
        return _over(self.alone, self.persistence)


def _over(error: float, persistence: float) -> float:
    if persistence > 0.0:
        return error / persistence
    return 1.0 if error <= 0.0 else float("inf")


LAPLACE_50, LAPLACE_90 = 0.490, 1.628  # half widths of a Laplace distribution's bands in standard deviations


def score(head: str, ahead: int, predictions: Sequence[Predicted], *, prior: float = 0.0) -> Score:
    """One row of the report from the predictions of several recordings; each begins with a share of `prior`."""
    p = {name: np.concatenate([getattr(x, name)[BURN_IN:].ravel() for x in predictions])
         for name in Predicted.__dataclass_fields__}  # fmt: skip
    p["used"] = np.concatenate([used(x, ahead, prior=prior)[BURN_IN:].ravel() for x in predictions])
    known = np.isfinite(p["observed"])
    error = {name: np.abs(p[name] - p["observed"])[known]
             for name in ("used", "twin", "persistence", "seasonal", "model")}  # fmt: skip
    std, seasoned = p["std"][known], np.isfinite(error["seasonal"])
    return Score(
        head=head,
        ahead=ahead,
        twin=_mean(error["used"]),
        alone=_mean(error["twin"]),
        persistence=_mean(error["persistence"]),
        seasonal=_mean(error["seasonal"][seasoned]),
        model=_mean(error["model"]),
        inside_50=_mean((error["twin"] <= LAPLACE_50 * std + 1e-9).astype(np.float64)),
        inside_90=_mean((error["twin"] <= LAPLACE_90 * std + 1e-9).astype(np.float64)),
        count=int(known.sum()),
    )


def used(p: Predicted, ahead: int, *, prior: float) -> FloatArray:
    """What would have been forecast [T, N] in each slot, by a share that knows no more than that slot did."""
    shares, result = Shares(prior), np.empty_like(p.twin)
    for row in range(len(result)):
        if row >= ahead:
            then = row - ahead
            shares.update(p.persistence[then], p.twin[then], p.observed[then])
        result[row] = mixed(shares.of(result.shape[1]), p.persistence[row], p.twin[row])
    return result


def found_shares(encoder: Encoder, function: TwinFunction, sequences: Sequence[Seen]) -> dict[str, list[float]]:
    """By head the shares [HORIZON] that would have been best on recordings that the function was not fitted on."""
    long = [s for s in sequences if len(s) > BURN_IN + HORIZON]
    found: dict[str, list[float]] = {head: [] for head in SCORED}
    for ahead in range(1, HORIZON + 1):
        predictions = [predict(encoder, function, s, ahead=ahead) for s in long]
        for head in SCORED:
            shares = Shares(0.0, memory=1.0)
            for p in (predicted[head] for predicted in predictions):
                for row in range(BURN_IN, len(p.twin)):
                    shares.update(p.persistence[row], p.twin[row], p.observed[row])
            found[head].append(shares.together)
    return found


def scores(
    encoder: Encoder, function: TwinFunction, sequences: Sequence[Seen], *,
    distances: Sequence[int] = (1, 2, 3, 4), shares: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> list[Score]:  # fmt: skip
    """Every head at every distance over the recordings that are long enough. Each begins with these `shares`, by head
    and distance; with none where nothing is said."""
    long = [s for s in sequences if len(s) > BURN_IN + max(distances)]
    table = []
    for ahead in distances:
        predictions = [predict(encoder, function, s, ahead=ahead) for s in long]
        for head in SCORED if predictions else ():
            prior = shares[head][ahead - 1] if head in shares else 0.0
            table.append(score(head, ahead, [p[head] for p in predictions], prior=prior))
    return table


def spread_factors(encoder: Encoder, function: TwinFunction, sequences: Sequence[Seen]) -> Mapping[str, FloatTensor]:
    """Scalers HEAD.spread [HORIZON] such that the bands of the predictions hold what they claim on these recordings.

    The factor puts the 80 % quantile of |error| / predicted spread where a Laplace distribution has it.
    """
    long = [s for s in sequences if len(s) > BURN_IN + HORIZON]
    found = {f"{name}.spread": np.array(function.scalers[f"{name}.spread"]) for name in ("traffic_ahead", *CORRECTED)}
    for ahead in range(1, HORIZON + 1):
        predictions = [predict(encoder, function, s, ahead=ahead) for s in long]
        for head in SCORED:
            key = f"{'traffic_ahead' if head == 'traffic' else head}.spread"
            found[key][ahead - 1] *= _factor([p[head] for p in predictions])
    return {name: value.astype(np.float32) for name, value in found.items()}


_LAPLACE_80 = 1.138


def _factor(predictions: Sequence[Predicted]) -> float:
    if not predictions:
        return 1.0
    rows = [(np.abs(p.twin - p.observed) / np.maximum(p.std, 1e-12))[BURN_IN:].ravel() for p in predictions]
    z = np.concatenate(rows)
    known = np.concatenate([((np.isfinite(p.observed)) & (p.std > 1e-9))[BURN_IN:].ravel() for p in predictions])
    if known.sum() < 20:
        return 1.0
    return float(np.clip(np.quantile(z[known], 0.8) / _LAPLACE_80, 0.05, 20.0))


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else float("nan")
