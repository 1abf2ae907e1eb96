"""The client of the VNFs' control protocol: one line asked, one line of JSON answered (docs/vnf.md)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from controller.containers import ContainerError

SOCKET_NAME = "control.sock"
_TIMEOUT_S = 2.0
_MAX_ANSWER_BYTES = 4 << 20


def ask_socket(
    folder: Path, name: str, request: str, *, timeout_s: float = _TIMEOUT_S, pass_fd: int | None = None
) -> Mapping[str, object]:
    """Asks the VNF whose control socket is in `folder`. ContainerError when it does not answer, or answers no.

    A `pass_fd` goes with the request (SCM_RIGHTS). The folder is opened first and the socket addressed through it: a
    unix socket's path is limited to 107 bytes.
    """
    try:
        folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerError(f"{name}: no answer to {_verb(request)!r}: {error.strerror}") from None
    try:
        path = f"/proc/self/fd/{folder_fd}/{SOCKET_NAME}"
        return parse_answer(name, request, _exchange(path, request, timeout_s, pass_fd))
    except OSError as error:
        raise ContainerError(f"{name}: no answer to {_verb(request)!r}: {error.strerror or error}") from None
    finally:
        os.close(folder_fd)


def parse_answer(name: str, request: str, answer: str) -> Mapping[str, object]:
    """The answer's members; ContainerError with the VNF's own words when it refused."""
    try:
        members = json.loads(answer)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise ContainerError(f"{name}: unreadable answer to {_verb(request)!r}")
    if not members.get("ok"):
        raise ContainerError(f"{name}: {_verb(request)}: {members.get('error', 'refused')}")
    return members


def is_ready(health: Mapping[str, object]) -> bool:
    """Serves, and its interface is up."""
    return health.get("ok") is True and health.get("interface_up") is True


def _exchange(path: str, request: str, timeout_s: float, pass_fd: int | None) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        line = request.encode() + b"\n"
        sent = 0 if pass_fd is None else socket.send_fds(connection, [line], [pass_fd])
        if sent < len(line):  # it may have been answered already, and the connection closed
            connection.sendall(line[sent:])
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) < _MAX_ANSWER_BYTES:
            piece = connection.recv(65536)
            if not piece:
                raise OSError("connection closed")
            answer += piece
    return answer.decode()


def _verb(request: str) -> str:
    return request.split(" ", 1)[0]
