"""The protocol of a hand-over (docs/handover.md) for VNFs in Python: no dependencies, to be copied beside a VNF."""

from __future__ import annotations

import hmac
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from hand_over_state import State

VERSION, MAX_BODY, SYNC_ENTRIES, CHUNK_ENTRIES, TAKE_TIMEOUT_S = 1, 16384, 300, 64, 0.05
OWNER, HEIR = 1, 2
HELLO, PROOF, START, PUT, REMOVE, ROUND, ACK, FREEZE, READY, REFUSE, COMMIT, CANCEL, ACTIVE, FRAME, BYE = range(1, 16)
ERRORS = (
    "", "left", "wrong_version", "wrong_function", "wrong_configuration", "wrong_role", "unauthenticated", "malformed",
    "truncated", "digest_mismatch", "table_full", "no_session", "not_in_sync", "not_ready", "timeout", "peer_gone",
)  # fmt: skip


class HandOverError(Exception):
    """One of `ERRORS`, perhaps with more after a colon."""


class Session:
    """One end. `numbers` are the function's own counters, shared with it; `deliver` processes a frame sent on."""

    def __init__(
        self, stream: socket.socket, name: str, secret: bytes, role: int, state: State, *, function: str,
        fits: str = "", numbers: list[int] | None = None, deliver: Callable[[bytes], None] = lambda _frame: None,
    ) -> None:  # fmt: skip
        self.stream, self.name, self.secret, self.role, self.state = stream, name, secret, role, state
        self.function, self.fits, self.deliver = function, fits, deliver
        self.numbers: list[int] = [] if numbers is None else numbers
        self.pending_numbers: Sequence[int] = ()
        self.theirs = b""
        self.phase, self.started, self.complete = "greeting", False, False
        self.was_owner = self.peer_tunnels = False
        self.inbox, self.held, self.attempt, self.refused = bytearray(), list[bytes](), 0, 0
        self.sent = self.acknowledged = self.taken = self.told = self.rounds = self.round_sent = 0
        self.freeze_us = self.last_entries = self.tunnelled = 0
        self.error, self.open = "", True
        stream.settimeout(1.0)
        self.mine = b"VNFH" + struct.pack("!HB", VERSION, role) + os.urandom(32)
        self.mine += bytes([len(function)]) + function.encode() + bytes([len(fits)]) + fits.encode()
        self.send(HELLO, self.mine)

    @property
    def active(self) -> bool:
        return self.role == OWNER and self.phase != "committed"

    @property
    def lacking(self) -> int:
        return len(self.state.dirty) + len(self.state.removed) + self.sent - self.acknowledged

    @property
    def in_sync(self) -> bool:
        return self.open and self.role == OWNER and self.complete and self.lacking < SYNC_ENTRIES

    def send(self, kind: int, body: bytes = b"") -> None:
        with suppress(OSError):  # its end is told by reading
            self.stream.sendall(struct.pack("!IB", len(body), kind) + body)

    def end(self, error: str) -> None:
        """An owner goes on serving; an heir that never served keeps only the whole copy of an owner that is gone."""
        if not self.open:
            return
        self.error, self.open = error, False
        self._deliver_held()
        number = ERRORS.index(error.split(":")[0])
        self.send(BYE, bytes([number]))
        self.stream.close()
        kept = self.was_owner or (self.complete and number in (8, 15))
        if self.role == HEIR and self.started and not kept:
            self.state.entries.clear()
        self.phase = "none"

    def receive(self) -> None:
        """Reads once, waiting at most as long as the stream's timeout, and does what is asked."""
        try:
            piece = self.stream.recv(65536)
        except (TimeoutError, BlockingIOError):
            return
        except OSError:
            piece = b""
        self.inbox += piece
        try:
            for kind, body in self._records():
                self._handle(kind, body)
            if not piece:
                raise HandOverError("truncated" if self.inbox else "peer_gone")
        except HandOverError as error:
            self.end(str(error))
        except (struct.error, IndexError, KeyError):
            self.end("malformed")
        if self.open and self.taken > self.told:
            self.told = self.taken
            self.send(ACK, struct.pack("!Q", self.taken))

    def turn(self) -> None:
        """Owner: sends a bounded piece of what the heir lacks."""
        if not (self.open and self.role == OWNER and self.started and self.phase == "running"):
            return
        self._send_some()
        if not self.state.dirty and not self.state.removed:
            self._end_round()

    def take(self) -> None:
        """Owner: gives its state away. HandOverError, and it serves on, when that cannot be."""
        if not self.in_sync:
            raise HandOverError("not_in_sync" if self.open else "no_session")
        began, self.last_entries, self.refused = time.monotonic(), self.lacking, 0
        while self._send_some():
            pass
        self.attempt += 1
        self.phase = "freezing"
        body = struct.pack("!IQ", self.attempt, len(self.state.entries)) + self.state.digest()
        self.send(FREEZE, body + struct.pack(f"!H{len(self.numbers)}Q", len(self.numbers), *self.numbers))
        while self.open and self.phase in ("freezing", "committed") and time.monotonic() < began + TAKE_TIMEOUT_S:
            self.stream.settimeout(0.01)
            self.receive()
        if self.open:
            self.stream.settimeout(1.0)
        self.freeze_us = round((time.monotonic() - began) * 1e6)
        if self.active:
            self._explain()

    def tunnel(self, frame: bytes) -> None:
        """Former owner: what came to its port."""
        self.tunnelled += 1
        self.send(FRAME, frame)

    def _explain(self) -> None:
        self._deliver_held()
        if self.open and self.phase == "freezing":
            self.phase = "running"
            self.send(CANCEL, struct.pack("!I", self.attempt))
        raise HandOverError(self.error or ERRORS[self.refused] or "timeout")

    def _send_some(self) -> int:
        state = self.state
        keys = list(islice(state.removed or state.dirty, CHUNK_ENTRIES))
        if state.removed:
            self.send(REMOVE, b"".join(bytes([len(key)]) + key for key in keys))
            for key in keys:
                del state.removed[key]
        elif keys:
            self.send(PUT, b"".join(state.mark(key) for key in keys))
        self.sent += len(keys)
        return len(keys)

    def _end_round(self) -> None:
        if self.complete and self.sent == self.round_sent:
            return
        self.round_sent, self.complete = self.sent, True
        self.rounds += 1
        self.send(ROUND, struct.pack("!Q", self.rounds))

    def _records(self) -> Iterator[tuple[int, bytes]]:
        while self.open and len(self.inbox) >= 5:
            length, kind = struct.unpack_from("!IB", self.inbox)
            if length > MAX_BODY or not HELLO <= kind <= BYE:
                raise HandOverError("malformed")
            if len(self.inbox) < 5 + length:
                return
            body = bytes(self.inbox[5 : 5 + length])
            del self.inbox[: 5 + length]
            yield kind, body

    def _handle(self, kind: int, body: bytes) -> None:
        if kind == HELLO and self.phase == "greeting":
            self._check_hello(body)
        elif kind == PROOF and self.phase == "proving":
            self._check_proof(body)
        elif kind == BYE:
            raise HandOverError(f"{ERRORS[body[0]]}: said by the peer")
        elif kind == START and self.role == HEIR and self.phase == "running" and not self.started:
            self.state.entries.clear()
            self._start()
        elif not self.started:
            raise HandOverError("malformed")
        elif kind in (PUT, REMOVE, ROUND, FREEZE) and self.role == HEIR and self.phase == "running":
            {PUT: self._put, REMOVE: self._remove, ROUND: self._round, FREEZE: self._freeze}[kind](body)
        elif kind == ACK:
            [self.acknowledged] = struct.unpack("!Q", body)
        elif kind == FRAME and self.role == OWNER and self.peer_tunnels:
            self.tunnelled += 1
            self.held.append(body)
            if self.phase == "running":
                self._deliver_held()
        else:
            self._agree(kind, body)

    def _agree(self, kind: int, body: bytes) -> None:
        """READY … ACTIVE: the steps of a take-over. What belongs to a cancelled one is passed over."""
        [attempt] = struct.unpack_from("!I", body)
        if kind == READY and self.phase == "freezing" and attempt == self.attempt:
            self.phase = "committed"
            self.send(COMMIT, body)
        elif kind == REFUSE and self.phase == "freezing" and attempt == self.attempt:
            self.phase, self.refused = "running", body[4]
        elif kind == COMMIT and self.phase == "holding" and attempt == self.attempt:
            self.numbers[:] = self.pending_numbers
            self.role, self.phase, self.peer_tunnels = OWNER, "running", True
            self.send(ACTIVE, body)
        elif kind == CANCEL and self.role == HEIR:
            self.phase = "running"
        elif kind == ACTIVE and self.phase == "committed":
            self.role, self.phase, self.was_owner = HEIR, "running", True
            held, self.held = self.held, []
            for frame in held:
                self.tunnel(frame)
        elif kind not in (READY, REFUSE):
            raise HandOverError("malformed")

    def _deliver_held(self) -> None:
        held, self.held = self.held, []
        for frame in held:
            self.deliver(frame)

    def _authenticate(self, label: bytes, role: int) -> bytes:
        hellos = self.mine + self.theirs if self.role == OWNER else self.theirs + self.mine
        text = label + bytes([role, len(self.name)]) + self.name.encode() + hellos
        return hmac.digest(self.secret, text, "sha256")

    def _check_hello(self, body: bytes) -> None:
        self.theirs = body
        version, role = struct.unpack_from("!HB", body, 4)
        names = body[39:]
        function, fits = names[1 : 1 + names[0]], names[2 + names[0] :]
        if body[:4] != b"VNFH":
            raise HandOverError("malformed")
        for name, same in (
            ("wrong_version", version == VERSION), ("wrong_function", function == self.function.encode()),
            ("wrong_configuration", fits == self.fits.encode()), ("wrong_role", {role, self.role} == {OWNER, HEIR}),
        ):  # fmt: skip
            if not same:
                raise HandOverError(name)
        self.phase = "proving"
        self.send(PROOF, self._authenticate(b"vnftwin hand-over proof", self.role))

    def _check_proof(self, body: bytes) -> None:
        expected = self._authenticate(b"vnftwin hand-over proof", HEIR if self.role == OWNER else OWNER)
        if not hmac.compare_digest(body, expected):
            raise HandOverError("unauthenticated")
        self.phase = "running"
        if self.role == OWNER:
            self._start()
            self.send(START)

    def _start(self) -> None:
        self.started = True
        self.state.begin(self._authenticate(b"vnftwin hand-over digest", 0))

    def _put(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            key_end = at + 1 + body[at]
            [size] = struct.unpack_from("!H", body, key_end)
            key, value = body[at + 1 : key_end], body[key_end + 2 : key_end + 2 + size]
            at = key_end + 2 + size
            if at > len(body):
                raise HandOverError("malformed")
            if key not in self.state.entries and len(self.state.entries) >= self.state.capacity:
                raise HandOverError("table_full")
            self.state.put(key, value)
            self.state.mark(key)
            self.taken += 1

    def _remove(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            key = body[at + 1 : at + 1 + body[at]]
            self.state.remove(key)
            del self.state.removed[key]
            at += 1 + len(key)
            self.taken += 1

    def _round(self, _body: bytes) -> None:
        self.complete = True

    def _freeze(self, body: bytes) -> None:
        self.attempt, count = struct.unpack_from("!IQ", body)
        [size] = struct.unpack_from("!H", body, 28)
        self.pending_numbers = struct.unpack_from(f"!{size}Q", body, 30)
        if count != len(self.state.entries) or body[12:28] != self.state.digest():
            self.send(REFUSE, body[:4] + bytes([ERRORS.index("digest_mismatch")]))
            raise HandOverError("digest_mismatch")
        self.phase = "holding"
        self.send(READY, body[:4])
