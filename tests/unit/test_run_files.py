"""Files that a user names on the command line of a run are found by the controller, which starts elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.run import from_here


@pytest.mark.parametrize("behind", ["", "+polish", ":Homesick", ":Homesick+polish"])
def test_a_file_is_told_by_its_whole_path(behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    assert from_here(f"mine.py{behind}") == f"{tmp_path / 'mine.py'}{behind}"


@pytest.mark.parametrize("name", ["", "a2c", "a2c+look-ahead", "local-search", "generic", "nowhere.py:Class"])
def test_any_other_name_stays_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(name) == name
