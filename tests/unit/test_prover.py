"""Packets that prove a way: sent until they are seen, and only our own count."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from controller.executor import Shell
from controller.flow_rule import IP_PROTO, PORT_CONTROLLER, Match
from controller.openflow_replies import PacketIn
from controller.prover import Prover
from controller.steps import Proof, Unconfirmed
from controller.tags import Cookie, Role, Tag

TAG = Tag(3, 1, 1).vlan_id
PATH = Proof("a", PORT_CONTROLLER, TAG, "c", Match(ip_dscp=60))
LIKE = Match(ip_dscp=61, ip_proto=IP_PROTO["tcp"], ipv4_src="10.0.0.1", ipv4_dst="10.0.0.2", tp_dst=80)
ENTRY = Proof("a", 10, TAG, "a", LIKE)
CAPTURED = Cookie(Role.CONFIRM, 3, 1, 1).value


@dataclass
class Wire:
    """Gives back what is put in, as often as `passes` says, at the switch and with the tag that it says."""

    passes: Callable[[int], bool] = lambda _n: True
    at: str = ""
    tag: int = TAG
    cookie: int = CAPTURED
    now_s: float = 0.0
    sent: list[tuple[str, int, bytes]] = field(default_factory=list)
    taken: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prover = Prover(self, Shell(lambda: self.now_s, self._sleep), timeout_s=0.5)

    def send(self, switch: str, messages: Iterable[bytes]) -> None:
        for message in messages:
            in_port, actions_bytes = struct.unpack_from("!IH", message, 12)
            data = message[24 + actions_bytes :]
            self.sent.append((switch, in_port, data))
            if self.passes(len(self.sent)):
                tagged = data[:12] + b"\x81\0" + self.tag.to_bytes(2, "big") + data[12:]
                at = self.at or (PATH.caught_at if in_port == PORT_CONTROLLER else switch)
                self.taken.append(self.prover.caught(at, PacketIn(1, 1, self.cookie, tagged)))

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_what_comes_back_is_proven() -> None:
    wire = Wire()
    wire.prover.prove((PATH, ENTRY))
    assert [(switch, port) for switch, port, _ in wire.sent] == [("a", PORT_CONTROLLER), ("a", 10)]
    assert wire.prover.counts == {"confirmed": 2, "unconfirmed": 0}
    entry = wire.sent[1][2]
    assert entry[15] >> 2 == 61
    assert entry[23] == IP_PROTO["tcp"]
    assert entry[26:34] == bytes((10, 0, 0, 1, 10, 0, 0, 2))


def test_it_is_repeated_until_it_is_seen() -> None:
    wire = Wire(passes=lambda n: n > 5)
    wire.prover.prove((ENTRY,))
    assert len(wire.sent) == 6
    assert 0.1 < wire.now_s < 0.3


def test_it_ends_in_time_and_says_what_is_missing() -> None:
    wire = Wire(passes=lambda _n: False)
    with pytest.raises(Unconfirmed, match="the path of chain 3, segment 1, generation 1 from switch a to c; the entry"):
        wire.prover.prove((PATH, ENTRY))
    assert wire.now_s < 0.6
    assert wire.prover.counts == {"confirmed": 0, "unconfirmed": 2}


@pytest.mark.parametrize("wrong", [{"tag": TAG ^ 1}, {"at": "b"}], ids=["old tag", "elsewhere"])
def test_what_comes_by_another_way_proves_nothing(wrong: dict[str, object]) -> None:
    wire = Wire(**wrong)  # type: ignore[arg-type]
    with pytest.raises(Unconfirmed):
        wire.prover.prove((ENTRY,))
    assert all(wire.taken)


def test_a_packet_of_another_kind_is_left_to_others() -> None:
    wire = Wire(cookie=Cookie(Role.PROBE, 3, 1, 1).value)
    with pytest.raises(Unconfirmed):
        wire.prover.prove((ENTRY,))
    assert not any(wire.taken)


def test_an_old_or_foreign_packet_proves_nothing() -> None:
    wire = Wire()
    wire.prover.prove((ENTRY,))
    old = wire.sent[0][2]
    replayed = Wire(passes=lambda _n: False)
    tagged = old[:12] + b"\x81\0" + TAG.to_bytes(2, "big") + old[12:]
    assert replayed.prover.caught("a", PacketIn(1, 1, CAPTURED, tagged))
    with pytest.raises(Unconfirmed):
        replayed.prover.prove((ENTRY,))
