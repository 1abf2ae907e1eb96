"""The `vnf` program: its command line and its control protocol."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.frames import wait_until

pytestmark = pytest.mark.root
Run = Callable[..., Path]


def call(binary: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(binary), *words], capture_output=True, text=True, timeout=10, check=False)


@pytest.fixture
def run(vnf_binary: Path, run_dir: Path) -> Iterator[Run]:
    """Starts the program with a configuration and returns its control socket."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(text: str = "function monitor\n") -> Path:
        config, control = run_dir / "conf", run_dir / "sock"
        config.write_text(text)
        words = [str(vnf_binary), "--config", str(config), "--control", str(control), "--interface", "nosuch0"]
        processes.append(subprocess.Popen(words))
        assert wait_until(lambda: connects(control))  # the file is there a moment before the socket listens
        return control

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(timeout=5) == 0
        assert time.monotonic() - began < 0.5


def connects(control: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(control)) == 0


def ask(control: Path, *requests: bytes) -> list[bytes]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(control))
        connection.sendall(b"".join(requests))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.splitlines()


def test_version_and_usage(vnf_binary: Path) -> None:
    assert call(vnf_binary, "--version").stdout == "vnf 1.0.0\n"
    for words in ([], ["--nonsense"], ["ctl"], ["--config", "a", "--config-base64", "b"], ["--config", "a", "b"]):
        result = call(vnf_binary, *words)
        assert result.returncode == 2
        assert "usage: vnf" in result.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: no function given"),
        ("# only\n\nwork_us 3\n", "line 3: the first option must be: function NAME"),
        ("function frobnicate", "line 1: not a function"),
        ("function nat", "nat needs an external address"),
        ("function nat\nexternal 10.9.0.300", "line 2: not an IPv4 address: 10.9.0.300"),
        ("function nat\nexternal 10.9.0.1\nentries 0", "line 3: not a whole number from 1"),
        ("function balancer", "balancer needs at least one backend"),
        ("function balancer\nbackend 10.0.0.1\nbackend 10.0.0.1", "line 3: backend given twice"),
        ("function firewall\nrule deny udp 10.0.0.1/8 any 53", "line 2: address has bits outside its prefix"),
        ("function firewall\nrule deny udp 10.0.0.0/8 any 60-50", "line 2: not a port or a range of ports"),
        ("function firewall\nrule deny udp any any 70000", "line 2: not a port or a range of ports"),
        ("function firewall\nrule deny udp any any", "line 2: rule takes 5 values, not 4"),
        ("function firewall\ntrack perhaps", "line 2: neither on nor off"),
        ("function firewall\ndefault perhaps", "line 2: neither accept nor deny"),
        ("function firewall\nwork_us -1", "line 2: not a number from 0"),
        ("function firewall\nwork_us nan", "line 2: not a number from 0"),
        ("function firewall\n1 2 3 4 5 6 7 8 9", "line 2: more than 8 words"),
        ("function monitor\nfunction monitor", "line 2: function given twice"),
        ("function monitor\nexternal 10.0.0.1", "line 2: unknown option: external"),
    ],
)
def test_a_bad_line_is_one_message_and_exit_2(vnf_binary: Path, tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "conf").write_text(text)
    result = call(vnf_binary, "--config", str(tmp_path / "conf"))
    assert result.returncode == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert str(tmp_path / "conf") in result.stderr


def test_missing_file_and_bad_base64(vnf_binary: Path, tmp_path: Path) -> None:
    assert "No such file" in call(vnf_binary, "--config", str(tmp_path / "none")).stderr
    assert "not base64 at character 3" in call(vnf_binary, "--config-base64", "ab*d").stderr


def test_client_prints_the_answer_and_says_by_its_exit_code(vnf_binary: Path, run: Run) -> None:
    control = run()
    good = call(vnf_binary, "ctl", "--control", str(control), "health")
    assert good.returncode == 0
    assert json.loads(good.stdout)["interface_up"] is False
    assert call(vnf_binary, "ctl", "--control", str(control), "nonsense").returncode == 1
    nobody = call(vnf_binary, "ctl", "--control", str(control) + "x", "health")
    assert nobody.returncode == 1
    assert "no answer" in nobody.stderr


def test_configure_reads_the_file_again_and_keeps_the_old_when_it_is_bad(run: Run) -> None:
    control = run("function firewall\n")
    (control.parent / "conf").write_text("function nat\nexternal 10.9.0.1\n")
    assert json.loads(ask(control, b"configure\n")[0]) == {"ok": True}
    (control.parent / "conf").write_text("function nat\nexternal nowhere\n")
    [refused] = ask(control, b"configure\n")
    assert json.loads(refused) == {"ok": False, "error": "line 2: not an IPv4 address: nowhere"}
    assert json.loads(ask(control, b"health\n")[0])["function"] == "nat"


def test_many_requests_on_one_connection(run: Run) -> None:
    answers = ask(run(), b"health\n", b"counters\nhea", b"lth\n", b"\n")
    assert [json.loads(answer)["ok"] for answer in answers] == [True, True, True, False]


def test_nonsense_and_silence_do_not_stop_it(run: Run) -> None:
    control, rng = run(), random.Random(1)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(12)]  # more than it serves at once
    for connection in silent:
        connection.connect(str(control))
    time.sleep(0.05)
    for connection in silent:
        connection.close()
    for _ in range(200):
        for answer in ask(control, rng.randbytes(rng.randrange(300)).replace(b"\0", b"") + b"\n"):
            assert json.loads(answer)["ok"] is False
    with pytest.raises((ConnectionError, IndexError)):  # a line without an end is cut off
        ask(control, b"x" * (1 << 20))[0]
    assert json.loads(ask(control, b"health\n")[0])["ok"] is True
