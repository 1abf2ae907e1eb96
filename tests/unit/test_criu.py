"""CRIU's words: the cause in a log, and what is said where it is absent or refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.checkpoint import CheckpointError, Criu, checkpoint_lack, complaint

LOG = """\
(00.043712) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.312641)      1: Error (criu/sk-packet.c:495): packet: Can't bind packet socket: No such device
(00.317911)      1: Error (criu/files.c:1221): Unable to open fd=6 id=0x8
(00.319528) Error (criu/cr-restore.c:2331): Restoring FAILED.
"""


def test_the_cause_is_the_first_error_that_means_something() -> None:
    assert complaint(LOG) == "packet: Can't bind packet socket: No such device"
    assert complaint("(00.1) Error (criu/cr-restore.c:2331): Restoring FAILED.") == ""


def _script(folder: Path, log: str) -> Criu:
    """A program that answers as CRIU does when it fails."""
    program = folder / "criu"
    version = '[ "$1" = --version ] && { echo "Version: 3.17.1"; exit; }'
    program.write_text(f"#!/bin/sh\n{version}\ncat > dump.log <<END\n{log}END\nexit 1\n")
    program.chmod(0o755)
    return Criu(str(program))


def test_a_refusal_is_one_line_with_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    images.mkdir()
    monkeypatch.chdir(images)
    with pytest.raises(CheckpointError, match=r"^criu 3\.17\.1: packet: Can't bind packet socket: No such device$"):
        _script(tmp_path, LOG).dump(os.getpid(), images)


def test_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.checkpoint.shutil.which", lambda *_args, **_more: None)
    assert checkpoint_lack() == "criu is not installed"
