"""The compiled network that learns is the one in torch: logits, values, and the derivative by every weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent.a2c import policy_terms
from agent.fused import scored
from agent.network import PolicyNetwork, tensors
from agent.training import SIZES
from tests.unit.test_compiled_policy import _observation, _policy
from twin.features import Observation


def _derivatives(network: PolicyNetwork, logits: torch.Tensor, values: torch.Tensor) -> dict[str, torch.Tensor]:
    """By every weight, of a loss that A2C could have."""
    rng = torch.Generator().manual_seed(7)
    actions = torch.softmax(logits, dim=-1).multinomial(1, generator=torch.Generator().manual_seed(3)).squeeze(-1)
    advantage, returns = torch.randn(len(values), generator=rng), torch.randn(len(values), generator=rng)
    policy, entropy = policy_terms(logits, actions, advantage)
    network.zero_grad()
    torch.autograd.backward(policy + 0.7 * (returns - values).square().mean() - 0.3 * entropy)
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("hidden", "vnfs", "servers"), [(32, 32, 16), (5, 7, 5), (16, 3, 1), (20, 1, 4)])
def test_derivatives_are_those_of_autograd(hidden: int, vnfs: int, servers: int) -> None:
    network = PolicyNetwork(SIZES, hidden=hidden)
    network.restore(_policy(hidden, hidden=hidden))
    seen = tensors(_observation(5, 6, vnfs=vnfs, servers=servers))
    expected = _derivatives(network, *network(seen))
    logits, values = scored(network, seen)
    found = _derivatives(network, logits, values)
    assert found.keys() == expected.keys() == dict(network.named_parameters()).keys()
    for name, derivative in expected.items():
        size = derivative.abs().max().item()
        np.testing.assert_allclose(found[name], derivative, rtol=2e-4, atol=1e-5 + 1e-5 * size, err_msg=name)


def test_equal_maxima_share_as_in_torch() -> None:
    """Servers that look alike, so that several numbers of a row are its maximum."""
    one = _observation(9, 4, vnfs=3, servers=2)
    twice = (np.concatenate([part, part], axis=axis) for part, axis in ((one.server, 1), (one.pair, 2), (one.mask, 2)))
    server, pair, mask = twice
    seen = tensors(Observation(one.vnf, server, pair, one.glob, mask))
    network = PolicyNetwork(SIZES, hidden=8)
    network.restore(_policy(2, hidden=8))
    expected = _derivatives(network, *network(seen))
    found = _derivatives(network, *scored(network, seen))
    for name, derivative in expected.items():
        np.testing.assert_allclose(found[name], derivative, rtol=2e-4, atol=1e-4, err_msg=name)
