"""Commands as programs use them: JSON, exit codes, and what a shell completes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import make_server

import pytest

from agent.baselines import StayPolicy
from controller.cli import main
from controller.cli_remote import MODES
from controller.records import Mode
from controller.rest import RestApplication
from tests.fakes.service import Control
from twin.scenario_file import load_scenario

BASH = """
eval "$(cat {file})"
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_vnftwin 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_check_gives_its_summary_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "small", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    small = load_scenario("small")
    assert told["ok"]
    assert (told["name"], told["servers"], told["vnfs"]) == ("small", len(small.servers), len(small.vnfs))


def test_check_gives_every_problem_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("schema: 1\nname: Bad Name\ncolour: red\n")
    assert main(["check", str(file), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert any(problem["line"] == 3 and "colour" in str(problem) for problem in told["problems"])


def test_a_dry_run_gives_its_figures_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small", "--dry-run", "--duration", "20", "--policy", "stay", "--json"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert (figures["policy"], figures["moves"]) == ("stay", 0)
    assert figures["delay_ms"] == pytest.approx(figures["stay_delay_ms"])


def test_on_another_than_a_loopback_address_nothing_is_served_without_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VNFTWIN_TOKEN", raising=False)
    for command in (["run", "small", "--dry-run"], ["controller", "small"]):
        assert main([*command, "--listen", "0.0.0.0:0"]) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert "needs a bearer token: set VNFTWIN_TOKEN" in said.err


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["run", "small", "--dry-run", "--listen", f"127.0.0.1:{port}"]) == 2
    said = capsys.readouterr().err
    assert (
        said == f"vnftwin: cannot listen on 127.0.0.1:{port}: Address already in use (choose another with --listen)\n"
    )


@pytest.fixture
def url() -> Iterator[str]:
    """Where a controller answers."""
    control = Control(load_scenario("small"), StayPolicy())
    with make_server("127.0.0.1", 0, RestApplication(control.descriptions)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_names_of_a_running_controller_are_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["status", "--list", what, "--url", url]) for what in ("servers", "vnfs")] == [0, 0]
    small = load_scenario("small")
    assert capsys.readouterr().out.split() == [*(s.id for s in small.servers), *(v.id for v in small.vnfs)]


def test_who_decides_is_said_and_asked(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    calls = (["mode"], ["mode", "advise"], ["mode", "--json"], ["mode", "manual", "--json"], ["mode"])
    assert [main([*call, "--url", url]) for call in calls] == [0] * len(calls)
    told = capsys.readouterr().out.splitlines()
    assert told == ["auto", "advise", '{"mode": "advise"}', '{"mode": "manual"}', "manual"]


def test_every_mode_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(Mode) == MODES
    with pytest.raises(SystemExit, match="2"):
        main(["mode", "asleep"])
    assert "invalid choice: 'asleep'" in capsys.readouterr().err


def test_without_a_controller_a_mode_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert main(["mode", "auto", "--url", f"http://127.0.0.1:{port}"]) == 1
    said = capsys.readouterr().err
    assert said == f"vnftwin: no controller answers at http://127.0.0.1:{port} (ConnectionError)\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_completed(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in (
        "check",
        "run",
        "controller",
        "train",
        "evaluate",
        "import",
        "status",
        "move",
        "mode",
        "completion",
    ):
        assert command in script
    if (program := shutil.which(shell)) is not None:
        file = tmp_path / "completion"
        file.write_text(script)
        subprocess.run([program, "-n", str(file)], check=True)  # it parses


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("vnftwin ev", "evaluate"), ("vnftwin run sma", "small"), ("vnftwin run --dry", "--dry-run"),
        ("vnftwin controller --mode adv", "advise"), ("vnftwin mode m", "manual"), ("vnftwin completion fi", "fish"),
    ],
)  # fmt: skip
def test_bash_completes(words: str, offered: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", "bash"]) == 0
    file = tmp_path / "completion"
    file.write_text(capsys.readouterr().out)
    program = BASH.format(file=file, words=words)
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [offered]
