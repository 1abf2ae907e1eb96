"""Finding which switch port leads to which, by LLDP frames (IEEE 802.1AB) that carry a signed stamp of ours.

A frame is sent out of a port and says which one; the switch port where it comes in is the other end. Frames of other
speakers, of an earlier run, made up by a host, or come twice are told apart by the stamp and its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller import frames
from controller.stamps import Signer, Stamp, StampKind

OUI = b"\x02\x76\x6e"  # locally administered: no vendor's
_SUBTYPE = 1
_OLDEST = 4  # a frame that comes back after this many newer ones were sent is a replay
NOWHERE = ("", 0)

End = tuple[str, int]  # (switch, port)


@dataclass(frozen=True, slots=True)
class LldpFrame:
    """A frame to send out of `port` of `switch`; `encode` stamps it, so call it just before sending."""

    switch: str
    port: int
    dpid: int
    seq: int
    signer: Signer

    def encode(self, now_s: float) -> bytes:
        stamp = self.signer.write(Stamp(StampKind.LINK, self.dpid, self.port, self.seq, now_s))
        own = frames.OrganisationTlv(OUI, _SUBTYPE, stamp)
        lldp = frames.Lldp(f"{self.dpid:016x}".encode(), str(self.port).encode(), 120, (own,))
        src = frames.mac_text(b"\x02" + self.dpid.to_bytes(8, "big")[-4:] + bytes([self.port & 0xFF]))
        payload = frames.encode_lldp(lldp)
        return frames.encode_ethernet(frames.Ethernet(frames.LLDP_MULTICAST, src, frames.ETHERTYPE_LLDP, payload))


@dataclass(frozen=True, slots=True)
class LldpArrival:
    """One frame that crossed a connection: where it went in, where it came out, and when."""

    a: str
    a_port: int
    b: str
    b_port: int
    sent_s: float
    received_s: float


@dataclass(slots=True)
class _Sender:
    """A port that frames are sent from. `peer` is where they come out; `heard` the newest number that did."""

    seq: int = 0
    heard: int = 0
    peer: End = NOWHERE
    since: int = 0


class Adjacency:
    """The connections between switches, as the frames show them."""

    def __init__(self, dpids: Mapping[str, int], signer: Signer) -> None:
        self._dpids = dpids
        self._names = {dpid: switch for switch, dpid in dpids.items()}
        self._signer = signer
        self._senders: dict[End, _Sender] = {}
        self._connections = 0

    def frame(self, switch: str, port: int) -> LldpFrame:
        """The next frame of a port."""
        sender = self._senders.setdefault((switch, port), _Sender())
        sender.seq += 1
        return LldpFrame(switch, port, self._dpids[switch], sender.seq, self._signer)

    def arrived(self, now_s: float, switch: str, port: int, content: bytes) -> LldpArrival | None:
        """The crossing that an incoming frame shows; None where it is not ours or came before."""
        stamp = self._stamp(content)
        if stamp is None or stamp.subject not in self._names:
            return None
        source = (self._names[stamp.subject], stamp.port)
        sender = self._senders.get(source)
        if sender is None or source == (switch, port):
            return None
        if not max(sender.heard, sender.seq - _OLDEST) < stamp.seq <= sender.seq:
            return None
        sender.heard = stamp.seq
        return LldpArrival(*source, switch, port, stamp.sent_s, now_s)

    def connect(self, arrival: LldpArrival) -> bool:
        """Takes an arrival as the connection of its ports; True where that is news."""
        sender = self._senders[arrival.a, arrival.a_port]
        if sender.peer == (arrival.b, arrival.b_port):
            return False
        self._connections += 1
        sender.peer, sender.since = (arrival.b, arrival.b_port), self._connections
        return True

    def disconnect(self, switch: str, port: int = 0) -> None:
        """Forgets all connections from and to a port, or with no port those of a whole switch."""
        for end, sender in self._senders.items():
            if _covers(switch, port, end) or _covers(switch, port, sender.peer):
                sender.peer, sender.heard = NOWHERE, sender.seq

    def drop_silent(self, limit: int) -> bool:
        """Forgets directions of which `limit` frames in a row were lost (another may be on its way); True if any."""
        silent = [s for s in self._senders.values() if s.peer != NOWHERE and s.seq - s.heard > limit]
        for sender in silent:
            sender.peer = NOWHERE
        return bool(silent)

    def joins_switches(self, switch: str, port: int) -> bool:
        """Is this port an end of a connection, in either direction?"""
        sender = self._senders.get((switch, port))
        if sender is not None and sender.peer != NOWHERE:
            return True
        return any(s.peer == (switch, port) for s in self._senders.values())

    def directions(self) -> dict[tuple[str, str], int]:
        """(a, b) -> the port of a that leads to b; of several the one that was found first."""
        ports: dict[tuple[str, str], int] = {}
        for (switch, port), sender in sorted(self._senders.items(), key=lambda item: item[1].since):
            if sender.peer != NOWHERE:
                ports.setdefault((switch, sender.peer[0]), port)
        return ports

    def _stamp(self, content: bytes) -> Stamp | None:
        ethernet = frames.decode_ethernet(content)
        if ethernet is None or ethernet.ethertype != frames.ETHERTYPE_LLDP:
            return None
        lldp = frames.decode_lldp(ethernet.payload)
        for tlv in lldp.organisation if lldp else ():
            if tlv.oui == OUI and tlv.subtype == _SUBTYPE:
                return self._signer.read(tlv.content, StampKind.LINK)
        return None


def _covers(switch: str, port: int, end: End) -> bool:
    return end[0] == switch and port in (0, end[1])
