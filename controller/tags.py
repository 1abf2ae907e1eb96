"""Steering tags and cookies: how a packet and a rule say which chain they belong to (docs/steering.md, "Tags").

A tag is the 12-bit VLAN id of a packet between two stops of its chain: chain (7 bits), segment (4), generation (1).
Chain numbers 1..126 keep the reserved ids 0 and 4095 out of reach. A cookie is the 64-bit name of a rule; its upper
16 bits are ours alone, so that rules of other applications are left alone and a restarted controller knows its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

RETURN_SEGMENT = 15  # the one that ends at the ingress
FIRST_RETURN_SEGMENT = 8  # in a two-way chain, of which replies take as many segments as packets there
LAST_FORWARD_SEGMENT = 14
COOKIE_PREFIX = 0x564E << 48
COOKIE_RANGE_MASK = 0xFFFF << 48
_ROLE_SHIFT, _CHAIN_SHIFT, _SEGMENT_SHIFT = 40, 16, 8
_USED_BITS = COOKIE_RANGE_MASK | 0xFF << _ROLE_SHIFT | 0x7F << _CHAIN_SHIFT | 0xF << _SEGMENT_SHIFT | 1


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """Where a packet is within its chain. ValueError outside of 1..126, 0..15 and 0..1."""

    chain: int
    segment: int
    generation: int

    def __post_init__(self) -> None:
        if not (1 <= self.chain <= 126 and 0 <= self.segment <= 15 and self.generation in (0, 1)):
            raise ValueError(f"no tag for chain {self.chain}, segment {self.segment}, generation {self.generation}")

    @property
    def vlan_id(self) -> int:
        return self.chain << 5 | self.segment << 1 | self.generation


def decode_tag(vlan_id: int) -> Tag:
    """The tag of a VLAN id. ValueError for an id that no chain uses."""
    if not 0 <= vlan_id <= 0xFFF:
        raise ValueError(f"a VLAN id has 12 bits: {vlan_id}")
    return Tag(vlan_id >> 5, vlan_id >> 1 & 0xF, vlan_id & 1)


class Role(IntEnum):
    """What a rule is for."""

    BASE = 1  # of the switch, not of a chain
    INGRESS = 2  # table 0: the chain's packets from its ingress endpoint
    VNF = 3  # table 0: what comes out of a VNF, there or back
    RETURN = 4  # table 0: the chain's replies from its egress endpoint
    PATH = 5  # table 1: one hop of a segment
    PROBE = 6  # table 1: takes the chain's probes out before they reach the egress endpoint
    CONFIRM = 7  # table 1, for the time of a move: takes the packets out that prove the new way


ENTRY_ROLES = frozenset({Role.INGRESS, Role.VNF, Role.RETURN})


@dataclass(frozen=True, slots=True, order=True)
class Cookie:
    """The meaning of one of our cookies.

    `generation` is 0 in entry rules (table 0): OFPFC_MODIFY_STRICT leaves a rule's cookie as it was, so the generation
    of an entry is told by the tag it pushes. Of base rules, chain and segment are 0 as well.
    """

    role: Role
    chain: int = 0
    segment: int = 0
    generation: int = 0

    @property
    def value(self) -> int:
        place = self.chain << _CHAIN_SHIFT | self.segment << _SEGMENT_SHIFT | self.generation
        return COOKIE_PREFIX | self.role << _ROLE_SHIFT | place


def parse_cookie(value: int) -> Cookie | None:
    """What a cookie means; None where it is not one of ours."""
    if value & COOKIE_RANGE_MASK != COOKIE_PREFIX or value & ~_USED_BITS:
        return None
    try:
        role = Role(value >> _ROLE_SHIFT & 0xFF)
    except ValueError:
        return None
    return Cookie(role, value >> _CHAIN_SHIFT & 0x7F, value >> _SEGMENT_SHIFT & 0xF, value & 1)
