"""`vnftwin bench`: what it prints and writes of figures that take no time here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.speed import PRODUCTS, SEEN, SHARE, TORCH_PRODUCTS, TORCH_SHARE, TRAINING, Figure, measured, share
from controller import bench_command
from controller.cli import main


def nothing(names: dict[str, float]) -> list[Figure]:
    return [Figure(name, "steps/CPU-s", lambda: None, lambda _s, value=value: value) for name, value in names.items()]  # type: ignore[misc]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {SEEN: 2000.0, TRAINING: 500.0, PRODUCTS: 2000.0, TORCH_PRODUCTS: 1000.0}
    monkeypatch.setattr(bench_command, "figures", lambda _scenario: nothing(told))


@pytest.mark.usefixtures("_quick")
def test_figures_are_printed_and_every_round_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "speed.json"
    assert main(["bench", "small", "--rounds", "3", "--json", str(file)]) == 0
    assert "training" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["scenario"] == "small"
    assert written["figures"][TRAINING] == {"unit": "steps/CPU-s", "rounds": [500.0] * 3}
    assert written["figures"][SHARE] == {"unit": "%", "rounds": [50.0] * 3}
    assert written["figures"][TORCH_SHARE] == {"unit": "%", "rounds": [75.0] * 3}


@pytest.mark.usefixtures("_quick")
def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "small", "--json", str(tmp_path / "no" / "speed.json")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_rounds_take_turns_and_each_work_is_done_once_before() -> None:
    done: list[str] = []
    wanted = [Figure(name, "ms", lambda name=name: done.append(name), lambda s: s) for name in "ab"]  # type: ignore[misc]
    assert [figure.name for figure, _ in measured(wanted, times=2)] == ["a", "b", "a", "b"]
    assert done == ["a", "b"] * 3


def test_the_share_of_a_training_that_waits_for_nothing_else_is_one() -> None:
    assert share(1.0 / (1.0 / 300.0 + 1.0 / 700.0), 300.0, 700.0) == pytest.approx(1.0)
