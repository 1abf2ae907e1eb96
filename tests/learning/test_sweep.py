"""A sweep gives the same policies with and without Ray, also when a node is killed under it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agent.sweep import InProcesses, Trial, parse_setting, run_trial, trials
from agent.sweep_ray import OnRay
from agent.training import TrainedPolicy
from controller.cli import main
from twin.errors import InputError
from twin.scenario_file import dump_scenario, load_scenario

pytestmark = pytest.mark.learning
SMALL = {"batch": (4,), "hidden": (8,), "n_steps": (4,)}


def _trials(seeds: Sequence[int], *, real_steps: int = 16) -> list[Trial]:
    return trials(dump_scenario(load_scenario("small")), seeds=seeds, real_steps=real_steps, settings=SMALL)


def _assert_same(found: dict[int, TrainedPolicy], expected: dict[int, TrainedPolicy]) -> None:
    assert found.keys() == expected.keys()
    for row, trained in expected.items():
        assert found[row].validations == trained.validations
        for name, tensor in trained.function.weights.items():
            np.testing.assert_array_equal(found[row].function.weights[name], tensor)


def test_every_combination_with_every_seed() -> None:
    made = trials("", seeds=(1, 2), real_steps=9, settings={"gae": (0.9, 0.95), "discount": (0.5,)})
    assert [(t.settings, t.seed) for t in made] == [
        ((("gae", gae), ("discount", 0.5)), seed) for gae in (0.9, 0.95) for seed in (1, 2)
    ]
    assert made[0].name == "gae=0.9,discount=0.5,seed=1"
    assert [t.name for t in trials("", seeds=(3,), real_steps=9, settings={})] == ["seed=3"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("speed=1", "no setting 'speed'"), ("gae=x", "gae needs numbers"), ("batch=1.5", "batch needs whole numbers")],
)
def test_a_wrong_setting_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_setting(text)


def test_settings_keep_the_type_of_their_field() -> None:
    assert parse_setting("learning_rate=1e-3,3e-3") == ("learning_rate", (1e-3, 3e-3))
    assert parse_setting("batch=8") == ("batch", (8,))


def test_without_ray_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import finds where it is not installed
    assert main(["sweep", "small", "-o", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "vnftwin[sweep]" in line


def test_the_command_writes_policies_and_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("agent.training.VALIDATION_SLOTS", 1)
    monkeypatch.setattr(InProcesses, "__call__", lambda self, wanted: ((i, run_trial(t)) for i, t in enumerate(wanted)))
    words = ["sweep", "small", "--no-ray", "--seeds", "2", "--real-steps", "16", "-o", str(tmp_path / "out")]
    assert main([*words, "--set", "gae=0.9,0.95", "--set", "batch=4", "--set", "hidden=8"]) == 0
    assert "gae" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"sweep.json"} | {
        f"gae={gae},batch=4,hidden=8,seed={seed}.safetensors" for gae in ("0.9", "0.95") for seed in (1, 2)
    }


@pytest.mark.slow
def test_a_killed_node_loses_no_run_and_the_policies_are_those_of_processes() -> None:
    import ray
    from ray import cluster_utils

    wanted = _trials((1, 2, 3))
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)
        found: dict[int, TrainedPolicy] = {}
        for row, trained in OnRay()(wanted):
            if not found:  # the first has ended, two are under way: at least one of them there
                cluster.remove_node(lost, allow_graceful=False)
            assert row not in found
            found[row] = trained
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    _assert_same(found, dict(InProcesses(2)(wanted)))
