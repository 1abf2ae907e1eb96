"""Recipes: read, refused, and what the shipped policies say they were made by."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from agent.a2c_policy import KIND, shipped_policies
from agent.recipes import load_recipe, shipped_recipes
from agent.training import DEFAULTS
from controller.cli import main
from twin.checkpoint import load_checkpoint
from twin.errors import InputError
from twin.features import SCHEMA_HASH

POLICIES = Path(__file__).parents[2] / "agent" / "policies"
RECIPE = """
seed: 3
real_steps: 64
networks: [small, {cores: 2, servers: 8, chains: 2, seed: 5}]
judged_on: [small]
settings: {batch: 4, n_steps: 4, hidden: 8, episode_slots: 8}
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_says_networks_steps_and_settings(tmp_path: Path) -> None:
    recipe = load_recipe(_written(tmp_path, RECIPE))
    assert [s.name for s in recipe.networks] == ["small", "grown-8-8-2"]
    assert [s.name for s in recipe.judged_on] == ["small"]
    assert (recipe.seed, recipe.real_steps, recipe.config.batch) == (3, 64, 4)
    assert recipe.config.discount == DEFAULTS.discount


@pytest.mark.parametrize(
    ("was", "now", "complaint"),
    [
        ("seed: 3", "sed: 3", "it needs judged_on, networks, real_steps, seed, settings, may have start"),
        ("batch: 4", "bach: 4", "no setting bach"),
        ("batch: 4", "batch: four", "four"),
        ("cores: 2, ", "", "a network is a scenario or has"),
        ("[small]", "[]", "one network at least"),
        ("[small]", "[nowhere]", "no such file and no shipped scenario"),
        ("settings: {", "settings: {{", "not YAML"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, was: str, now: str, complaint: str) -> None:
    assert was in RECIPE
    with pytest.raises(InputError, match=complaint):
        load_recipe(_written(tmp_path, RECIPE.replace(was, now)))


def test_an_unknown_name_is_refused_with_those_that_ship() -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file and no recipe that ships; these do: .*medium"):
        load_recipe("nowhere")


def test_the_command_makes_the_same_policy_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.training.VALIDATION_SLOTS", 2)
    recipe, made = _written(tmp_path, RECIPE), []
    for name in ("one", "two"):
        assert main(["train", "--recipe", str(recipe), "-o", str(tmp_path / name)]) == 0
        made.append(load_checkpoint(tmp_path / name, kind=KIND, schema_hash=SCHEMA_HASH))
    assert made[0].seed == 3
    assert made[0].scenario == "small+grown-8-8-2"
    assert made[0].details["config"] == asdict(load_recipe(recipe).config)
    for name, tensor in made[0].tensors.items():
        assert (tensor == made[1].tensors[name]).all(), name


@pytest.mark.parametrize(
    "also", [["small"], ["--seed", "2"], ["--real-steps", "9"], ["--traffic", "held"], ["--start", "small"]]
)
def test_beside_a_recipe_nothing_else_says_what_to_train(
    tmp_path: Path, also: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *also, "--recipe", "medium", "-o", str(tmp_path / "p")]) == 2
    assert "leave the rest out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--recipe", "medium"], "needs -o POLICY"),
        (["small", "--start", "medium", "-o", "{folder}/p"], "--start goes with --from"),
        (["small", "--from", "j.db", "--recipe", "medium", "-o", "{folder}/p"], "no --resume or --recipe"),
    ],
)
def test_words_that_do_not_go_together(
    tmp_path: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *(word.format(folder=tmp_path) for word in words)]) == 2
    assert complaint in capsys.readouterr().err


def test_every_shipped_policy_has_a_recipe_and_says_so_itself() -> None:
    """Whoever changes a recipe has to make its policy anew."""
    assert shipped_recipes() == shipped_policies()
    for name in shipped_policies():
        recipe = load_recipe(name)
        made = load_checkpoint(POLICIES / f"{name}.safetensors", kind=KIND, schema_hash=SCHEMA_HASH)
        assert made.seed == recipe.seed
        assert made.details["config"] == asdict(recipe.config), name
        assert made.scenario == "+".join(s.name for s in recipe.networks)
        assert 0 <= int(str(made.details["steps"])) - recipe.real_steps < recipe.config.batch * recipe.config.n_steps
