"""Sends the packets that prove a new way, and takes them back: a barrier says "done", a packet that arrives shows it.

Every packet carries a number that cannot be guessed, so only our own that really passed counts. Source: ours.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from controller import frames, openflow
from controller.executor import Shell
from controller.flow_rule import IP_PROTO, PORT_CONTROLLER, PORT_TABLE, Action, Output, PushTag
from controller.openflow_replies import PacketIn, untagged
from controller.steps import Proof, Unconfirmed
from controller.tags import Role, decode_tag, parse_cookie

TIMEOUT_S = 2.0  # switches are known to be 0.4 s behind their barriers
EVERY_S = 0.03
_POLL_S = 0.001
_MAGIC = b"vnftwin proof"
_NONCE_BYTES = 16
_PAYLOAD_BYTES = 40
_MACS = ("02:56:4e:00:00:02", "02:56:4e:00:00:01")
_NOBODY = ("192.0.2.1", "192.0.2.2")  # addresses for documentation


class Sends(Protocol):
    """The part of `Switchboard` that is needed."""

    def send(self, switch: str, messages: Iterable[bytes]) -> None: ...


@dataclass(slots=True)
class Prover:
    """One for all plans under way. `counts`: proofs by their result."""

    switches: Sends
    shell: Shell
    timeout_s: float = TIMEOUT_S
    counts: Counter[str] = field(default_factory=lambda: Counter(confirmed=0, unconfirmed=0))
    _open: dict[bytes, Proof] = field(default_factory=dict)

    def prove(self, proofs: Iterable[Proof]) -> None:
        """Returns when every packet has been seen where it should. Unconfirmed after `timeout_s`; SwitchGone."""
        mine = {secrets.token_bytes(_NONCE_BYTES): proof for proof in proofs}
        self._open |= mine
        try:
            self._repeat(mine)
            missing = [proof for nonce, proof in mine.items() if nonce in self._open]
        finally:
            for nonce in mine:
                self._open.pop(nonce, None)
        self.counts["confirmed"] += len(mine) - len(missing)
        self.counts["unconfirmed"] += len(missing)
        if missing:
            raise Unconfirmed(f"unconfirmed within {self.timeout_s:g} s: {'; '.join(map(_told, missing))}")

    def caught(self, switch: str, packet: PacketIn) -> bool:
        """A packet came in. False where it is none for proofs; one that proves nothing that is asked for is let go."""
        cookie = parse_cookie(packet.cookie)
        if cookie is None or cookie.role is not Role.CONFIRM:
            return False
        tag, frame = untagged(packet.data)
        at = frame.find(_MAGIC) + len(_MAGIC)
        nonce = frame[at : at + _NONCE_BYTES]
        proof = self._open.get(nonce)
        if proof is not None and (proof.caught_at, proof.tag) == (switch, tag):
            del self._open[nonce]
        return True

    def _repeat(self, mine: dict[bytes, Proof]) -> None:
        began_s = send_s = self.shell.clock()
        while any(nonce in self._open for nonce in mine) and (now_s := self.shell.clock()) - began_s < self.timeout_s:
            if now_s >= send_s:
                send_s = now_s + EVERY_S
                for nonce, proof in mine.items():
                    if nonce in self._open:
                        self.switches.send(proof.switch, (_packet_out(proof, nonce),))
            self.shell.sleep(_POLL_S)


def _packet_out(proof: Proof, nonce: bytes) -> bytes:
    to_tables = (Output(PORT_TABLE),)
    actions: tuple[Action, ...] = to_tables
    if proof.in_port == PORT_CONTROLLER:
        actions = (PushTag(proof.tag), *to_tables)
    return openflow.packet_out(_frame(proof, nonce), proof.in_port, actions)


def _frame(proof: Proof, nonce: bytes) -> bytes:
    like, payload = proof.like, (_MAGIC + nonce).ljust(_PAYLOAD_BYTES, b"\0")
    src, dst = like.ipv4_src or _NOBODY[0], like.ipv4_dst or _NOBODY[1]
    ports = like.tp_src or 9, like.tp_dst or 9
    if like.ip_proto == IP_PROTO["tcp"]:
        proto, segment = frames.PROTO_TCP, frames.encode_tcp(frames.Tcp(*ports, payload, 0), src=src, dst=dst)
    else:
        proto, segment = frames.PROTO_UDP, frames.encode_udp(frames.Udp(*ports, payload), src=src, dst=dst)
    packet = frames.Ipv4(src, dst, proto, segment, like.ip_dscp or 0)
    return frames.encode_ethernet(frames.Ethernet(*_MACS, frames.ETHERTYPE_IPV4, frames.encode_ipv4(packet)))


def _told(proof: Proof) -> str:
    tag = decode_tag(proof.tag)
    place = f"chain {tag.chain}, segment {tag.segment}, generation {tag.generation}"
    if proof.in_port == PORT_CONTROLLER:
        return f"the path of {place} from switch {proof.switch} to {proof.caught_at}"
    return f"the entry of {place} at port {proof.in_port} of switch {proof.switch}"
