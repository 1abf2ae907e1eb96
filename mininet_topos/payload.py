"""What a test packet carries: magic, number of its chain, its own number, and when it was sent; then padding."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = 0x564E4654  # "VNFT"
_HEADER = struct.Struct("!IHHQQ")  # magic, chain, unused, number, sent_ns
HEADERS_BYTES = 14 + 20 + 8  # Ethernet, IPv4, UDP: `packet_bytes` of a chain is the whole frame, as switches count it
SMALLEST_PACKET_BYTES = HEADERS_BYTES + _HEADER.size
SOURCE_PORT_BASE = 40000  # + the chain's number


@dataclass(frozen=True, slots=True)
class Stamp:
    """The head of a payload; `sent_ns` on CLOCK_MONOTONIC."""

    chain: int
    number: int
    sent_ns: int


def padding(packet_bytes: int) -> bytes:
    """What follows the head so that the frame has `packet_bytes`; shorter frames than the head allows are not made."""
    return bytes(max(0, packet_bytes - SMALLEST_PACKET_BYTES))


def pack(chain: int, number: int, sent_ns: int, rest: bytes) -> bytes:
    """A payload."""
    return _HEADER.pack(MAGIC, chain, 0, number, sent_ns) + rest


def unpack(payload: bytes) -> Stamp | None:
    """The head of a payload; None for a packet that is not ours."""
    if len(payload) < _HEADER.size:
        return None
    magic, chain, _, number, sent_ns = _HEADER.unpack_from(payload)
    return Stamp(chain, number, sent_ns) if magic == MAGIC else None


def announcement(mac: str, ip: str) -> bytes:
    """A gratuitous ARP request (RFC 5227, section 3) as a whole frame: `ip` is at `mac`, behind this port."""
    hardware, address = bytes.fromhex(mac.replace(":", "")), bytes(int(part) for part in ip.split("."))
    ethernet = b"\xff" * 6 + hardware + b"\x08\x06"
    return ethernet + struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, hardware, address, bytes(6), address)
