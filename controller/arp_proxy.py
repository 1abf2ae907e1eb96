"""Answers endpoints' ARP requests, since no ARP frame is passed on: who asks for an address that an endpoint has, or is
known by behind a nat or in front of a balancer, is told that endpoint's MAC (docs/steering.md, "Replies").
"""

from __future__ import annotations

from controller import frames
from twin.rewrites import neighbours
from twin.scenario import Scenario

_REQUEST, _REPLY = 1, 2


class ArpProxy:
    """Knows the MAC behind every address of a scenario. Pure."""

    def __init__(self, scenario: Scenario) -> None:
        self._macs = neighbours(scenario)
        self._own = {endpoint.ip: endpoint.mac.lower() for endpoint in scenario.endpoints}

    def answer(self, content: bytes) -> bytes | None:
        """The frame that answers an ARP frame; None for what is no request, or not ours to answer.

        Only endpoints are answered, by the addresses they are known to have: an announcement or the question whether an
        address is free (both with one's own as target, or none as sender) gets no answer.
        """
        ethernet = frames.decode_ethernet(content)
        if ethernet is None or ethernet.ethertype != frames.ETHERTYPE_ARP or ethernet.vlans:
            return None
        arp = frames.decode_arp(ethernet.payload)
        if arp is None or arp.op != _REQUEST or not self._is_endpoint(arp.sender_ip, arp.sender_mac, ethernet.src):
            return None
        mac = self._macs.get(arp.target_ip, arp.sender_mac)
        if mac == arp.sender_mac:
            return None
        reply = frames.Arp(_REPLY, mac, arp.target_ip, arp.sender_mac, arp.sender_ip)
        return frames.encode_ethernet(
            frames.Ethernet(arp.sender_mac, mac, frames.ETHERTYPE_ARP, frames.encode_arp(reply))
        )

    def _is_endpoint(self, ip: str, mac: str, source: str) -> bool:
        return self._own.get(ip) == mac == source
