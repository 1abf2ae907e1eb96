"""What a scenario file says wrong about the world, found from readings: the correction of the twin's analytic half.

Maximum a posteriori: every factor of a `Correction` is believed to be within about 30 % of 1 until readings say
otherwise. Server power is linear in its factors; delays are not, so their factors are found by Gauss and Newton's
steps on log delay, a few per call, from where the last call left off. An ensemble draws its own prior mean and its own
weights of the readings per member ("randomise, then optimise"): where readings say little the members differ, and
`Identification.spread` shows it. Source: ours (docs/agent.md, "Synthetic experience").
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twin.case_kernels import chain_delays
from twin.correction import Correction
from twin.experience import Reading
from twin.model import Model, model, work
from twin.ridge import ridge
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.state import BoolArray, FloatArray

PRIOR = 0.3  # standard deviation of a log factor before any reading
RELATIVE, ABSOLUTE_MS = 0.05, 0.1  # of a delay reading that the model, once right, does not explain
POWER = 0.02  # of a power reading, relative to the server's peak
_STEPS = 3  # Gauss-Newton steps per fit; each fit starts from the last one
_NUDGE = 1e-3
_LEAST, _MOST = -2.0, 2.0  # bounds of a log factor
_DELAY_FACTORS = ("service", "waiting", "bandwidth")


class Identification:
    """An ensemble of corrections of one scenario, refitted as readings come in."""

    def __init__(self, scenario: Scenario, *, members: int, rng: np.random.Generator) -> None:
        self.scenario, self._rng = scenario, rng
        self.nominal = model(scenario, configured_routes(scenario))
        self._work = work(self.nominal)
        plain = Correction.none(scenario)
        self._sizes = [len(getattr(plain, name)) for name in _DELAY_FACTORS]
        self.corrections = [plain] * members
        # The first member stands for the readings as they are, the others for what else they might have been.
        self._prior = PRIOR * rng.standard_normal((members, sum(self._sizes)))
        self._power_prior = np.exp(PRIOR * rng.standard_normal((members, 2, len(scenario.servers))))
        self._prior[0], self._power_prior[0] = 0.0, 1.0

    def physics(self, member: int) -> Model:
        """The network as this member has it."""
        return self.corrections[member].apply(self.nominal, self.scenario)

    def guess(self) -> None:
        """Draws every member from the prior, the first one, too: corrections that nothing was read for."""
        for k in range(len(self.corrections)):
            drawn = self._with(self.corrections[k], PRIOR * self._rng.standard_normal(sum(self._sizes)))
            idle, dynamic = np.exp(PRIOR * self._rng.standard_normal((2, len(self.scenario.servers))))
            self.corrections[k] = replace(drawn, idle=idle, dynamic=dynamic)

    def fit(self, rows: Reading) -> None:
        """Refits every member to all these readings [N]."""
        rows = _steady(rows)
        for k, correction in enumerate(self.corrections):
            weights = np.ones(len(rows.hosts)) if k == 0 else self._rng.exponential(size=len(rows.hosts))
            idle, dynamic = self._fit_power(rows, weights, self._power_prior[k])
            self.corrections[k] = self._fit_delay(
                replace(correction, idle=idle, dynamic=dynamic), rows, weights, self._prior[k]
            )

    def error(self, rows: Reading, physics: Model | None = None) -> float:
        """Mean over (reading, chain) of |log(predicted / measured delay)| plus the same of total power, of `physics`;
        by default of member 0.

        Called with readings that came after the last fit it is the twin's hold-out error; nan without readings.
        """
        rows = _steady(rows)
        if not len(rows.hosts):
            return float("nan")
        physics = physics or self.physics(0)
        known = _known(rows.chain_delay_ms)
        off = np.abs(self._log_delays(physics, rows) - np.log(np.where(known, rows.chain_delay_ms, 1.0)))
        measured_w = rows.server_power_w.sum(axis=1)
        power = np.abs(np.log(self._power_w(physics, rows).sum(axis=1) / measured_w))
        return float(off[known].mean() + np.nanmean(power))

    def _power_w(self, physics: Model, rows: Reading) -> FloatArray:
        """[N, S], given the load that was measured and which servers drew more than asleep."""
        server, awake = physics.servers, self._awake(rows)
        active = server["idle_w"] + (server["peak_w"] - server["idle_w"]) * self._load(rows)
        return np.where(awake, active, server["sleep_w"])

    def _load(self, rows: Reading) -> FloatArray:
        result: FloatArray = np.clip(rows.server_cores / self.nominal.servers["cores"], 0.0, 1.0)
        return result

    def _awake(self, rows: Reading) -> BoolArray:
        """Hosting servers are awake; of the others, those that have not been idle for their hold time."""
        hosting = (rows.hosts[:, :, None] == np.arange(len(self.nominal.servers))).any(axis=1)
        result: BoolArray = hosting | (rows.idle_s < self.nominal.servers["sleep_after_s"])
        return result

    def _fit_power(self, rows: Reading, weights: FloatArray, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Factors on idle and dynamic power [S] by ridge regression around the prior [2, S]."""
        awake, load, factors = self._awake(rows), self._load(rows), np.ones((2, len(self.nominal.servers)))
        for s, server in enumerate(self.nominal.servers):
            use, noise_w = awake[:, s], POWER * server["peak_w"]
            dynamic_w = (server["peak_w"] - server["idle_w"]) * load[use, s]
            columns = np.stack([np.full(use.sum(), server["idle_w"]), dynamic_w], axis=1)
            scale = np.sqrt(weights[use]) / noise_w
            factors[:, s] = ridge(
                columns * scale[:, None],
                rows.server_power_w[use, s] * scale,
                around=prior[:, s],
                strength=1.0 / PRIOR**2,
            )
        clipped = np.clip(factors, np.exp(_LEAST), np.exp(_MOST))
        return clipped[0], clipped[1]

    def _fit_delay(self, start: Correction, rows: Reading, weights: FloatArray, prior: FloatArray) -> Correction:
        """Gauss-Newton on log delay with a Gaussian prior on the log factors."""
        known = _known(rows.chain_delay_ms)
        measured_ms = np.where(known, rows.chain_delay_ms, 1.0)
        weight = np.where(known, np.sqrt(weights)[:, None] / (RELATIVE + ABSOLUTE_MS / measured_ms), 0.0)
        target = np.log(measured_ms)
        theta = np.log(np.concatenate([getattr(start, name) for name in _DELAY_FACTORS]))
        for _ in range(_STEPS):
            modelled = self._log_delays(self._physics_of(start, theta), rows)
            rest = (weight * (target - modelled)).ravel()
            columns = []
            for k in range(len(theta)):
                nudged = self._log_delays(self._physics_of(start, theta + _NUDGE * (np.arange(len(theta)) == k)), rows)
                columns.append((weight * (nudged - modelled)).ravel() / _NUDGE)
            a = np.stack(columns, axis=1)
            step = np.linalg.solve(a.T @ a + np.eye(len(theta)) / PRIOR**2, a.T @ rest + (prior - theta) / PRIOR**2)
            theta = np.clip(theta + np.clip(step, -0.5, 0.5), _LEAST, _MOST)
        return self._with(start, theta)

    def _with(self, correction: Correction, theta: FloatArray) -> Correction:
        parts = np.split(np.exp(theta), np.cumsum(self._sizes)[:-1])
        return replace(correction, **dict(zip(_DELAY_FACTORS, parts, strict=True)))

    def _physics_of(self, correction: Correction, theta: FloatArray) -> Model:
        return self._with(correction, theta).apply(self.nominal, self.scenario)

    def _log_delays(self, physics: Model, rows: Reading) -> FloatArray:
        out = np.empty_like(rows.offered_mbps)
        chain_delays(physics, rows.hosts, rows.offered_mbps, rows.ends, self._work, out)
        return np.log(out)


def _known(delay_ms: FloatArray) -> BoolArray:
    result: BoolArray = np.isfinite(delay_ms) & (delay_ms > 0.0)
    return result


def _steady(rows: Reading) -> Reading:
    """Without the readings whose traffic is unknown."""
    return rows.where(np.isfinite(rows.offered_mbps).all(axis=1) & ~rows.roamed)
