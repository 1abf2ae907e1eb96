from __future__ import annotations

import pytest

from controller.tags import COOKIE_PREFIX, COOKIE_RANGE_MASK, Cookie, Role, Tag, decode_tag, parse_cookie


def test_every_tag_has_its_own_id_and_none_is_reserved() -> None:
    ids = {}
    for chain in range(1, 127):
        for segment in range(16):
            for generation in (0, 1):
                tag = Tag(chain, segment, generation)
                ids[tag.vlan_id] = tag
                assert decode_tag(tag.vlan_id) == tag
    assert len(ids) == 126 * 32
    assert min(ids) > 0
    assert max(ids) < 4095


@pytest.mark.parametrize("place", [(0, 0, 0), (127, 0, 0), (1, 16, 0), (1, -1, 0), (1, 0, 2), (-1, 0, 0)])
def test_there_is_no_tag_outside_of_its_bits(place: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no tag"):
        Tag(*place)


@pytest.mark.parametrize("vlan_id", [0, 31, 4064, 4095])
def test_ids_that_no_chain_uses_have_no_meaning(vlan_id: int) -> None:
    with pytest.raises(ValueError, match="no tag"):
        decode_tag(vlan_id)


@pytest.mark.parametrize("vlan_id", [-1, 4096, 0x1021])
def test_an_id_has_twelve_bits(vlan_id: int) -> None:
    with pytest.raises(ValueError, match="12 bits"):
        decode_tag(vlan_id)


def test_cookies_round_trip_within_our_range() -> None:
    values = set()
    for role in Role:
        for place in ((1, 0, 0), (126, 15, 1), (0, 0, 0), (64, 7, 1)):
            cookie = Cookie(role, *place)
            values.add(cookie.value)
            assert parse_cookie(cookie.value) == cookie
            assert cookie.value & COOKIE_RANGE_MASK == COOKIE_PREFIX
            assert cookie.value < 1 << 64
    assert len(values) == len(Role) * 4


@pytest.mark.parametrize(
    "value",
    [0, 0xFFFFFFFFFFFFFFFF, COOKIE_PREFIX, COOKIE_PREFIX | 99 << 40, Cookie(Role.PATH, 1).value | 2, 1 << 40],
)
def test_other_cookies_are_not_ours(value: int) -> None:
    assert parse_cookie(value) is None
