"""`vnftwin train`: its log, its file to go on from, and what it refuses before it trains."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.a2c import Losses
from agent.training import Progress, TrainingRun
from agent.training_log import SCALARS, TrainingLog
from controller import train_command
from controller.cli import main


def _progress(steps: int, *, validated: bool, twin_error: float = 0.125) -> Progress:
    return Progress(steps, 3, 0.25, 0.5, Losses(1.0, 2.0, 3.0, 0.75, 4.0), validated, twin_error)


def _logged(folder: Path) -> list[tuple[str, int, float]]:
    from tensorboardX.proto import event_pb2

    (path,) = folder.iterdir()
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):  # length (8 bytes), its checksum (4), the event, its checksum (4)
        size = int.from_bytes(content[at : at + 8], "little")
        event = event_pb2.Event.FromString(content[at + 12 : at + 12 + size])
        found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
        at += 12 + size + 4
    return found


def test_every_scalar_is_logged_and_a_score_only_where_it_is_new(tmp_path: Path) -> None:
    with TrainingLog(tmp_path / "log") as log:
        log.write(_progress(1, validated=False))
        log.write(_progress(2, validated=True))
        log.write(_progress(3, validated=True, twin_error=float("nan")))
    found = _logged(tmp_path / "log")
    assert {tag for tag, step, _ in found if step == 2} == set(SCALARS)
    assert {tag for tag, step, _ in found if step == 1} == set(SCALARS) - {"objective/held_out"}
    assert {tag for tag, step, _ in found if step == 3} == set(SCALARS) - {"twin/hold_out_error"}
    assert ("objective/exploring", 1, 0.25) in found
    assert ("critic/explained", 2, 0.75) in found


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train"], "needs a SCENARIO and -o POLICY"),
        (["train", "small"], "needs a SCENARIO and -o POLICY"),
        (["train", "small", "-o", "/nowhere/policy"], "no such folder"),
        (["train", "--resume", "/nowhere/policy.run"], "cannot be read: No such file"),
        (["train", "--resume", "/nowhere/policy", "--seed", "3"], "leave them out"),
        (["train", "--resume", "/nowhere/policy"], "does not end in .run"),
        (["train", "--resume", "/nowhere/policy.run", "--traffic", "sampled"], "leave --traffic and --starts out"),
        (["train", "small", "-o", "policy", "--no-twin", "--starts", "generated"], "leave them out with --no-twin"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_ctrl_c_keeps_the_run_and_the_resumed_command_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal is real: it comes during the first round, which is then finished."""
    policy, rounds = tmp_path / "p.safetensors", TrainingRun.rounds

    def interrupted(run: TrainingRun) -> Iterator[Progress]:
        os.kill(os.getpid(), signal.SIGINT)
        yield from rounds(run)

    monkeypatch.setattr(TrainingRun, "rounds", interrupted)
    monkeypatch.setattr("agent.training.VALIDATION_SLOTS", 1)
    before = signal.getsignal(signal.SIGINT)
    assert main(["train", "small", "-o", str(policy), "--real-steps", "2048", "--no-twin"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    kept = tmp_path / "p.safetensors.run"
    assert f"after 1024 steps; go on with: vnftwin train --resume {kept}" in capsys.readouterr().err
    assert not policy.exists()
    monkeypatch.setattr(TrainingRun, "rounds", rounds)
    assert main(["train", "--resume", str(kept), "--log", str(tmp_path / "log")]) == 0
    assert policy.exists()
    assert not kept.exists()
    assert {step for _, step, _ in _logged(tmp_path / "log")} == {2048}


def test_a_second_ctrl_c_stops_at_once() -> None:
    with train_command.Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
