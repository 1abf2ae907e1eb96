"""The trained policy as it decides: loading, refusing what does not fit, deciding, giving reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.a2c import A2CConfig
from agent.a2c_policy import (
    A2CPolicy,
    default_policy,
    load_policy,
    named_policy,
    shipped_policies,
    weight_shapes,
)
from agent.decision import Move, Stay, View
from agent.lookahead import Lookahead
from agent.network import PolicyNetwork
from agent.policy import PolicyFunction
from agent.training import SIZES, TrainedPolicy
from tests.unit.test_baselines import view_of
from twin.errors import InputError
from twin.scenario import Scenario
from twin.scenario_file import load_scenario


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("small")


@pytest.fixture
def view(scenario: Scenario) -> View:
    return view_of(scenario)


@pytest.fixture
def trained() -> TrainedPolicy:
    torch.manual_seed(3)
    function = PolicyNetwork(SIZES, hidden=8).function()
    return TrainedPolicy(function, ("small",), 3, 1024, A2CConfig(), ((1024, 0.1),))


def _preferring(function: PolicyFunction, stay: float) -> A2CPolicy:
    """Scores of all moves alike, and `stay` for staying."""
    weights = {name: np.zeros_like(tensor) for name, tensor in function.weights.items()}
    weights["stay.2.bias"] = np.array([stay], np.float32)
    return A2CPolicy(PolicyFunction(weights, function.scalers), trained_on="nothing")


def test_a_saved_policy_decides_like_the_one_trained(tmp_path: Path, trained: TrainedPolicy, view: View) -> None:
    trained.save(tmp_path / "p")
    loaded = load_policy(tmp_path / "p")
    seen = Lookahead().observation(view)
    np.testing.assert_array_equal(loaded.function(seen).logits, trained.function(seen).logits)
    assert loaded.trained_on == "small"


def test_the_likeliest_action_is_taken(trained: TrainedPolicy, view: View) -> None:
    seen = Lookahead().observation(view)
    scores = trained.function(seen)
    decision = A2CPolicy(trained.function, trained_on="small").decide(view)
    best = int(scores.logits.argmax())
    assert (best == 0) == isinstance(decision, Stay)
    if isinstance(decision, Move):
        row = view.scenario.vnf_index[decision.vnf] * len(view.scenario.servers)
        assert best == 1 + row + view.scenario.server_index[decision.target]


def test_a_move_is_feasible_and_carries_reason_and_prediction(trained: TrainedPolicy, view: View) -> None:
    decision = _preferring(trained.function, stay=-1.0).decide(view)
    assert isinstance(decision, Move)
    assert view.mask[view.scenario.vnf_index[decision.vnf], view.scenario.server_index[decision.target]]
    assert decision.reason.startswith("predicted ")
    assert decision.prediction.delay_now_ms > 0.0


def test_stay_says_how_sure_it_is(trained: TrainedPolicy, view: View) -> None:
    decision = _preferring(trained.function, stay=20.0).decide(view)
    assert decision == Stay("no move is worth its cost (100% sure)")


def test_nothing_feasible_is_stay(trained: TrainedPolicy, view: View) -> None:
    nothing = replace(view, mask=np.zeros_like(view.mask))
    assert _preferring(trained.function, stay=-9.0).decide(nothing) == Stay("no move is feasible")


def test_the_network_has_the_declared_weights_and_no_others() -> None:
    sizes = {block: getattr(SIZES, block) for block in ("vnf", "server", "pair", "glob")}
    shapes = {name: tensor.shape for name, tensor in PolicyNetwork(SIZES, hidden=8).function().weights.items()}
    assert shapes == weight_shapes(sizes, 8)


def test_a_file_with_other_weights_is_refused(tmp_path: Path, trained: TrainedPolicy) -> None:
    weights = dict(trained.function.weights)
    weights["own.bias"] = weights["own.bias"][:3]
    replace(trained, function=PolicyFunction(weights, trained.function.scalers)).save(tmp_path / "p")
    with pytest.raises(InputError, match="train it anew"):
        load_policy(tmp_path / "p")
    del weights["own.weight"]
    replace(trained, function=PolicyFunction(weights, trained.function.scalers)).save(tmp_path / "p")
    with pytest.raises(InputError, match="train it anew"):
        load_policy(tmp_path / "p")


def test_an_unknown_name_is_refused_with_the_names_there_are(scenario: Scenario) -> None:
    with pytest.raises(InputError, match=r"no policy 'nowhere': neither a file nor one of .*small"):
        load_policy("nowhere")
    with pytest.raises(InputError, match="unknown policy 'nowhere': one of a2c, stay"):
        named_policy("nowhere", scenario)


@pytest.mark.parametrize("name", ["small", "medium"])
def test_the_shipped_policies_fit_and_are_small(name: str) -> None:
    scenario = load_scenario(name)
    policy = default_policy(scenario)
    assert name in policy.trained_on
    policy.decide(view_of(scenario))
    path = Path("agent/policies") / f"{name}.safetensors"
    assert (Path(__file__).parents[2] / path).stat().st_size < 200_000


def test_a_scenario_without_its_own_policy_gets_the_generic_one(scenario: Scenario) -> None:
    stranger = replace(scenario, name="stranger")
    assert "generic" in shipped_policies()
    assert len(default_policy(stranger).trained_on.split("+")) > 1


def test_names_users_may_give(tmp_path: Path, scenario: Scenario, trained: TrainedPolicy) -> None:
    trained.save(tmp_path / "mine")
    assert [named_policy(n, scenario).name for n in ("", "a2c", "greedy", str(tmp_path / "mine"), "medium")] == [
        "a2c",
        "a2c",
        "greedy",
        "a2c",
        "a2c",
    ]
