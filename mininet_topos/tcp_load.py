"""TCP connections through chains, client to server, with data both ways and an account of it (docs/testbed.md, "TCP").

Started by the test bed as `python -m mininet_topos.tcp_load` when first asked for. The first line on stdin says where
the hosts are, every further one is a command (`start`, `stop`); events go to stdout, one JSON object a line.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mininet_topos import syscalls
from mininet_topos.lines import LineReader
from mininet_topos.load_process import Emit, run_load
from mininet_topos.tcp_connection import End, Rate, connecting, listening, now_s
from mininet_topos.tcp_stream import Checker
from twin.errors import InputError, VnftwinError
from twin.scenario import Scenario, ServiceChain
from twin.scenario_file import load_scenario

TICK_S = 0.005
REPORT_EVERY_S = 1.0
STRAGGLERS_S = 3.0
MOST_CONNECTIONS = 5000


@dataclass
class Pair:
    """One connection: its client's end (None until connected) and its server's (None until it was heard there)."""

    client: End | None = None
    server: End | None = None
    refused: bool = False

    @property
    def ends(self) -> tuple[End, ...]:
        return tuple(end for end in (self.client, self.server) if end is not None)

    @property
    def complete(self) -> bool:
        """Whether all that was sent has arrived, both ways."""
        if self.client is None or self.server is None:
            return False
        there = self.client.sent_bytes == self.server.checker.received_bytes
        back = self.server.sent_bytes == self.client.checker.received_bytes
        return there and back and self.client.idle and self.server.idle


@dataclass
class ChainLoad:
    """The connections of one chain by their numbers, and the addresses that the server saw them come from."""

    chain: ServiceChain
    rate: Rate
    pairs: dict[int, Pair] = field(default_factory=dict)
    peers: set[str] = field(default_factory=set)

    def account(self) -> dict[str, Any]:
        """What became of them so far."""
        pairs = self.pairs.values()
        ends = [end for pair in pairs for end in pair.ends]
        for end in ends:
            end.note_retransmissions()
        states = [{end.state for end in pair.ends} for pair in pairs]
        return {
            "connections": len(pairs),
            "established": sum(pair.client is not None and pair.server is not None for pair in pairs),
            "refused": sum(pair.refused for pair in pairs),
            "reset": sum("reset" in state for state in states),
            "ended": sum("ended" in state and "reset" not in state for state in states),
            "incomplete": sum(not pair.complete for pair in pairs),
            "wrong_words": sum(end.checker.wrong_words for end in ends),
            "retransmitted": sum(end.retransmitted for end in ends),
            "there": _direction([pair.server for pair in pairs], [pair.client for pair in pairs]),
            "back": _direction([pair.client for pair in pairs], [pair.server for pair in pairs]),
            "peers": sorted(self.peers),
        }


def _direction(receivers: list[End | None], senders: list[End | None]) -> dict[str, Any]:
    """Bytes one way, and the longest time that one connection brought none."""
    heard = [end for end in receivers if end is not None]
    return {
        "sent_bytes": sum(end.sent_bytes for end in senders if end is not None),
        "received_bytes": sum(end.checker.received_bytes for end in heard),
        "silence_ms": round(max((end.longest_silence_s for end in heard), default=0.0) * 1e3, 1),
    }


class TcpLoad:
    """All connections. `serve` is its loop."""

    def __init__(self, scenario: Scenario, hosts: Mapping[str, Mapping[str, Any]], emit: Emit) -> None:
        self.scenario, self._hosts, self._emit = scenario, hosts, emit
        self._selector = selectors.DefaultSelector()
        self._loads: dict[str, ChainLoad] = {}
        self._listeners: dict[tuple[str, int], socket.socket] = {}
        self._by_number: dict[int, ChainLoad] = {}
        self._unheard: dict[End, str] = {}  # accepted ends whose connection is not known yet, with their peer
        self._count = 0
        self._sending = False
        self._stop_by_s = self._report_at_s = 0.0

    def do(self, command: Mapping[str, Any]) -> None:
        """One command; what is wrong with it becomes an `error` event."""
        operations: dict[str, Callable[..., None]] = {"start": self.start, "stop": self.stop}
        try:
            operations[command["op"]](**{k: v for k, v in command.items() if k != "op"})
        except (VnftwinError, KeyError, TypeError, ValueError, OSError) as error:
            reason = error if isinstance(error, VnftwinError) else f"{type(error).__name__}: {error}"
            self._emit({"event": "error", "message": f"tcp: {command.get('op')}: {reason}"})

    def start(self, chain: str, connections: int = 10, messages_per_s: float = 20.0, message_bytes: int = 512) -> None:
        """Opens connections of a chain, beside those that there are; each side sends that many messages a second."""
        if chain not in self.scenario.chain_index or self.scenario.chain(chain).flow.proto == "udp":
            raise InputError(f"{chain!r} is no chain of TCP")
        if not 1 <= connections <= MOST_CONNECTIONS or messages_per_s <= 0 or message_bytes < 1:
            raise InputError(f"{connections} connections of {messages_per_s} messages/s of {message_bytes} bytes")
        found = self.scenario.chain(chain)
        self._listen(found.egress, found.flow.dst_port)
        load = self._loads.setdefault(chain, ChainLoad(found, Rate(messages_per_s, message_bytes)))
        load.rate = Rate(messages_per_s, message_bytes)
        for _ in range(connections):
            self._connect(load)
        self._sending, self._stop_by_s = True, 0.0

    def stop(self) -> None:
        """No more is sent; when all has arrived, or after a while, the account follows and all is closed."""
        self._sending = False
        self._stop_by_s = now_s() + STRAGGLERS_S

    def serve(self, commands: LineReader) -> None:
        """Until stdin ends."""
        self._selector.register(commands, selectors.EVENT_READ)
        while not commands.ended:
            if commands.waiting:  # they came in one piece with what was read before
                self._obey(commands)
            for key, _ in self._selector.select(TICK_S if self._loads else None):
                if key.fileobj is commands:
                    self._obey(commands)
                else:
                    key.data()
            self._tick(now_s())

    def _obey(self, commands: LineReader) -> None:
        for line in commands.read():
            self.do(json.loads(line))

    def _listen(self, egress: str, port: int) -> None:
        if (egress, port) in self._listeners:
            return
        with syscalls.network_namespace(self._hosts[egress]["pid"]):
            sock = listening(port)
        self._listeners[egress, port] = sock
        self._selector.register(sock, selectors.EVENT_READ, partial(self._accept, sock))

    def _connect(self, load: ChainLoad) -> None:
        self._count += 1
        load.pairs[self._count] = Pair()
        self._by_number[self._count] = load
        flow, ingress = load.chain.flow, load.chain.ingress
        with syscalls.network_namespace(self._hosts[ingress]["pid"]):
            sock = connecting((flow.dst_ip, flow.dst_port), flow.src_ip)
        self._selector.register(sock, selectors.EVENT_WRITE, partial(self._connected, sock, load, self._count))

    def _connected(self, sock: socket.socket, load: ChainLoad, number: int) -> None:
        """The handshake is over, one way or the other."""
        self._selector.unregister(sock)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            load.pairs[number].refused = True
            sock.close()
            return
        end = load.pairs[number].client = End(sock, load.rate, Checker(number), now_s())
        self._selector.register(sock, selectors.EVENT_READ, partial(self._heard, end))

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, (peer, _) = listener.accept()
        except OSError:
            return  # it gave up between the two calls
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = End(sock, Rate(1.0, 1), Checker(), now_s())
        self._unheard[end] = peer
        self._selector.register(sock, selectors.EVENT_READ, partial(self._heard, end))

    def _heard(self, end: End) -> None:
        end.read(now_s())
        if end.state != "open":
            self._selector.unregister(end.socket)
        if end in self._unheard and end.connection is not None:
            self._introduce(end, self._unheard.pop(end))

    def _introduce(self, end: End, peer: str) -> None:
        """The first word says which connection an accepted end belongs to."""
        load = self._by_number.get(end.connection or 0)
        if load is None:
            end.checker.wrong_words += 1
            return
        end.rate = load.rate
        load.peers.add(peer)
        load.pairs[end.connection or 0].server = end

    def _tick(self, at_s: float) -> None:
        ends = [end for load in self._loads.values() for pair in load.pairs.values() for end in pair.ends]
        for end in ends:
            if end.state == "open" and self._sending:
                end.send_due(at_s)
                end.note_silence(at_s)
            else:
                end.flush()
        if self._loads and self._sending and at_s >= self._report_at_s:
            self._report_at_s = at_s + REPORT_EVERY_S
            self._tell("tcp")
        if self._stop_by_s and (at_s >= self._stop_by_s or self._all_complete()):
            self._finish()

    def _all_complete(self) -> bool:
        return all(pair.complete for load in self._loads.values() for pair in load.pairs.values())

    def _tell(self, event: str) -> None:
        self._emit({"event": event, "chains": {name: load.account() for name, load in self._loads.items()}})

    def _finish(self) -> None:
        """The last account; then nothing of this load is left."""
        self._tell("tcp_ledger")
        for key in [*self._selector.get_map().values()]:
            if isinstance(key.fileobj, socket.socket):
                self._selector.unregister(key.fileobj)
                key.fileobj.close()
        self._loads.clear()
        self._listeners.clear()
        self._by_number.clear()
        self._unheard.clear()
        self._stop_by_s = 0.0


if __name__ == "__main__":
    run_load(lambda spec, emit: TcpLoad(load_scenario(spec["scenario"]), spec["hosts"], emit))
