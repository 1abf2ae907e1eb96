"""`twin fit` and `twin report` from the journals of dry runs, and what they say of files that are none."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from controller.cli import main
from controller.journal import replay as replay_journal
from controller.journal import state_digest
from controller.journal_recordings import read_runs
from twin.scenario_file import load_scenario


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("journals")
    files = [folder / f"{seed}.db" for seed in (1, 2)]
    for seed, file in enumerate(files):
        main(["run", "small", "--dry-run", "--policy", "random", "--duration", "280", "--seed", str(seed),
              "--journal", str(file)])  # fmt: skip
    return files


def test_a_dry_run_writes_a_journal_that_replays_bit_for_bit(journals: list[Path]) -> None:
    runs = read_runs(journals[0])
    assert [len(r) for r in runs.recordings] == [70]
    for decision, state in replay_journal(journals[0], load_scenario("small")):
        assert decision.digest == state_digest(state)


def test_fit_then_report(journals: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = tmp_path / "t.safetensors"
    assert main(["twin", "fit", str(journals[0]), "-o", str(twin), "--steps", "4"]) == 0
    assert "fitted on 54 slots of 1 runs of small" in capsys.readouterr().out
    assert main(["twin", "report", str(twin), str(journals[1]), "--json", "--plots", str(tmp_path / "plots")]) == 0
    table, _ = capsys.readouterr().out.splitlines()
    rows = json.loads(table)
    assert {row["ahead"] for row in rows} == {1, 2, 3, 4}
    assert len(rows) == 4 * 6
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == ["twin-heads.png", "twin-rollout.png"]
    assert main(["twin", "report", str(twin), str(journals[0])]) == 2
    assert "report on other journals" in capsys.readouterr().err


def test_fitting_goes_on_from_a_twin_that_is_there(
    journals: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = str(tmp_path / "first.safetensors"), str(tmp_path / "second.safetensors")
    assert main(["twin", "fit", str(journals[0]), "--from", "generic", "-o", first, "--steps", "2"]) == 0
    assert main(["twin", "fit", str(journals[1]), "--from", first, "-o", second, "--steps", "2"]) == 0
    assert capsys.readouterr().out.count("fitted on 54 slots") == 2


@pytest.mark.parametrize(("content", "said"), [(None, "no journal"), (b"SQLite format 3\0broken", "damaged")])
def test_what_is_no_journal_is_one_clear_line(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j.db"
    if content is not None:
        path.write_bytes(content)
    assert main(["twin", "fit", str(path), "-o", str(tmp_path / "t")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_truncated_journal_is_refused(
    journals: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j.db"
    with sqlite3.connect(journals[0]) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(journals[0].read_bytes()[: 3 * 4096])
    assert main(["twin", "fit", str(path), "-o", str(tmp_path / "t")]) == 2
    assert "not a journal, or damaged" in capsys.readouterr().err


def test_a_short_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j.db"
    main(["run", "small", "--dry-run", "--policy", "stay", "--duration", "60", "--journal", str(path)])
    assert main(["twin", "fit", str(path), "-o", str(tmp_path / "t")]) == 2
    assert "too short to learn from: 15 slots in 1 runs" in capsys.readouterr().err
    assert main(["run", "small", "--dry-run", "--duration", "60", "--journal", str(path)]) == 2
    assert "exists" in capsys.readouterr().err
