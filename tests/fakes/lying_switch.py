"""Makes a real switch lie or fall silent: a wire between it and its controller.

It answers barriers at once and delays the changes, as some hardware does (its tables follow hundreds of milliseconds
after the reply), or keeps barriers back. Changes stay in order; everything else passes without delay.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque

_MODIFY_STRICT = 2
_FLOW_MOD, _BARRIER_REQUEST, _BARRIER_REPLY = 14, 20, 21


class LyingWire:
    """Listens for one switch on loopback; `port` is where the switch has to connect. Threads end with the process.

    Without `delay_s` it is honest. `silent`: barriers are kept back, until `answer_late`; `silent_after_swap`: from the
    first rule that is modified on.
    """

    def __init__(self, controller_port: int, delay_s: float) -> None:
        self._controller_port, self.delay_s = controller_port, delay_s
        self.silent = self.silent_after_swap = False
        self._kept: list[bytes] = []
        self._controller: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._late: deque[tuple[float, bytes]] = deque()
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            switch, _ = self._listener.accept()
            try:
                controller = self._controller = socket.create_connection(("127.0.0.1", self._controller_port))
            except ConnectionRefusedError:
                switch.close()  # nobody listens yet: the switch comes again
                continue
            for target in (self._upwards, self._downwards, self._release):
                threading.Thread(target=target, args=(switch, controller), daemon=True).start()

    def answer_late(self) -> int:
        """Sends the replies to all barriers that were kept back; how many."""
        kept, self._kept = self._kept, []
        assert self._controller is not None
        with self._lock:
            self._controller.sendall(b"".join(kept))
        return len(kept)

    def _upwards(self, switch: socket.socket, controller: socket.socket) -> None:
        while data := switch.recv(65536):
            with self._lock:
                controller.sendall(data)

    def _downwards(self, switch: socket.socket, controller: socket.socket) -> None:
        stream = controller.makefile("rb")
        while head := stream.read(8):
            version, kind, length, xid = struct.unpack("!BBHI", head)
            message = head + stream.read(length - 8)
            reply = struct.pack("!BBHI", version, _BARRIER_REPLY, 8, xid)
            if kind == _FLOW_MOD and self.silent_after_swap and message[25] == _MODIFY_STRICT:
                self.silent = True
            if kind == _FLOW_MOD and self.delay_s:
                self._late.append((time.monotonic() + self.delay_s, message))
            elif kind == _BARRIER_REQUEST and self.silent:
                self._kept.append(reply)
            elif kind == _BARRIER_REQUEST and self.delay_s:
                with self._lock:
                    controller.sendall(reply)
            else:
                switch.sendall(message)

    def _release(self, switch: socket.socket, _controller: socket.socket) -> None:
        while True:
            while self._late and self._late[0][0] <= time.monotonic():
                switch.sendall(self._late.popleft()[1])
            time.sleep(0.002)
