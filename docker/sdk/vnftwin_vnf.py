"""What every VNF has to do besides its work (docs/vnf.md, docs/handover.md): port, control socket, hand-over.

A VNF is a class with `function`, `process(frame) -> frame or None`, and its state in `self.state`; `run(Class)` is its
program, with the same command line as ours, its clients `ctl` and `relay` included. No dependencies; to be copied into
an image beside the VNF.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import select
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from hand_over_session import HEIR, OWNER, VERSION, HandOverError, Session, State

_PACKET_IGNORE_OUTGOING, _SOL_PACKET, _SIOCGIFFLAGS = 23, 263, 0x8913


class Vnf:
    """To be subclassed. `numbers` are counters that go along with the state."""

    function, fits = "", ""

    def __init__(self, config: Sequence[str]) -> None:
        self.config, self.state, self.numbers = config, State(), [0]

    def process(self, frame: bytes) -> bytes | None:
        """The frame to send in place of this one; None drops it."""
        raise NotImplementedError


class _Program:
    def __init__(self, vnf: Vnf, interface: str, control: str, standby: bool) -> None:
        self.vnf, self.interface, self.standby = vnf, interface, standby
        self.port: socket.socket | None = None
        self.session: Session | None = None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            os.unlink(control)
        self.listener.bind(control)
        self.listener.listen()

    def run(self) -> None:
        while True:
            self.open_port()
            self.follow_session()
            live = self.session is not None and self.session.open
            frozen = live and self.session is not None and self.session.phase in ("holding", "committed")
            watched: list[socket.socket] = [self.listener]
            watched += [self.port] if self.port and not frozen else []
            watched += [self.session.stream] if live and self.session else []
            ready, _, _ = select.select(watched, [], [], 0.001 if live else 0.02)
            for one in ready:
                self.serve(one)

    def open_port(self) -> None:
        if self.port is None and any(name == self.interface for _, name in socket.if_nameindex()):
            self.port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self.port.bind((self.interface, 0))

    def follow_session(self) -> None:
        session = self.session
        if session is None:
            return
        session.turn()
        self.standby = not session.active

    def serve(self, ready: socket.socket) -> None:
        if ready is self.listener:
            self.answer()
        elif ready is self.port:
            with suppress(OSError):  # the interface fell
                self.forward(ready.recv(65536))
        elif self.session is not None and self.session.open:
            self.session.receive()

    def forward(self, frame: bytes) -> None:
        session = self.session
        if session is not None and session.open and session.role == HEIR:
            if session.was_owner:
                session.tunnel(frame)
        elif not self.standby:
            self.deliver(frame)

    def deliver(self, frame: bytes) -> None:
        sent = self.vnf.process(frame)
        if sent is not None and self.port is not None:
            self.port.send(sent)

    def answer(self) -> None:
        connection, _ = self.listener.accept()
        with connection, suppress(OSError):
            connection.settimeout(1.0)
            line, passed, _, _ = socket.recv_fds(connection, 65536, 1)
            while line and not line.endswith(b"\n") and (more := connection.recv(65536)):
                line += more
            words = line.decode(errors="replace").split()
            try:
                told = {"ok": True, **self.obey(words, passed)}
            except (HandOverError, ValueError, IndexError) as error:
                told = {"ok": False, "error": str(error)}
            connection.sendall(json.dumps(told, separators=(",", ":")).encode() + b"\n")

    def obey(self, words: list[str], passed: list[int]) -> dict[str, Any]:
        match words:
            case ["health"]:
                up = self.port is not None and _is_up(self.interface)
                return {"function": self.vnf.function, "interface_up": up, "active": up and not self.standby,
                        "standby": self.standby, "hand_over": VERSION}  # fmt: skip
            case ["counters"]:
                return {"entries": len(self.vnf.state.entries), "numbers": self.vnf.numbers}
            case ["activate"]:
                if self.session is not None and self.session.open and self.standby:
                    raise HandOverError("the peer is there: take over from it instead")
                self.session, self.standby = None, False
            case ["handover", "join", name, secret]:
                self.session = Session(
                    socket.socket(fileno=passed[0]), name, bytes.fromhex(secret), HEIR if self.standby else OWNER,
                    self.vnf.state, function=self.vnf.function, fits=self.vnf.fits, numbers=self.vnf.numbers,
                    deliver=self.deliver,
                )  # fmt: skip
            case ["handover", "take"] if self.session is not None:
                self.session.take()
            case ["handover", "leave"] if self.session is not None:
                self.session.end("left")
            case ["handover", "status"]:
                pass
            case _:
                raise HandOverError("unknown request")
        return self.status()

    def status(self) -> dict[str, Any]:
        session = self.session
        if session is None:
            return {"session": "", "role": "none", "phase": "none", "standby": self.standby}
        heir_phase = "tunnelling" if session.was_owner else "sync" if session.complete else "copying"
        phase = heir_phase if session.role == HEIR else "sync" if session.in_sync else "copying"
        return {
            "session": session.name if session.open else "", "role": {OWNER: "owner", HEIR: "heir"}[session.role],
            "phase": phase if session.phase == "running" else session.phase, "standby": not session.active,
            "whole_copy": session.complete, "entries_sent": session.sent, "dirty": session.lacking,
            "rounds": session.rounds, "freeze_us": session.freeze_us, "last_entries": session.last_entries,
            "digest": self.vnf.state.digest().hex(), "tunnelled_packets": session.tunnelled, "error": session.error,
        }  # fmt: skip


def _is_up(interface: str) -> bool:
    request = interface.encode().ljust(32, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        flags = int.from_bytes(fcntl.ioctl(probe, _SIOCGIFFLAGS, request)[16:18], "little")
        return flags & 0x41 == 0x41  # up and running
    return False


def run(vnf_class: type[Vnf]) -> None:
    """The program: the VNF, which never returns, or one of its two clients, `ctl REQUEST...` and `relay`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="/run/vnf/vnf.conf")
    parser.add_argument("--config-base64")
    parser.add_argument("--control", default="/run/vnf/control.sock")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--standby", action="store_true")
    parser.add_argument("client", nargs="*", help="ctl REQUEST... | relay")
    told = parser.parse_args()
    if told.client[:1] == ["ctl"]:
        sys.exit(_ask(told.control, " ".join(told.client[1:]), sys.stdout))
    if told.client == ["relay"]:
        sys.exit(_relay(told.control))
    if told.config_base64 is not None:
        lines = base64.b64decode(told.config_base64).decode().splitlines()
    else:
        with open(told.config) as file:
            lines = file.read().splitlines()
    _Program(vnf_class(lines), told.interface, told.control, told.standby).run()


def _ask(control: str, request: str, out: TextIO, passed: Sequence[int] = ()) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2.0)
        connection.connect(control)
        socket.send_fds(connection, [request.encode() + b"\n"], list(passed))
        answer = connection.makefile().readline()
    print(answer, end="", file=out, flush=True)
    return 0 if json.loads(answer)["ok"] else 1


def _relay(control: str) -> int:
    """A session's stream on stdin and stdout, for a peer on another machine; VNF_JOIN is its name and secret."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        refused = _ask(control, f"handover join {os.environ['VNF_JOIN']}", sys.stderr, [theirs.fileno()])
    if refused:
        return refused
    threading.Thread(target=_carry, args=(0, ours.fileno()), daemon=True).start()
    _carry(ours.fileno(), 1)
    return 0


def _carry(source: int, sink: int) -> None:
    """Until the source ends; the process with it, since nothing is left to carry for."""
    with suppress(OSError):
        while piece := os.read(source, 65536):
            while piece:
                piece = piece[os.write(sink, piece) :]
    os._exit(0)
