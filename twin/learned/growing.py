"""The learned networks while they are fitted: on experience that grows, slot by slot, during a training run.

`twin.learned.learner` makes a twin of recordings that are there; this one begins with next to nothing, is fitted a
little whenever more was read, and gives what synthetic experience needs of it: traffic that may follow (the LSTM), and
the traffic of a plausible state (the VAE). Source: paper (both networks make experience); how: ours (docs/agent.md,
"Synthetic experience").
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from twin.experience import Experience, Reading
from twin.learned.calibration import Calibration
from twin.learned.fitting import FitConfig, Fitter
from twin.learned.generator import generate, one_hot
from twin.learned.inputs import HORIZON, Encoder
from twin.learned.inputs import Sequence as Seen
from twin.learned.recording import Recording
from twin.learned.sampling import sample_traffic
from twin.learned.vae import fit_vae
from twin.scenario import Scenario
from twin.state import FloatArray, IntArray
from twin.tables import tables

CONFIG = FitConfig(members=2, units=32, window=24)
LEAST = CONFIG.burn_in + HORIZON + 1  # slots of a piece that teaches the LSTM anything
_MORE = 1.25  # fitted again when so much more was read


class GrowingTwin:
    """`updates` gradient steps of the LSTM, and as many of the VAE if `generates`, per fit; with 0 the LSTM stays as it
    was initialised (only its normalisers are found)."""

    def __init__(
        self, scenario: Scenario, *, updates: int, generates: bool, seed: int, rng: np.random.Generator
    ) -> None:
        self.encoder = Encoder(scenario, Calibration.none(scenario))
        self._updates, self._generates, self._seed, self._rng = updates, generates, seed, rng
        self._fitter = Fitter(CONFIG, seed=seed)
        self._function = self._fitter.function()
        self._vae: dict[str, np.ndarray] = {}
        self._fitted = 0

    @property
    def ready(self) -> bool:
        """Was it fitted at all?"""
        return self._fitted > 0

    def learn(self, experience: Experience) -> None:
        """Fits again where a quarter more was read since the last fit; nothing before there are `LEAST` slots."""
        if len(experience) < _MORE * self._fitted:
            return
        seen = [self.encoder.sequence(r) for r in pieces(self.encoder.scenario, experience)]
        if not seen:
            return
        self._fit(seen)
        self._fitted = len(experience)

    def _fit(self, seen: list[Seen]) -> None:
        self._fitter.fit([seen], steps=self._updates, rng=self._rng)
        self._function = self._fitter.function()
        if self._generates:
            self._vae = fit_vae(self.encoder, seen, seed=self._seed, rng=self._rng, steps=self._updates)

    def continued(self, history_mbps: FloatArray, horizon: int) -> FloatArray:
        """A draw [N, horizon, C] of what follows each history [N, W, C], slot after slot. RuntimeError before a fit."""
        self._must_be_ready()
        n = len(history_mbps)
        return sample_traffic(self.encoder, self._function, history_mbps, n=n, horizon=horizon, rng=self._rng)

    def levels(self, hosts: IntArray) -> FloatArray:
        """The traffic of one plausible state for every placement [N, V]: log of it over the file's mean, [N, C].
        RuntimeError before a fit."""
        self._must_be_ready()
        servers = len(self.encoder.scenario.servers)
        return generate(self._vae, one_hot(hosts, servers), self._rng).levels

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise RuntimeError("the networks were asked before they were fitted")


def pieces(scenario: Scenario, experience: Experience) -> Iterator[Recording]:
    """Every stretch of one stream within an episode that is long enough, as a recording."""
    if not len(experience):
        return
    seen, awake_s = experience.all, tables(scenario).sleep_after_s
    for stream in range(seen.first.shape[1]):
        cuts = np.flatnonzero(seen.first[:, stream])
        edges = sorted({0, *cuts.tolist(), len(experience)})
        for first, last in pairwise(edges):
            if last - first >= LEAST:
                yield _recording(scenario, seen, slice(first, last), stream, awake_s)


def _recording(scenario: Scenario, seen: Reading, rows: slice, stream: int, sleep_after_s: FloatArray) -> Recording:
    """What streams do not read (memory, links, CPU by VNF) is NaN."""
    hosts, idle_s = seen.hosts[rows, stream], seen.idle_s[rows, stream]
    slots, servers = idle_s.shape
    hosting = (hosts[:, :, None] == np.arange(servers)).any(axis=1)
    unread = np.full((slots, 1), np.nan)
    return Recording(
        at_s=np.arange(slots, dtype=np.float64) * float(scenario.period_s),
        hosts=hosts,
        ends=seen.ends[rows, stream],
        awake=hosting | (idle_s < sleep_after_s),
        offered_mbps=seen.offered_mbps[rows, stream],
        delay_ms=np.where(seen.roamed[rows, stream, None], np.nan, seen.chain_delay_ms[rows, stream]),
        cores=seen.server_cores[rows, stream],
        memory_mb=np.repeat(unread, servers, axis=1),
        link_mbps=np.repeat(unread, 2 * len(scenario.links), axis=1),
        power_w=seen.server_power_w[rows, stream],
        vnf_cores=np.repeat(unread, hosts.shape[1], axis=1),
    )
