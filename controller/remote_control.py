"""VNFs whose engine is on another machine: asked by `exec`, and introduced to a peer through the engine's own client.

A descriptor cannot leave this machine. In its place `vnf relay` runs in the container, and its stdin and stdout are the
descriptor's, carried by `docker exec`: by TLS or SSH, like all that goes to the engine (docs/handover.md, "Across
engines"). That program is nobody's child for long: the stream outlives the controller, as that of two local ones does.
"""

from __future__ import annotations

import os
import selectors
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from docker.client import DockerClient

from controller.containers import ContainerError, Instance
from controller.control_socket import parse_answer

CLIENT = "docker"
_JOIN = "handover join "
_JOIN_VARIABLE = "VNF_JOIN"
_OWN_PROGRAM = ("/vnf",)
_HEADER, _STDOUT = struct.Struct("!BxxxI"), 1
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
_ANSWER_S = 10.0
_MAX_ANSWER_BYTES = 1 << 16


class RemoteControl:
    """Asks the instances of one engine; from several threads at once. Source: ours."""

    def __init__(self, url: str, tls: str = "") -> None:
        """`tls` is a folder with ca.pem, cert.pem and key.pem."""
        self._client = [CLIENT, *_tls_options(tls), "-H", url]
        self._programs: dict[str, Sequence[str]] = {}  # by container
        self._relays: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def descriptor_lack() -> str:
        """Why no descriptor can be passed, in one line; '' where it can."""
        return "" if shutil.which(CLIENT) else "the program docker is not on the controller's machine"

    def ask(self, client: DockerClient, instance: Instance, request: str) -> Mapping[str, object]:
        """Runs the VNF's own client in its container."""
        command = [*self._program(client, instance), "ctl", *request.split()]
        return parse_answer(instance.name, request, _output(client, instance.id, command))

    def join(self, client: DockerClient, instance: Instance, request: str, pass_fd: int) -> Mapping[str, object]:
        """`handover join SESSION SECRET` with a descriptor, which a relay holds from now on."""
        if not request.startswith(_JOIN):
            raise ContainerError(f"{instance.name}: no descriptor can go with {request.split(' ', 1)[0]!r}")
        if lack := self.descriptor_lack():
            raise ContainerError(f"{instance.name}: {lack}")
        inside = ["exec", "-i", "-e", _JOIN_VARIABLE, instance.id, *self._program(client, instance), "relay"]
        relay = subprocess.Popen(
            [*self._client, *inside], stdin=pass_fd, stdout=pass_fd, stderr=subprocess.PIPE,
            env=_environment(request.removeprefix(_JOIN)), start_new_session=True,
        )  # fmt: skip
        assert relay.stderr is not None
        try:
            answer = _first_line(relay.stderr, _ANSWER_S)
            if not answer.startswith("{"):  # the client's own words
                raise ContainerError(f"{instance.name}: no relay: {' '.join(answer.split())[:300] or 'no answer'}")
            return parse_answer(instance.name, request, answer)
        except ContainerError:
            relay.kill()
            raise
        finally:
            relay.stderr.close()
            self._relays = [one for one in (*self._relays, relay) if one.poll() is None]  # those that ended are reaped

    def forget(self, container_id: str) -> None:
        self._programs.pop(container_id, None)

    def _program(self, client: DockerClient, instance: Instance) -> Sequence[str]:
        """What the image starts: it is its own client, too."""
        if instance.id not in self._programs:
            found = client.api.inspect_container(instance.id)["Config"].get("Entrypoint")
            self._programs[instance.id] = tuple(found or _OWN_PROGRAM)
        return self._programs[instance.id]


def _output(client: DockerClient, container_id: str, command: Sequence[str]) -> str:
    """What a program in a container writes on stdout.

    Read through the HTTP client's own buffer. The SDK's `exec_start` reads beneath it: what came in one segment with
    the header is lost, and over the ssh program there is nothing beneath that it knows.
    """
    api: Any = client.api
    made = api.exec_create(container_id, list(command))
    response = api._post_json(
        api._url("/exec/{0}/start", made["Id"]), headers=_UPGRADE, data={"Detach": False, "Tty": False}, stream=True
    )
    try:
        api._raise_for_status(response)
        frames = _frames(response.raw._fp.fp)
        return b"".join(body for stream, body in frames if stream == _STDOUT).decode(errors="replace")
    finally:
        response.close()


def _frames(source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(stream, what came from it), as the engine puts several streams in one: stream (1 byte), 3 zeros, length (4)."""
    while len(header := source.read(_HEADER.size)) == _HEADER.size:
        stream, length = _HEADER.unpack(header)
        yield stream, source.read(length)


def _tls_options(folder: str) -> list[str]:
    files = {"--tlscacert": "ca.pem", "--tlscert": "cert.pem", "--tlskey": "key.pem"}
    return ["--tlsverify", *(f"{option}={folder}/{file}" for option, file in files.items())] if folder else []


def _environment(session: str) -> dict[str, str]:
    """Ours without what would lead the client elsewhere, and the session with its secret."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    return {**kept, _JOIN_VARIABLE: session}


def _first_line(stream: IO[bytes], timeout_s: float) -> str:
    """What came until the first end of line, the end, or the time."""
    deadline, line = time.monotonic() + timeout_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < _MAX_ANSWER_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            if not (piece := os.read(stream.fileno(), 4096)):
                break
            line += piece
    return line.decode(errors="replace")
