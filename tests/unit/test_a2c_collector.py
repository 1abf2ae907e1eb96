"""What the collector hands to the algorithm: successors, cuts, staggered episodes, legal actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agent.a2c import Rollout
from agent.collector import GROUPS, Collector
from agent.network import PolicyNetwork
from agent.training import DEFAULTS, SIZES
from twin.scenario_file import load_scenario

SLOTS = 8
CONFIG = replace(DEFAULTS, batch=8, n_steps=2 * SLOTS, hidden=8, episode_slots=SLOTS)


def _collector(network: PolicyNetwork) -> Collector:
    rng = torch.Generator().manual_seed(1)
    return Collector(load_scenario("small"), network, CONFIG, rng=rng, seed=1)


@pytest.fixture(scope="module")
def network() -> PolicyNetwork:
    torch.manual_seed(6)
    network = PolicyNetwork(SIZES, hidden=8)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture(scope="module")
def rollout(network: PolicyNetwork) -> Rollout:
    return _collector(network).collect()


def test_a_successors_value_is_the_next_slots_unless_the_episode_was_cut(rollout: Rollout) -> None:
    """At a cut the next slot belongs to another episode; the successor is what was there before the reset."""
    same = rollout.successor_values[:-1] == rollout.values[1:]
    assert same[~rollout.cut[:-1]].all()
    assert not same[rollout.cut[:-1]].any()


def test_every_instance_is_cut_once_per_episode(rollout: Rollout) -> None:
    assert (rollout.cut.sum(dim=0) == 2).all()


def test_groups_start_their_episodes_apart(rollout: Rollout) -> None:
    firsts = rollout.cut.int().argmax(dim=0)
    assert len(set(firsts.tolist())) == GROUPS
    assert rollout.cut.any(dim=1).float().mean() == pytest.approx(GROUPS / SLOTS)


def test_actions_are_legal(rollout: Rollout) -> None:
    mask = rollout.observations.mask.flatten(-2)
    moves = rollout.actions > 0
    chosen = mask.gather(-1, (rollout.actions - 1).clamp_min(0).unsqueeze(-1)).squeeze(-1)
    assert moves.any()
    assert chosen[moves].all()


def test_observations_are_kept_not_overwritten(rollout: Rollout) -> None:
    """The simulator reuses its arrays; slots that shared one would all look alike."""
    pairs = rollout.observations.pair.flatten(1)
    assert len({pair.numpy().tobytes() for pair in pairs}) == len(pairs)


def test_values_are_those_of_the_observations(rollout: Rollout, network: PolicyNetwork) -> None:
    with torch.no_grad():
        again = network(type(rollout.observations)(*(f[3] for f in rollout.observations)))[1]
    torch.testing.assert_close(again, rollout.values[3], atol=1e-5, rtol=1e-4)


def test_the_file_start_and_any_start_take_turns(rollout: Rollout) -> None:
    """Instances of one file-start group share the placement their episodes begin with, others do not."""
    seen = rollout.observations
    starts = [int(np.flatnonzero(rollout.cut[:, b].numpy())[0]) + 1 for b in range(CONFIG.batch)]
    present = [seen.pair[t, b, ..., 0].numpy().tobytes() for b, t in enumerate(starts)]
    assert present[0] == present[1] == present[4] == present[5]
    assert len({present[b] for b in (2, 3, 6, 7)} - {present[0]}) >= 2  # chance may give the file's own
