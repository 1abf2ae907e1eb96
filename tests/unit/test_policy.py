"""The numpy policy and the torch network are one function, and masks hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent.actions import STAY, legal_actions, move_action, moved
from agent.network import FeatureSizes, PolicyNetwork, tensors
from agent.policy import PolicyFunction
from twin.features import GLOBAL_FEATURES, PAIR_FEATURES, SERVER_FEATURES, VNF_FEATURES, Observation

SIZES = FeatureSizes(len(VNF_FEATURES), len(SERVER_FEATURES), len(PAIR_FEATURES), len(GLOBAL_FEATURES))


def observation(rng: np.random.Generator, *lead: int, vnfs: int = 5, servers: int = 4) -> Observation:
    def block(*shape: int) -> np.ndarray:
        return rng.normal(scale=2.0, size=(*lead, *shape)).astype(np.float32)

    return Observation(
        block(vnfs, SIZES.vnf),
        block(servers, SIZES.server),
        block(vnfs, servers, SIZES.pair),
        block(SIZES.glob),
        rng.random((*lead, vnfs, servers)) < 0.6,
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def network(rng: np.random.Generator) -> PolicyNetwork:
    torch.manual_seed(4)
    network = PolicyNetwork(SIZES, hidden=16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.fit_scalers(tensors(observation(rng, 50)))
    return network


@pytest.fixture
def function(network: PolicyNetwork) -> PolicyFunction:
    return network.function()


@pytest.mark.parametrize(("vnfs", "servers"), [(1, 1), (5, 4), (32, 16)])
def test_numpy_and_torch_agree_on_any_size(
    network: PolicyNetwork, function: PolicyFunction, rng: np.random.Generator, vnfs: int, servers: int
) -> None:
    batch = observation(rng, 3, vnfs=vnfs, servers=servers)
    with torch.no_grad():
        logits, value = network(tensors(batch))
    scores = function(batch)
    np.testing.assert_allclose(scores.logits, logits.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores.value, value.numpy(), rtol=1e-4, atol=1e-4)
    assert scores.logits.shape == (3, 1 + vnfs * servers)


def test_one_observation_scores_as_it_does_in_a_batch(function: PolicyFunction, rng: np.random.Generator) -> None:
    batch = observation(rng, 3)
    together = function(batch)
    for b in range(3):
        fields = (batch.vnf[b], batch.server[b], batch.pair[b], batch.glob[b], batch.mask[b])
        alone = function(Observation(*fields))
        np.testing.assert_allclose(alone.logits, together.logits[b], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(alone.value, together.value[b], rtol=1e-4, atol=1e-4)


def test_stay_is_certain_where_nothing_is_feasible(function: PolicyFunction, rng: np.random.Generator) -> None:
    nothing = observation(rng)
    nothing.mask[:] = False
    probabilities = function(nothing).probabilities
    assert probabilities[STAY] == 1.0
    assert (probabilities[1:] == 0.0).all()


def test_probabilities_of_masked_moves_are_zero(function: PolicyFunction, rng: np.random.Generator) -> None:
    batch = observation(rng, 20)
    probabilities = function(batch).probabilities
    assert (probabilities[~legal_actions(batch.mask)] == 0.0).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)


def test_the_pair_reaches_the_score_that_carries_its_number(function: PolicyFunction, rng: np.random.Generator) -> None:
    """`direct` adds to a pair's own score only: shows that actions and pairs are counted in the same order."""
    seen = observation(rng)
    seen.mask[:] = True
    weights = {name: np.zeros_like(tensor) for name, tensor in function.weights.items()}
    weights["direct.weight"] = np.ones_like(weights["direct.weight"])
    seen.pair[:] = 0.0
    seen.pair[3, 2] = 1.0
    scores = PolicyFunction(weights, {k: np.ones_like(v) for k, v in function.scalers.items()})(seen)
    assert int(scores.logits[1:].argmax()) + 1 == move_action(3, 2, servers=4)
    assert moved(move_action(3, 2, servers=4), servers=4) == (3, 2)


def test_stay_is_no_move() -> None:
    with pytest.raises(ValueError, match="stay"):
        moved(STAY, servers=4)


def test_weights_survive_the_way_to_numpy_and_back(network: PolicyNetwork, function: PolicyFunction) -> None:
    other = PolicyNetwork(SIZES, hidden=16)
    other.restore(function)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=0, rtol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        PolicyNetwork(SIZES, hidden=8).restore(function)


def test_the_frozen_copy_does_not_follow_the_training(network: PolicyNetwork) -> None:
    frozen = network.function()
    before = frozen.weights["own.weight"].copy()
    with torch.no_grad():
        network.own.weight.add_(1.0)
    np.testing.assert_array_equal(frozen.weights["own.weight"], before)


def test_a_constant_feature_is_not_divided_by_nothing(rng: np.random.Generator) -> None:
    network = PolicyNetwork(SIZES)
    batch = observation(rng, 50)
    batch.glob[:, 0] = 0.5
    network.fit_scalers(tensors(batch))
    assert network.state_dict()["glob_std"][0] == 1.0
    assert np.isfinite(network.function()(batch).logits).all()


def test_scalers_of_several_scenarios_count_all_alike_whatever_their_size(rng: np.random.Generator) -> None:
    """Batches of 50 and 10 whose means are 0 and 4 and deviations 0: the mean is 2, the deviation 2."""
    network = PolicyNetwork(SIZES)
    many, few = observation(rng, 50), observation(rng, 10)
    many.glob[:, 0], few.glob[:, 0] = 0.0, 4.0
    network.fit_scalers(tensors(many), tensors(few))
    assert network.state_dict()["glob_mean"][0] == 2.0
    assert network.state_dict()["glob_std"][0] == 2.0


def test_an_input_far_out_counts_as_far_out_not_by_how_far(function: PolicyFunction, rng: np.random.Generator) -> None:
    seen = observation(rng)
    seen.glob[0] = 1e3
    far = function(seen)
    seen.glob[0] = 1e6
    np.testing.assert_array_equal(function(seen).logits, far.logits)
