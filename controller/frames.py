"""Ethernet frames as values: what the telemetry sends and takes back, with no controller library.

Encoders raise ValueError for what does not fit its field. Decoders take bytes that anybody may have sent and return
None for all that is cut short, inconsistent or wrong in its checksum; they never raise. MAC addresses are text
(`02:00:00:00:00:01`), IPv4 addresses are text (`10.0.0.1`).

    Ethernet (802.3, 802.1Q tags)
    ├── Arp     RFC 826, Ethernet and IPv4 only
    ├── Lldp    IEEE 802.1AB: chassis, port, time to live and organisation-specific TLVs
    └── Ipv4    RFC 791, fragments refused
        ├── Udp     RFC 768
        └── Tcp     RFC 9293, the header and the payload; only to look like the flow that is measured
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_VLAN = 0x8100
ETHERTYPE_QINQ = 0x88A8
ETHERTYPE_LLDP = 0x88CC
ETHERTYPE_EXPERIMENTAL = 0x88B5  # IEEE 802, local experimental 1: our loop probes
LLDP_MULTICAST = "01:80:c2:00:00:0e"
PROTO_TCP = 6
PROTO_UDP = 17
ARP_REQUEST = 1
ARP_REPLY = 2
TCP_RST, TCP_ACK_PSH = 0x04, 0x18  # flags


@dataclass(frozen=True, slots=True)
class Ethernet:
    """A frame without its check sequence. `vlans` are the tags' ids, outermost first (priorities are dropped)."""

    dst: str
    src: str
    ethertype: int
    payload: bytes
    vlans: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arp:
    op: int
    sender_mac: str
    sender_ip: str
    target_mac: str
    target_ip: str


@dataclass(frozen=True, slots=True)
class OrganisationTlv:
    """An LLDP TLV of type 127: a three-byte `oui`, a subtype and up to 507 bytes of content."""

    oui: bytes
    subtype: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Lldp:
    """Chassis and port ids are of the subtype "locally assigned" when sent; of any subtype when read."""

    chassis: bytes
    port: bytes
    ttl_s: int
    organisation: tuple[OrganisationTlv, ...] = ()


@dataclass(frozen=True, slots=True)
class Ipv4:
    src: str
    dst: str
    proto: int
    payload: bytes
    dscp: int = 0
    ttl: int = 64
    ident: int = 0


