"""A policy in a file of the user's: found, used, and what is wrong with it told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.a2c_policy import named_policy
from controller.cli import main
from twin.errors import InputError
from twin.scenario_file import load_scenario

LAZY = """
from agent.decision import Stay

class Lazy:
    name = "lazy"

    def decide(self, view):
        return Stay("why bother")

class Nameless:
    pass
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lazy.py"
    path.write_text(LAZY)
    return path


def test_it_is_found_by_its_class(file: Path) -> None:
    policy = named_policy(f"{file}:Lazy", load_scenario("small"))
    assert policy.name == "lazy"


def test_it_decides_in_a_dry_run(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small", "--dry-run", "--duration", "8", "--policy", f"{file}:Lazy"]) == 0
    assert "→" not in capsys.readouterr().out  # nothing moved


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lazy.py:Busy", "has no attribute 'Busy'"),
        ("lazy.py:Nameless", r"needs `name` and `decide\(view\)`"),
        ("gone.py:Lazy", "is not there"),
        ("broken.py:Lazy", "SyntaxError"),
    ],
)
def test_what_is_wrong_is_told(file: Path, name: str, message: str) -> None:
    (file.parent / "broken.py").write_text("class")
    with pytest.raises(InputError, match=message):
        named_policy(f"{file.parent}/{name}", load_scenario("small"))


def test_an_image_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a VNF, as a file: told by `check`, with its line."""
    text = Path("scenarios/small.yaml").read_text()
    scenario = tmp_path / "own.yaml"
    scenario.write_text(text.replace("service_ms: 0.06}", "service_ms: 0.06, image: gone.tar}", 1))
    assert main(["check", str(scenario)]) == 2
    assert "image no such file" in capsys.readouterr().err
