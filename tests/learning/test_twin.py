"""A twin that is fitted for a few seconds predicts diurnal traffic, and what follows from it, better than no twin."""

from __future__ import annotations

import numpy as np
import pytest

from twin.learned.fitting import FitConfig
from twin.learned.learner import TwinLearner
from twin.learned.recording import Recording, recordings, simulated_states, wanderer
from twin.learned.scoring import predict, scores
from twin.scenario import DiurnalTraffic
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld

SMALL = load_scenario("small")


@pytest.mark.learning
def test_a_short_fit_beats_persistence_on_a_run_it_never_saw() -> None:
    def run(seed: int) -> list[Recording]:
        world = TwinWorld(SMALL, seed=seed, start_slot=7 * seed)
        return recordings(SMALL, simulated_states(world, 150, wanderer(SMALL, np.random.default_rng(seed))))

    learner = TwinLearner(SMALL, seed=1, config=FitConfig(members=2, units=32))
    twin = learner.fit([r for seed in range(4) for r in run(seed)], rng=np.random.default_rng(1), steps=250)
    unseen = [twin.encoder.sequence(r) for r in run(50)]
    table = scores(twin.encoder, twin.function, unseen, distances=(4,), shares=twin.shares)
    assert all(row.alone_ratio < 0.8 for row in table), table
    assert all(row.ratio < 1.0 for row in table), table
    diurnal = [isinstance(chain.traffic, DiurnalTraffic) for chain in SMALL.chains]
    traffic = predict(twin.encoder, twin.function, unseen[0], ahead=4)["traffic"]
    error, before = (np.nanmean(np.abs(p - traffic.observed)[8:, diurnal]) for p in (traffic.twin, traffic.persistence))
    assert error < 0.5 * before
