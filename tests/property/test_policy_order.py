"""A policy must not care in which order a file lists its VNFs and servers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.network import PolicyNetwork
from agent.policy import PolicyFunction
from tests.unit.test_policy import SIZES, observation
from twin.features import Observation


def _function() -> PolicyFunction:
    torch.manual_seed(8)
    network = PolicyNetwork(SIZES, hidden=8)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.function()


FUNCTION = _function()


@given(seed=st.integers(0, 2**32 - 1), vnfs=st.integers(1, 9), servers=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_a_permutation_of_the_rows_permutes_the_scores(seed: int, vnfs: int, servers: int) -> None:
    rng = np.random.default_rng(seed)
    seen = observation(rng, vnfs=vnfs, servers=servers)
    rows, columns = rng.permutation(vnfs), rng.permutation(servers)
    shuffled = Observation(
        seen.vnf[rows],
        seen.server[columns],
        seen.pair[np.ix_(rows, columns)],
        seen.glob,
        seen.mask[np.ix_(rows, columns)],
    )
    scores, permuted = FUNCTION(seen), FUNCTION(shuffled)
    table, moved = (s.logits[1:].reshape(vnfs, servers) for s in (scores, permuted))
    np.testing.assert_allclose(moved, table[np.ix_(rows, columns)], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(permuted.logits[0], scores.logits[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(permuted.value, scores.value, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_scores_are_finite_for_any_finite_observation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = observation(rng, vnfs=3, servers=3)
    seen.pair[...] *= np.float32(10.0 ** rng.uniform(-6, 6))
    scores = FUNCTION(seen)
    assert np.isfinite(scores.logits).all()
    assert np.isfinite(scores.value)
