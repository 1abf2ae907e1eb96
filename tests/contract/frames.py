"""Frames and a raw socket for the contract tests, written apart from the code under test."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

ICMP, TCP, UDP = 1, 6, 17
_CHECKSUM_AT = {ICMP: 2, TCP: 16, UDP: 6}
_MACS = bytes.fromhex("0200000000aa0200000000bb0800")


def checksum(data: bytes) -> int:
    """The Internet checksum, computed in full (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, slots=True)
class Datagram:
    """What a test says of a packet, and what it reads from one."""

    src: str
    dst: str
    proto: int = UDP
    src_port: int = 1000
    dst_port: int = 2000
    payload: bytes = b"payload"
    dscp: int = 0
    checksummed: bool = True
    fragment: int = 0
    sound: bool = field(default=True, compare=False)  # read: every checksum is right


def _pseudo(datagram: Datagram, l4: bytes) -> bytes:
    if datagram.proto == ICMP:
        return b""
    ends = IPv4Address(datagram.src).packed + IPv4Address(datagram.dst).packed
    return ends + struct.pack("!BBH", 0, datagram.proto, len(l4))


def _transport(datagram: Datagram) -> bytes:
    ports = struct.pack("!HH", datagram.src_port, datagram.dst_port)
    if datagram.proto == UDP:
        header = ports + struct.pack("!HH", 8 + len(datagram.payload), 0)
    elif datagram.proto == TCP:
        header = ports + struct.pack("!IIBBHHH", 7, 0, 5 << 4, 2, 8192, 0, 0)
    else:
        header = struct.pack("!BBHHH", 8, 0, 0, datagram.src_port, 1)
    return header + datagram.payload


def build(datagram: Datagram) -> bytes:
    """An Ethernet frame with right checksums (UDP checksum 0 where `checksummed` is False)."""
    l4 = bytearray(_transport(datagram))
    if datagram.checksummed:
        at = _CHECKSUM_AT[datagram.proto]
        value = checksum(_pseudo(datagram, bytes(l4)) + bytes(l4))
        l4[at : at + 2] = struct.pack("!H", value or 0xFFFF)
    head = struct.pack("!BBHHHBBH", 0x45, datagram.dscp << 2, 20 + len(l4), 1, datagram.fragment, 64, datagram.proto, 0)
    head += IPv4Address(datagram.src).packed + IPv4Address(datagram.dst).packed
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return _MACS + head + bytes(l4)


def parse(frame: bytes) -> Datagram:
    """Reads a frame back; `sound` tells whether every checksum, computed in full, is right."""
    ip, total = frame[14:], struct.unpack_from("!H", frame, 16)[0]
    l4, proto = ip[20:total], ip[9]
    src, dst = str(IPv4Address(ip[12:16])), str(IPv4Address(ip[16:20]))
    ports = struct.unpack_from("!HH", l4)
    if proto == ICMP:
        ports = (struct.unpack_from("!H", l4, 4)[0], 2000)
    at, start = _CHECKSUM_AT[proto], {ICMP: 8, TCP: 20, UDP: 8}[proto]
    read = Datagram(
        src, dst, proto, src_port=ports[0], dst_port=ports[1], payload=l4[start:], dscp=ip[1] >> 2,
        checksummed=l4[at : at + 2] != bytes(2),
    )  # fmt: skip
    whole = not read.checksummed or checksum(_pseudo(read, l4) + l4) == 0
    return replace(read, sound=whole and checksum(ip[:20]) == 0)


class Wire:
    """A raw socket on one end of a veth pair: frames in, frames out, nothing of our own heard back."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind((interface, 0))
        self._socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self, count: int, *, timeout_s: float = 2.0) -> list[bytes]:
        """Up to `count` frames; fewer when `timeout_s` is over first."""
        frames: list[bytes] = []
        deadline = time.monotonic() + timeout_s
        while len(frames) < count and (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frames.append(self._socket.recv(65536))
            except TimeoutError:
                break
        return frames

    def pass_through(self, *datagrams: Datagram) -> list[Datagram]:
        """Sends them, then a marker that every function here forwards, and returns what came out before it.

        So a dropped packet is known dropped without waiting for a time-out.
        """
        for datagram in datagrams:
            self.send(build(datagram))
        marker = b"\xff" * 6 + bytes.fromhex("0200000000aa88b5") + time.monotonic_ns().to_bytes(8, "big") + b"\0" * 40
        self.send(marker)
        heard = []
        while (frames := self.receive(1)) and frames[0] != marker:
            heard.append(parse(frames[0]))
        assert frames, "the marker never came back"
        return heard

    def close(self) -> None:
        self._socket.close()


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> bool:
    """Polls a condition; False when `timeout_s` is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
