"""The sockets of all endpoints, made inside their namespaces and used from one process."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mininet_topos import payload, syscalls
from twin.errors import VnftwinError
from twin.scenario import Endpoint, ServiceChain

RECEIVE_BUFFER_BYTES = 4 << 20  # holds seconds of traffic: the reader's own scheduling loses nothing


class UnknownAttachment(VnftwinError):
    """An endpoint is to roam to a switch where it has no interface."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet as it came in; `received_ns` is the kernel's time stamp, on CLOCK_MONOTONIC."""

    stamp: payload.Stamp
    received_ns: int


class EndpointSockets:
    """One endpoint: where it is plugged in (`attachments`: switch to interface and port), and where it sends now."""

    def __init__(self, endpoint: Endpoint, *, pid: int, attachments: Mapping[str, Mapping[str, Any]]) -> None:
        self.endpoint, self._pid = endpoint, pid
        self.attachments = attachments
        self.at = endpoint.at
        self._announcers: dict[str, socket.socket] = {}
        with syscalls.network_namespace(pid):
            for switch, attachment in attachments.items():
                announcer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                announcer.bind((attachment["interface"], 0))
                self._announcers[switch] = announcer

    def announcer(self, switch: str) -> socket.socket:
        """A raw socket on the interface at a switch. UnknownAttachment where it has none."""
        if switch not in self._announcers:
            where = ", ".join(self.attachments)
            raise UnknownAttachment(f"endpoint {self.endpoint.id} has no interface at {switch}, only at {where}")
        return self._announcers[switch]

    def announce(self, switch: str) -> None:
        """Says there by a gratuitous ARP that this endpoint is here now; an interface that is down stays silent."""
        with contextlib.suppress(OSError):
            self.announcer(switch).send(payload.announcement(self.endpoint.mac, self.endpoint.ip))

    def senders(self, chain: ServiceChain) -> dict[str, socket.socket]:
        """For each switch of the endpoint a socket that sends a chain's packets out of the interface there."""
        sockets = {}
        with syscalls.network_namespace(self._pid):
            for switch, attachment in self.attachments.items():
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, attachment["interface"].encode())
                sender.bind((self.endpoint.ip, payload.SOURCE_PORT_BASE + chain.number))
                sender.setblocking(False)
                sockets[switch] = sender
        return sockets

    def receiver(self, port: int) -> socket.socket:
        """A socket for whatever reaches this host at a UDP port, by any interface, from and to any address of it."""
        with syscalls.network_namespace(self._pid):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        receiver.setsockopt(socket.SOL_SOCKET, syscalls.SO_TIMESTAMPNS, 1)
        receiver.bind(("0.0.0.0", port))
        receiver.setblocking(False)
        return receiver


def realtime_offset_ns() -> int:
    """CLOCK_REALTIME - CLOCK_MONOTONIC; of three tries the one that took least, since we may be interrupted between."""
    tries = []
    for _ in range(3):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        tries.append((after - before, real - (before + after) // 2))
    return min(tries)[1]


def arrivals(receiver: socket.socket, offset_ns: int) -> Iterator[Arrival]:
    """Everything that waits in a receiver's socket and is ours; `offset_ns` as of now."""
    while True:
        try:
            packet, control, _, _ = receiver.recvmsg(2048, 64)
        except BlockingIOError:
            return
        except OSError:
            continue  # a pending ICMP error is told once and does not end the queue
        stamp = payload.unpack(packet)
        if stamp is not None:
            kernel_ns = syscalls.kernel_time_ns(control)
            yield Arrival(stamp, kernel_ns - offset_ns if kernel_ns else time.monotonic_ns())
