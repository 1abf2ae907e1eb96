"""One end of a test connection: sends its stream at a steady rate, checks the stream that comes, keeps account."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

from mininet_topos.tcp_stream import WORD_BYTES, Checker, words

READ_BYTES = 65536
_TOTAL_RETRANS_AT = 100  # struct tcp_info of linux/tcp.h
RESETS = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Rate:
    """What each side of a connection sends."""

    messages_per_s: float
    message_bytes: int

    @property
    def message_words(self) -> int:
        return max(1, self.message_bytes // WORD_BYTES)


class End:
    """A connected socket, non-blocking. `state` is open, reset (by the network), or ended (by the other end)."""

    def __init__(self, sock: socket.socket, rate: Rate, checker: Checker, now_s: float) -> None:
        self.socket, self.rate, self.checker = sock, rate, checker
        self.state = "open"
        self.sent_bytes = 0
        self.retransmitted = 0
        self.longest_silence_s = 0.0
        self._pending = b""
        self._next_word = 0
        self._messages, self._began_s, self._heard_s = 0, now_s, now_s

    @property
    def connection(self) -> int | None:
        """Its number; None at the server until the first word has come."""
        return self.checker.connection

    @property
    def idle(self) -> bool:
        """Whether the network has taken all that was to be sent."""
        return not self._pending

    def send_due(self, now_s: float) -> None:
        """Sends the messages whose time has come; none is made up while earlier ones wait to be taken."""
        due = int((now_s - self._began_s) * self.rate.messages_per_s) + 1 - self._messages
        if not self._pending and due > 0 and self.connection is not None:
            self._messages += due
            self._pending = words(self.connection, self._next_word, self.rate.message_words)
            self._next_word += self.rate.message_words
        self.flush()

    def flush(self) -> None:
        """Gives the network what waits, as far as it takes it."""
        if not self._pending or self.state != "open":
            return
        try:
            taken = self.socket.send(self._pending)
        except BlockingIOError:
            return
        except RESETS:
            self.state = "reset"
            return
        self.sent_bytes += taken
        self._pending = self._pending[taken:]

    def read(self, now_s: float) -> None:
        """Takes what has come."""
        try:
            piece = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except RESETS:
            self.state = "reset"
            return
        if not piece:
            self.state = "ended"
            return
        self.note_silence(now_s)
        self._heard_s = now_s
        self.checker.take(piece)

    def note_silence(self, now_s: float) -> None:
        """How long nothing has come until now."""
        self.longest_silence_s = max(self.longest_silence_s, now_s - self._heard_s)

    def note_retransmissions(self) -> None:
        """Segments that the kernel had to send again so far."""
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS_AT + 4)
            (self.retransmitted,) = struct.unpack_from("=I", info, _TOTAL_RETRANS_AT)
        except (OSError, struct.error):
            return  # a socket that was reset says nothing any more: what it last said counts


def connecting(address: tuple[str, int], source: str) -> socket.socket:
    """A socket that has begun to connect; OSError where that fails at once."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((source, 0))
        sock.connect(address)
    except BlockingIOError:
        return sock
    except OSError:
        sock.close()
        raise
    return sock


def listening(port: int) -> socket.socket:
    """A socket that takes connections to any address of its host at a port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def now_s() -> float:
    return time.monotonic()
