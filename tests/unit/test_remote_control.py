"""What a remote engine's client is told, and how its answers are read."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller import remote_control
from controller.containers import ContainerError, Instance
from controller.remote_control import RemoteControl

INSTANCE = Instance(id="c0ffee", name="nat-1", vnf="web.nat", server="far", pid=1, running=True, labels={})


class Answers:
    """The engine's side of an `exec`: the frames of an answer, as the SDK's client gives them."""

    def __init__(self, *frames: tuple[int, bytes], entrypoint: list[str] | None) -> None:
        content = b"".join(struct.pack("!BxxxI", stream, len(body)) + body for stream, body in frames)
        self.raw = SimpleNamespace(_fp=SimpleNamespace(fp=io.BytesIO(content)))
        self.entrypoint, self.commands = entrypoint, list[list[str]]()
        self.api = self

    def inspect_container(self, _container: str) -> dict[str, dict[str, object]]:
        return {"Config": {"Entrypoint": self.entrypoint}}

    def exec_create(self, _container: str, command: list[str]) -> dict[str, str]:
        self.commands.append(command)
        return {"Id": "e1"}

    def _url(self, path: str, *values: str) -> str:
        return path.format(*values)

    def _post_json(self, url: str, *, headers: dict[str, str], data: dict[str, bool], stream: bool) -> Answers:
        assert (url, headers["Upgrade"], data["Tty"], stream) == ("/exec/e1/start", "tcp", False, True)
        return self

    def close(self) -> None:
        """Nothing."""

    def _raise_for_status(self, _response: object) -> None:
        return None


def test_an_answer_in_pieces_is_put_together_without_what_came_on_stderr() -> None:
    engine = Answers((1, b'{"ok":true,'), (2, b"a warning\n"), (1, b'"entries":3}\n'), entrypoint=None)
    told = RemoteControl("tcp://far:2376").ask(engine, INSTANCE, "handover status")  # type: ignore[arg-type]
    assert told == {"ok": True, "entries": 3}
    assert engine.commands == [["/vnf", "ctl", "handover", "status"]]


def test_the_images_own_entry_point_is_its_client() -> None:
    engine = Answers((1, b'{"ok":true}\n'), entrypoint=["python3", "/quota.py"])
    RemoteControl("tcp://far:2376").ask(engine, INSTANCE, "health")  # type: ignore[arg-type]
    assert engine.commands == [["python3", "/quota.py", "ctl", "health"]]


def test_a_program_that_says_nothing_is_an_error() -> None:
    with pytest.raises(ContainerError, match="nat-1: unreadable answer to 'health'"):
        RemoteControl("tcp://far:2376").ask(Answers(entrypoint=None), INSTANCE, "health")  # type: ignore[arg-type]


def test_a_descriptor_needs_the_engines_client_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    remote = RemoteControl("tcp://far:2376")
    assert remote.descriptor_lack() == "the program docker is not on the controller's machine"
    with pytest.raises(ContainerError, match="nat-1: the program docker is not on"):
        remote.join(Answers(entrypoint=None), INSTANCE, "handover join a b", 0)  # type: ignore[arg-type]


def test_the_clients_own_complaint_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'error during connect: Host key verification failed.' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ContainerError, match=r"nat-1: no relay: error during connect: Host key verification failed\."):
        RemoteControl("ssh://far").join(Answers(entrypoint=None), INSTANCE, "handover join a b", 0)  # type: ignore[arg-type]


def test_the_secret_is_in_the_environment_and_nothing_of_the_users_leads_the_client_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    found = remote_control._environment("name secret")
    assert found["VNF_JOIN"] == "name secret"
    assert found["PATH"] == os.environ["PATH"]
    assert not [key for key in found if key.startswith("DOCKER_")]


def test_tls_is_asked_for_with_all_three_files() -> None:
    assert remote_control._tls_options("") == []
    assert remote_control._tls_options("/pki") == [
        "--tlsverify", "--tlscacert=/pki/ca.pem", "--tlscert=/pki/cert.pem", "--tlskey=/pki/key.pem",
    ]  # fmt: skip


def test_a_line_is_read_to_its_end_and_no_longer_than_the_time() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb", buffering=0) as sink:
        threading.Timer(0.05, sink.write, [b"ed\n"]).start()
        sink.write(b"join")
        assert remote_control._first_line(stream, 5.0) == "joined\n"
        sink.write(b"half")
        began = time.monotonic()
        assert remote_control._first_line(stream, 0.05) == "half"
        assert time.monotonic() - began < 5.0
