"""Which ARP requests the controller answers, and with what."""

from __future__ import annotations

import pytest

from controller import frames
from controller.arp_proxy import ArpProxy
from controller.flow_rule import PORT_CONTROLLER, Output
from controller.openflow import packet_out
from controller.openflow_replies import PacketIn, Port
from controller.telemetry import Telemetry
from tests.unit.small_worlds import line

LINE = line()
U, W = LINE.endpoints
BROADCAST = "ff:ff:ff:ff:ff:ff"


def request(
    target: str, *, sender: str = U.ip, mac: str = U.mac, source: str = U.mac, op: int = 1, vlans: tuple[int, ...] = ()
) -> bytes:
    arp = frames.Arp(op, mac, sender, "00:00:00:00:00:00", target)
    return frames.encode_ethernet(
        frames.Ethernet(BROADCAST, source, frames.ETHERTYPE_ARP, frames.encode_arp(arp), vlans)
    )


@pytest.mark.parametrize(("asks", "target", "mac"), [(U, W.ip, W.mac), (W, U.ip, U.mac), (W, "10.255.1.2", U.mac)])
def test_an_endpoint_is_told_the_mac_behind_an_address(asks: object, target: str, mac: str) -> None:
    end = U if asks is U else W
    answer = ArpProxy(LINE).answer(request(target, sender=end.ip, mac=end.mac, source=end.mac))
    assert answer is not None
    ethernet = frames.decode_ethernet(answer)
    assert ethernet is not None
    assert (ethernet.dst, ethernet.src) == (end.mac, mac)
    assert frames.decode_arp(ethernet.payload) == frames.Arp(2, mac, target, end.mac, end.ip)


@pytest.mark.parametrize(
    "frame",
    [
        request(U.ip),  # an announcement
        request(U.ip, sender="0.0.0.0"),  # is the address free?
        request("10.255.1.2"),  # a user that asks for the address it has itself behind its nat
        request("10.9.9.9"),
        request(W.ip, sender="10.0.0.99"),
        request(W.ip, mac=W.mac),
        request(W.ip, source=W.mac),
        request(W.ip, op=2),
        request(W.ip, vlans=(5,)),
        request(W.ip)[:20],
        b"",
    ],
)
def test_what_is_not_an_endpoints_question_gets_no_answer(frame: bytes) -> None:
    assert ArpProxy(LINE).answer(frame) is None


def test_a_request_at_a_host_port_is_answered_there_and_nowhere_else() -> None:
    telemetry = Telemetry(LINE, b"k" * 16)
    ports = [Port(n, f"a-eth{n}", f"02:aa:00:00:00:0{n}", up=True) for n in (1, 2)]
    telemetry.switch_joined(0.0, LINE.switch("a").dpid, ports)
    telemetry.discovery.set_vnf_ports("a", [2])
    asked = request(W.ip)
    for port in (1, 2):
        telemetry.packet_in(0.1, "a", PacketIn(port, 0, 0, asked))
    answer = ArpProxy(LINE).answer(asked)
    assert answer is not None
    sent = [out.build(0.2) for out in telemetry.due(0.2, {}) if out.switch == "a"]
    assert sent.count(packet_out(answer, PORT_CONTROLLER, (Output(1),))) == 1
    assert not any(packet_out(answer, PORT_CONTROLLER, (Output(2),)) == message for message in sent)
    assert packet_out(answer, PORT_CONTROLLER, (Output(1),)) not in [o.build(0.3) for o in telemetry.due(0.3, {})]
