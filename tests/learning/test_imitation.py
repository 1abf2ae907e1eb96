"""Imitation: what is right is what search would do, and a policy comes to do it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agent.imitation import Guide, ImitationConfig, imitation_loss, joined, play_guided, study
from agent.network import PolicyNetwork
from agent.training import SIZES
from twin.drawn import Size, drawn_networks
from twin.fast import BatchSim

pytestmark = pytest.mark.learning
CONFIG = ImitationConfig(kicks=2, first_kicks=20, payback_slots=40.0, steps=40, batch=128)


def _sims(count: int) -> list[BatchSim]:
    drawn = drawn_networks(Size(), count, np.random.default_rng(8))
    return [BatchSim(s, 1, 1 + i, randomise=False) for i, s in enumerate(drawn)]


def test_what_is_right_is_feasible_gains_in_the_end_and_comes_to_rest() -> None:
    (sim,) = _sims(1)
    guide, seen = Guide(sim, CONFIG), sim.reset()
    before = sim.search(0).cost(sim.hosts[0])
    for _ in range(30):
        right = guide.labels(seen["mask"])[0]
        assert right.any()
        assert not (right[1:] & ~seen["mask"][0].ravel()).any()
        if right[0]:
            break
        seen = sim.step(np.array([right.argmax()]))[0]
    assert right[0]
    assert right.sum() == 1
    assert sim.search(0).cost(sim.hosts[0]) < 0.8 * before


def test_a_policy_that_studies_comes_to_do_what_is_right() -> None:
    torch.manual_seed(1)
    network, rng = PolicyNetwork(SIZES, hidden=16), np.random.default_rng(1)
    lessons = joined(list(play_guided(_sims(6), network, CONFIG, slots=12, rng=rng)))
    assert lessons.right.any(dim=-1).all()
    network.fit_scalers(lessons.seen)
    before = imitation_loss(network, lessons).item()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    study(network, optimizer, lessons, CONFIG, torch.Generator().manual_seed(1))
    assert imitation_loss(network, lessons).item() < 0.7 * before
    idle = replace(CONFIG, steps=0)
    assert np.isnan(study(network, optimizer, lessons, idle, torch.Generator().manual_seed(1)))