@dataclass(frozen=True, slots=True)
class Udp:
    src_port: int
    dst_port: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Tcp:
    src_port: int
    dst_port: int
    payload: bytes
    seq: int = 0
    flags: int = TCP_ACK_PSH


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a MAC address; ValueError for anything else."""
    parts = mac.split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"not a MAC address: {mac!r}")
    return bytes.fromhex("".join(parts))


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def ip_bytes(ip: str) -> bytes:
    """The four bytes of an IPv4 address; ValueError for anything else."""
    try:
        return socket.inet_pton(socket.AF_INET, ip)
    except OSError:
        raise ValueError(f"not an IPv4 address: {ip!r}") from None


def checksum(content: bytes) -> int:
    """The Internet checksum (RFC 1071); zero over a content that holds its own right checksum."""
    if len(content) % 2:
        content += b"\0"
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pack(layout: str, *values: int | bytes) -> bytes:
    try:
        return struct.pack(layout, *values)
    except struct.error as error:
        raise ValueError(f"does not fit its field: {error}") from None


def encode_ethernet(frame: Ethernet) -> bytes:
    """Tags are 802.1Q, the outermost of several 802.1ad."""
    head = mac_bytes(frame.dst) + mac_bytes(frame.src)
    for depth, vlan in enumerate(frame.vlans):
        if not 0 <= vlan < 4096:
            raise ValueError(f"VLAN id {vlan} is not in 0..4095")
        outer = depth == 0 and len(frame.vlans) > 1
        head += _pack("!HH", ETHERTYPE_QINQ if outer else ETHERTYPE_VLAN, vlan)
    return head + _pack("!H", frame.ethertype) + frame.payload


def decode_ethernet(content: bytes) -> Ethernet | None:
    """802.3 frames with a length in place of a type are refused: nothing of ours is one."""
    at, vlans = 12, list[int]()
    while len(content) >= at + 2:
        (ethertype,) = struct.unpack_from("!H", content, at)
        if ethertype not in (ETHERTYPE_VLAN, ETHERTYPE_QINQ):
            if ethertype < 0x0600:
                return None
            dst, src = mac_text(content[:6]), mac_text(content[6:12])
            return Ethernet(dst, src, ethertype, content[at + 2 :], tuple(vlans))
        if len(content) < at + 4:
            return None
        vlans.append(struct.unpack_from("!H", content, at + 2)[0] & 0x0FFF)
        at += 4
    return None


def encode_arp(arp: Arp) -> bytes:
    sender = mac_bytes(arp.sender_mac) + ip_bytes(arp.sender_ip)
    target = mac_bytes(arp.target_mac) + ip_bytes(arp.target_ip)
    return _pack("!HHBBH", 1, ETHERTYPE_IPV4, 6, 4, arp.op) + sender + target


def decode_arp(content: bytes) -> Arp | None:
    if len(content) < 28 or content[:6] != b"\x00\x01\x08\x00\x06\x04":
        return None
    sender_ip, target_ip = socket.inet_ntoa(content[14:18]), socket.inet_ntoa(content[24:28])
    (op,) = struct.unpack_from("!H", content, 6)
    return Arp(op, mac_text(content[8:14]), sender_ip, mac_text(content[18:24]), target_ip)


def _tlv(kind: int, content: bytes) -> bytes:
    if len(content) > 511:
        raise ValueError(f"an LLDP TLV holds at most 511 bytes, not {len(content)}")
    return _pack("!H", kind << 9 | len(content)) + content


def encode_lldp(lldp: Lldp) -> bytes:
    locally_assigned = b"\x07"
    head = _tlv(1, locally_assigned + lldp.chassis) + _tlv(2, locally_assigned + lldp.port)
    body = b"".join(_tlv(127, t.oui[:3] + _pack("!B", t.subtype) + t.content) for t in lldp.organisation)
    return head + _tlv(3, _pack("!H", lldp.ttl_s)) + body + _tlv(0, b"")


def decode_lldp(content: bytes) -> Lldp | None:
    """Needs the three mandatory TLVs in their order; all others but the organisation-specific are skipped."""
    tlvs = _split_tlvs(content)
    if [kind for kind, _ in tlvs[:3]] != [1, 2, 3] or len(tlvs[0][1]) < 2 or len(tlvs[1][1]) < 2:
        return None
    if len(tlvs[2][1]) < 2:
        return None
    own = tuple(OrganisationTlv(c[:3], c[3], c[4:]) for kind, c in tlvs[3:] if kind == 127 and len(c) >= 4)
    return Lldp(tlvs[0][1][1:], tlvs[1][1][1:], int.from_bytes(tlvs[2][1][:2], "big"), own)


def _split_tlvs(content: bytes) -> list[tuple[int, bytes]]:
    """Every TLV before the end mark; nothing at all where one runs over the end of the frame."""
    tlvs, at = list[tuple[int, bytes]](), 0
    while at + 2 <= len(content):
        (head,) = struct.unpack_from("!H", content, at)
        kind, length = head >> 9, head & 0x1FF
        at += 2 + length
        if kind == 0:
            return tlvs
        if at > len(content):
            return []
        tlvs.append((kind, content[at - length : at]))
    return tlvs


def encode_ipv4(packet: Ipv4) -> bytes:
    if not 0 <= packet.dscp < 64:
        raise ValueError(f"DSCP {packet.dscp} is not in 0..63")
    fixed = (0x45, packet.dscp << 2, 20 + len(packet.payload), packet.ident, 0, packet.ttl, packet.proto)
    head = _pack("!BBHHHBB", *fixed)
    addresses = ip_bytes(packet.src) + ip_bytes(packet.dst)
    return head + _pack("!H", checksum(head + b"\0\0" + addresses)) + addresses + packet.payload


def decode_ipv4(content: bytes) -> Ipv4 | None:
    """Options are skipped and the padding of short frames is cut; a fragment is refused."""
    if len(content) < 20 or content[0] >> 4 != 4:
        return None
    header, (total,) = (content[0] & 15) * 4, struct.unpack_from("!H", content, 2)
    (fragment,) = struct.unpack_from("!H", content, 6)
    if header < 20 or not header <= total <= len(content) or fragment & 0x3FFF or checksum(content[:header]):
        return None
    src, dst = socket.inet_ntoa(content[12:16]), socket.inet_ntoa(content[16:20])
    (ident,) = struct.unpack_from("!H", content, 4)
    return Ipv4(src, dst, content[9], content[header:total], content[1] >> 2, content[8], ident)


def _pseudo_header(src: str, dst: str, proto: int, length: int) -> bytes:
    return ip_bytes(src) + ip_bytes(dst) + _pack("!BBH", 0, proto, length)


def encode_udp(udp: Udp, *, src: str, dst: str) -> bytes:
    length = 8 + len(udp.payload)
    head = _pack("!HHH", udp.src_port, udp.dst_port, length)
    # A sum of zero would say "no checksum": RFC 768 sends it as all ones.
    value = checksum(_pseudo_header(src, dst, PROTO_UDP, length) + head + b"\0\0" + udp.payload) or 0xFFFF
    return head + _pack("!H", value) + udp.payload


def decode_udp(packet: Ipv4) -> Udp | None:
    """A checksum of zero means that the sender made none."""
    content = packet.payload
    if packet.proto != PROTO_UDP or len(content) < 8:
        return None
    src_port, dst_port, length, value = struct.unpack_from("!HHHH", content)
    if not 8 <= length <= len(content):
        return None
    if value and checksum(_pseudo_header(packet.src, packet.dst, PROTO_UDP, length) + content[:length]):
        return None
    return Udp(src_port, dst_port, content[8:length])


def encode_tcp(tcp: Tcp, *, src: str, dst: str) -> bytes:
    """A segment without options, as in the middle of a connection."""
    head = _pack("!HHIIBBH", tcp.src_port, tcp.dst_port, tcp.seq, 1, 5 << 4, tcp.flags, 0xFFFF)
    pseudo = _pseudo_header(src, dst, PROTO_TCP, 20 + len(tcp.payload))
    return head + _pack("!HH", checksum(pseudo + head + b"\0\0\0\0" + tcp.payload), 0) + tcp.payload


def decode_tcp(packet: Ipv4) -> Tcp | None:
    content = packet.payload
    if packet.proto != PROTO_TCP or len(content) < 20:
        return None
    header = (content[12] >> 4) * 4
    pseudo = _pseudo_header(packet.src, packet.dst, PROTO_TCP, len(content))
    if not 20 <= header <= len(content) or checksum(pseudo + content):
        return None
    src_port, dst_port, seq = struct.unpack_from("!HHI", content)
    return Tcp(src_port, dst_port, content[header:], seq)
