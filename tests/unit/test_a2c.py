"""The parts of A2C against literal formulas, and the whole on a game whose best play is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.a2c import A2CConfig, Rollout, advantages, both_ways, policy_terms, standardised, update
from agent.network import FeatureSizes, ObservationTensors, PolicyNetwork
from agent.policy_loss import draw

CONFIG = A2CConfig(discount=0.9, gae=0.8, n_steps=5, batch=3)
SIZES = FeatureSizes(vnf=2, server=3, pair=4, glob=1)


def _observations(rng: torch.Generator, *lead: int, vnfs: int = 2, servers: int = 3) -> ObservationTensors:
    return ObservationTensors(
        torch.randn(*lead, vnfs, SIZES.vnf, generator=rng),
        torch.randn(*lead, servers, SIZES.server, generator=rng),
        torch.randn(*lead, vnfs, servers, SIZES.pair, generator=rng),
        torch.randn(*lead, SIZES.glob, generator=rng),
        torch.rand(*lead, vnfs, servers, generator=rng) < 0.7,
    )


def _rollout(rng: torch.Generator, slots: int, batch: int) -> Rollout:
    return Rollout(
        _observations(rng, slots, batch),
        torch.randn(slots, batch, 1 + 2 * 3, generator=rng),
        torch.zeros(slots, batch, dtype=torch.int64),
        torch.randn(slots, batch, generator=rng),
        torch.randn(slots, batch, generator=rng),
        torch.randn(slots, batch, generator=rng),
        torch.rand(slots, batch, generator=rng) < 0.3,
    )


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_advantages_are_the_discounted_sum_of_errors_up_to_the_cut(rng: torch.Generator) -> None:
    rollout = _rollout(rng, 5, 3)
    found = advantages(rollout, CONFIG)
    for t in range(5):
        for b in range(3):
            expected = 0.0
            for k in range(t, 5):
                error = 0.1 * rollout.rewards[k, b] + 0.9 * rollout.successor_values[k, b] - rollout.values[k, b]
                expected += (0.9 * 0.8) ** (k - t) * float(error)
                if rollout.cut[k, b]:
                    break
            assert float(found[t, b]) == pytest.approx(expected, abs=1e-5)


def test_a_perfect_critic_leaves_no_advantage_also_at_a_time_limit(rng: torch.Generator) -> None:
    """A network does not end at a time limit: with reward 1 for ever every value is 1 per slot."""
    steady = torch.ones(5, 3)
    rollout = replace(_rollout(rng, 5, 3), rewards=torch.ones(5, 3), values=steady, successor_values=steady)
    assert rollout.cut.any()
    torch.testing.assert_close(advantages(rollout, CONFIG), torch.zeros(5, 3), atol=1e-5, rtol=0)


def test_masked_actions_are_never_drawn(rng: torch.Generator) -> None:
    network = PolicyNetwork(SIZES, hidden=8)
    seen = _observations(rng, 1)
    batch = ObservationTensors(*(field.expand(4000, *field.shape[1:]) for field in seen))
    logits, _ = network(batch)
    actions = draw(logits, rng)
    legal = torch.cat([torch.tensor([True]), seen.mask[0].flatten()])
    assert set(actions.tolist()) == set(torch.nonzero(legal).flatten().tolist())


def test_what_keeps_staying_alive_pulls_as_hard_however_unlikely_it_became() -> None:
    """With p = P(stay), ½·log p + ½·log(1 − p) has the slope ½ − p in the logit of stay, where an entropy has none."""
    for stay in (-30.0, -2.0, 0.0, 2.0, 30.0):
        logits = torch.tensor([[stay, 0.0, 0.0, -1e9]], requires_grad=True)
        torch.autograd.backward(both_ways(logits))
        assert logits.grad is not None
        odds = torch.tensor(stay).exp() / 2.0
        assert float(logits.grad[0, 0]) == pytest.approx(0.5 - float(odds / (1.0 + odds)), abs=1e-5)
        assert float(logits.grad[0, 3]) == 0.0


def test_where_no_move_is_legal_there_is_nothing_to_keep_alive() -> None:
    logits = torch.tensor([[0.0, -1e9, -1e9], [0.0, 0.0, -1e9]], requires_grad=True)
    kept = both_ways(logits)
    assert float(kept.detach()) == pytest.approx(0.5 * float(torch.tensor(0.5).log()))  # the mean counts both rows
    torch.autograd.backward(kept)
    assert logits.grad is not None
    assert not logits.grad[0].any()
    assert logits.grad.isfinite().all()


def test_entropy_counts_legal_actions_only(rng: torch.Generator) -> None:
    logits = torch.tensor([[0.0, 0.0, -1e9, 0.0, -1e9]])
    _, entropy = policy_terms(logits, torch.tensor([0]), torch.tensor([1.0]))
    assert float(entropy) == pytest.approx(float(torch.tensor(3.0).log()))


def test_a_masked_logit_gets_no_gradient() -> None:
    logits = torch.tensor([[0.5, -1e9, 0.1]], requires_grad=True)
    policy, entropy = policy_terms(logits, torch.tensor([0]), torch.tensor([1.0]))
    (gradient,) = torch.autograd.grad(policy - 0.1 * entropy, logits)
    assert torch.isfinite(gradient).all()
    assert float(gradient[0, 1]) == 0.0
    assert float(gradient[0, 0]) < 0.0  # a good action becomes likelier


def test_standardised_advantages_do_not_depend_on_the_rewards_scale(rng: torch.Generator) -> None:
    raw = torch.randn(100, generator=rng)
    torch.testing.assert_close(standardised(raw), standardised(50 * raw), atol=1e-3, rtol=0)


def test_an_update_with_the_same_seed_gives_the_same_weights() -> None:
    def trained() -> list[torch.Tensor]:
        torch.manual_seed(1)
        network = PolicyNetwork(SIZES, hidden=8)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        update(network, optimizer, _rollout(torch.Generator().manual_seed(2), 5, 3), CONFIG, entropy_coef=0.01)
        return [p.detach() for p in network.parameters()]

    for one, other in zip(trained(), trained(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def _play(network: PolicyNetwork, rng: torch.Generator, config: A2CConfig) -> Rollout:
    """A game of one-slot rounds: a legal pair pays its first feature, stay pays nothing."""
    observations = _observations(rng, config.n_steps + 1, config.batch)
    with torch.no_grad():
        logits, values = network(ObservationTensors(*(f.flatten(0, 1) for f in observations)))
    actions = draw(logits, rng).reshape(config.n_steps + 1, config.batch)
    values = values.reshape(config.n_steps + 1, config.batch)
    pays = torch.cat([torch.zeros(*values.shape, 1), observations.pair[..., 0].flatten(-2)], dim=-1)
    rewards = pays.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    now = ObservationTensors(*(field[:-1] for field in observations))
    cut = torch.zeros(config.n_steps, config.batch, dtype=torch.bool)
    logits = logits.reshape(config.n_steps + 1, config.batch, -1)
    return Rollout(now, logits[:-1], actions[:-1], rewards[:-1], values[:-1], values[1:], cut)


def test_the_best_pair_is_learnt_in_a_game_of_known_best_play() -> None:
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    config = A2CConfig(discount=0.0, n_steps=4, batch=64, learning_rate=5e-3)
    network = PolicyNetwork(SIZES, hidden=16)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    before = _play(network, rng, config).rewards.mean()
    for _ in range(150):
        losses = update(network, optimizer, _play(network, rng, config), config, entropy_coef=0.001)
    rollout = _play(network, rng, replace(config, batch=512))
    legal = rollout.observations.pair[..., 0].masked_fill(~rollout.observations.mask, 0.0)
    best = legal.flatten(-2).amax(dim=-1).clamp_min(0.0).mean()
    assert float(before) < 0.3 * float(best)
    assert float(rollout.rewards.mean()) > 0.9 * float(best)
    assert losses.explained <= 1.0
