"""Frames come back as they were sent, checksums find damage, and no bytes whatever make a decoder raise."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import frames
from controller.stamps import Signer, Stamp, StampKind

macs = st.binary(min_size=6, max_size=6).map(frames.mac_text)
ips = st.tuples(*[st.integers(0, 255)] * 4).map(lambda parts: ".".join(map(str, parts)))
ports = st.integers(0, 65535)
payloads = st.binary(max_size=200)
types = st.integers(0x0600, 0xFFFF).filter(lambda t: t not in (frames.ETHERTYPE_VLAN, frames.ETHERTYPE_QINQ))
ethernets = st.builds(
    frames.Ethernet, macs, macs, types, payloads, st.lists(st.integers(0, 4095), max_size=3).map(tuple)
)
arps = st.builds(frames.Arp, st.integers(0, 65535), macs, ips, macs, ips)
tlvs = st.builds(
    frames.OrganisationTlv, st.binary(min_size=3, max_size=3), st.integers(0, 255), st.binary(max_size=507)
)
ids = st.binary(min_size=1, max_size=255)
lldps = st.builds(frames.Lldp, ids, ids, st.integers(0, 65535), st.lists(tlvs, max_size=3).map(tuple))
ipv4s = st.builds(frames.Ipv4, ips, ips, st.integers(0, 255), payloads, st.integers(0, 63), st.integers(0, 255), ports)
udps = st.builds(frames.Udp, ports, ports, payloads)
tcps = st.builds(frames.Tcp, ports, ports, payloads, st.integers(0, 2**32 - 1))


@given(ethernets)
def test_ethernet_comes_back(frame: frames.Ethernet) -> None:
    assert frames.decode_ethernet(frames.encode_ethernet(frame)) == frame


@given(arps, st.binary(max_size=18))
def test_arp_comes_back_padded_or_not(arp: frames.Arp, padding: bytes) -> None:
    assert frames.decode_arp(frames.encode_arp(arp) + padding) == arp


@given(lldps, st.binary(max_size=18))
def test_lldp_comes_back_padded_or_not(lldp: frames.Lldp, padding: bytes) -> None:
    assert frames.decode_lldp(frames.encode_lldp(lldp) + padding) == lldp


@given(ipv4s, st.binary(max_size=18))
def test_ipv4_comes_back_padded_or_not(packet: frames.Ipv4, padding: bytes) -> None:
    assert frames.decode_ipv4(frames.encode_ipv4(packet) + padding) == packet


@given(udps, ips, ips)
def test_udp_comes_back(udp: frames.Udp, src: str, dst: str) -> None:
    assert frames.decode_udp(frames.Ipv4(src, dst, 17, frames.encode_udp(udp, src=src, dst=dst))) == udp


@given(tcps, ips, ips)
def test_tcp_comes_back(tcp: frames.Tcp, src: str, dst: str) -> None:
    assert frames.decode_tcp(frames.Ipv4(src, dst, 6, frames.encode_tcp(tcp, src=src, dst=dst))) == tcp


@given(ipv4s, st.integers(0, 20 * 8 - 1))
def test_a_flipped_bit_in_an_ipv4_header_is_found(packet: frames.Ipv4, bit: int) -> None:
    content = bytearray(frames.encode_ipv4(packet))
    content[bit // 8] ^= 1 << bit % 8
    assert frames.decode_ipv4(bytes(content)) is None


@given(udps, ips, ips, st.data())
def test_a_flipped_bit_in_a_udp_datagram_is_found(udp: frames.Udp, src: str, dst: str, data: st.DataObject) -> None:
    content = bytearray(frames.encode_udp(udp, src=src, dst=dst))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    if content[6:8] != b"\0\0":  # a checksum of zero says that there is none
        assert frames.decode_udp(frames.Ipv4(src, dst, 17, bytes(content))) is None


@given(tcps, ips, ips, st.data())
def test_a_flipped_bit_in_a_tcp_segment_is_found(tcp: frames.Tcp, src: str, dst: str, data: st.DataObject) -> None:
    content = bytearray(frames.encode_tcp(tcp, src=src, dst=dst))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    assert frames.decode_tcp(frames.Ipv4(src, dst, 6, bytes(content))) is None


def _decode_all(content: bytes) -> None:
    frames.decode_ethernet(content)
    frames.decode_arp(content)
    frames.decode_lldp(content)
    packet = frames.decode_ipv4(content)
    for proto in (6, 17):
        inner = frames.Ipv4("10.0.0.1", "10.0.0.2", proto, packet.payload if packet else content)
        frames.decode_udp(inner)
        frames.decode_tcp(inner)


@given(st.binary(max_size=120))
def test_no_bytes_make_a_decoder_raise(content: bytes) -> None:
    _decode_all(content)


@given(ethernets | lldps | ipv4s | arps, st.data())
def test_no_cut_or_damaged_frame_makes_a_decoder_raise(frame: object, data: st.DataObject) -> None:
    content = bytearray(_encode(frame))
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _decode_all(bytes(content[: data.draw(st.integers(0, len(content)))]))


def _encode(frame: object) -> bytes:
    match frame:
        case frames.Ethernet():
            return frames.encode_ethernet(frame)
        case frames.Lldp():
            return frames.encode_lldp(frame)
        case frames.Arp():
            return frames.encode_arp(frame)
        case frames.Ipv4():
            return frames.encode_ipv4(frame)
    raise AssertionError(frame)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.floats(0.0, 1e6))
def test_a_stamp_comes_back_to_its_own_run_only(subject: int, port: int, seq: int, sent_s: float) -> None:
    content = Signer(b"a" * 16).write(Stamp(StampKind.LINK, subject, port, seq, sent_s))
    read = Signer(b"a" * 16).read(content + b"padding", StampKind.LINK)
    assert read is not None
    assert (read.subject, read.port, read.seq) == (subject, port, seq)
    assert read.sent_s == pytest.approx(sent_s, abs=1e-9)
    assert Signer(b"b" * 16).read(content, StampKind.LINK) is None
    assert Signer(b"a" * 16).read(content, StampKind.LOOP) is None


@given(st.binary(max_size=60), st.data())
def test_a_changed_stamp_is_refused(content: bytes, data: st.DataObject) -> None:
    signer = Signer(b"a" * 16)
    assert signer.read(content, StampKind.CHAIN) is None
    right = bytearray(signer.write(Stamp(StampKind.CHAIN, 1, 2, 3, 4.0)))
    bit = data.draw(st.integers(0, len(right) * 8 - 1))
    right[bit // 8] ^= 1 << bit % 8
    assert signer.read(bytes(right), StampKind.CHAIN) is None


def test_known_bytes() -> None:
    """The example of RFC 1071, section 3, and an ARP request written out by hand."""
    assert frames.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    arp = frames.Arp(1, "02:00:00:00:00:01", "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2")
    assert frames.encode_arp(arp).hex() == "00010800060400010200000000010a0000010000000000000a000002"


def test_a_udp_sum_of_zero_is_sent_as_all_ones() -> None:
    """RFC 768: zero would say that there is none."""
    src, dst = "10.0.0.1", "10.0.0.2"
    before = frames.encode_udp(frames.Udp(1, 2, b"\0\0"), src=src, dst=dst)
    content = frames.encode_udp(frames.Udp(1, 2, before[6:8]), src=src, dst=dst)
    assert content[6:8] == b"\xff\xff"
    assert frames.decode_udp(frames.Ipv4(src, dst, 17, content)) == frames.Udp(1, 2, before[6:8])


def test_an_lldp_frame_cut_within_a_tlv_is_refused() -> None:
    lldp = frames.Lldp(b"chassis", b"port", 120, (frames.OrganisationTlv(b"abc", 1, bytes(20)),))
    content = frames.encode_lldp(lldp)
    assert frames.decode_lldp(content[:-2]) == lldp  # the end mark may be missing
    assert frames.decode_lldp(content[:-3]) is None
    assert frames.decode_lldp(content[:10]) is None


def test_an_ipv4_fragment_is_refused() -> None:
    content = bytearray(frames.encode_ipv4(frames.Ipv4("10.0.0.1", "10.0.0.2", 17, b"x" * 20)))
    content[6:8], content[10:12] = b"\x20\x00", b"\0\0"  # more fragments
    content[10:12] = struct.pack("!H", frames.checksum(bytes(content[:20])))
    assert frames.checksum(bytes(content[:20])) == 0
    assert frames.decode_ipv4(bytes(content)) is None


@pytest.mark.parametrize("mac", ["", "02:00:00:00:00", "02:00:00:00:00:0g", "0200.0000.0001", "2:0:0:0:0:1"])
def test_what_is_no_mac_is_refused(mac: str) -> None:
    with pytest.raises(ValueError, match=r"MAC|hexadecimal"):
        frames.mac_bytes(mac)


@pytest.mark.parametrize("ip", ["", "10.0.0", "10.0.0.256", "10.1", "::1"])
def test_what_is_no_ipv4_address_is_refused(ip: str) -> None:
    with pytest.raises(ValueError, match="IPv4"):
        frames.ip_bytes(ip)


def test_what_does_not_fit_is_refused() -> None:
    mac = "02:00:00:00:00:01"
    with pytest.raises(ValueError, match="VLAN"):
        frames.encode_ethernet(frames.Ethernet(mac, mac, 0x0800, b"", (4096,)))
    with pytest.raises(ValueError, match="DSCP"):
        frames.encode_ipv4(frames.Ipv4("1.1.1.1", "1.1.1.2", 17, b"", dscp=64))
    with pytest.raises(ValueError, match="fit"):
        frames.encode_ipv4(frames.Ipv4("1.1.1.1", "1.1.1.2", 17, bytes(65530)))
    with pytest.raises(ValueError, match="LLDP"):
        frames.encode_lldp(frames.Lldp(b"x" * 600, b"1", 1))
