"""The compiled policy is the readable one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent.compiled_policy import CompiledPolicy
from agent.network import PolicyNetwork, tensors
from agent.policy import PolicyFunction
from agent.training import SIZES
from twin.features import Observation


def _policy(seed: int, *, hidden: int) -> PolicyFunction:
    """Every weight, bias and scaler drawn at random, so that none can be forgotten."""
    function = PolicyNetwork(SIZES, hidden=hidden).function()
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(0.0, 0.3, t.shape).astype(np.float32) for name, t in function.weights.items()}
    scalers = {name: rng.uniform(0.3, 2.0, t.shape).astype(np.float32) for name, t in function.scalers.items()}
    return PolicyFunction(weights, scalers)


def _observation(seed: int, *lead: int, vnfs: int, servers: int) -> Observation:
    rng = np.random.default_rng(seed)

    def block(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 4.0, (*lead, *shape)).astype(np.float32)

    return Observation(
        block(vnfs, SIZES.vnf),
        block(servers, SIZES.server),
        block(vnfs, servers, SIZES.pair),
        block(SIZES.glob),
        rng.random((*lead, vnfs, servers)) < 0.6,
    )


@pytest.mark.parametrize(
    ("hidden", "vnfs", "servers", "lead"),
    [(32, 32, 16, ()), (32, 7, 5, (3,)), (8, 1, 1, ()), (16, 40, 3, (2, 2)), (5, 13, 11, ())],
)
def test_it_is_the_readable_policy(hidden: int, vnfs: int, servers: int, lead: tuple[int, ...]) -> None:
    """Sizes below, at and above a block of pairs, odd ones among them; twice, since work space is used again."""
    function = _policy(hidden, hidden=hidden)
    compiled = CompiledPolicy(function)
    for seed in (1, 2):
        seen = _observation(seed, *lead, vnfs=vnfs, servers=servers)
        found, expected = compiled(seen), function(seen)
        np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-4, atol=1e-3)
        assert found.logits.shape == expected.logits.shape


def test_masked_moves_are_never_the_likeliest() -> None:
    compiled = CompiledPolicy(_policy(1, hidden=8))
    seen = _observation(4, vnfs=3, servers=4)
    blocked = Observation(seen.vnf, seen.server, seen.pair, seen.glob, np.zeros((3, 4), dtype=np.bool_))
    assert compiled(blocked).logits.argmax() == 0


def test_its_torch_twin_agrees_too() -> None:
    network = PolicyNetwork(SIZES, hidden=8)
    network.restore(_policy(3, hidden=8))
    seen = _observation(5, 2, vnfs=4, servers=3)
    with torch.no_grad():
        logits, value = network(tensors(seen))
    found = CompiledPolicy(network.function())(seen)
    np.testing.assert_allclose(found.logits, logits.numpy(), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.value, value.numpy(), rtol=1e-4, atol=1e-3)
